"""Rank and channels of blobs: known where the layers tell them, never guessed."""

from __future__ import annotations

import numpy as np
import pytest

from caffefold.analysis.channels import Extent, along_channels, extents, slice_ranges
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.graph import build
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec
from tests.support.formats_model import Loaded

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 6 %s } } }\n'
IMAGE = INPUT % "dim: 8 dim: 8"
FLAT = INPUT % ""


def extent(net: Net, blob: str) -> Extent:
    """The extent of the last version of ``blob``."""
    wiring = build(net)
    found = {v.blob: e for v, e in zip(wiring.versions, extents(net, wiring), strict=True)}
    return found[blob]


def after(before: str, kind: str, text: str = "", bottoms: str = "x") -> Extent:
    layer = LayerSpec("l", kind, bottoms, "y", text)
    return extent(Net.of(parse(before + layer.prototxt())), "y")


def test_input_layers() -> None:
    assert after(IMAGE, "ReLU") == Extent(4, 6)
    assert after(FLAT, "ReLU") == Extent(2, 6)
    two = 'layer { type: "Input" top: "x" top: "z" input_param { shape { dim: 1 dim: 6 } %s } }'
    assert after(two % "shape { dim: 1 dim: 9 dim: 3 }", "ReLU", bottoms="z") == Extent(3, 9)
    assert after(two % "", "ReLU", bottoms="z") == Extent(2, 6)
    assert after('layer { type: "Input" top: "x" }', "ReLU") == Extent()


def test_legacy_inputs() -> None:
    dims = "".join(f"input_dim: {dim} " for dim in (1, 3, 8, 8, 1, 5, 1, 1))
    assert after(f'input: "x" input: "z" {dims}', "ReLU", bottoms="z") == Extent(4, 5)
    shape = "input_shape { dim: 1 dim: 3 } input_shape { dim: 2 dim: 7 dim: 1 }"
    assert after(f'input: "x" input: "z" {shape}', "ReLU", bottoms="z") == Extent(3, 7)
    assert after('input: "x"', "ReLU") == Extent()


@pytest.mark.parametrize("kind", ["ReLU", "Pooling", "BatchNorm", "Scale", "Eltwise", "Dropout"])
def test_layers_that_keep_the_extent(kind: str) -> None:
    assert after(IMAGE, kind) == Extent(4, 6)


@pytest.mark.parametrize("kind", ["Reshape", "Flatten", "Permute", "Python", "Fork"])
def test_layers_that_tell_nothing(kind: str) -> None:
    assert after(IMAGE, kind) == Extent()


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_convolutions(kind: str) -> None:
    assert after(IMAGE, kind, "convolution_param { num_output: 9 }") == Extent(4, 9)
    assert after('input: "x"', kind, "convolution_param { num_output: 9 }") == Extent(None, 9)


def test_weights_tell_the_rank_of_a_convolution(loaded: Loaded) -> None:
    text = 'input: "x" layer { name: "c" type: "Convolution" bottom: "x" top: "y" '
    text += "convolution_param { num_output: 2 } }"
    assert extent(loaded(text, {"c": [np.zeros((2, 1, 3, 3, 3))]}), "y") == Extent(5, 2)


@pytest.mark.parametrize(
    ("axis", "wanted"),
    [("", Extent(2, 9)), ("axis: 2", Extent(3, 6)), ("axis: -1", Extent(4, 6))],
)
def test_inner_product(axis: str, wanted: Extent) -> None:
    """The axes from ``axis`` on become one; it counts from the end when it is negative."""
    text = f"inner_product_param {{ num_output: 9 {axis} }}"
    assert after(IMAGE, "InnerProduct", text) == wanted


def test_batch_norm_knows_its_channels(loaded: Loaded) -> None:
    text = 'input: "x" layer { name: "b" type: "BatchNorm" bottom: "x" top: "y" }'
    blobs = {"b": [np.zeros(7), np.zeros(7), np.zeros(1)]}
    assert extent(loaded(text, blobs), "y") == Extent(None, 7)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Extent(4, 12)),
        ("concat_param { axis: 1 }", Extent(4, 12)),
        ("concat_param { axis: -3 }", Extent(4, 12)),
        ("concat_param { concat_dim: 1 }", Extent(4, 12)),
        ("concat_param { axis: 2 }", Extent(4, 6)),
        ("concat_param { concat_dim: 0 }", Extent(4, 6)),
        ("concat_param { axis: -1 }", Extent(4, 6)),
    ],
)
def test_concat(text: str, wanted: Extent) -> None:
    assert after(IMAGE, "Concat", text, "x x") == wanted


def test_concat_of_an_unknown_part() -> None:
    assert after(f'{IMAGE} input: "u"', "Concat", bottoms="x u") == Extent(4, None)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", (Extent(4, 3), Extent(4, 3))),
        ("slice_param { slice_point: 2 }", (Extent(4, 2), Extent(4, 4))),
        ("slice_param { axis: -3 slice_point: 2 }", (Extent(4, 2), Extent(4, 4))),
        ("slice_param { slice_dim: 1 slice_point: 2 }", (Extent(4, 2), Extent(4, 4))),
        ("slice_param { axis: 2 slice_point: 3 }", (Extent(4, 6), Extent(4, 6))),
        ("slice_param { axis: 2 }", (Extent(4, 6), Extent(4, 6))),
        ("slice_param { axis: -1 slice_point: 3 }", (Extent(4, 6), Extent(4, 6))),
    ],
)
def test_slice(text: str, wanted: tuple[Extent, Extent]) -> None:
    net = Net.of(parse(f'{IMAGE} layer {{ type: "Slice" bottom: "x" top: "p" top: "q" {text} }}'))
    assert (extent(net, "p"), extent(net, "q")) == wanted


def test_crop_takes_its_channels_from_where_it_crops() -> None:
    """With axis 1 the channels are the reference's (crop_layer.cpp)."""
    small = 'input: "r" input_shape { dim: 1 dim: 2 dim: 4 dim: 4 }\n'
    assert after(small + IMAGE, "Crop", "crop_param { axis: 2 }", "x r") == Extent(4, 6)
    found = after(small + IMAGE, "Crop", "crop_param { axis: 1 }", "x r")
    assert found.channels in (2, None)


def test_in_place_layers_and_unknown_bottoms() -> None:
    net = Net.of(parse(f'{IMAGE} layer {{ type: "ReLU" bottom: "x" top: "x" }}'))
    assert extent(net, "x") == Extent(4, 6)
    assert after("", "ReLU", bottoms="nothing") == Extent()


@pytest.mark.parametrize(
    ("text", "channels", "wanted"),
    [
        ("", 6, [(0, 2), (2, 4), (4, 6)]),
        ("", 7, None),
        ("", None, None),
        ("slice_point: 1 slice_point: 5", 6, [(0, 1), (1, 5), (5, 6)]),
        ("slice_point: [1, 5]", 6, [(0, 1), (1, 5), (5, 6)]),
        ("slice_point: 1", 6, None),
    ],
)
def test_slice_ranges(
    text: str, channels: int | None, wanted: list[tuple[int, int]] | None
) -> None:
    tops = 'top: "a" top: "b" top: "c"'
    (layer,) = Net.of(parse(f'layer {{ type: "Slice" {tops} slice_param {{ {text} }} }}')).layers
    assert slice_ranges(layer, channels) == wanted


@pytest.mark.parametrize(
    ("axis", "rank", "wanted"), [(1, None, True), (-3, 4, True), (-3, None, False), (0, 4, False)]
)
def test_along_channels(axis: int, rank: int | None, wanted: bool) -> None:
    text = f'layer {{ type: "Concat" concat_param {{ axis: {axis} }} }}'
    assert along_channels(Net.of(parse(text)).layers[0], rank) is wanted
