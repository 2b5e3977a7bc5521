"""Layers and nets: values read from the text once, edits that keep text and weights together."""

from __future__ import annotations

import copy
import gc
import pickle
from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.formats.prototxt.parse import parse
from caffefold.formats.prototxt.tree import quote, scalar, set_scalar
from caffefold.ir.net import Layer, Net
from caffefold.testing import RandomLayers, input_layer, write_pair
from tests.support.formats_model import Loaded

TEXT = """\
name: "net"
# The input
input: "data"
input_dim: 1

# The trunk

layer {
  name: "conv"  # first
  type: 'Convolution'
  bottom: "data"
  top: "conv"
  convolution_param { num_output: 2 }
}
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }

# The head

# of ip
layer {
  name: "ip"
  type: "InnerProduct"
  bottom: ["conv", "data"]
  top: "ip"
}
# end
"""


def net(text: str = TEXT) -> Net:
    return Net.of(parse(text, "net.prototxt"))


def names(made: Net) -> list[str]:
    return [layer.name for layer in made.layers]


def printed(made: Net) -> str:
    return str(made.to_document())


# ------------------------------------------------------------------------------------- layers


def test_a_layer_reads_its_text() -> None:
    conv, relu, ip = net().layers
    assert (conv.name, conv.type, conv.bottoms, conv.tops) == (
        "conv",
        "Convolution",
        ("data",),
        ("conv",),
    )
    assert (relu.name, relu.type) == ("relu", "ReLU")
    assert ip.bottoms == ("conv", "data")
    assert conv.params("convolution_param").integer("num_output") == 2
    assert conv.blobs == ()


def test_an_edit_reads_the_layer_again(loaded: Loaded) -> None:
    layer = loaded(TEXT, {"conv": [np.ones(3)]}).layers[0]
    edited = layer.edited(set_scalar(layer.body, "name", quote("other")))
    assert (edited.name, layer.name) == ("other", "conv")
    assert (edited.blobs, edited.record) == (layer.blobs, layer.record)
    assert layer.edited(layer.body) is layer


def test_new_wiring_changes_no_other_text() -> None:
    conv = net().layers[0]
    wired = conv.with_wiring(("data",), ("out",))
    assert (wired.bottoms, wired.tops) == (("data",), ("out",))
    assert str(wired.field) == str(conv.field).replace('top: "conv"', 'top: "out"')
    assert conv.with_wiring(conv.bottoms, conv.tops) is conv


def test_new_blobs_leave_the_text(loaded: Loaded) -> None:
    layer = loaded(TEXT, {"conv": [np.ones(3)], "ip": [np.zeros(2)]}).layers[0]
    assert layer.with_blobs(()).blobs == ()
    assert layer.with_blobs(()).field is layer.field
    assert len(layer.blobs) == 1


def test_errors_name_the_layer_and_its_line() -> None:
    error = net().layers[1].error("no good")
    assert str(error) == "net.prototxt:15:1: layer 'relu': no good"
    assert error.source_line.startswith('layer { name: "relu"')


# --------------------------------------------------------------------------------------- nets


def test_a_net_keeps_all_its_fields_in_order() -> None:
    made = net()
    assert made.name == "net"
    assert names(made) == ["conv", "relu", "ip"]
    assert [type(item) is Layer for item in made.items] == [False] * 3 + [True] * 3
    assert printed(made) == TEXT
    assert made.params().integers("input_dim") == (1,)


def test_inputs() -> None:
    text = (
        'input: ["a", "b"] layer { type: "Input" top: "c" top: "d" } layer { type: "X" top: "e" }'
    )
    assert net(text).legacy_inputs == ("a", "b")
    assert net(text).inputs == ("a", "b", "c", "d")


def test_layers_get_the_weights_of_their_name(loaded: Loaded) -> None:
    made = loaded(TEXT, {"ip": [np.ones((2, 3)), np.zeros(2)], "stranger": [np.ones(1)]})
    conv, _, ip = made.layers
    assert (conv.blobs, conv.record) == ((), None)
    assert [blob.shape for blob in ip.blobs] == [(2, 3), (2,)]
    assert ip.record is not None
    assert ip.record.name == "ip"


def test_twins_share_the_weights_of_their_name(loaded: Loaded) -> None:
    text = 'layer { name: "bn" include { phase: TRAIN } } layer { name: "bn" }'
    first, second = loaded(text, {"bn": [np.ones(3)]}).layers
    assert first.blobs == second.blobs != ()


def test_closing_a_net_closes_its_weights(loaded: Loaded) -> None:
    with loaded(TEXT, {"conv": [np.ones(3)]}) as made:
        (blob,) = made.layers[0].blobs
        assert np.asarray(blob).tolist() == [1, 1, 1]
    made.close()
    net().close()
    with pytest.raises(OSError, match="descriptor"):
        np.asarray(blob)


# ------------------------------------------------------------------------------- substitution


def test_without_keeps_the_rest_byte_for_byte() -> None:
    made = net().without([1])
    assert names(made) == ["conv", "ip"]
    relu = '\nlayer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }'
    assert printed(made) == TEXT.replace(relu, "")


def test_comments_kept_apart_survive_their_layer() -> None:
    made = net().without([0, 2])
    assert '# The trunk\nlayer { name: "relu"' in printed(made)
    assert printed(made).endswith("# The head\n# end\n")
    assert "# of ip" not in printed(made)
    assert "# first" not in printed(made)


def test_without_nothing_and_without_all() -> None:
    assert printed(net().without([])) == TEXT
    empty = net().without([0, 1, 2])
    assert names(empty) == []
    assert [line for line in printed(empty).splitlines() if line] == [
        'name: "net"',
        "# The input",
        'input: "data"',
        "input_dim: 1",
        "# The trunk",
        "# The head",
        "# end",
    ]


def test_a_layer_is_replaced_by_several() -> None:
    made = net()
    relu = made.layers[1]
    twin = relu.edited(set_scalar(relu.body, "name", quote("relu2")))
    assert names(made.substitute({1: (relu, twin)})) == ["conv", "relu", "relu2", "ip"]
    assert printed(made.substitute({1: (relu,)})) == TEXT


def test_a_substituted_net_leaves_the_old_one_alone() -> None:
    made = net()
    made.without([0])
    assert printed(made) == TEXT


@pytest.mark.parametrize(
    ("text", "index", "rest"),
    [
        ("{a} # of a\n{b} {c}\n", 1, ["a", "c"]),
        ("# part\n\n{a} {b}\n", 0, ["b"]),
        ("{a} # of a\n{b} input: 'x'", 1, ["a"]),
    ],
)
def test_a_comment_swallows_no_layer(text: str, index: int, rest: list[str]) -> None:
    for name in "abc":
        text = text.replace(f"{{{name}}}", f'layer {{ name: "{name}" }}')
    made = net(text).without([index])
    again = Net.of(parse(printed(made)))
    assert names(again) == rest
    assert again.legacy_inputs == net(text).legacy_inputs


def test_line_ends_of_the_file_stay() -> None:
    text = TEXT.replace("\n", "\r\n")
    made = printed(net(text).without([0, 2]))
    assert made.count("\r\n") == made.count("\n") == made.count("\r")


def test_new_layers_can_be_printed() -> None:
    made = net()
    conv = made.layers[0]
    longer = conv.edited(set_scalar(conv.body, "phase", "TEST", after="top"))
    text = printed(made.substitute({0: (longer,)}))
    assert text == TEXT.replace('  top: "conv"\n', '  top: "conv"\n  phase: TEST\n')
    assert str(scalar("a", "1", "  ")) == "\n  a: 1"


def test_a_copy_shares_the_open_file(tmp_path: Path) -> None:
    """The copy of a net may go without closing the file of the original."""
    pair = write_pair(tmp_path, [input_layer(1, 2, 3, 3), RandomLayers(1).conv("c", "data", 2, 2)])
    net = caffefold.load(*pair)
    numbers = np.asarray(net["c"].blobs[0]).copy()
    twin = copy.deepcopy(net)
    assert twin["c"].bottoms == ("data",)
    del twin
    gc.collect()
    np.testing.assert_array_equal(np.asarray(net["c"].blobs[0]), numbers)
    with pytest.raises(TypeError, match="cannot be pickled; load the net again"):
        pickle.dumps(net.weights.source if net.weights is not None else None)
