"""Caffe's layers that hand numbers on: what Concat, Slice and average pooling do to signals.

Written from concat_layer.cpp, slice_layer.cpp, pooling_layer.cpp and dropout_layer.cpp, apart from
the fold's idea of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType

from caffefold.check.parameters import parameters
from caffefold.check.reference import axis_of, kind
from caffefold.check.signals import Bases, Signal, joined
from caffefold.ir.net import Layer
from caffefold.ops.shape import Shape

Signals = tuple[Signal, ...]
Handing = Callable[[Layer, Signals, Bases, Shape], "Signals | None"]


def hands_on(layer: Layer, inputs: Signals, bases: Bases, shape: Shape) -> Signals | None:
    """What the tops hold when maps pass through this layer; None when they do not.

    ``shape`` is that of the first input, as far as it is known.
    """
    rule = _RULES.get(kind(layer))
    return None if rule is None or not inputs else rule(layer, inputs, bases, shape)


def is_identity(layer: Layer) -> bool:
    """Whether every top holds what the bottom holds: Split; Dropout, unless it acts in TEST too
    (SegNet's may sample there, DeepLab's scales there)."""
    if kind(layer) == "Split":
        return len(layer.bottoms) == 1
    if kind(layer) != "Dropout" or len(layer.bottoms) != 1:
        return False
    pairs = dict(parameters(layer))
    samples = pairs.get("/dropout_param/sample_weights_test", "false")
    scales = pairs.get("/dropout_param/scale_train", "true")
    off = ("false", "False", "f", "0", "FALSE")
    return samples in off and scales not in off


def _concat(layer: Layer, inputs: Signals, bases: Bases, shape: Shape) -> Signals | None:
    """Along the channels, the maps are joined as the channels are."""
    del shape
    ranks = [rank for signal in inputs if (rank := bases.rank(signal)) is not None]
    channels = [count for signal in inputs if (count := bases.channels(signal)) is not None]
    axis = axis_of(layer, "concat_param", ranks[0] if ranks else None, old="concat_dim")
    if axis != 1 or len(channels) < len(inputs):
        return None
    key = ("concat", tuple(signal.base for signal in inputs))
    base = bases.number(key, ranks[0] if ranks else None, sum(channels))
    if all(signal.map is None for signal in inputs):
        return (Signal(base),)
    return (Signal(base, joined([bases.composition(signal) for signal in inputs])),)


def _slice(layer: Layer, inputs: Signals, bases: Bases, shape: Shape) -> Signals | None:
    """Along the channels, at ``slice_point`` or into equal parts."""
    del shape
    (signal,) = inputs
    rank, whole, count = bases.rank(signal), bases.channels(signal), len(layer.tops)
    if axis_of(layer, "slice_param", rank, old="slice_dim") != 1 or whole is None:
        return None
    points = layer.params("slice_param").integers("slice_point")
    if not points and whole % count == 0:
        points = tuple(range(whole // count, whole, whole // count))
    edges = (0, *points, whole)
    if len(edges) != count + 1 or any(a >= b for a, b in itertools.pairwise(edges)):
        return None  # Caffe stops here
    made = []
    for start, stop in itertools.pairwise(edges):
        base = bases.number(("slice", start, stop, signal.base), rank, stop - start)
        part = None if signal.map is None else bases.composition(signal).part(start, stop)
        made.append(Signal(base, part))
    return tuple(made)


def _pooling(layer: Layer, inputs: Signals, bases: Bases, shape: Shape) -> Signals | None:
    """An average of mapped numbers is the mapped average, if it is one of the input's alone."""
    (signal,) = inputs
    if len(layer.tops) != 1 or not _averages_input_alone(layer, shape):
        return None
    key = ("pool", parameters(layer), signal.base)
    base = bases.number(key, bases.rank(signal), bases.channels(signal))
    return (Signal(base, signal.map),)


def _averages_input_alone(layer: Layer, shape: Shape) -> bool:
    """Whether each window is divided by the number of pixels of the input in it (Forward_cpu).

    Padding counts in the divisor. Without padding only the last window can reach out of the input,
    and is cut off there; one that begins outside it gives 0, whatever the input is mapped by. That
    takes a stride larger than the kernel, and windows that are counted upwards.
    """
    params = layer.params("pooling_param")
    if params.enum("pool") != "AVE" or any(map(params.integer, ("pad", "pad_h", "pad_w"))):
        return False
    counted_down = params.enum("round_mode") == "FLOOR" or not params.flag("ceil_mode")
    if params.flag("global_pooling") or counted_down:
        return True
    sizes = (None, None) if shape is None else shape[2:]
    kernels = _per_axis(layer, "kernel_h", "kernel_w", "kernel_size", len(sizes))
    strides = _per_axis(layer, "stride_h", "stride_w", "stride", len(sizes))
    return len(kernels) == len(strides) == len(sizes) and all(
        stride <= kernel or (size is not None and -(-(size - kernel) // stride) * stride < size)
        for size, kernel, stride in zip(sizes, kernels, strides, strict=True)
    )


def _per_axis(layer: Layer, height: str, width: str, both: str, axes: int) -> tuple[int, ...]:
    params = layer.params("pooling_param")
    if params.has(height) or params.has(width):
        return params.integer(height), params.integer(width)
    numbers = params.integers(both) or (1,)
    return numbers * axes if len(numbers) == 1 else numbers


_RULES: Mapping[str, Handing] = MappingProxyType(
    {"Concat": _concat, "Slice": _slice, "Pooling": _pooling}
)
