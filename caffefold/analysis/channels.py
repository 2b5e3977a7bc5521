"""Rank and channels of blobs, as far as layers tell them without running the net."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from caffefold.formats.caffemodel.blob import size
from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net

_CONVOLUTIONS = frozenset({"Convolution", "ConvolutionDepthwise", "DepthwiseConvolution"})
_SAME = frozenset(
    {"ReLU", "PReLU", "ELU", "Sigmoid", "TanH", "AbsVal", "BNLL", "Exp", "Log", "Power", "Clip"}
    | {"Swish", "ReLU6", "Threshold", "Dropout", "Split", "LRN", "MVN", "Softmax", "Pooling"}
    | {"BatchNorm", "BN", "Scale", "Bias", "Normalize", "Eltwise", "Interp", "Upsample"}
)


class Extent(NamedTuple):
    """Number of axes and size of axis 1; None where unknown."""

    rank: int | None = None
    channels: int | None = None


UNKNOWN = Extent()


def extents(net: Net, wiring: Graph) -> list[Extent]:
    """The extent of every version of ``wiring``."""
    found = [UNKNOWN] * len(wiring.versions)
    legacy = legacy_shapes(net)
    for i, version in enumerate(wiring.versions):
        if version.producer == OUTSIDE and version.blob in legacy:
            found[i] = _of_shape(legacy[version.blob])
    for position, layer in enumerate(net.layers):
        inputs = [found[v] if v >= 0 else UNKNOWN for v in wiring.reads[position]]
        for j, made in enumerate(wiring.writes[position]):
            found[made] = _of_top(layer, j, inputs)
    return found


def weight_channels(layer: Layer, rank: int | None = None) -> int | None:
    """How many channels the layer's weights want of its input; None where they do not tell.

    ``rank`` is the number of axes of its input, where known; a negative ``axis`` needs it.
    """
    if not layer.blobs or not layer.blobs[0].shape:
        return None
    shape, numbers = layer.blobs[0].shape, size(layer.blobs[0])
    if layer.type in ("BatchNorm", "BN"):
        return numbers
    if layer.type == "Deconvolution":
        return shape[0]
    if layer.type in _CONVOLUTIONS and len(shape) > 1:
        if layer.type != "Convolution" and shape[1] == 1:
            return shape[0]  # depthwise types of forks may leave ``group`` out
        return shape[1] * layer.params("convolution_param").integer("group")
    if layer.type in ("Scale", "Bias") and len(layer.bottoms) == 1:
        params = layer.params("scale_param" if layer.type == "Scale" else "bias_param")
        axis = params.integer("axis")
        axis += rank if axis < 0 and rank is not None else 0
        one_axis = numbers in (shape[0], shape[-1] if len(shape) == 4 else -1)
        return numbers if one_axis and axis == 1 and params.integer("num_axes") else None
    return None


def _of_top(layer: Layer, top: int, inputs: list[Extent]) -> Extent:
    first = inputs[0] if inputs else UNKNOWN
    if layer.type == "Input":
        shapes = _input_shapes(layer)
        return _of_shape(shapes[min(top, len(shapes) - 1)]) if shapes else UNKNOWN
    if layer.type in _CONVOLUTIONS or layer.type == "Deconvolution":
        rank = len(layer.blobs[0].shape) if layer.blobs else first.rank
        return Extent(rank, layer.params("convolution_param").integer("num_output"))
    if layer.type == "InnerProduct":
        params = layer.params("inner_product_param")
        axis = params.integer("axis")
        if axis < 0:
            return UNKNOWN if first.rank is None else _product(layer, first, axis + first.rank)
        return _product(layer, first, axis)
    if layer.type == "Concat":
        return _of_concat(layer, inputs)
    if layer.type == "Slice":
        if not along_channels(layer, first.rank):
            return first
        points = slice_ranges(layer, first.channels)
        return Extent(first.rank, points[top][1] - points[top][0] if points else None)
    if layer.type == "Crop":
        whole = layer.params("crop_param").integer("axis") > 1  # what is before axis is not cut
        return Extent(first.rank, first.channels if whole else None)
    if layer.type in _SAME:
        channels = first.channels
        if channels is None:
            channels = weight_channels(layer, first.rank)
        return Extent(first.rank, channels)
    return UNKNOWN


def _product(layer: Layer, first: Extent, axis: int) -> Extent:
    """Axes from ``axis`` on become one of num_output; those before it stay."""
    outputs = layer.params("inner_product_param").integer("num_output")
    return Extent(axis + 1, outputs if axis == 1 else first.channels if axis > 1 else None)


def _of_concat(layer: Layer, inputs: list[Extent]) -> Extent:
    rank = next((extent.rank for extent in inputs if extent.rank is not None), None)
    channels = [extent.channels for extent in inputs]
    if not along_channels(layer, rank) or None in channels:
        return Extent(rank, inputs[0].channels if inputs and _axis(layer) != 1 else None)
    return Extent(rank, sum(c for c in channels if c is not None))


def _axis(layer: Layer) -> int:
    field = "concat_param" if layer.type == "Concat" else "slice_param"
    params = layer.params(field)
    old = "concat_dim" if layer.type == "Concat" else "slice_dim"
    return params.integer(old) if params.has(old) else params.integer("axis")


def along_channels(layer: Layer, rank: int | None) -> bool:
    """Whether a Concat or Slice works along axis 1."""
    axis = _axis(layer)
    return axis == 1 or (axis < 0 and rank is not None and axis + rank == 1)


def slice_ranges(layer: Layer, channels: int | None) -> list[tuple[int, int]] | None:
    """Channel range of each top of a Slice along axis 1; None when it is not known."""
    points = list(layer.params("slice_param").integers("slice_point"))
    count = len(layer.tops)
    if channels is None:
        return None
    if not points:
        if channels % count:
            return None
        points = [channels // count * i for i in range(1, count)]
    if len(points) != count - 1:
        return None
    edges = [0, *points, channels]
    return list(itertools.pairwise(edges))


def _of_shape(shape: tuple[int, ...]) -> Extent:
    return Extent(len(shape) or None, shape[1] if len(shape) > 1 else None)


def _input_shapes(layer: Layer) -> list[tuple[int, ...]]:
    params = layer.params("input_param")
    return [params.nested("shape", message).integers("dim") for message in params.messages("shape")]


def input_shapes(net: Net) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The shape of each input of the net that has one, with its name."""
    yield from legacy_shapes(net).items()
    for layer in net.layers:
        if layer.type == "Input":
            shapes = _input_shapes(layer)
            yield from zip(layer.tops, shapes * len(layer.tops), strict=False)


def legacy_shapes(net: Net) -> dict[str, tuple[int, ...]]:
    """Shapes of ``input:`` blobs: ``input_shape`` messages, or four ``input_dim`` numbers each."""
    params = net.params()
    names = net.legacy_inputs
    shapes = [
        params.nested("input_shape", m).integers("dim") for m in params.messages("input_shape")
    ]
    if not shapes:
        dims = params.integers("input_dim")
        shapes = [dims[i : i + 4] for i in range(0, len(dims), 4)]
    return dict(zip(names, shapes, strict=False))
