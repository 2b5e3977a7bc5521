"""Include and exclude rules as Caffe's FilterNet applies them, and what a deploy net borrows."""

from __future__ import annotations

import pytest

from caffefold.errors import TextError, UsageError
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.passes.view.phase import SelectPhase, State, included
from caffefold.testing import LayerSpec, net_text


def layers_left(text: str, state: State | None = None) -> list[str]:
    """Names of the layers that are kept."""
    result = SelectPhase(state or State()).run(Net.of(parse(text)))
    return [layer.name for layer in result.net.layers]


def layer(rules: str) -> str:
    return LayerSpec("x", "ReLU", "a", "b", rules).prototxt()


RULES = [
    ("", State(), True),
    ("include { phase: TEST }", State(), True),
    ("include { phase: TRAIN }", State(), False),
    ("include { phase: TRAIN }", State("TRAIN"), True),
    ("include: { phase: 1 }", State(), True),
    ("include { phase: TRAIN } include { phase: TEST }", State(), True),
    ("exclude { phase: TEST }", State(), False),
    ("exclude { phase: TRAIN } exclude { stage: 'a' }", State(), True),
    ("exclude { phase: TRAIN } exclude { stage: 'a' }", State(stages=frozenset("a")), False),
    ("include { min_level: 2 }", State(level=1), False),
    ("include { min_level: 2 }", State(level=2), True),
    ("include { max_level: 2 }", State(level=3), False),
    ("include { min_level: 1 max_level: 3 }", State(level=3), True),
    ("include { stage: 'a' stage: 'b' }", State(stages=frozenset("a")), False),
    ("include { stage: 'a' stage: 'b' }", State(stages=frozenset("abc")), True),
    ("include { not_stage: 'a' }", State(stages=frozenset("a")), False),
    ("include { not_stage: 'a' }", State(stages=frozenset("b")), True),
    ("include { phase: TEST not_stage: 'a' }", State("TRAIN"), False),
]


@pytest.mark.parametrize(("rules", "state", "wanted"), RULES)
def test_rules(rules: str, state: State, wanted: bool) -> None:
    (only,) = Net.of(parse(layer(rules))).layers
    assert included(only, state) is wanted


def test_both_kinds_of_rules_are_refused() -> None:
    (only,) = Net.of(parse(layer("include { phase: TEST } exclude { stage: 'a' }"))).layers
    with pytest.raises(TextError, match="layer 'x': include and exclude together"):
        included(only, State())


def test_twins_of_one_name() -> None:
    twin = 'layer {{ name: "bn" type: "BatchNorm" bottom: "c" top: "c" include {{ phase: {} }} }}\n'
    text = 'input: "c" ' + twin.format("TRAIN") + twin.format("TEST")
    left = SelectPhase().run(Net.of(parse(text))).net.layers
    assert [(x.name, x.body.message("include") is not None) for x in left] == [("bn", True)]
    assert "TEST" in str(left[0].field)


def test_the_nets_own_state_counts() -> None:
    text = 'state { level: 2 stage: "s" }\n' + layer("include { min_level: 2 stage: 's' }")
    assert layers_left(text) == ["x"]


TRAIN = "include { phase: TRAIN }"


def test_data_and_loss_are_borrowed_where_test_has_none() -> None:
    text = (
        f'layer {{ name: "data" type: "Data" top: "data" top: "label" {TRAIN} }}\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" }\n'
        f'layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" {TRAIN} }}\n'
    )
    assert layers_left(text) == ["data", "fc", "loss"]


def test_nothing_is_borrowed_that_test_has() -> None:
    text = (
        f'layer {{ name: "train" type: "Data" top: "data" {TRAIN} }}\n'
        'layer { name: "test" type: "Data" top: "data" include { phase: TEST } }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" }\n'
        'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }\n'
        f'layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "data" {TRAIN} }}\n'
    )
    assert layers_left(text) == ["test", "fc", "prob"]


def test_a_train_loss_is_lent_where_test_only_measures() -> None:
    text = (
        'layer { name: "d" type: "Data" top: "data" top: "label" }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" }\n'
        'layer { name: "a" type: "Accuracy" bottom: "fc" bottom: "label" top: "a" '
        "include { phase: TEST } }\n"
        f'layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" {TRAIN} }}\n'
    )
    assert layers_left(text) == ["d", "fc", "a", "loss"]


def test_a_stage_of_the_same_phase_is_nearer_than_the_other_phase() -> None:
    """LRCN: the sizes of the test clips stand in a stage."""
    text = (
        'input: "x"\n'
        f'layer {{ name: "train" type: "Reshape" bottom: "x" top: "y" {TRAIN} }}\n'
        'layer { name: "test" type: "Reshape" bottom: "x" top: "y" '
        'include { phase: TEST stage: "on-test" } }\n'
        'layer { name: "lstm" type: "LSTM" bottom: "y" top: "z" }\n'
    )
    assert layers_left(text) == ["test", "lstm"]


def test_a_loss_on_what_other_layers_read_is_not_lent_beside_another_loss() -> None:
    """The mid blob is no result in TEST; with no loss of TEST, it might be one."""
    tail = f'layer {{ name: "mid" type: "EuclideanLoss" bottom: "b" bottom: "a" {TRAIN} }}\n'
    tail += 'layer { name: "y" type: "ReLU" bottom: "b" top: "c" }\n'
    text = layer("") + tail
    assert layers_left(text) == ["x", "mid", "y"]
    loss = 'layer { name: "end" type: "EuclideanLoss" bottom: "c" bottom: "a" top: "l" }\n'
    assert layers_left(text + loss) == ["x", "y", "end"]


def test_losses_of_one_label_are_lent_where_test_has_their_heads() -> None:
    """One of the results may only help training; a single loss would tell nothing."""
    one = f"""
    x InnerProduct a -> x
    p Softmax x -> p
    loss SoftmaxWithLoss x label {{ {TRAIN} }}
    """
    assert layers_left(net_text(one)) == ["x", "p"]
    two = f"""{one}
    y InnerProduct x -> y
    q Softmax y -> q
    loss2 SoftmaxWithLoss y label {{ {TRAIN} }}
    """
    assert layers_left(net_text(two)) == ["x", "p", "loss", "y", "q", "loss2"]


def test_what_is_lent_may_need_more() -> None:
    text = (
        f'layer {{ name: "d" type: "Data" top: "data" {TRAIN} }}\n'
        f'layer {{ name: "cut" type: "Slice" bottom: "data" top: "a" top: "b" {TRAIN} }}\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "a" top: "fc" }\n'
    )
    assert layers_left(text) == ["d", "cut", "fc"]


ALL_IN_ONE = (
    'layer { name: "t" type: "Data" top: "data" top: "label" include { stage: "train" } }\n'
    'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" }\n'
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" '
    'exclude { stage: "deploy" } }\n'
    'layer { name: "softmax" type: "Softmax" bottom: "fc" top: "s" include { stage: "deploy" } }\n'
)


def test_a_deploy_stage_is_turned_on() -> None:
    """DIGITS writes train, val and deploy into one file."""
    assert layers_left(ALL_IN_ONE) == ["t", "fc", "softmax"]


def test_a_stage_that_was_given_counts_alone() -> None:
    assert layers_left(ALL_IN_ONE, State(stages=frozenset({"train"}))) == ["t", "fc", "loss"]


def test_a_stage_that_only_a_not_stage_names() -> None:
    text = layer('include { not_stage: "quick" }') + LayerSpec("y", "ReLU", "a", "c").prototxt()
    assert layers_left(text) == ["x", "y"]
    assert layers_left(text, State(stages=frozenset({"quick"}))) == ["y"]


def test_a_stage_to_stay_out_of_is_not_turned_on_to_lend_a_layer() -> None:
    """Both layers could make ``a``: the nearer one is that whose stage alone is off."""
    far = 'layer { name: "far" type: "Data" top: "a" include { phase: TRAIN } }\n'
    near = (
        'layer { name: "near" type: "Data" top: "a" '
        'include { phase: TEST stage: "s" not_stage: "t" } }\n'
    )
    assert layers_left(far + near + layer("")) == ["near", "x"]


def test_an_unknown_stage() -> None:
    with pytest.raises(UsageError, match=r"stages val: no rule .* its stages are deploy, train$"):
        layers_left(ALL_IN_ONE, State(stages=frozenset({"val"})))
