"""Convolution, pooling and what else slides a window: one tap of the kernel after another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import ceil, floor, prod
from typing import NamedTuple

import numpy as np

from caffefold.check.forward.layers import Array, Arrays, Function, NotEvaluated, front, stored
from caffefold.formats import schema
from caffefold.formats.prototxt.tree import Message
from caffefold.ir.net import Layer
from caffefold.ir.params import Params

_LOWEST = float(np.finfo(np.float32).min)


class _Geometry(NamedTuple):
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    def taps(self) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """(index, offset) of each element of the kernel."""
        for tap in itertools.product(*map(range, self.kernel)):
            yield tap, tuple(t * d for t, d in zip(tap, self.dilation, strict=True))


def _each(params: Params, name: str, count: int, default: int) -> tuple[int, ...]:
    field = "kernel_size" if name == "kernel" else name
    if name != "dilation" and (params.has(f"{name}_h") or params.has(f"{name}_w")):
        return params.integer(f"{name}_h"), params.integer(f"{name}_w")
    given = params.integers(field)
    return given * (count if len(given) == 1 else 1) or (default,) * count


def _geometry(params: Params, count: int, *, dilated: bool = True) -> _Geometry:
    kernel, stride, pad = (
        _each(params, name, count, default)
        for name, default in (("kernel", 0), ("stride", 1), ("pad", 0))
    )
    dilation = _each(params, "dilation", count, 1) if dilated else (1,) * count
    return _Geometry(kernel, stride, pad, dilation)


def _behind(cut: list[slice]) -> tuple[slice, ...]:
    """The whole of items and channels, and ``cut`` of the axes behind them."""
    return slice(None), slice(None), *cut


def _picked(x: Array, offset: Sequence[int], stride: Sequence[int], out: Sequence[int]) -> Array:
    """Of each window of the padded ``x`` the element at ``offset``."""
    cut = [slice(o, o + (n - 1) * s + 1, s) for o, s, n in zip(offset, stride, out, strict=True)]
    return np.asarray(x[_behind(cut)])


def _tap(weights: Array, tap: tuple[int, ...]) -> Array:
    """The weights of one element of the kernel: (groups, rows, columns)."""
    made: Array = weights[(slice(None),) * 3 + tap]
    return made


def _framed(x: Array, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Array:
    around = [(0, 0)] * (x.ndim - len(before))
    around += [(b, max(a, 0)) for b, a in zip(before, after, strict=True)]
    return np.pad(x, around, constant_values=value)


def _groups(layer: Layer, channels: int) -> int:
    """``group``; depthwise types of forks may leave it out: a filter has one channel then."""
    found = layer.params("convolution_param").integer("group")
    shape = layer.blobs[0].shape if layer.blobs else ()
    return channels if found == 1 and shape[1:2] == (1,) else found


def convolution(layer: Layer, inputs: Arrays) -> Arrays:
    """Convolution of each bottom (conv_layer.cpp)."""
    params = layer.params("convolution_param")
    tops = []
    for x in inputs:
        axis = front(params.integer("axis"), x.ndim)
        lead, channels, space = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        g, groups = _geometry(params, len(space)), _groups(layer, channels)
        count = params.integer("num_output")
        weights = stored(layer, 0, (groups, count // groups, channels // groups, *g.kernel))
        out = tuple(
            int((n + 2 * p - (d * (k - 1) + 1)) / s) + 1
            for n, p, d, k, s in zip(space, g.pad, g.dilation, g.kernel, g.stride, strict=True)
        )
        reach = [
            (o - 1) * s + d * (k - 1) + 1 - n - p
            for o, s, d, k, n, p in zip(
                out, g.stride, g.dilation, g.kernel, space, g.pad, strict=True
            )
        ]
        framed = _framed(x.reshape(-1, channels, *space), g.pad, reach)
        items = len(framed)
        total = np.zeros((items, groups, count // groups, prod(out)))
        for tap, offset in g.taps():
            part = _picked(framed, offset, g.stride, out).reshape(
                items, groups, channels // groups, -1
            )
            total += _product(_tap(weights, tap), part)
        y = total.reshape(items, count, *out)
        tops.append(_biased(layer, y, count).reshape(*lead, count, *out))
    return tops


def _product(weights: Array, x: Array) -> Array:
    """(groups, out, in) times (items, groups, in, places)."""
    if weights.shape[2] == 1:  # depthwise: a product of numbers
        return np.asarray(weights * x)
    made: Array = np.matmul(weights, x)
    return made


def _biased(layer: Layer, y: Array, count: int) -> Array:
    if layer.params("convolution_param").flag("bias_term"):
        y += stored(layer, 1, (count, *(1,) * (y.ndim - 2)))
    return y


def deconvolution(layer: Layer, inputs: Arrays) -> Arrays:
    """Deconvolution: each input number spreads a kernel, then the pad is cut off."""
    params = layer.params("convolution_param")
    tops = []
    for x in inputs:
        axis = front(params.integer("axis"), x.ndim)
        lead, channels, space = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        g, count = _geometry(params, len(space)), params.integer("num_output")
        groups = _groups(layer, channels) if count == channels else _groups(layer, 1)
        weights = stored(layer, 0, (groups, channels // groups, count // groups, *g.kernel))
        parts = x.reshape(-1, groups, channels // groups, prod(space))
        whole = tuple(
            s * (n - 1) + d * (k - 1) + 1
            for s, n, d, k in zip(g.stride, space, g.dilation, g.kernel, strict=True)
        )
        y = np.zeros((len(parts), count, *whole))
        for tap, offset in g.taps():
            spread = np.matmul(_tap(weights, tap).swapaxes(1, 2), parts)
            _picked(y, offset, g.stride, space)[...] += spread.reshape(-1, count, *space)
        kept = [slice(p, n - p) for p, n in zip(g.pad, whole, strict=True)]
        y = y[_behind(kept)]
        tops.append(_biased(layer, y, count).reshape(*lead, count, *y.shape[2:]))
    return tops


def im2col(layer: Layer, inputs: Arrays) -> Arrays:
    """The windows of a convolution along the channels (im2col_layer.cpp)."""
    (x,), params = inputs, layer.params("convolution_param")
    axis = front(params.integer("axis"), x.ndim)
    lead, channels, space = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    g = _geometry(params, len(space))
    out = tuple(
        (n + 2 * p - (d * (k - 1) + 1)) // s + 1
        for n, p, d, k, s in zip(space, g.pad, g.dilation, g.kernel, g.stride, strict=True)
    )
    framed = _framed(x.reshape(-1, channels, *space), g.pad, g.pad)
    parts = [_picked(framed, offset, g.stride, out) for _, offset in g.taps()]
    return [np.stack(parts, 2).reshape(*lead, channels * len(parts), *out)]


def local(layer: Layer, inputs: Arrays) -> Arrays:
    """A filter for each place (local_layer.cpp of face nets): weights (outputs, 1, C k k, places),
    biases (outputs, places)."""
    (x,) = inputs
    kind = schema.message("ConvolutionParameter")
    body = layer.body.message("local_param") or Message(())
    params = Params(layer.document, body, kind, f"layer '{layer.name}'")
    g, count = _geometry(params, 2), params.integer("num_output")
    out = tuple(
        (n + 2 * p - (d * (k - 1) + 1)) // s + 1
        for n, p, d, k, s in zip(x.shape[2:], g.pad, g.dilation, g.kernel, g.stride, strict=True)
    )
    places, window = prod(out), x.shape[1] * prod(g.kernel)
    if layer.blobs and layer.blobs[0].shape != (count, 1, window, places):
        raise NotEvaluated("another fork's layout of local weights")
    weights = stored(layer, 0, (count, x.shape[1], prod(g.kernel), *out))
    framed = _framed(x, g.pad, g.pad)
    y = np.zeros((len(x), count, *out))
    for k, (_, offset) in enumerate(g.taps()):
        part = _picked(framed, offset, g.stride, out)
        y += (part[:, None] * weights[None, :, :, k]).sum(2)
    if params.flag("bias_term"):
        y += stored(layer, 1, (count, *out))
    return [y]


# ------------------------------------------------------------------------------------- pooling


def pooling(layer: Layer, inputs: Arrays) -> Arrays:
    """MAX with or without mask, and AVE (pooling_layer.cpp)."""
    (x,), params = inputs, layer.params("pooling_param")
    kind = params.enum("pool")
    if x.ndim != 4 or kind == "STOCHASTIC":
        raise NotEvaluated(f"{kind} pooling of {x.ndim} axes")
    space = x.shape[2:]
    g = _geometry(params, 2, dilated=False)
    if params.flag("global_pooling"):
        g = _Geometry(space, (1, 1), (0, 0), (1, 1))
    down = params.enum("round_mode") == "FLOOR" or not params.flag("ceil_mode")
    out = []
    for n, k, s, p in zip(space, g.kernel, g.stride, g.pad, strict=True):
        count = (floor if down else ceil)((n + 2 * p - k) / s) + 1
        if any(g.pad) and (count - 1) * s >= n + p:
            count -= 1
        out.append(count)
    if kind == "AVE":
        return [_average(x, out, g)]
    top, mask = _maximum(x, out, g)
    return [top, mask][: len(layer.tops)]


def _reach(x: Array, out: Sequence[int], g: _Geometry) -> list[int]:
    return [
        (o - 1) * s + k - p - n
        for o, s, k, p, n in zip(out, g.stride, g.kernel, g.pad, x.shape[2:], strict=True)
    ]


def _maximum(x: Array, out: Sequence[int], g: _Geometry) -> tuple[Array, Array]:
    framed = _framed(x, g.pad, _reach(x, out, g), -np.inf)
    places = np.arange(prod(x.shape[2:]), dtype=np.float64).reshape(1, 1, *x.shape[2:])
    numbered = _framed(places, g.pad, _reach(x, out, g), -1)
    best = np.full((*x.shape[:2], *out), _LOWEST)
    mask = np.full(best.shape, -1.0)
    for _, offset in g.taps():
        found = _picked(framed, offset, g.stride, out)
        more = found > best
        best = np.where(more, found, best)
        mask = np.where(more, _picked(numbered, offset, g.stride, out), mask)
    return best, mask


def _average(x: Array, out: Sequence[int], g: _Geometry) -> Array:
    framed = _framed(x, g.pad, _reach(x, out, g))
    total = np.zeros((*x.shape[:2], *out))
    for _, offset in g.taps():
        total += _picked(framed, offset, g.stride, out)
    size = np.ones(())
    for o, s, k, p, n in zip(out, g.stride, g.kernel, g.pad, x.shape[2:], strict=True):
        start = np.arange(o) * s - p
        size = size[..., None] * (np.minimum(start + k, n + p) - start)
    with np.errstate(all="ignore"):
        made: Array = total / size
        return made


def spp(layer: Layer, inputs: Arrays) -> Arrays:
    """Spatial pyramid: level i has 2^i x 2^i bins (spp_layer.cpp)."""
    (x,), params = inputs, layer.params("spp_param")
    levels = []
    for level in range(params.integer("pyramid_height")):
        bins = 1 << level
        kernel = tuple(-(-n // bins) for n in x.shape[2:])
        pad = tuple((k * bins - n + 1) // 2 for k, n in zip(kernel, x.shape[2:], strict=True))
        g, out = _Geometry(kernel, kernel, pad, (1, 1)), (bins, bins)
        average = params.enum("pool") == "AVE"
        levels.append(_average(x, out, g) if average else _maximum(x, out, g)[0])
    if len(levels) == 1:
        return levels
    return [np.concatenate([level.reshape(len(x), -1) for level in levels], 1)]


def lrn(layer: Layer, inputs: Arrays) -> Arrays:
    """Across channels, or within each (lrn_layer.cpp)."""
    (x,), params = inputs, layer.params("lrn_param")
    size, alpha, beta = params.integer("local_size"), params.number("alpha"), params.number("beta")
    reach, squares = size // 2, x * x
    if params.enum("norm_region") == "WITHIN_CHANNEL":
        g = _Geometry((size, size), (1, 1), (reach, reach), (1, 1))
        return [x * (1 + alpha * _average(squares, x.shape[2:], g)) ** -beta]
    padded = np.pad(squares, ((0, 0), (reach, reach), *((0, 0),) * (x.ndim - 2)))
    total = sum(padded[:, i : i + x.shape[1]] for i in range(size))
    return [x * (params.number("k") + alpha / size * total) ** -beta]


def interp(layer: Layer, inputs: Arrays) -> Arrays:
    """Bilinear, corners on corners; negative padding crops first (interp_layer.cpp)."""
    params, x = layer.params("interp_param"), inputs[0]
    begin, end = -params.integer("pad_beg"), params.integer("pad_end")
    x = x[:, :, begin : x.shape[2] + end, begin : x.shape[3] + end]
    size = [params.integer("height"), params.integer("width")]
    if params.has("shrink_factor") or params.has("zoom_factor"):
        size = [(n - 1) // params.integer("shrink_factor") + 1 for n in x.shape[2:]]
        size = [n + (n - 1) * (params.integer("zoom_factor") - 1) for n in size]
    elif not all(size):
        size = list(inputs[1].shape[2:])
    for axis, wanted in zip((2, 3), size, strict=True):
        have = x.shape[axis]
        at = np.arange(wanted) * ((have - 1) / (wanted - 1) if wanted > 1 else 0.0)
        low = np.minimum(at.astype(int), have - 1)
        high = np.minimum(low + 1, have - 1)
        shape = [1] * 4
        shape[axis] = wanted
        part = (at - low).reshape(shape)
        x = x.take(low, axis) * (1 - part) + x.take(high, axis) * part
    return [x]


WINDOWS: dict[str, Function] = {
    "Convolution": convolution,
    "Deconvolution": deconvolution,
    "Im2col": im2col,
    "Interp": interp,
    "LOCAL": local,
    "LRN": lrn,
    "Pooling": pooling,
    "SPP": spp,
}
