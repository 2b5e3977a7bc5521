"""Layers with weights that slide no window: products, affine maps, recurrence."""

from __future__ import annotations

from math import prod

import numpy as np

from caffefold.check import reference
from caffefold.check.forward.layers import (
    Array,
    Arrays,
    Function,
    NotEvaluated,
    along,
    front,
    stored,
)
from caffefold.check.forward.plain import sigmoid
from caffefold.formats.caffemodel.blob import size
from caffefold.ir.net import Layer


def inner_product(layer: Layer, inputs: Arrays) -> Arrays:
    """[N, K] times the axes from ``axis`` on, or [K, N] with ``transpose``."""
    p, x = layer.params("inner_product_param"), inputs[0]
    axis, count = front(p.integer("axis"), x.ndim), p.integer("num_output")
    rows = x.reshape(prod(x.shape[:axis]), -1)
    width = rows.shape[1]
    if p.flag("transpose"):
        y = rows @ stored(layer, 0, (width, count))
    else:
        y = rows @ stored(layer, 0, (count, width)).T
    if p.flag("bias_term"):
        y = y + stored(layer, 1, (count,))
    return [y.reshape(*x.shape[:axis], count)]


def embed(layer: Layer, inputs: Arrays) -> Arrays:
    """Rows of a table; fractions of indices are cut off."""
    p = layer.params("embed_param")
    count = p.integer("num_output")
    y = stored(layer, 0, (p.integer("input_dim"), count))[inputs[0].astype(int)]
    return [y + stored(layer, 1, (count,)) if p.flag("bias_term") else y]


def normalization(layer: Layer, inputs: Arrays) -> Arrays:
    """BatchNorm and BN: by stored statistics (check/reference.py), or by those of the batch."""
    x = inputs[0]
    found = reference.affine(layer, x.ndim)
    if found is not None:
        return [x * along(found.scale, 1, x.ndim) + along(found.shift, 1, x.ndim)]
    message = "batch_norm_param"
    p = layer.params(message)
    if not p.has("use_global_stats") or p.flag("use_global_stats") or len(layer.blobs) == 5:
        raise NotEvaluated(f"{len(layer.blobs)} blobs of {layer.type}, or results without a number")
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    apart = x - x.mean(axes, keepdims=True)
    return [apart / np.sqrt((apart * apart).mean(axes, keepdims=True) + p.number("eps"))]


def scale(layer: Layer, inputs: Arrays) -> Arrays:
    """Times a second bottom or stored numbers, plus stored ones."""
    p, x = layer.params("scale_param"), inputs[0]
    if len(inputs) > 1:
        factor = inputs[1]
        axis = front(p.integer("axis"), x.ndim) if factor.ndim else 0
    else:
        axis, shape = _covered(p.integer("axis"), p.integer("num_axes"), x)
        factor = stored(layer, 0, shape)
    y = x * along(factor, axis, x.ndim)
    if p.flag("bias_term"):
        y = y + along(stored(layer, 2 - len(inputs), factor.shape), axis, x.ndim)
    return [y]


def bias(layer: Layer, inputs: Arrays) -> Arrays:
    """Plus a second bottom or stored numbers."""
    p, x = layer.params("bias_param"), inputs[0]
    if len(inputs) > 1:
        shift = inputs[1]
        return [x + along(shift, front(p.integer("axis"), x.ndim) if shift.ndim else 0, x.ndim)]
    axis, shape = _covered(p.integer("axis"), p.integer("num_axes"), x)
    return [x + along(stored(layer, 0, shape), axis, x.ndim)]


def _covered(at: int, span: int, x: Array) -> tuple[int, tuple[int, ...]]:
    """Where learned numbers start, and their shape (scale_layer.cpp)."""
    if span == 0:
        return 0, ()
    axis = front(at, x.ndim)
    return axis, x.shape[axis:] if span == -1 else x.shape[axis : axis + span]


def prelu(layer: Layer, inputs: Arrays) -> Arrays:
    """A slope for each channel, or one."""
    x = inputs[0]
    shape = () if size(layer.blobs[0]) == 1 else (x.shape[1],)
    slope = along(stored(layer, 0, shape), 1 if shape else 0, x.ndim)
    return [np.maximum(x, 0) + slope * np.minimum(x, 0)]


def normalize(layer: Layer, inputs: Arrays) -> Arrays:
    """By the L2 norm of a place or an item, then a scale (normalize_layer.cpp)."""
    p, x = layer.params("norm_param"), inputs[0]
    axes = tuple(range(1, x.ndim)) if p.flag("across_spatial") else (1,)
    y = x / np.sqrt((x * x).sum(axes, keepdims=True) + p.number("eps"))
    shape = () if p.flag("channel_shared") else (x.shape[1],)
    return [y * along(stored(layer, 0, shape), 1 if shape else 0, x.ndim)]


# -------------------------------------------------------------------------------- recurrence


def _start(layer: Layer, inputs: Arrays, states: int, rows: int) -> tuple[Arrays, Array, int]:
    """(first states, what the input adds to the gates at each step, where W_h stands)."""
    p = layer.params("recurrent_param")
    x, _, *more = inputs
    exposed = p.flag("expose_hidden")
    given = more[len(more) - states :] if exposed else []
    static = more[: len(more) - len(given)]
    steps, count = x.shape[0], x.shape[1]
    flat = x.reshape(steps, count, -1)
    added = flat @ stored(layer, 0, (rows, flat.shape[2])).T + stored(layer, 1, (rows,))
    if static:
        still = static[0].reshape(count, -1)
        added = added + still @ stored(layer, 2, (rows, still.shape[1])).T
    zero: Array = np.zeros((count, p.integer("num_output")))
    first: Arrays = [state.reshape(zero.shape) for state in given] or [zero] * states
    return first, added, 3 if static else 2


def _step(c: Array, gates: Array, cont: Array) -> tuple[Array, Array]:
    i, f, o, g = np.split(gates, 4, -1)
    c = cont * sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm(layer: Layer, inputs: Arrays) -> Arrays:
    """Gates i, f, o, g; cont 0 starts anew (lstm_layer.cpp)."""
    width = layer.params("recurrent_param").integer("num_output")
    (h, c), added, at = _start(layer, inputs, 2, 4 * width)
    weight = stored(layer, at, (4 * width, width))
    made = []
    for gates, mark in zip(added, inputs[1], strict=True):
        cont = mark[:, None]
        h, c = _step(c, gates + (cont * h) @ weight.T, cont)
        made.append(h)
    return [np.stack(made), h[None], c[None]][: len(layer.tops)]


def lstm_unit(_layer: Layer, inputs: Arrays) -> Arrays:
    """One step."""
    c, gates, cont = inputs
    h, c = _step(c, gates, cont[..., None])
    return [c, h]


def rnn(layer: Layer, inputs: Arrays) -> Arrays:
    """tanh of the state, tanh of an output of it (rnn_layer.cpp)."""
    width = layer.params("recurrent_param").integer("num_output")
    (h,), added, at = _start(layer, inputs, 1, width)
    weight, output = (stored(layer, at + i, (width, width)) for i in (0, 1))
    shift = stored(layer, at + 2, (width,))
    made = []
    for step, mark in zip(added, inputs[1], strict=True):
        h = np.tanh(step + (mark[:, None] * h) @ weight.T)
        made.append(np.tanh(h @ output.T + shift))
    return [np.stack(made), h[None]][: len(layer.tops)]


# ---------------------------------------------------------------------------- without bottoms


def parameter(layer: Layer, _inputs: Arrays) -> Arrays:
    """A learned blob."""
    return [stored(layer, 0, layer.params("parameter_param").sub("shape").integers("dim"))]


def dummy_data(layer: Layer, _inputs: Arrays) -> Arrays:
    """Constants (dummy_data_layer.cpp)."""
    p = layer.params("dummy_data_param")
    shapes = [shape.integers("dim") for shape in p.messages("shape")]
    if not shapes:
        dims = [p.integers(name) for name in ("num", "channels", "height", "width")]
        count = max(map(len, dims))
        shapes = list(zip(*(d * count if len(d) == 1 else d for d in dims), strict=True))
    fillers = list(p.messages("data_filler"))
    if any(filler.string("type") != "constant" for filler in fillers):
        raise NotEvaluated("a random filler")
    values = [filler.number("value") for filler in fillers] or [0.0]
    count = len(layer.tops)
    shapes, values = (
        shapes * (count if len(shapes) == 1 else 1),
        values * (count if len(values) == 1 else 1),
    )
    return [np.full(shape, value) for shape, value in zip(shapes, values, strict=True)]


LEARNED: dict[str, Function] = {
    "BN": normalization,
    "BatchNorm": normalization,
    "Bias": bias,
    "DummyData": dummy_data,
    "Embed": embed,
    "InnerProduct": inner_product,
    "LSTM": lstm,
    "LSTMUnit": lstm_unit,
    "Normalize": normalize,
    "PReLU": prelu,
    "Parameter": parameter,
    "RNN": rnn,
    "Scale": scale,
}
