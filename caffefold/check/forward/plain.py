"""Layers without weights that work on numbers at their place, or move them."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, prod

import numpy as np

from caffefold.check.forward.layers import Array, Arrays, Function, NotEvaluated, front
from caffefold.formats.prototxt.tree import Message, Scalar
from caffefold.ir.net import Layer
from caffefold.ir.params import parse_float, parse_int

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def each(function: Callable[[Array], Array]) -> Function:
    """A type that maps every number by itself."""
    return lambda layer, inputs: [function(inputs[0])] * len(layer.tops)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), without overflow."""
    made: Array = np.where(x >= 0, 1.0, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x)))
    return made


def softplus(x: Array) -> Array:
    """log(1 + e^x), without overflow."""
    made: Array = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return made


def _hard(x: Array) -> Array:
    made: Array = np.clip(x + 3, 0, 6) / 6
    return made


def power(layer: Layer, inputs: Arrays) -> Arrays:
    """(shift + scale * x) ^ power."""
    p = layer.params("power_param")
    scale, shift, exponent = map(p.number, ("scale", "shift", "power"))
    inner = shift + scale * inputs[0]
    return [inner if exponent == 1 else inner**exponent]


def relu(layer: Layer, inputs: Arrays) -> Arrays:
    """ReLU, leaky with a slope."""
    slope = layer.params("relu_param").number("negative_slope")
    return [np.maximum(inputs[0], 0) + slope * np.minimum(inputs[0], 0)]


def elu(layer: Layer, inputs: Arrays) -> Arrays:
    """x, or alpha * (e^x - 1) below 0."""
    alpha, x = layer.params("elu_param").number("alpha"), inputs[0]
    return [np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))]


def exponential(layer: Layer, inputs: Arrays) -> Arrays:
    """base ^ (shift + scale * x)."""
    p = layer.params("exp_param")
    base = exp(1) if p.number("base") == -1 else p.number("base")
    return [base ** (p.number("shift") + p.number("scale") * inputs[0])]


def logarithm(layer: Layer, inputs: Arrays) -> Arrays:
    """log of shift + scale * x to a base."""
    p = layer.params("log_param")
    base = p.number("base")
    divisor = 1.0 if base == -1 else log(base)
    return [np.log(p.number("shift") + p.number("scale") * inputs[0]) / divisor]


def clip(layer: Layer, inputs: Arrays) -> Arrays:
    """Between two limits."""
    p = layer.params("clip_param")
    return [np.clip(inputs[0], p.number("min"), p.number("max"))]


def swish(layer: Layer, inputs: Arrays) -> Arrays:
    """x * sigmoid(beta * x)."""
    return [inputs[0] * sigmoid(layer.params("swish_param").number("beta") * inputs[0])]


def threshold(layer: Layer, inputs: Arrays) -> Arrays:
    """1 above, else 0."""
    limit = layer.params("threshold_param").number("threshold")
    return [(inputs[0] > limit).astype(np.float64)]


def dropout(layer: Layer, inputs: Arrays) -> Arrays:
    """The identity, but for forks that say otherwise."""
    message = layer.body.message("dropout_param") or Message(())
    said = {
        name: value.raw
        for name in ("sample_weights_test", "scale_train")
        if isinstance(value := message.last(name), Scalar)
    }
    if said.get("sample_weights_test") in ("true", "True", "1"):
        raise NotEvaluated("dropout at random at test time")
    factor = 1.0
    if said.get("scale_train") in ("false", "False", "0"):
        factor -= layer.params("dropout_param").number("dropout_ratio")
    return [inputs[0] * factor] * len(layer.tops)


def mvn(layer: Layer, inputs: Arrays) -> Arrays:
    """Mean 0 and deviation 1; eps is added to the deviation, and there are always four axes."""
    p, x = layer.params("mvn_param"), inputs[0]
    x = x.reshape(x.shape + (1,) * (4 - x.ndim))
    axes = (1, 2, 3) if p.flag("across_channels") else (2, 3)
    y = x - x.mean(axes, keepdims=True)
    if p.flag("normalize_variance"):
        y = y / (np.sqrt((y * y).mean(axes, keepdims=True)) + p.number("eps"))
    return [y]


def softmax(layer: Layer, inputs: Arrays) -> Arrays:
    """Along one axis."""
    x = inputs[0]
    axis = front(layer.params("softmax_param").integer("axis"), x.ndim)
    y = np.exp(x - x.max(axis, keepdims=True))
    return [y / y.sum(axis, keepdims=True)]


# ----------------------------------------------------------------------------- several blobs


def _cut_axis(layer: Layer, message: str, old: str, dims: int) -> int:
    p = layer.params(message)
    return front(p.integer(old) if p.has(old) else p.integer("axis"), dims)


def concat(layer: Layer, inputs: Arrays) -> Arrays:
    """One after another."""
    axis = _cut_axis(layer, "concat_param", "concat_dim", inputs[0].ndim)
    return [np.concatenate(inputs, axis)]


def slices(layer: Layer, inputs: Arrays) -> Arrays:
    """Parts along an axis."""
    axis = _cut_axis(layer, "slice_param", "slice_dim", inputs[0].ndim)
    points = list(layer.params("slice_param").integers("slice_point"))
    count = len(layer.tops)
    return np.split(inputs[0], points or count, axis)


def eltwise(layer: Layer, inputs: Arrays) -> Arrays:
    """SUM with coefficients, PROD, MAX."""
    p = layer.params("eltwise_param")
    kind = p.enum("operation")
    if kind == "PROD":
        return [prod(inputs[1:], start=inputs[0])]
    if kind == "MAX":
        return [np.stack(inputs).max(0)]
    factors = p.numbers("coeff") or (1.0,) * len(inputs)
    total = np.zeros_like(inputs[0])
    for factor, x in zip(factors, inputs, strict=True):
        total = total + factor * x
    return [total]


def axpy(_layer: Layer, inputs: Arrays) -> Arrays:
    """A factor for each channel, times x, plus y."""
    gate, x, y = inputs
    return [gate.reshape(*x.shape[:2], *(1,) * (x.ndim - 2)) * x + y]


def batch_reindex(_layer: Layer, inputs: Arrays) -> Arrays:
    """Items by number."""
    return [inputs[0][inputs[1].astype(int)]]


def select(_layer: Layer, inputs: Arrays) -> Arrays:
    """Filter: the items whose selector is not 0."""
    *blobs, selector = inputs
    return [blob[selector.reshape(-1) != 0] for blob in blobs]


# ------------------------------------------------------------------------------ other shapes


def reshape(layer: Layer, inputs: Arrays) -> Arrays:
    """0 copies, -1 is the rest, within the axes that are replaced (reshape_layer.cpp)."""
    p, x = layer.params("reshape_param"), inputs[0]
    at, span = p.integer("axis"), p.integer("num_axes")
    start = at if at >= 0 else x.ndim + at + 1
    stop = x.ndim if span == -1 else start + span
    dims = list(p.sub("shape").integers("dim"))
    dims = [x.shape[start + i] if dim == 0 else dim for i, dim in enumerate(dims)]
    return [x.reshape(*x.shape[:start], *_filled(dims, prod(x.shape[start:stop])), *x.shape[stop:])]


def _filled(dims: list[int], count: int) -> list[int]:
    rest = prod(dim for dim in dims if dim != -1)
    return [count // rest if dim == -1 else dim for dim in dims]


def flatten(layer: Layer, inputs: Arrays) -> Arrays:
    """Some axes as one."""
    p, x = layer.params("flatten_param"), inputs[0]
    start, stop = front(p.integer("axis"), x.ndim), front(p.integer("end_axis"), x.ndim) + 1
    return [x.reshape(*x.shape[:start], prod(x.shape[start:stop]), *x.shape[stop:])]


def permute(layer: Layer, inputs: Arrays) -> Arrays:
    """The axes in ``order``, then the others."""
    x, order = inputs[0], list(layer.params("permute_param").integers("order"))
    return [x.transpose(order + [axis for axis in range(x.ndim) if axis not in order])]


def transpose(layer: Layer, inputs: Arrays) -> Arrays:
    """Transpose of OCR forks."""
    message = layer.body.message("transpose_param") or Message(())
    order = [parse_int(v.raw) or 0 for v in message.all("dim") if isinstance(v, Scalar)]
    return [inputs[0].transpose(order)]


def tile(layer: Layer, inputs: Arrays) -> Arrays:
    """Copies one after another."""
    p, x = layer.params("tile_param"), inputs[0]
    return [np.concatenate([x] * p.integer("tiles"), front(p.integer("axis"), x.ndim))]


def crop(layer: Layer, inputs: Arrays) -> Arrays:
    """To the second bottom's extents."""
    x, like = inputs
    p = layer.params("crop_param")
    start, offsets = front(p.integer("axis"), x.ndim), p.integers("offset") or (0,)
    for axis in range(start, x.ndim):
        at = offsets[0] if len(offsets) == 1 else offsets[axis - start]
        x = x.take(range(at, at + like.shape[axis]), axis)
    return [x]


def shuffle_channel(layer: Layer, inputs: Arrays) -> Arrays:
    """Channels of the groups in turn."""
    x, group = inputs[0], layer.params("shuffle_channel_param").integer("group")
    apart = x.reshape(len(x), group, -1, *x.shape[2:])
    return [apart.swapaxes(1, 2).reshape(x.shape)]


def reorg(layer: Layer, inputs: Arrays) -> Arrays:
    """Darknet's: by the index arithmetic of reorg_cpu, number by number."""
    x, p = inputs[0], layer.params("reorg_param")
    step = p.integer("stride")
    items, channels, height, width = x.shape
    less = channels // step**2
    b, k, j, i = np.indices(x.shape)
    across = i * step + (k // less) % step
    down = j * step + (k // less) // step
    other = across + width * step * (down + height * step * (k % less + less * b))
    source, here = x.reshape(-1), np.arange(x.size)
    made = np.empty(x.size)
    if p.flag("reverse"):
        made[other.reshape(-1)] = source[here]
        return [made.reshape(items, less, height * step, width * step)]
    made[here] = source[other.reshape(-1)]
    return [made.reshape(items, channels * step**2, height // step, width // step)]


def upsample(layer: Layer, inputs: Arrays) -> Arrays:
    """Each number repeated; with a mask each at its place (upsample_layer.cpp of both forks)."""
    x, message = inputs[0], layer.body.message("upsample_param") or Message(())

    def number(name: str) -> float:
        value = message.last(name)
        return (parse_float(value.raw) or 0.0) if isinstance(value, Scalar) else 0.0

    masked = len(inputs) > 1
    scale = number("scale") or (2.0 if masked else 1.0)
    factors = number("scale_h") or scale, number("scale_w") or scale
    if not number("scale") and (number("stride") or number("stride_h")):
        factors = (
            number("stride_h") or number("stride"),
            number("stride_w") or number("stride"),
        )
    size = [int(n * f) for n, f in zip(x.shape[2:], factors, strict=True)]
    for i, name in enumerate(("pad_out_h", "pad_out_w")):
        value = message.last(name)
        if isinstance(value, Scalar) and value.raw in ("true", "True", "1"):
            size[i] -= 1
    if number("upsample_h") and number("upsample_w"):
        size = [int(number("upsample_h")), int(number("upsample_w"))]
    if not masked:
        rows, columns = ((np.arange(n) * h // n) for n, h in zip(size, x.shape[2:], strict=True))
        return [x[:, :, rows][:, :, :, columns]]
    made = np.zeros((*x.shape[:2], prod(size)))
    places = inputs[1].reshape(*x.shape[:2], -1).astype(int)
    np.put_along_axis(made, places, x.reshape(*x.shape[:2], -1), 2)
    return [made.reshape(*x.shape[:2], *size)]


# -------------------------------------------------------------------------------- reductions


def reduction(layer: Layer, inputs: Arrays) -> Arrays:
    """Of all axes from ``axis`` on."""
    p, x = layer.params("reduction_param"), inputs[0]
    axes = tuple(range(front(p.integer("axis"), x.ndim), x.ndim))
    kind = p.enum("operation")
    x = np.abs(x) if kind == "ASUM" else x * x if kind == "SUMSQ" else x
    made = x.mean(axes) if kind == "MEAN" else x.sum(axes)
    return [np.asarray(p.number("coeff") * made)]


def argmax(layer: Layer, inputs: Arrays) -> Arrays:
    """Of equal numbers, the later index first (argmax_layer.cpp)."""
    p, x = layer.params("argmax_param"), inputs[0]
    given, count = p.has("axis"), p.integer("top_k")
    axis = front(p.integer("axis"), x.ndim) if given else 1
    rows = np.moveaxis(x if given else x.reshape(len(x), -1), axis, -1)
    extent = rows.shape[-1]
    order = extent - 1 - np.argsort(-rows[..., ::-1], axis=-1, kind="stable")[..., :count]
    values = np.take_along_axis(rows, order, -1)
    if given:
        found = values if p.flag("out_max_val") else order.astype(np.float64)
        return [np.moveaxis(found, -1, axis)]
    both = [order.astype(np.float64), *([values] if p.flag("out_max_val") else [])]
    made = np.stack(both, 1)
    return [made.reshape(made.shape + (1,) * (x.ndim - 3))]


PLAIN: dict[str, Function] = {
    "AbsVal": each(np.abs),
    "ArgMax": argmax,
    "Axpy": axpy,
    "BNLL": each(softplus),
    "BatchReindex": batch_reindex,
    "Clip": clip,
    "Concat": concat,
    "Crop": crop,
    "Dropout": dropout,
    "ELU": elu,
    "Eltwise": eltwise,
    "Exp": exponential,
    "Filter": select,
    "Flatten": flatten,
    "HardSigmoid": each(_hard),
    "HardSwish": each(lambda x: x * _hard(x)),
    "Log": logarithm,
    "MVN": mvn,
    "Mish": each(lambda x: x * np.tanh(softplus(x))),
    "Permute": permute,
    "Power": power,
    "ReLU": relu,
    "ReLU1": each(lambda x: np.clip(x, -1, 1)),
    "ReLU6": each(lambda x: np.clip(x, 0, 6)),
    "Reduction": reduction,
    "Reorg": reorg,
    "Reshape": reshape,
    "SELU": each(
        lambda x: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0)))
    ),
    "ShuffleChannel": shuffle_channel,
    "Sigmoid": each(sigmoid),
    "Silence": lambda _layer, _inputs: [],
    "Slice": slices,
    "Softmax": softmax,
    "Split": each(lambda x: x),
    "Swish": swish,
    "TanH": each(np.tanh),
    "Threshold": threshold,
    "Tile": tile,
    "Transpose": transpose,
    "Upsample": upsample,
}
