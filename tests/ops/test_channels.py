"""Where the channels of a layer's tops come from, as its type tells it; never guessed."""

from __future__ import annotations

import pytest

from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import ChannelFlow, Joined, Mixed, Same, Split, Unknown
from caffefold.ops.shape import Shape
from caffefold.ops.table import op
from caffefold.ops.wiring import CONCAT, SLICE

IMAGE = (1, 6, 8, 8)


def layer(kind: str, text: str = "", bottoms: int = 1, tops: int = 1) -> Layer:
    wires = "".join(f' bottom: "b{i}"' for i in range(bottoms))
    wires += "".join(f' top: "t{i}"' for i in range(tops))
    return Net.of(parse(f'layer {{ name: "l" type: "{kind}"{wires} {text} }}')).layers[0]


def flow(item: Layer, *bottoms: Shape) -> ChannelFlow:
    return op(item).channels(item, bottoms)


@pytest.mark.parametrize(
    "kind",
    ["ReLU", "HardSwish", "Mish", "SeLu", "Pooling", "BatchNorm", "Scale", "Dropout", "Softmax"],
)
@pytest.mark.parametrize("shape", [IMAGE, (1, 6), None])
def test_layers_that_keep_their_channels(kind: str, shape: Shape) -> None:
    assert flow(layer(kind), shape) == Same()


@pytest.mark.parametrize("kind", ["Reshape", "Flatten", "Permute", "Python", "Fork"])
def test_layers_that_mix_or_tell_nothing(kind: str) -> None:
    assert flow(layer(kind), IMAGE) == Unknown()


@pytest.mark.parametrize("kind", ["Eltwise", "Axpy"])
def test_sums(kind: str) -> None:
    assert flow(layer(kind, bottoms=3), IMAGE, IMAGE, IMAGE) == Same((0, 1, 2))


@pytest.mark.parametrize("kind", ["Convolution", "DepthwiseConv", "Deconvolution"])
def test_convolutions(kind: str) -> None:
    text = "convolution_param { num_output: 9 %s }"
    assert flow(layer(kind, text % ""), IMAGE) == Mixed(6, 9)
    assert flow(layer(kind, text % ""), None) == Mixed(None, 9)
    assert flow(layer(kind, text % "axis: 2"), IMAGE) == Same()


@pytest.mark.parametrize(
    ("axis", "shape", "wanted"),
    [
        ("", IMAGE, Mixed(384, 9)),
        ("", None, Mixed(None, 9)),
        ("axis: 2", IMAGE, Same()),
        ("axis: -1", IMAGE, Same()),
        ("axis: -1", (1, 6), Mixed(6, 9)),
        ("axis: -1", None, Unknown()),
        ("axis: 0", IMAGE, Unknown()),
    ],
)
def test_inner_product(axis: str, shape: Shape, wanted: ChannelFlow) -> None:
    text = f"inner_product_param {{ num_output: 9 {axis} }}"
    assert flow(layer("InnerProduct", text), shape) == wanted


@pytest.mark.parametrize(
    ("text", "rank", "wanted"),
    [
        ("", 4, Joined()),
        ("axis: 1", 4, Joined()),
        ("axis: -3", 4, Joined()),
        ("concat_dim: 1", 4, Joined()),
        ("axis: 2", 4, Same((0, 1))),
        ("concat_dim: 0", 4, Same((0, 1))),
        ("axis: -1", 4, Same((0, 1))),
        ("axis: 1", None, Joined()),
        ("axis: -3", None, Unknown()),
    ],
)
def test_concat(text: str, rank: int | None, wanted: ChannelFlow) -> None:
    shape = None if rank is None else IMAGE
    item = layer("Concat", f"concat_param {{ {text} }}", bottoms=2)
    assert flow(item, shape, None) == wanted
    assert (CONCAT.axis(item, rank) == 1) == isinstance(wanted, Joined)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Split((), ((0, 3), (3, 6)))),
        ("slice_point: 2", Split((2,), ((0, 2), (2, 6)))),
        ("axis: -3 slice_point: 2", Split((2,), ((0, 2), (2, 6)))),
        ("slice_dim: 1 slice_point: 2", Split((2,), ((0, 2), (2, 6)))),
        ("axis: 2 slice_point: 3", Same()),
        ("axis: -1 slice_point: 3", Same()),
    ],
)
def test_slice(text: str, wanted: ChannelFlow) -> None:
    assert flow(layer("Slice", f"slice_param {{ {text} }}", tops=2), IMAGE) == wanted


@pytest.mark.parametrize(
    ("text", "channels", "wanted"),
    [
        ("", 6, ((0, 2), (2, 4), (4, 6))),
        ("", 7, None),
        ("", None, None),
        ("slice_point: 1 slice_point: 5", 6, ((0, 1), (1, 5), (5, 6))),
        ("slice_point: [1, 5]", 6, ((0, 1), (1, 5), (5, 6))),
        ("slice_point: 1", 6, None),
    ],
)
def test_ranges_of_a_slice(
    text: str, channels: int | None, wanted: tuple[tuple[int, int], ...] | None
) -> None:
    assert SLICE.ranges(layer("Slice", f"slice_param {{ {text} }}", tops=3), channels) == wanted


def test_crop_takes_its_channels_from_where_it_crops() -> None:
    """With axis 1 the channels are the reference's (crop_layer.cpp)."""
    assert flow(layer("Crop", "crop_param { axis: 2 }", 2), IMAGE, IMAGE) == Same()
    assert flow(layer("Crop", "crop_param { axis: 1 }", 2), IMAGE, IMAGE) == Unknown()
