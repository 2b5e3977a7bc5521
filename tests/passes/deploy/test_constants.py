"""DummyData: what stands for data becomes an input, constants stay, with their numbers."""

from __future__ import annotations

import pytest

from caffefold.analysis.shapes import input_shapes
from caffefold.conversion import to_deploy
from caffefold.errors import InputError
from caffefold.ir.net import Net
from caffefold.report import DeployResult

RANDOM = 'data_filler { type: "gaussian" }'


def dummy(name: str, tops: str, *fillers: str) -> str:
    made = "".join(f' top: "{top}"' for top in tops.split())
    params = " ".join(fillers) + " shape { dim: 1 dim: 3 }"
    return f'layer {{ name: "{name}" type: "DummyData"{made} dummy_data_param {{ {params} }} }}\n'


def joined(*blobs: str) -> str:
    bottoms = " ".join(f'bottom: "{blob}"' for blob in blobs)
    return f'layer {{ name: "out" type: "Concat" {bottoms} top: "out" }}\n'


def value(number: float) -> str:
    return f"data_filler {{ value: {number} }}"


def deploy(text: str) -> DeployResult:
    return to_deploy(Net.from_text(text))


INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }\n'
CASES = {
    "random": (dummy("d", "a", RANDOM) + joined("a"), ("a",), []),
    "nothing said is 0": (dummy("d", "a") + joined("a"), ("a",), []),
    "zero": (dummy("d", "a b", value(0)) + joined("a", "b"), ("a", "b"), []),
    "other than 0": (
        dummy("d", "a b", value(2), value(-1.5)) + joined("a", "b"),
        (),
        ["DummyData 'd' stays: a is 2, b is -1.5"],
    ),
    "both, in two layers": (
        dummy("d", "a", value(0)) + dummy("e", "b", value(3)) + joined("a", "b"),
        ("a",),
        ["DummyData 'e' stays: b is 3"],
    ),
    "zero beside an input": (INPUT + dummy("d", "a") + joined("x", "a"), ("x",), []),
    "unread": (
        dummy("d", "a b", RANDOM, value(1)) + joined("a"),
        ("a",),
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_constants(case: str) -> None:
    text, inputs, said = CASES[case]
    found = deploy(text)
    assert found.net.inputs == inputs
    assert [change.detail for change in found.changes if "stays" in change.detail] == said


def test_a_constant_keeps_its_number() -> None:
    net = deploy(INPUT + dummy("d", "a", value(0.75)) + joined("x", "a")).net
    assert "data_filler { value: 0.75 }" in net.to_document().encode().decode()


def test_one_layer_for_both_is_refused() -> None:
    with pytest.raises(InputError, match="layer 'd': 'a' of it: data; the rest: constants; write"):
        deploy(dummy("d", "a b", value(0), value(2)) + joined("a", "b"))


def test_fillers_for_another_number_of_tops() -> None:
    with pytest.raises(InputError, match="layer 'd': 2 fillers for 3 tops; give one, or one for"):
        deploy(dummy("d", "a b c", value(0), value(2)) + joined("a", "b", "c"))


def silent(*inputs: str) -> str:
    """A net of ``inputs``, of which one is silenced."""
    tail = """\
layer { name: "out" type: "AbsVal" bottom: "x" top: "out" }
layer { name: "hush" type: "Silence" bottom: "extra" }
"""
    return "".join(inputs) + tail


def test_a_deploy_net_keeps_its_silence() -> None:
    net = deploy(silent(INPUT, INPUT.replace('"x"', '"extra"'))).net
    assert [layer.type for layer in net] == ["Input", "Input", "AbsVal", "Silence"]
    assert net.outputs == ("out",)


def test_of_a_net_with_data_it_goes() -> None:
    data = 'layer { name: "d" type: "Data" top: "image" top: "extra" }\n'
    product = 'layer { name: "x" type: "InnerProduct" bottom: "image" top: "x" '
    text = silent(data, product + "inner_product_param { num_output: 3 } }\n")
    net = to_deploy(Net.from_text(text), input_shapes={"image": (1, 3)}).net
    assert [layer.type for layer in net] == ["Input", "InnerProduct", "AbsVal"]
    assert net.inputs == ("image",)


def prior(first: int, number: float = 0.5) -> str:
    """A net whose image meets a constant of ``first`` items, as in training."""
    made = f'top: "p" dummy_data_param {{ {value(number)} shape {{ dim: {first} dim: 3 }} }}'
    return (
        'layer { name: "d" type: "ImageData" top: "x" top: "label"\n'
        "  image_data_param { batch_size: 10 new_height: 4 new_width: 4 } }\n"
        'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc"\n'
        "  inner_product_param { num_output: 3 } }\n"
        f'layer {{ name: "c" type: "DummyData" {made} }}\n'
        'layer { name: "out" type: "Concat" bottom: "fc" bottom: "p" top: "out" }\n'
    )


@pytest.mark.parametrize("number", [0.5, 0.0])
def test_inputs_have_the_batch_of_a_constant_that_they_meet(number: float) -> None:
    found = deploy(prior(10, number))
    assert input_shapes(found.net) == {"x": (10, 3, 4, 4)}
    told = [change.detail for change in found.changes]
    assert "the batch is 10, that of constants of the net" in told
    assert f"value: {number}" in found.net.to_document().encode().decode()


def test_a_constant_of_one_item_changes_nothing() -> None:
    assert input_shapes(deploy(prior(1)).net) == {"x": (1, 3, 4, 4)}


def test_a_batch_that_a_constant_forbids_is_told() -> None:
    found = to_deploy(Net.from_text(prior(10)), batch=4)
    assert input_shapes(found.net) == {"x": (10, 3, 4, 4)}
    assert [str(w) for w in found.warnings if "batch" in w] == [
        "batch 4: the batch is 10, that of constants of the net"
    ]


def test_a_constant_for_each_channel_has_no_batch() -> None:
    gate = prior(3).replace("dim: 3 dim: 3", "dim: 3")
    gate = gate.replace("Concat", "Scale").replace('"out" }', '"out" scale_param { axis: 1 } }')
    assert input_shapes(deploy(gate).net) == {"x": (1, 3, 4, 4)}


def test_constants_that_differ_from_each_other_are_refused() -> None:
    with pytest.raises(InputError, match="layer 'two': its inputs differ: 10x3 and 1x3"):
        deploy(prior(10) + dummy("e", "q", value(2)) + joined("p", "q").replace('"out"', '"two"'))
