"""Shapes behind layers that keep them, or end in one number: activations, scales, sums, losses.

Learned numbers that do not go with the channels of the input are refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from caffefold.ir.net import Layer
from caffefold.ops.shape import Dim, Shape, Step, canonical, first, product, unified


def nothing(layer: Layer) -> Step:
    """Silence and what only writes files: no tops."""
    del layer
    return lambda bottoms: []


def same(layer: Layer) -> Step:
    """Every top has the shape of the first bottom: activations, normalisation, Split, Dropout."""
    count = len(layer.tops)
    return lambda bottoms: [first(bottoms)] * count


def unknown(layer: Layer) -> Step:
    """What the text does not tell: Python layers, types we do not know."""
    del layer
    return lambda bottoms: []


def loss(layer: Layer) -> Step:
    """A loss: one number without axes (loss_layer.cpp); more tops are each fork's own."""
    del layer
    return lambda bottoms: [()]


def loss_and_prediction(layer: Layer) -> Step:
    """SoftmaxWithLoss and InfogainLoss: a second top is the softmax, like the first bottom."""
    del layer
    return lambda bottoms: [(), first(bottoms)]


def accuracy(layer: Layer) -> Step:
    """Accuracy: one number; a second top has one for each class (accuracy_layer.cpp)."""
    at, count = layer.params("accuracy_param").integer("axis"), len(layer.tops)

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        classes = None if shape is None else shape[canonical(layer, at, len(shape))]
        return [(), *[(classes,)] * (count - 1)]

    return step


def eltwise(layer: Layer) -> Step:
    """Eltwise: all bottoms are alike."""
    return lambda bottoms: [unified(layer, bottoms, "its inputs")]


def axpy(layer: Layer) -> Step:
    """Axpy: a factor for each channel, x and y; the top is like x and y (SENet, axpy_layer.cpp)."""
    return lambda bottoms: [unified(layer, bottoms[1:], "its inputs")]


def per_channel(layer: Layer) -> Step:
    """BatchNorm, BN, PReLU, Normalize: like the bottom; learned numbers must be one per channel."""
    learned = prod(layer.blobs[0].shape) if layer.blobs else None
    count = len(layer.tops)

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is not None and learned not in (None, 1):
            channels = shape[1] if len(shape) > 1 else 1
            _one_per_channel(layer, learned, channels)
        return [shape] * count

    return step


def scale(layer: Layer) -> Step:
    """Scale and Bias: like the bottom; what is learned covers ``num_axes`` axes from ``axis`` on.

    Sources: scale_layer.cpp, bias_layer.cpp.
    """
    params = layer.params("scale_param" if layer.type == "Scale" else "bias_param")
    at, span = params.integer("axis"), params.integer("num_axes")
    learned = prod(layer.blobs[0].shape) if layer.blobs else None

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            return [None]
        if len(bottoms) > 1:
            factor = bottoms[1]
            if factor:  # a scalar fits anywhere
                axis = canonical(layer, at, len(shape))
                covered = shape[axis : axis + len(factor)]
                unified(layer, (covered, factor), "its input and its factor")
            return [shape]
        if learned is not None and span:
            axis = canonical(layer, at, len(shape))
            stop = len(shape) if span == -1 else axis + span
            _one_per_channel(layer, learned, product(shape[axis:stop]))
        return [shape]

    return step


def _one_per_channel(layer: Layer, learned: int | None, channels: Dim) -> None:
    if learned is not None and channels is not None and learned != channels:
        raise layer.error(
            f"it has learned {learned} numbers, its input has {channels} channels; "
            "check the input shape, or the weights"
        )
