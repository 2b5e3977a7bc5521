"""An InnerProduct of another axis than 1 takes what lies along its outputs, the last axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.errors import ProofError
from caffefold.ir.net import Net
from caffefold.ops.affine import Scale
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair

N = RandomLayers(11)
SHAPE = (2, 3, 4, 5)
AXES = {0: 120, 1: 60, 2: 20, 3: 5, -1: 5, -2: 20, -4: 120}
"""By axis, how many numbers of an input of that shape are multiplied."""


def product(axis: int, *, transpose: bool = False, bias: bool = True) -> LayerSpec:
    shape = (AXES[axis], 6) if transpose else (6, AXES[axis])
    text = f"num_output: 6 axis: {axis} transpose: {'true' if transpose else 'false'}"
    blobs = [N.normal(*shape), *([N.normal(6)] if bias else [])]
    text += "" if bias else " bias_term: false"
    return LayerSpec("f", "InnerProduct", "data", "f", f"inner_product_param {{ {text} }}", blobs)


def scale(axis: int, channels: int = 6) -> LayerSpec:
    text = f"scale_param {{ axis: {axis} bias_term: true }}"
    return LayerSpec("sc", "Scale", "f", "sc", text, [N.normal(channels), N.normal(channels)])


def rank(axis: int) -> int:
    """How many axes the InnerProduct's top has."""
    return (axis if axis >= 0 else axis + len(SHAPE)) + 1


def folded(folder: Path, *layers: LayerSpec) -> list[tuple[str, tuple[str, ...]]]:
    """What is folded into what; outputs are as they were, and every blob that is left."""
    run = pytest.importorskip("tests.reference.caffe_torch").run
    given = write_pair(folder, [input_layer(*SHAPE), *layers])
    report = caffefold.convert(*given, folder / "out", collapse=False)
    inputs = {"data": N.normal(*SHAPE)}
    wanted = run(*given, inputs)
    found = run(folder / "out.prototxt", folder / "out.caffemodel", inputs)
    for blob in wanted.keys() & found.keys():
        assert np.abs(found[blob] - wanted[blob]).max() <= 1e-5 * np.abs(wanted[blob]).max()
    return list(report.folded())


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("axis", AXES)
def test_the_last_axis_holds_the_outputs(tmp_path: Path, axis: int, transpose: bool) -> None:
    layers = product(axis, transpose=transpose), scale(rank(axis) - 1)
    assert folded(tmp_path, *layers) == [("f", ("sc",))]


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_counted_from_the_end(tmp_path: Path, axis: int) -> None:
    assert folded(tmp_path, product(axis, bias=False), scale(-1)) == [("f", ("sc",))]


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_one_after_the_other(tmp_path: Path, axis: int) -> None:
    bias = LayerSpec("b", "Bias", "sc", "b", "bias_param { axis: -1 }", [N.normal(6)])
    power = LayerSpec("p", "Power", "b", "p", "power_param { scale: 2 shift: 1 }")
    layers = product(axis), scale(-1), bias, power, relu("r", "p", "r")
    (found,) = folded(tmp_path, *layers)
    assert found == ("f", ("sc", "b", "p"))


def test_a_batch_norm_of_two_axes(tmp_path: Path) -> None:
    """A negative axis of an input of two axes: the outputs are the channels."""
    run = [
        LayerSpec("flat", "Flatten", "data", "flat"),
        product(-1)._replace(bottoms="flat", blobs=[N.normal(6, 60), N.normal(6)]),
        N.batch_norm("bn", "f", 6),
    ]
    assert folded(tmp_path, *run) == [("f", ("bn",))]


OTHERS = {
    "channels": (scale(1, 3), relu("r", "sc", "r")),
    "several axes": (
        LayerSpec(
            "sc", "Scale", "f", "sc", "scale_param { axis: 1 num_axes: 2 }", [N.normal(3, 6)]
        ),
    ),
    "norm of the channels": (N.batch_norm("sc", "f", 3),),
    "another reader": (scale(2), relu("r", "f", "r")),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_lies_otherwise_stays(tmp_path: Path, case: str) -> None:
    assert folded(tmp_path, product(2), *OTHERS[case]) == []


def test_what_follows_a_map_that_stays(tmp_path: Path) -> None:
    """A map along the outputs is none of the channels: nothing behind it may take it in."""
    layers = scale(2), relu("r", "f", "r")
    after = LayerSpec(
        "g", "InnerProduct", "sc", "g", "inner_product_param { num_output: 4 axis: 2 }",
        [N.normal(4, 6), N.normal(4)],
    )  # fmt: skip
    behind = LayerSpec("s2", "Scale", "g", "s2", "scale_param { axis: 2 }", [N.normal(4)])
    assert folded(tmp_path, product(2), *layers, after, behind) == [("g", ("s2",))]


@pytest.mark.parametrize("bottoms", ["bn", "bn bn"])
def test_one_number_for_all_lies_along_no_axis(tmp_path: Path, bottoms: str) -> None:
    """It passes through a Concat of channels, where a map of the outputs does not."""
    text = "inner_product_param { num_output: 2 axis: -1 }"
    wide = LayerSpec("f", "InnerProduct", "data", "f", text, [N.normal(2, 4), N.normal(2)])
    layers = N.batch_norm("bn", "f", 1), LayerSpec("j", "Concat", bottoms), relu("r", "j")
    given = write_pair(tmp_path, [input_layer(1, 1, 1, 4), wide, *layers])
    assert list(caffefold.convert(*given, tmp_path / "out").folded()) == [("f", ("bn",))]


def deploy_net(folder: Path, layers: list[LayerSpec]) -> Net:
    folder.mkdir()
    return caffefold.to_deploy(caffefold.load(*write_pair(folder, layers))).net


def on_both_axes() -> list[LayerSpec]:
    """A map of the outputs, the last axis, and one of as many channels behind it."""
    text = "inner_product_param { num_output: 3 axis: -1 }"
    return [
        LayerSpec("f", "InnerProduct", "data", "f", text, [N.normal(3, 5), N.normal(3)]),
        LayerSpec("b", "Bias", "f", "f", "bias_param { axis: -1 }", [N.normal(3)]),
        N.batch_norm("bn", "f", 3),
    ]


def test_maps_of_both_axes(tmp_path: Path) -> None:
    """The second is no map of what the first is one of: it becomes a Scale, or goes below."""
    assert folded(tmp_path, *on_both_axes()) == [("f", ("b",))]
    report = caffefold.convert(
        tmp_path / "net.prototxt", tmp_path / "net.caffemodel", tmp_path / "out", force=True
    )
    assert [change.detail for change in report.changes][-1] == "bn -> one Scale layer 'bn'"
    run = [*on_both_axes(), N.conv("c", "bn", 3, 2)]
    (tmp_path / "below").mkdir()
    assert folded(tmp_path / "below", *run) == [("f", ("b",)), ("c", ("bn",))]


@pytest.mark.parametrize("below", [(), (N.conv("c", "bn", 3, 2),)])
def test_faults_behind_maps_of_both_axes(tmp_path: Path, below: tuple[LayerSpec, ...]) -> None:
    run = [input_layer(*SHAPE), *on_both_axes(), *below]
    other = [*run[:3], N.batch_norm("bn", "f", 3), *below]
    given, spoiled = deploy_net(tmp_path / "a", run), deploy_net(tmp_path / "b", other)
    caffefold.prove(given, caffefold.fold(given).net)
    with pytest.raises(ProofError):
        caffefold.prove(given, caffefold.fold(spoiled).net)


TWICE = LayerSpec("p", "Power", "sc", "p", "power_param { scale: 2 }")
ONE = LayerSpec("one", "Scale", "p", "one", "scale_param { num_axes: 0 }", [N.normal(1)[0]])
MEAN = LayerSpec("m", "Pooling", "bn", "m", "pooling_param { pool: AVE kernel_size: 1 }")
BEHIND: dict[str, tuple[list[LayerSpec], list[tuple[str, tuple[str, ...]]]]] = {
    "one number for all, into a convolution": (
        [TWICE, N.batch_norm("side", "p", 3), ONE, N.conv("c", "one", 3, 2)],
        [("f", ("sc", "p")), ("c", ("one",))],
    ),
    "one number for all and a norm, into a product": (
        [TWICE, N.batch_norm("side", "p", 3), ONE, N.batch_norm("bn", "one", 3),
         LayerSpec("g", "InnerProduct", "bn", "g", "inner_product_param { num_output: 2 }",
                   [N.normal(2, 72), N.normal(2)])],
        [("f", ("sc", "p")), ("g", ("one", "bn"))],
    ),
    "one number for all and a norm that stays": (
        [TWICE, N.batch_norm("side", "p", 3), ONE, N.batch_norm("bn", "one", 3)],
        [("f", ("sc", "p"))],
    ),
    "a norm through means": (
        [N.batch_norm("bn", "sc", 3), MEAN, N.conv("c", "m", 3, 2)],
        [("f", ("sc",)), ("c", ("bn",))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BEHIND)
def test_what_lies_along_channels_behind_a_map_of_the_outputs(tmp_path: Path, case: str) -> None:
    layers, wanted = BEHIND[case]
    assert sorted(folded(tmp_path, product(3), scale(3), *layers)) == sorted(wanted)
    pair = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    caffefold.convert(*pair, tmp_path / "out", force=True)  # merged, too


def off(spec: LayerSpec) -> LayerSpec:
    """The layer with numbers a little off."""
    text = spec.params.replace("scale: 2", "scale: 2.02")
    blobs = [1.01 * np.asarray(blob) for blob in spec.blobs[:1]]
    return spec._replace(params=text, blobs=[*blobs, *spec.blobs[1:]])


@pytest.mark.parametrize("case", BEHIND)
def test_faults_there_are_caught(tmp_path: Path, case: str) -> None:
    run = [input_layer(*SHAPE), product(3), scale(3), *BEHIND[case][0]]
    given = deploy_net(tmp_path / "given", run)
    caffefold.prove(given, caffefold.fold(given).net)
    for at, spec in enumerate(run):
        if spec.type in ("Scale", "BatchNorm", "Power"):
            spoiled = deploy_net(tmp_path / spec.name, [*run[:at], off(spec), *run[at + 1 :]])
            with pytest.raises(ProofError):
                caffefold.prove(given, caffefold.fold(spoiled).net)


def test_keep(tmp_path: Path) -> None:
    given = write_pair(tmp_path, [input_layer(*SHAPE), product(2), scale(2)])
    for kept in ("f", "sc"):
        report = caffefold.convert(*given, tmp_path / "out", keep=(kept,), force=True)
        assert list(report.folded()) == []
        assert [skip.layers for skip in report.skips] == [("sc",)]


def test_a_map_of_the_channels_is_no_map_of_the_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many channels as outputs: the fold that takes one for the other is caught."""
    shape = (2, 6, 4)
    wide = product(2)._replace(blobs=[N.normal(6, 4), N.normal(6)])
    layers = [input_layer(*shape), wide, scale(1), relu("r", "sc", "r")]
    given = write_pair(tmp_path, layers)
    assert list(caffefold.convert(*given, tmp_path / "out").folded()) == []
    monkeypatch.setattr(Scale, "along_last", lambda self, layer, rank: self._affine(layer))
    with pytest.raises(ProofError, match="layer 'sc': is not a map of the outputs it is in"):
        caffefold.convert(*given, tmp_path / "bad")
