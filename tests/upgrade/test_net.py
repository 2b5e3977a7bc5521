"""Net-level upgrades of text: inputs, BatchNorm, solvers; nothing to do; real files."""

from __future__ import annotations

import pytest

from caffefold.errors import TextError
from caffefold.formats.prototxt import parse as text_parse
from caffefold.formats.upgrade.text import upgrade_document
from tests.upgrade.by_message import upgrade
from tests.upgrade.helpers import corpus, message, real, strictly, upgraded

RELU = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n'
DIMS = "input_dim: 1\ninput_dim: 3\ninput_dim: 8\ninput_dim: 9\n"


@pytest.mark.parametrize(
    "text",
    [
        f'name: "n"\ninput: "data"\n{DIMS}{RELU}',
        f'input: "data"\n{DIMS}{RELU}',
        f'{RELU}input: "data"\n{DIMS}',
        f'input: "data" input: "b"\n{DIMS}{DIMS}{RELU}',
        f'input: "data"\ninput_dim: [1, 3, 8, 9]\n{RELU}',
        f'input: ["data", "b"]\ninput_shape {{ dim: 1 }} input_shape {{ dim: [2, 3] }}\n{RELU}',
        f'input: "data"\ninput_shape {{\n  dim: 1  # n\n  dim: 2\n}}\n{RELU}',
        f'input: "data" input_shape {{ dim: 1 }} {DIMS}{RELU}',
        f'input: "data"\n{DIMS}{DIMS}{RELU}',
        f'input: "data"\n{RELU}',
        f"{DIMS}{RELU}",
        f'input: "data" {DIMS.replace(chr(10), " ")} {RELU}',
        f'input: "data"\n{DIMS}',
    ],
)
def test_inputs(text: str) -> None:
    result, _ = upgraded(text)
    assert strictly(result) == upgrade(message(text))


def test_layout_of_an_input_layer() -> None:
    text = f'name: "n"\n\n# what goes in\ninput: "data"  # pixels\n{DIMS}\n# first\n{RELU}'
    assert (
        upgraded(text)[0]
        == f"""\
name: "n"

# what goes in
layer {{
  name: "input"
  type: "Input"
  top: "data"  # pixels
  input_param {{
    shape {{ dim: 1 dim: 3 dim: 8 dim: 9 }}
  }}
}}

# first
{RELU}"""
    )


def test_comments_of_dimensions_stay() -> None:
    text = (
        'input: "data"\ninput_dim: 1  # batch\ninput_dim: 3\n# high\ninput_dim: 8\ninput_dim: 9\n'
    )
    result, _ = upgraded(text + RELU)
    assert "      dim: 1  # batch\n      dim: 3\n      # high\n      dim: 8\n" in result
    assert strictly(result) == upgrade(message(text + RELU))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f'input: "data"\ninput: "b"\n{DIMS}{RELU}', 2),
        (f'input: "data"\ninput: "b"\ninput_shape {{ dim: 1 }}\n{RELU}', 2),
        (f'input: "data"\ninput_dim: 3\n{RELU}', 1),
    ],
)
def test_inputs_without_their_shape(text: str, line: int) -> None:
    with pytest.raises(TextError, match=r"the input '\w+' has no shape") as caught:
        upgraded(text)
    assert caught.value.line == line


def test_inputs_stay_when_only_layers_are_asked_for() -> None:
    document = text_parse.parse(f'input: "data"\n{DIMS}{RELU}')
    assert upgrade_document(document, layers_only=True) == (document, ())


def norm(*specs: str, kind: str = "BatchNorm") -> str:
    return f'layer {{ name: "b" type: "{kind}" {" ".join(specs)} }}\n'


@pytest.mark.parametrize(
    "text",
    [
        norm(*["param { lr_mult: 0 }"] * 3),
        norm("param { }", "param { lr_mult: 1 decay_mult: 2 }", 'param { name: "w" }'),
        norm(*["param { lr_mult: 0.0 decay_mult: 0 }"] * 3),
        norm("param: [ { lr_mult: 1 }, { }, { decay_mult: 4 } ]"),
        norm(*["param { lr_mult: 1 }"] * 2),
        norm(*["param { lr_mult: 1 }"] * 5),
        norm(*["param { lr_mult: 1 }"] * 3, kind="BN"),
        norm("param {}", "param {}", "param {}"),
        'layer {\n  type: "BatchNorm"\n' + "  param {\n    lr_mult: 3\n  }\n" * 3 + "}\n",
    ],
)
def test_batch_norm(text: str) -> None:
    result, notes = upgraded(text)
    assert strictly(result) == upgrade(message(text))
    assert bool(notes) == (strictly(result) != strictly(text))


def test_nothing_to_do_gives_the_same_document() -> None:
    document = text_parse.parse(RELU + norm("param { lr_mult: 1 }"))
    assert upgrade_document(document)[0] is document


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("SGD", "SGD"),
        ("NESTEROV", "Nesterov"),
        ("ADAGRAD", "AdaGrad"),
        ("RMSPROP", "RMSProp"),
        ("ADADELTA", "AdaDelta"),
        ("ADAM", "Adam"),
        ("5", "Adam"),
        ("0", "SGD"),
    ],
)
def test_solver_type(word: str, kind: str) -> None:
    text = 'net: "n"\nsolver_type: {}  # how\nmomentum: 0.9\n'
    assert upgraded(text.format(word)) == (
        f'net: "n"\ntype: "{kind}"  # how\nmomentum: 0.9\n',
        (f'solver_type to type: "{kind}"',),
    )


@pytest.mark.parametrize("fields", ['type: "Adam" solver_type: ADAM', "solver_type: BEST"])
def test_solver_types_that_caffe_refuses(fields: str) -> None:
    with pytest.raises(TextError, match="solver"):
        upgraded(f'net: "n" {fields}')


def test_nets_inside_a_solver_are_upgraded() -> None:
    text = """\
base_lr: 1
net_param {
  name: "n"
  layers {
    type: RELU
    blobs_lr: 1
  }
}
"""
    result, notes = upgraded(text)
    assert '  layer {\n    type: "ReLU"\n    param {\n      lr_mult: 1\n    }\n  }\n}' in result
    assert notes == ("net_param: 1 layer from V1 (layers { ... }) to V2 (layer { ... })",)


@pytest.mark.once
@pytest.mark.parametrize("name", corpus("net-v0", "net-v1", "net-v2"))
def test_real_files(name: str) -> None:
    text = real(name)
    result, notes = upgraded(text)
    got = message(result)
    assert got == upgrade(message(text))
    assert not got.layers
    assert (result == text) == (not notes)
    assert upgraded(result) == (result, ())


@pytest.mark.parametrize("name", corpus("mixed"))
def test_real_mixed_files(name: str) -> None:
    result, notes = upgraded(real(name))
    net = message(result)
    assert not net.layers
    assert net.layer[-1].type == "Softmax"
    assert any("which Caffe refuses" in note for note in notes)


@pytest.mark.parametrize("name", corpus("solver", "labelmap"))
def test_real_files_that_are_no_nets(name: str) -> None:
    text = real(name)
    result, notes = upgraded(text)
    assert (result == text) == (not notes)
    assert upgraded(result) == (result, ())
