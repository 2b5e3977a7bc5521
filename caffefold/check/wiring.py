"""The text of a layer: its parameters, and whether it only hands numbers on.

Concat, Slice, average pooling and Dropout are written from concat_layer.cpp, slice_layer.cpp,
pooling_layer.cpp and dropout_layer.cpp, apart from the fold's idea of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from caffefold.check import reference
from caffefold.check.effectless import AT_DEFAULT, FORK_FIELDS
from caffefold.check.reference import axis_of
from caffefold.check.signals import IDENTITY, Composition, Signal
from caffefold.formats.prototxt.tree import Field, ListValue, Message, Scalar, unquote
from caffefold.formats.schema import OURS, MessageType
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import FALSE
from caffefold.ops.shape import Shape
from caffefold.ops.table import op

Signals = tuple[Signal, ...]
Pairs = tuple[tuple[str, str], ...]
# Wiring is compared on its own; folding may create a bias, and un-share weights.
_IGNORED = frozenset({"name", "bottom", "top", "param"})
_WINDOW = (
    *("kernel_size", "kernel_h", "kernel_w", "pad", "pad_h", "pad_w"),
    *("stride", "stride_h", "stride_w", "dilation"),
)
_LAYOUT = frozenset(
    {"/convolution_param/group", "/inner_product_param/transpose"}
    | {f"/convolution_param/{name}" for name in _WINDOW}
)


# Channels of a Concat through which a map is followed: no small text may ask for much memory.
_WIDEST = 1 << 20


class Handed(NamedTuple):
    """What a top holds: a base by what it is made of, its channels where known, and a map of it."""

    key: object
    channels: int | None = None
    map: Composition = IDENTITY


Tops = tuple[Handed, ...] | None


# -------------------------------------------------------------------------------- parameters


def parameters(layer: Layer, dropped: Collection[str] = ()) -> Pairs:
    """Type and parameters of a layer as (path, value) pairs in file order; comments and format do
    not count.

    Fields whose paths are in ``dropped`` do not count.
    """
    pairs = _flattened(field for field in layer.body.fields if field.name not in _IGNORED)
    found = tuple(
        pair
        for pair in pairs
        if not pair[0].endswith("_param/bias_term") and pair[0] not in dropped
    )
    # Of a repeated field, all values say nothing or none.
    said = {path for path, value in found if (path, value) not in AT_DEFAULT}
    return tuple(pair for pair in found if pair[0] in said or pair not in AT_DEFAULT)


def without_layout(layer: Layer, pairs: Pairs) -> Pairs:
    """The parameters of a linear layer with weights, without what says how these lie
    and where they meet its input."""
    if reference.linear(layer, None) is None:
        return pairs
    return tuple(
        ("/type", op(layer).name) if path == "/type" else (path, value)
        for path, value in pairs
        if path not in _LAYOUT
    )


def windows(layer: Layer) -> Pairs:
    """What the text says of where a convolution meets its input."""
    paths = {f"/convolution_param/{name}" for name in _WINDOW}
    return tuple(pair for pair in parameters(layer) if pair[0] in paths)


def groups(layer: Layer) -> int:
    """The ``group`` that a layer's text states, or its default."""
    return layer.params("convolution_param").integer("group")


def may_go(paths: Iterable[str]) -> frozenset[str]:
    """Those of the paths whose fields change nothing at test time, or that nobody here knows: no
    number was computed with them."""
    layer = OURS.message("LayerParameter")

    def known(path: str) -> bool:
        kind: MessageType | None = layer
        for name in path.strip("/").split("/"):
            field = None if kind is None else kind.fields_by_name.get(name)
            if field is None:
                return False
            kind = field.message_type
        return True

    return frozenset(
        path for path in paths if path.rpartition("/")[2] in FORK_FIELDS or not known(path)
    )


def declared_inputs(net: Net) -> Pairs:
    """The net-level ``input``, ``input_shape`` and ``input_dim`` fields as (path, value) pairs."""
    fields = (item for item in net.items if isinstance(item, Field))
    return tuple(_flattened(field for field in fields if field.name.startswith("input")))


def _flattened(fields: Iterable[Field], prefix: str = "") -> Iterator[tuple[str, str]]:
    for field in fields:
        path = f"{prefix}/{field.name}"
        for value in field.value.items if isinstance(field.value, ListValue) else (field.value,):
            if isinstance(value, Scalar):
                yield path, unquote(value.raw)
            elif isinstance(value, Message):
                yield path, "{"
                yield from _flattened(value.fields, path)


# ------------------------------------------------------------------------- handing numbers on


def is_identity(layer: Layer) -> bool:
    """Whether every top holds what the bottom holds: Split; Dropout, unless it acts in TEST too
    (SegNet's may sample there, DeepLab's scales there)."""
    name = op(layer).name
    if name not in ("Split", "Dropout") or len(layer.bottoms) != 1:
        return False
    pairs = dict(parameters(layer))
    samples = pairs.get("/dropout_param/sample_weights_test", "false")
    scales = pairs.get("/dropout_param/scale_train", "true")
    return name == "Split" or (samples in FALSE and scales not in FALSE)


def hands_on(layer: Layer, inputs: Signals) -> Tops:
    """What the tops hold when maps pass through this layer; None when they do not."""
    name = op(layer).name
    if any(signal.map.axis != 1 for signal in inputs):
        return None
    if name == "Concat" and inputs and len(layer.tops) == 1:
        return _concat(layer, inputs)
    if name == "Slice" and len(inputs) == 1 and layer.tops:
        return _slice(layer, inputs[0])
    if name == "Pooling" and len(inputs) == 1 == len(layer.tops):
        # An average of mapped numbers is the mapped average, if it is one of the input's alone.
        base, own = inputs[0]
        if _averages_input_alone(layer, base.shape):
            return (Handed(("pool", parameters(layer), base), base.channels, own),)
    return None


def _concat(layer: Layer, inputs: Signals) -> Tops:
    """Along the channels, the maps are joined as the channels are."""
    bases = tuple(signal.base for signal in inputs)
    channels = [base.channels for base in bases if base.channels is not None]
    rank = next((base.rank for base in bases if base.rank is not None), None)
    axis = axis_of(layer, "concat_param", rank, old="concat_dim")
    if axis != 1 or len(channels) < len(inputs):
        return None
    joined, roundings = IDENTITY, max(signal.map.roundings for signal in inputs)
    maps = [signal.map.numbers for signal in inputs]
    if roundings and all(np.array_equal(numbers, maps[0][:, :1]) for numbers in maps):
        joined = Composition(maps[0], roundings)  # one number stands for all channels
    elif roundings:
        if sum(channels) > _WIDEST:
            return None
        joined = Composition(np.concatenate([s.numbers for s in inputs], axis=1), roundings)
    return (Handed(("concat", bases), sum(channels), joined),)


def _slice(layer: Layer, signal: Signal) -> Tops:
    """Along the channels, at ``slice_point`` or into equal parts."""
    base, count = signal.base, len(layer.tops)
    axis = axis_of(layer, "slice_param", base.rank, old="slice_dim")
    if axis != 1 or base.channels is None:
        return None
    points = layer.params("slice_param").integers("slice_point")
    if not points and base.channels % count == 0:
        points = tuple(range(base.channels // count, base.channels, base.channels // count))
    edges = (0, *points, base.channels)
    if len(edges) != count + 1 or any(a >= b for a, b in pairwise(edges)):
        return None  # Caffe stops here
    return tuple(
        Handed(
            ("slice", start, stop, base),
            stop - start,
            _part(signal.map, start, stop),
        )
        for start, stop in pairwise(edges)
    )


def _part(whole: Composition, start: int, stop: int) -> Composition:
    """The map of the channels ``start:stop``; one number for all stands for those too."""
    if not whole.roundings:
        return IDENTITY
    columns = slice(start, stop) if whole.channels > 1 else slice(None)
    return Composition(whole.numbers[:, columns], whole.roundings)


def _averages_input_alone(layer: Layer, shape: Shape) -> bool:
    """Whether each window is divided by the number of pixels of the input in it (Forward_cpu).

    Padding counts in the divisor. Without padding only the last window can reach out of the input,
    and is cut off there; one that begins outside it gives 0, whatever the input is mapped by. That
    takes a stride larger than the kernel, and windows that are counted upwards.
    """
    params = layer.params("pooling_param")
    if params.word("pool") != "AVE" or any(map(params.integer, ("pad", "pad_h", "pad_w"))):
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
