"""What a net costs: parameters, multiply-accumulates (MACs) and memory of its blobs.

A MAC is one multiplication with the addition that takes its result up; adding a bias is none.
One forward pass, for the batch that the shapes state:

| layer                     | MACs                                                              |
|---------------------------|-------------------------------------------------------------------|
| Convolution, all kinds    | elements of the top x (channels of the input / group) x window    |
| Deconvolution             | elements of the bottom x (num_output / group) x window            |
| LOCAL                     | elements of the top x channels of the input x window              |
| InnerProduct              | elements of the top x K                                           |
| LSTM                      | time x streams x 4 D x (I + D), with D outputs and I inputs       |
| RNN                       | time x streams x D x (I + 2 D)                                    |
| BatchNorm, BN, Scale      | elements of the top                                               |
| everything else           | 0: additions, comparisons, look-ups, functions of one element     |

VGG-16 at 224 x 224 has 15,470,264,320 by this, LeNet at 28 x 28 has 2,293,000.

Parameters are the numbers a caffemodel holds: the statistics of BatchNorm and the factor they are
divided by count. Memory is 4 bytes (float32) for each element of the tops; what a layer writes in
place costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from caffefold.analysis.shapes import Shapes, infer
from caffefold.errors import TextError
from caffefold.formats.caffemodel.blob import size
from caffefold.formats.prototxt.tree import Message
from caffefold.ir.net import Layer, Net
from caffefold.ops.shape import Dim, Shape, first, product, total
from caffefold.ops.shape_linear import groups, inner_size
from caffefold.ops.shape_resample import local_windows
from caffefold.ops.shape_rules import CONVOLUTIONS, is_known
from caffefold.ops.window import convolution_windows, named_axes

FLOAT = 4  # bytes


class Cost(NamedTuple):
    """What one layer costs; None where its shapes are not known."""

    parameters: Dim
    """Numbers in its blobs, shared ones included."""
    macs: Dim
    memory: Dim
    """Bytes of its tops, those apart that it writes in place."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What a net costs. Unknown layers count as 0 in the sums; ``unknown_...`` says how many."""

    layers: int
    parameters: int
    """Numbers in all blobs; a blob that layers share counts once."""
    macs: int
    memory: int
    """Bytes of all blobs as float32."""
    unknown_parameters: int = 0
    unknown_macs: int = 0
    unknown_memory: int = 0


def totals(net: Net, shapes: Shapes | None = None) -> Totals:
    """What the whole net costs, Input layers among its layers.

    Args:
        net: any net; without weights, parameters are counted from shapes.
        shapes: of its blobs; inferred when not given.
    """
    found = shapes or infer(net)
    costs = layer_costs(net, found)
    memory = [total(s) for s, v in zip(found.versions, found.graph.versions, strict=True)
              if v.producer < 0]  # fmt: skip
    memory = [None if count is None else FLOAT * count for count in memory]
    memory += [cost.memory for cost in costs]
    parameters = _parameters_once(net, found)
    return Totals(
        len(net.layers),
        _sum(parameters),
        _sum(cost.macs for cost in costs),
        _sum(memory),
        sum(count is None for count in parameters),
        sum(cost.macs is None for cost in costs),
        sum(count is None for count in memory),
    )


def layer_costs(net: Net, shapes: Shapes) -> tuple[Cost, ...]:
    """What each layer costs, by its position."""
    return tuple(
        Cost(
            _known_sum(_blobs(layer, shapes.bottoms[i])),
            _macs(layer, shapes.bottoms[i], shapes.tops(i)),
            _memory(layer, shapes.tops(i)),
        )
        for i, layer in enumerate(net.layers)
    )


def _parameters_once(net: Net, shapes: Shapes) -> list[Dim]:
    """The parameters of each layer, without blobs that a layer before shares with it.

    Shared are blobs of one ``param { name }`` (net.cpp, AppendParam).
    """
    seen: set[str] = set()
    found: list[Dim] = []
    for i, layer in enumerate(net.layers):
        blobs = _blobs(layer, shapes.bottoms[i])
        names = [m.string("name") for m in layer.body.all("param") if isinstance(m, Message)]
        if blobs is not None:
            kept = [
                count
                for j, count in enumerate(blobs)
                if j >= len(names) or not names[j] or names[j] not in seen
            ]
            found.append(_known_sum(kept))
        else:
            found.append(None)
        seen.update(name for name in names if name)
    return found


def _sum(counts: Iterable[Dim]) -> int:
    return sum(count for count in counts if count is not None)


def _known_sum(counts: Sequence[Dim] | None) -> Dim:
    if counts is None or None in counts:
        return None
    return _sum(counts)


def _memory(layer: Layer, tops: Sequence[Shape]) -> Dim:
    counts = [total(top) for name, top in zip(layer.tops, tops, strict=True)
              if name not in layer.bottoms]  # fmt: skip
    count = _known_sum(counts)
    return None if count is None else FLOAT * count


# -------------------------------------------------------------------------------------- parameters


def _blobs(layer: Layer, bottoms: Sequence[Shape]) -> list[Dim] | None:
    """The number of elements of each blob: as stored, else as Caffe would make it."""
    if layer.blobs:
        return [size(blob) for blob in layer.blobs]
    if layer.record is not None:
        return []
    rule = _SIZES.get(layer.type)
    if rule is None:
        return [] if is_known(layer) else None
    try:
        found = rule(layer, bottoms)
    except TextError:  # a placeholder, or a missing number: infer reports it
        return None
    return None if any(count is not None and count < 0 for count in found or ()) else found


def _convolution_blobs(layer: Layer, bottoms: Sequence[Shape]) -> list[Dim]:
    params = layer.params("convolution_param")
    outputs, axis = params.integer("num_output"), params.integer("axis")
    channels, window = _channels(first(bottoms), axis), _window(layer, first(bottoms))
    count = groups(layer)
    weights = product((outputs, channels, window))
    bias: list[Dim] = [outputs] if params.flag("bias_term") else []
    return [None if weights is None else weights // max(count, 1), *bias]


def _product_blobs(layer: Layer, bottoms: Sequence[Shape]) -> list[Dim]:
    params = layer.params("inner_product_param")
    outputs = params.integer("num_output")
    bias: list[Dim] = [outputs] if params.flag("bias_term") else []
    return [product((outputs, _inputs(layer, bottoms))), *bias]


def _norm_blobs(layer: Layer, bottoms: Sequence[Shape]) -> list[Dim]:
    channels = _channels(first(bottoms), 1)
    return [channels, channels, 1]


def _bn_blobs(layer: Layer, bottoms: Sequence[Shape]) -> list[Dim] | None:
    """slope, bias, mean, variance of PSPNet; scale, shift of SegNet: told apart by their fields."""
    params = layer.params("bn_param")
    channels = _channels(first(bottoms), 1)
    if any(params.has(name) for name in ("scale_filler", "shift_filler", "bn_mode")):
        return [channels] * 2
    if any(params.has(name) for name in ("slope_filler", "bias_filler", "momentum", "frozen")):
        return [channels] * 4
    return None


def _scale_blobs(layer: Layer, bottoms: Sequence[Shape]) -> list[Dim]:
    """gamma, unless it is the second bottom; beta, with ``bias_term`` (scale_layer.cpp)."""
    is_scale = layer.type == "Scale"
    params = layer.params("scale_param" if is_scale else "bias_param")
    shape, axis, span = first(bottoms), params.integer("axis"), params.integer("num_axes")
    covered: Shape = None
    if len(layer.bottoms) > 1:
        covered = bottoms[1]
    elif shape is not None:
        start = axis if axis >= 0 else axis + len(shape)
        covered = shape[start:] if span == -1 else shape[start : start + span]
    elif span == 0:
        covered = ()
    own = [total(covered)] if len(layer.bottoms) == 1 else []
    return own + ([total(covered)] if is_scale and params.flag("bias_term") else [])


def _slope_blobs(layer: Layer, bottoms: Sequence[Shape]) -> list[Dim]:
    """PReLU and Normalize: one number for each channel, or one for all."""
    params = layer.params("prelu_param" if layer.type == "PReLU" else "norm_param")
    return [1 if params.flag("channel_shared") else _channels(first(bottoms), 1)]


def _embed_blobs(layer: Layer, bottoms: Sequence[Shape]) -> list[Dim]:
    del bottoms
    params = layer.params("embed_param")
    outputs = params.integer("num_output")
    bias: list[Dim] = [outputs] if params.flag("bias_term") else []
    return [outputs * params.integer("input_dim"), *bias]


def _recurrent_blobs(layer: Layer, bottoms: Sequence[Shape]) -> list[Dim]:
    """LSTM: W_xc, b_c, (W_xc_static,) W_hc; RNN: W_xh, b_h, W_hh, W_ho, b_o (rnn_layer.cpp)."""
    outputs = layer.params("recurrent_param").integer("num_output")
    inputs = _tail(first(bottoms), 2)
    exposed = layer.params("recurrent_param").flag("expose_hidden")
    states = (2 if layer.type == "LSTM" else 1) if exposed else 0
    static = len(layer.bottoms) - states > 2
    rows = outputs * (4 if layer.type == "LSTM" else 1)
    found: list[Dim] = [product((rows, inputs)), rows, rows * outputs]
    if static:
        found.append(product((rows, _tail(bottoms[2], 1))))
    return found if layer.type == "LSTM" else [*found, outputs * outputs, outputs]


def _parameter_blobs(layer: Layer, bottoms: Sequence[Shape]) -> list[Dim]:
    del bottoms
    dims = layer.params("parameter_param").sub("shape").integers("dim")
    return [product(dims)]


# -------------------------------------------------------------------------------------------- MACs


def _macs(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Dim:
    rule = _MACS.get(layer.type)
    if rule is None:
        return 0 if is_known(layer) else None
    try:
        return rule(layer, bottoms, tops)
    except TextError:
        return None


def _convolution_macs(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Dim:
    """Every input has its own output; all are alike."""
    axis = layer.params("convolution_param").integer("axis")
    moved = first(bottoms) if layer.type == "Deconvolution" else first(tops)
    other = first(tops) if layer.type == "Deconvolution" else first(bottoms)
    per_group = _channels(other, axis)
    work = product((total(moved), per_group, _window(layer, first(bottoms)), len(tops)))
    return None if work is None else work // max(groups(layer), 1)


def _local_macs(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Dim:
    return product(
        (
            total(first(tops)),
            _channels(first(bottoms), 1),
            product(w.kernel for w in local_windows(layer)),
        )
    )


def _product_macs(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Dim:
    return product((total(first(tops)), _inputs(layer, bottoms)))


def _recurrent_macs(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Dim:
    outputs = layer.params("recurrent_param").integer("num_output")
    inputs = _tail(first(bottoms), 2)
    if inputs is None:
        return None
    each = 4 * (inputs + outputs) if layer.type == "LSTM" else inputs + 2 * outputs
    return product((total(first(tops)), each))


def _elements(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Dim:
    del layer, bottoms
    return total(first(tops))


def _window(layer: Layer, shape: Shape) -> Dim:
    """Elements of the window of a convolution."""
    if layer.blobs and len(layer.blobs[0].shape) > 2:
        return product(layer.blobs[0].shape[2:])
    params = layer.params("convolution_param")
    axes = named_axes(layer, params)
    if axes is None and shape is not None:
        axis = params.integer("axis")
        axes = len(shape) - (axis if axis >= 0 else axis + len(shape)) - 1
    if axes is None:
        return None
    return product(window.kernel for window in convolution_windows(layer, params, axes))


def _inputs(layer: Layer, bottoms: Sequence[Shape]) -> Dim:
    """K of an InnerProduct."""
    shape = first(bottoms)
    known = inner_size(layer)
    if known is not None or shape is None:
        return known
    axis = layer.params("inner_product_param").integer("axis")
    return _tail(shape, axis if axis >= 0 else axis + len(shape))


def _channels(shape: Shape, axis: int) -> Dim:
    return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None


def _tail(shape: Shape, axis: int) -> Dim:
    return None if shape is None else product(shape[axis:])


_SIZES: Mapping[str, Callable[[Layer, Sequence[Shape]], list[Dim] | None]] = MappingProxyType(
    {
        **dict.fromkeys((*CONVOLUTIONS, "Deconvolution"), _convolution_blobs),
        "InnerProduct": _product_blobs,
        "BatchNorm": _norm_blobs,
        **dict.fromkeys(("Scale", "Bias"), _scale_blobs),
        **dict.fromkeys(("PReLU", "Normalize"), _slope_blobs),
        "Embed": _embed_blobs,
        **dict.fromkeys(("LSTM", "RNN"), _recurrent_blobs),
        "Parameter": _parameter_blobs,
        "BN": _bn_blobs,
        "LOCAL": lambda layer, bottoms: None,
    }
)
_MACS: Mapping[str, Callable[[Layer, Sequence[Shape], Sequence[Shape]], Dim]] = MappingProxyType(
    {
        **dict.fromkeys((*CONVOLUTIONS, "Deconvolution"), _convolution_macs),
        "InnerProduct": _product_macs,
        "LOCAL": _local_macs,
        **dict.fromkeys(("LSTM", "RNN"), _recurrent_macs),
        **dict.fromkeys(("BatchNorm", "BN", "Scale"), _elements),
    }
)
