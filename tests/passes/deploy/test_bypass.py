"""Layers in the trunk that need labels: known identities go, others are refused by name."""

from __future__ import annotations

import pytest

from caffefold.errors import TextError, UnknownName, UsageError
from caffefold.options import DeployOptions
from tests.support.deploy import deploy, net, outline, passes

EXCITED = """
data Data -> data label { transform_param { crop_size: 32 force_color: true } }
c1 Convolution data -> c1
AE AssistedExcitation c1 label -> AE
c2 Convolution AE -> c2
fc InnerProduct c2 -> fc
loss SoftmaxWithLoss fc label -> loss
"""
UNKNOWN = EXCITED.replace("AssistedExcitation", "Riddle")
TRUNK = [
    "> data",
    "c1 Convolution data -> c1",
    "c2 Convolution c1 -> c2",
    "fc InnerProduct c2 -> fc",
    "prob Softmax fc -> prob",
]


def bypassing(*names: str) -> DeployOptions:
    return DeployOptions(bypass=names)


def test_a_known_identity_goes() -> None:
    assert outline(deploy(EXCITED)) == TRUNK


def test_what_only_it_needed_goes_too() -> None:
    """MobileNet-YOLO's layer reads a mean of the features as well."""
    text = EXCITED.replace("c1 label -> AE", "c1 label mean -> AE").replace(
        "AE Assisted", "mean Reduction c1 -> mean\nAE Assisted"
    )
    assert outline(deploy(text)) == TRUNK


def test_it_is_reported() -> None:
    _, steps = passes(net(EXCITED))
    (change,) = next(step.changes for step in steps if step.name == "bypass")
    assert change.removed == ("AE",)
    assert change.detail == "AssistedExcitation -> nothing, 'c1' is passed on as it is"


def test_another_layer_is_refused() -> None:
    """Without it, everything behind it would have to go."""
    with pytest.raises(TextError, match=r"layer 'AE': Riddle reads 'label', which only training"):
        deploy(UNKNOWN)


def test_the_refusal_names_both_options() -> None:
    with pytest.raises(TextError) as caught:
        deploy(UNKNOWN)
    spelled = caught.value.spelled(lambda option: f"<{option.name}|{option.value}>")
    assert spelled.endswith(
        "give <bypass|AE> if it passes its input on at test time, "
        "or <outputs|BLOB> for a part of the net that does not need it"
    )


def test_it_can_be_bypassed_on_request() -> None:
    assert outline(deploy(UNKNOWN, options=bypassing("AE"))) == TRUNK


def test_a_part_in_front_of_it_needs_no_bypass() -> None:
    assert outline(deploy(UNKNOWN, options=DeployOptions(outputs=("c1",)))) == TRUNK[:2]


def test_a_part_behind_it_does() -> None:
    with pytest.raises(TextError, match="layer 'AE'"):
        deploy(UNKNOWN, options=DeployOptions(outputs=("fc",)))


def test_a_layer_behind_another_one_that_is_refused_is_not_blamed() -> None:
    text = UNKNOWN.replace("c2 Convolution AE", "more Riddle AE label -> more\nc2 Convolution more")
    with pytest.raises(TextError, match="layer 'AE'"):
        deploy(text)
    with pytest.raises(TextError, match="layer 'more'"):
        deploy(text, options=bypassing("AE"))
    assert outline(deploy(text, options=bypassing("AE", "more"))) == TRUNK


def test_what_reads_the_second_result_of_a_loss_is_in_the_trunk() -> None:
    text = """
    data Data -> data label { transform_param { crop_size: 32 force_color: true } }
    c1 Convolution data -> c1
    loss1 SoftmaxWithLoss c1 label -> loss1 p1
    c2 Convolution p1 -> c2
    loss2 SoftmaxWithLoss c2 label -> loss2
    """
    with pytest.raises(TextError, match="layer 'c2': Convolution reads 'p1', which only training"):
        deploy(text)


@pytest.mark.parametrize(
    "tail",
    [
        "margin LabelSpecificAdd fc label -> m\nloss SoftmaxWithLoss m label -> loss",
        "m LabelSpecificAdd fc label -> m\ns Scale m -> s\nloss SoftmaxWithLoss s label -> loss",
        "m MarginInnerProduct fc label -> m\nloss SoftmaxWithLoss m label -> loss",
        "cut Python fc label -> a b\nloss EuclideanLoss a b -> loss",
    ],
)
def test_readers_of_labels_in_front_of_a_loss_are_training(tail: str) -> None:
    data = "data Data -> data label { transform_param { crop_size: 32 force_color: true } }\n"
    found = deploy(data + "fc InnerProduct data -> fc\n" + tail)
    assert outline(found)[:2] == ["> data", "fc InnerProduct data -> fc"]


# ------------------------------------------------------------------------------ rewiring


IN_PLACE = """
data Data -> data label { transform_param { crop_size: 32 force_color: true } }
c1 Convolution data -> c1
x Riddle c1 label -> x
relu ReLU BLOB -> BLOB
sum Eltwise c1 x -> sum
fc InnerProduct sum -> fc
loss SoftmaxWithLoss fc label -> loss
"""


@pytest.mark.parametrize(
    ("blob", "conv", "relu"),
    [
        ("x", "c1 Convolution data -> c1", "relu ReLU c1 -> x"),
        ("c1", "c1 Convolution data -> x", "relu ReLU x -> c1"),
    ],
)
def test_who_read_it_before_and_after_a_relu_still_does(blob: str, conv: str, relu: str) -> None:
    found = outline(deploy(IN_PLACE.replace("BLOB", blob), options=bypassing("x")))
    assert found[1:4] == [conv, relu, "sum Eltwise c1 x -> sum"]


def test_a_name_that_is_written_again_is_not_given() -> None:
    """The name of an input stays, and is that of another value where ``x`` is read."""
    text = IN_PLACE.replace("c1 Convolution data -> c1\n", "").replace("c1", "data")
    with pytest.raises(UsageError, match="bypass x: no name is free for what it passes on"):
        deploy(text.replace("BLOB", "data"), options=bypassing("x"))


def test_an_output_keeps_its_name() -> None:
    text = "data Input -> data { input_param { shape { dim: 1 dim: 3 } } }\n"
    text += "c1 InnerProduct data -> c1\nend Riddle c1 -> end"
    found = deploy(text, options=bypassing("end"))
    assert outline(found) == ["> data", "c1 InnerProduct data -> end"]


def test_an_input_keeps_its_name() -> None:
    text = EXCITED.replace("c1 label -> AE", "data label -> AE").replace(
        "Convolution data", "Riddle x"
    )
    text = text.replace("c1 Riddle x -> c1\n", "")
    assert outline(deploy(text))[:2] == ["> data", "c2 Convolution data -> c2"]


def test_layers_of_several_outputs() -> None:
    """Filter picks items; without it, each of its inputs is handed on."""
    text = """
    data Data -> data label { transform_param { crop_size: 32 force_color: true } }
    a Convolution data -> a
    b Convolution data -> b
    f Filter a b label -> fa fb
    fc InnerProduct fa fb -> fc
    loss SoftmaxWithLoss fc label -> loss
    """
    with pytest.raises(TextError, match="layer 'f': Filter reads 'label'"):
        deploy(text)
    assert "fc InnerProduct a b -> fc" in outline(deploy(text, options=bypassing("f")))


def test_an_output_without_an_input() -> None:
    text = UNKNOWN.replace("c1 label -> AE", "c1 -> AE more").replace("c2 -> fc", "c2 more -> fc")
    with pytest.raises(UsageError, match="bypass AE: its output 'more' is read, and no input"):
        deploy(text, options=bypassing("AE"))


def test_no_such_layer() -> None:
    with pytest.raises(UnknownName, match=r"bypass data: .* are c1, AE, c2, fc, loss$"):
        deploy(EXCITED, options=bypassing("data"))


def test_many_at_once_and_what_serves_several_of_them() -> None:
    """A chain of them, with one mean that two of them read."""
    text = """
    data Data -> data label { transform_param { crop_size: 32 force_color: true } }
    c1 Convolution data -> c1
    mean Reduction c1 -> mean
    a AssistedExcitation c1 label mean -> a
    b AssistedExcitation a label mean -> b
    c2 Convolution b -> c2
    c AssistedExcitation c2 label -> c
    fc InnerProduct c -> fc
    loss SoftmaxWithLoss fc label -> loss
    """
    found, steps = passes(net(text))
    assert outline(found) == TRUNK
    changes = next(step.changes for step in steps if step.name == "bypass")
    assert [change.removed for change in changes] == [("a", "mean"), ("b",), ("c",)]


def test_one_by_one_where_an_output_is_among_them() -> None:
    """What served one of them stands in front of the other, which moves up."""
    text = """
    data Input -> data { input_param { shape { dim: [1, 3, 8, 8] } } }
    c1 Convolution data -> c1
    mean Reduction c1 -> mean
    a AssistedExcitation c1 -> a
    c2 Convolution a -> c2
    b AssistedExcitation c2 mean -> b
    """
    found, steps = passes(net(text))
    assert outline(found) == ["> data", "c1 Convolution data -> c1", "c2 Convolution c1 -> b"]
    changes = next(step.changes for step in steps if step.name == "bypass")
    assert [change.removed for change in changes] == [("a",), ("b", "mean")]
