"""Which layer is which: names, then wiring, then place; renames, moves, rewiring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from caffefold.testing import LayerSpec, RandomLayers, input_layer
from tests.compare.conftest import DATA, conv, layer

if TYPE_CHECKING:
    from tests.compare.conftest import Compare

CHAIN = [conv("conv1", "data"), layer("relu1", "ReLU", "conv1", "conv1"), conv("conv2", "conv1")]


def test_the_same_net(compare: Compare) -> None:
    found = compare(DATA + "".join(CHAIN), DATA + "".join(CHAIN))
    assert not found
    assert found.totals == {"-": 0, "+": 0, "~": 0, ">": 0, "=": 4}


def test_one_more_and_one_less(compare: Compare) -> None:
    more = [*CHAIN, layer("pool", "Pooling", "conv2", "pool")]
    found = compare(DATA + "".join(CHAIN), DATA + "".join(more))
    assert [row.layer.name for row in found.added] == ["pool"]
    assert found.totals == {"-": 0, "+": 1, "~": 0, ">": 0, "=": 4}
    back = compare(DATA + "".join(more), DATA + "".join(CHAIN))
    assert [row.layer.name for row in back.removed] == ["pool"]


def test_a_rename_is_a_rename(compare: Compare) -> None:
    """By its wiring: the same type, between the same layers, alike in its settings."""
    renamed = "".join(CHAIN).replace('name: "conv1"', 'name: "first"')
    found = compare(DATA + "".join(CHAIN), DATA + renamed)
    (entry,) = found.changed
    assert (entry.before.name, entry.after.name) == ("conv1", "first")
    assert entry.renamed
    assert entry.fields == ()


def test_a_renamed_layer_with_another_setting(compare: Compare) -> None:
    """Fine-tuning: the last layer has a new name and another number of outputs."""
    one = DATA + conv("conv1", "data") + conv("fc8", "conv1", 1000, "group: 2 pad: 1")
    two = DATA + conv("conv1", "data") + conv("fc8_flickr", "conv1", 20, "group: 2 pad: 1")
    (entry,) = compare(one, two).changed
    assert entry.renamed
    assert [(c.before, c.after) for c in entry.fields] == [(1000, 20)]


def test_fine_tuning_as_it_is_done(compare: Compare) -> None:
    """Caffe's flickr example: other outputs, a higher rate, another name; the same Softmax."""

    def net(name: str, outputs: int, rate: str) -> str:
        body = f"{rate} inner_product_param {{ num_output: {outputs} }}"
        last = layer(name, "InnerProduct", "conv1", name, body)
        return DATA + conv("conv1", "data") + last + layer("prob", "Softmax", name, "prob")

    found = compare(net("fc8", 1000, ""), net("fc8_flickr", 20, "param { lr_mult: 10 }"))
    assert not found.removed
    entry = found.changed[0]
    assert (entry.before.name, entry.after.name) == ("fc8", "fc8_flickr")
    assert [(c.before, c.after) for c in entry.fields] == [(1000, 20), (None, 10)]


def test_other_layers_are_no_rename(compare: Compare) -> None:
    one = DATA + conv("conv1", "data", 8, "pad: 1 group: 2 dilation: 3")
    two = DATA + layer("c", "Convolution", "data", "c", "convolution_param { num_output: 99 }")
    found = compare(one, two)
    assert [row.layer.name for row in found.removed] == ["conv1"]
    assert [row.layer.name for row in found.added] == ["c"]


def test_a_loss_is_known_by_what_it_judges(compare: Compare) -> None:
    """Two branches of one trunk; each net has one of them, and a loss of one type on it."""

    def net(branch: str, outputs: int, loss: str) -> str:
        body = f"inner_product_param {{ num_output: {outputs} }}"
        return (
            layer("data", "Data", "", "data label")
            + conv("conv1", "data")
            + layer(branch, "InnerProduct", "conv1", branch, body)
            + layer(loss, "EuclideanLoss", f"{branch} label", loss)
        )

    one, two = net("conv6_gender", 2, "gender_loss"), net("conv6_angle", 3, "faceangleloss")
    found = compare(one, two)
    assert [row.layer.name for row in found.removed] == ["conv6_gender", "gender_loss"]
    assert [row.layer.name for row in found.added] == ["conv6_angle", "faceangleloss"]
    assert found.changed == ()
    renamed = compare(one, one.replace('name: "gender_loss"', 'name: "loss"'))
    assert [row.name for row in renamed.changed] == ["gender_loss -> loss"]


def test_every_name_is_another(compare: Compare) -> None:
    """A whole net under a prefix, inception-like branches with equal siblings included."""

    def net(p: str) -> str:
        branches = "".join(conv(f"{p}b{i}", f"{p}c", 8 + i // 2) for i in range(6))
        join = " ".join(f"{p}b{i}" for i in range(6))
        return DATA + conv(f"{p}c", "data") + branches + layer(f"{p}cat", "Concat", join, f"{p}o")

    found = compare(net(""), net("net/"))
    assert not found.removed
    assert not found.added
    assert all(row.after.name == "net/" + row.before.name for row in found.changed)
    assert [row.wiring.kind for row in found.changed] == ["same", *["renamed"] * 7]


def test_a_branch_in_another_place_has_moved(compare: Compare) -> None:
    branch = conv("side", "data")
    found = compare(DATA + branch + "".join(CHAIN), DATA + "".join(CHAIN) + branch)
    (entry,) = found.changed
    assert entry.symbol == ">"
    assert (entry.before.name, entry.before.position, entry.after.position) == ("side", 1, 4)
    assert entry.wiring.kind == "same"


def test_another_bottom_is_rewired(compare: Compare) -> None:
    one = DATA + conv("a", "data") + conv("b", "data") + conv("c", "a")
    two = DATA + conv("a", "data") + conv("b", "data") + conv("c", "b")
    (entry,) = compare(one, two).changed
    assert entry.wiring.kind == "rewired"
    assert entry.wiring.sources == (("a", "b"),)


def test_the_same_names_can_be_rewired(compare: Compare) -> None:
    """In-place layers in another order: every bottom and top is spelled as before."""
    relu, scale = layer("relu", "ReLU", "c", "c"), layer("scale", "Scale", "c", "c")
    found = compare(
        DATA + conv("c", "data") + relu + scale + conv("end", "c"),
        DATA + conv("c", "data") + scale + relu + conv("end", "c"),
    )
    rewired = {row.before.name: row.wiring.sources for row in found.changed if row.wiring.sources}
    assert rewired["end"] == (("scale", "relu"),)


def test_reading_past_what_went_is_no_change_of_its_own(compare: Compare) -> None:
    one = DATA + conv("c", "data") + layer("drop", "Dropout", "c", "d") + conv("e", "d")
    found = compare(one, DATA + conv("c", "data") + conv("e", "c"))
    (entry,) = found.changed
    assert entry.wiring.kind == "around"
    assert entry.consequence
    assert [row.reason for row in found.removed] == ["nothing"]


def test_twins_of_two_phases(compare: Compare) -> None:
    def twin(phase: str, eps: str) -> str:
        body = f"include {{ phase: {phase} }} batch_norm_param {{ eps: {eps} }}"
        return layer("bn", "BatchNorm", "data", "bn", body)

    one = DATA + twin("TRAIN", "0.1") + twin("TEST", "0.2")
    two = DATA + twin("TRAIN", "0.3") + twin("TEST", "0.2")
    (entry,) = compare(one, two).changed
    assert entry.before.phase == entry.after.phase == "TRAIN"
    assert not compare(one, two, phase="TEST")
    assert compare(one, two, phase="TRAIN")


@pytest.mark.parametrize("swap", [False, True])
def test_shapes_of_weights_tell_siblings_apart(compare: Compare, swap: bool) -> None:
    """Without names or settings in common, the blobs still say which convolution is which."""
    random = RandomLayers()

    def branch(name: str, outputs: int) -> LayerSpec:
        return random.conv(name, "data", 3, outputs)._replace(params="forked_param { }")

    a = [input_layer(1, 3, 8, 8), branch("a1", 4), branch("a2", 6)]
    b = [input_layer(1, 3, 8, 8), *(branch(f"b{n}", n) for n in ((6, 4) if swap else (4, 6)))]
    found = compare(a, b)
    pairs = {row.before.name: row.after.name for row in found.changed}
    assert pairs == {"a1": "b4", "a2": "b6"}


def test_blobs_may_be_given_other_names(compare: Compare) -> None:
    one = DATA + layer("c", "Convolution", "data", "x") + layer("r", "ReLU", "x", "y")
    two = DATA + layer("c", "Convolution", "data", "z") + layer("r", "ReLU", "z", "y")
    found = compare(one, two)
    assert [(row.before.name, row.wiring.kind) for row in found.changed] == [
        ("c", "same"),
        ("r", "renamed"),
    ]
    assert found


def test_long_nets_are_matched_in_no_time(compare: Compare) -> None:
    """2,000 layers of which every name differs, and half of them are folded away."""

    def net(prefix: str, folded: bool) -> str:
        parts, last = [DATA], "data"
        for i in range(500):
            name = f"{prefix}{i}"
            parts.append(conv(name, last))
            if not folded:
                parts.append(layer(f"{name}/bn", "BatchNorm", name, name))
                parts.append(layer(f"{name}/scale", "Scale", name, name))
            parts.append(layer(f"{name}/relu", "ReLU", name, name))
            last = name
        return "".join(parts)

    found = compare(net("a", False), net("b", True))
    assert len(found.removed) == 1000
    assert len(found.added) == 0
    assert len(found.folds) == 500
