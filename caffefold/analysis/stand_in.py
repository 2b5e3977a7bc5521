"""Made-up weights for a net that comes without any, so that its structure is folded and checked.

What can be folded into what is a matter of text and shapes. With numbers of the right shapes in
place of the weights, the same passes make the same structure, and the same proof checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from caffefold.analysis.shapes import infer
from caffefold.errors import TextError
from caffefold.formats.caffemodel.blob import CHUNK, AsArray, Blob, Floats
from caffefold.formats.prototxt.tree import Field
from caffefold.ir.net import Layer, Net
from caffefold.ops.shape import Known, Shape, canonical
from caffefold.ops.shape_linear import groups
from caffefold.ops.window import convolution_windows

_PERIOD = 8191  # a prime: rows of weights do not repeat each other
_CONVOLUTIONS = frozenset({"Convolution", "ConvolutionDepthwise", "DepthwiseConvolution"})


@dataclass(frozen=True, slots=True)
class StandIn(AsArray):
    """Numbers between 0.5 and 1.5 that cost no memory; the same for the same ``seed``."""

    shape: tuple[int, ...]
    seed: int = 0

    @property
    def step(self) -> int:
        """Elements to read at a time."""
        return CHUNK

    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop`` as float32: multiples of the golden ratio, modulo 1."""
        at = (np.arange(start, stop) + 127 * self.seed) % _PERIOD
        return ((at * 0.6180339887498949) % 1.0 + 0.5).astype(np.float32)


def with_stand_ins(net: Net) -> Net:
    """The net with made-up blobs in every layer that a fold is about, where shapes are known."""
    shapes = infer(net)
    items: list[Field | Layer] = []
    position = -1
    for item in net.items:
        if isinstance(item, Layer):
            position += 1
            wanted = () if item.blobs else _blobs(item, shapes.bottoms[position])
            blobs: tuple[Blob, ...] = tuple(StandIn(s, position + i) for i, s in enumerate(wanted))
            items.append(replace(item, blobs=blobs) if blobs else item)
        else:
            items.append(item)
    return replace(net, items=tuple(items))


def with_blobs_of(net: Net, other: Net) -> Net:
    """``net`` with the blobs that the layers of the same place have in ``other``."""
    given = iter(other.layers)
    items = [
        replace(item, blobs=next(given).blobs) if isinstance(item, Layer) else item
        for item in net.items
    ]
    return replace(net, items=tuple(items))


def _blobs(layer: Layer, bottoms: Sequence[Shape]) -> tuple[tuple[int, ...], ...]:
    """The shapes Caffe gives a layer's blobs; none where they are unknown, or are no matter."""
    shape = bottoms[0] if bottoms else None
    if shape is None:
        return ()
    try:
        wanted = _shapes(layer, shape)
    except TextError:  # a number is missing: shape inference tells
        return ()
    known = tuple(tuple(dim for dim in dims if dim is not None) for dims in wanted)
    whole = all(len(a) == len(b) and prod(a) > 0 for a, b in zip(known, wanted, strict=True))
    return known if whole else ()


def _shapes(layer: Layer, shape: Known) -> list[Known]:
    kind = layer.type
    if kind in _CONVOLUTIONS or kind == "Deconvolution":
        return _convolution(layer, shape)
    if kind == "InnerProduct":
        return _inner_product(layer, shape)
    channels = shape[1] if len(shape) > 1 else 1
    if kind == "BatchNorm":
        return _batch_norm(layer, channels)
    if kind == "BN":  # of PSPNet; SegNet's names its statistics by a mode
        count = 2 if layer.params("bn_param").message.last("bn_mode") is not None else 4
        return [(channels,)] * count
    if kind in ("Scale", "Bias") and len(layer.bottoms) == 1:
        return _scale(layer, shape)
    return []


def _convolution(layer: Layer, shape: Known) -> list[Known]:
    params = layer.params("convolution_param")
    axis = canonical(layer, params.integer("axis"), len(shape))
    outputs, inputs, count = params.integer("num_output"), shape[axis], groups(layer)
    kernels = [w.kernel for w in convolution_windows(layer, params, len(shape) - axis - 1)]
    weights: Known = (outputs, None if inputs is None else inputs // max(count, 1), *kernels)
    if layer.type == "Deconvolution":
        weights = (inputs, outputs // max(count, 1), *kernels)
    elif layer.type != "Convolution":
        weights = (outputs, 1, *kernels)
    return [weights, (outputs,)] if params.flag("bias_term") else [weights]


def _inner_product(layer: Layer, shape: Known) -> list[Known]:
    params = layer.params("inner_product_param")
    axis = canonical(layer, params.integer("axis"), len(shape))
    outputs, rest = params.integer("num_output"), shape[axis:]
    inputs = None if None in rest else prod(dim for dim in rest if dim is not None)
    weights: Known = (inputs, outputs) if params.flag("transpose") else (outputs, inputs)
    return [weights, (outputs,)] if params.flag("bias_term") else [weights]


def _batch_norm(layer: Layer, channels: int | None) -> list[Known]:
    """Caffe's three; five where the text names what forks have in this layer."""
    params = layer.params("batch_norm_param")
    one: Known = (channels,)
    fused = ("scale_bias", "scale_filler", "bias_filler", "use_weight_bias")
    if any(params.message.last(name) is not None for name in fused):
        return [one, one, (1,), one, one]
    return [one, one, (1,)]


def _scale(layer: Layer, shape: Known) -> list[Known]:
    params = layer.params("scale_param" if layer.type == "Scale" else "bias_param")
    axis = canonical(layer, params.integer("axis"), len(shape))
    span = params.integer("num_axes")
    own = shape[axis:] if span == -1 else shape[axis : axis + span]
    bias = layer.type == "Scale" and params.flag("bias_term")
    return [own, own] if bias else [own]
