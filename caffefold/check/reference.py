"""Caffe's test-time arithmetic in float64: affine layers as maps, linear layers on random patches.

Written from Caffe's sources and apart from ``passes.fold``: the proof would be worth nothing if it
took weight layouts or formulas from the code it checks. A patch is one column of what im2col
gathers: all inputs that meet in one output pixel, so no picture is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from caffefold.formats.caffemodel.blob import CHUNK, array, size
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.net import Layer
from caffefold.ir.params import Params
from caffefold.ops.table import op

Doubles = NDArray[np.float64]
PATCH_LARGEST = 1.5


def axis_of(layer: Layer, message: str, rank: int | None, *, old: str = "") -> int:
    """The ``axis`` of a layer's parameters, counted from the front (blob.hpp, CanonicalAxisIndex).

    A negative one needs the ``rank`` of the input and stays as it is without. ``old`` is an older
    field, which wins.
    """
    params = layer.params(message)
    if old and params.has(old):
        return params.integer(old)
    axis = params.integer("axis")
    return axis + rank if axis < 0 and rank is not None else axis


class AffineMap(NamedTuple):
    """``y = scale * x + shift`` per channel; length 1 for all channels alike."""

    scale: Doubles
    shift: Doubles
    roundings: int = 1
    """How many stored numbers, each of which may have been rounded, are in one of these."""
    sizes: Doubles | None = None
    """The sizes of what the shift was added up from, where it was."""
    axis: int = 1
    """The axis its numbers lie along, if there are several."""

    @property
    def channels(self) -> int:
        """How many channels it speaks of; 1 fits any number."""
        return max(self.scale.size, self.shift.size)


class Response(NamedTuple):
    """Outputs (C, patches), and for each the sum of the magnitudes that went into it."""

    values: Doubles
    magnitude: Doubles


# ------------------------------------------------------------------------------ affine maps


def affine(layer: Layer, rank: int | None) -> AffineMap | None:
    """The map of an affine layer in TEST; None for layers that compute something else, or NaN.

    ``rank`` is the number of axes of its input, where known; a negative ``axis`` needs it.
    """
    name = op(layer).name
    if name not in _AFFINE or len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return None
    message, formula = _AFFINE[name]
    if name in ("Scale", "Bias") and not _along_channels(layer, message, rank):
        return None
    numbers = [array(blob).reshape(-1).astype(np.float64) for blob in layer.blobs]
    with np.errstate(all="ignore"):
        found = formula(layer.params(message), numbers)
    if found is None or not (np.isfinite(found.scale).all() and np.isfinite(found.shift).all()):
        return None
    return found


def pointwise(layer: Layer) -> AffineMap | None:
    """The map of a 1x1 convolution with a group for each channel; None for other layers.

    Each output is its own channel times one weight (base_conv_layer.cpp, forward_cpu_gemm), without
    padding or stride.
    """
    if op(layer).name != "Convolution" or len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return None
    params = layer.params("convolution_param")
    moved = ("pad", "pad_h", "pad_w", "stride", "stride_h", "stride_w")
    still = all(set(params.integers(name)) <= {0 if "pad" in name else 1} for name in moved)
    layout = linear(layer, None)
    if layout is None or not still or layout.view != (layout.channels, 1, 1, 1):
        return None
    scale, *shift = (array(blob).reshape(-1).astype(np.float64) for blob in layer.blobs)
    found = AffineMap(scale, shift[0] if shift else np.zeros(1))
    return found if np.isfinite(found.scale).all() and np.isfinite(found.shift).all() else None


def along_outputs(layer: Layer, rank: int | None) -> AffineMap | None:
    """The map of a Scale or Bias with a number for each index of its input's last axis, along which
    the outputs of an InnerProduct lie (inner_product_layer.cpp, Reshape)."""
    name = op(layer).name
    if name not in ("Scale", "Bias") or rank is None or len(layer.bottoms) != 1:
        return None
    message, formula = _AFFINE[name]
    one_axis = bool(layer.blobs) and len(layer.blobs[0].shape) == 1
    if not one_axis or axis_of(layer, message, rank) != rank - 1 or len(layer.tops) != 1:
        return None
    numbers = [array(blob).reshape(-1).astype(np.float64) for blob in layer.blobs]
    found = formula(layer.params(message), numbers)
    if found is None or not (np.isfinite(found.scale).all() and np.isfinite(found.shift).all()):
        return None
    return found._replace(axis=rank - 1)


def _along_channels(layer: Layer, message: str, rank: int | None) -> bool:
    """Whether the layer has a number of its own for each channel, or one for all."""
    if not layer.blobs:
        return False
    shape = layer.blobs[0].shape
    if not shape or layer.params(message).integer("num_axes") == 0:
        return True
    legacy = len(shape) == 4 and shape[:3] == (1, 1, 1)
    one_axis = legacy or shape[0] == size(layer.blobs[0])
    return one_axis and axis_of(layer, message, rank) == 1


def _batch_norm(params: Params, numbers: list[Doubles]) -> AffineMap | None:
    batch_statistics = params.has("use_global_stats") and not params.flag("use_global_stats")
    if batch_statistics or len(numbers) not in (3, 5):
        return None
    eps = params.number("eps")
    if len(numbers) == 5 and numbers[4].size < numbers[0].size:  # NVCaffe 0.15
        gamma, beta, mean, variance = numbers[:4]
        return _fused(mean, variance, max(eps, 1e-5), gamma, beta, 4)
    mean, variance, factor = numbers[:3]
    nvidia = any(params.has(name) for name in ("scale_bias", "scale_filler", "bias_filler"))
    if nvidia and len(numbers) == 5:
        return _fused(mean, variance, max(eps, 1e-5), numbers[3], numbers[4], 4)
    if factor[0] == 0:
        mean, variance = np.zeros_like(mean), np.zeros_like(variance)
    else:
        mean, variance = mean / factor[0], variance / factor[0]
    unused = params.has("use_weight_bias") and not params.flag("use_weight_bias")
    if len(numbers) == 3 or unused:
        return _fused(mean, variance, eps, np.ones(1), np.zeros(1), 3)
    return _fused(mean, variance, eps, numbers[3], numbers[4], 5)


def _fused(
    mean: Doubles,
    variance: Doubles,
    eps: float,
    gamma: Doubles,
    beta: Doubles,
    roundings: int,
) -> AffineMap:
    """``gamma * (x - mean) / sqrt(variance + eps) + beta``."""
    deviation = np.sqrt(variance + eps)
    moved = gamma * mean / deviation
    return AffineMap(gamma / deviation, beta - moved, roundings, np.abs(beta) + np.abs(moved))


def _bn(params: Params, numbers: list[Doubles]) -> AffineMap | None:
    if len(numbers) == 4:
        slope, bias, mean, variance = numbers
        return _fused(mean, variance, params.number("eps"), slope, bias, 4)
    inference = params.message.string("bn_mode") in ("INFERENCE", "1")
    return AffineMap(numbers[0], numbers[1]) if inference and len(numbers) == 2 else None


def _scale(params: Params, numbers: list[Doubles]) -> AffineMap:
    biased = params.flag("bias_term") and len(numbers) > 1
    return AffineMap(numbers[0], numbers[1] if biased else np.zeros(1))


def _bias(_params: Params, numbers: list[Doubles]) -> AffineMap:
    return AffineMap(np.ones(1), numbers[0])


def _power(params: Params, _numbers: list[Doubles]) -> AffineMap | None:
    if params.number("power") != 1:
        return None
    return AffineMap(np.array([params.number("scale")]), np.array([params.number("shift")]))


_AFFINE: dict[str, tuple[str, Callable[[Params, list[Doubles]], AffineMap | None]]] = {
    "BatchNorm": ("batch_norm_param", _batch_norm),
    "BN": ("bn_param", _bn),
    "Scale": ("scale_param", _scale),
    "Bias": ("bias_param", _bias),
    "Power": ("power_param", _power),
}


# ----------------------------------------------------------------------------- linear layers


class Linear(NamedTuple):
    """How the stored weights of a linear layer meet a patch of (channels, taps)."""

    view: tuple[int, int, int, int]
    """The weights as (groups, rows, columns, inner)."""
    outputs_first: bool
    """Whether rows are outputs, and each meets (columns, inner) of its group; else columns are,
    and each meets (rows, inner)."""
    channels: int
    """Input channels, of all groups."""
    taps: int
    """Inputs of one channel that meet in one output: of an InnerProduct, all its pixels."""
    meets_border: bool
    """Whether some outputs meet only part of the taps: padding, or a deconvolution's edge."""
    biased: bool
    """Whether the text asks for a bias."""

    @property
    def outputs(self) -> int:
        """Output channels, of all groups."""
        groups, rows, columns, _ = self.view
        return groups * (rows if self.outputs_first else columns)


def linear(layer: Layer, channels: int | None) -> Linear | None:
    """The linear layer that ``layer`` is; None for other types, without weights, and where its
    outputs are not the channels of its top.

    ``channels`` are those of its input, where they are known.
    """
    name = op(layer).name
    if name not in _LINEAR or not layer.blobs:
        return None
    message, layout = _LINEAR[name]
    if axis_of(layer, message, None) != 1:
        if name != "InnerProduct":
            return None
        channels = None  # its inputs are not the channels, nor its outputs
    return layout(layer.params(message), layer.blobs[0].shape, channels)


def outputs_axis(layer: Layer, rank: int | None) -> int | None:
    """The axis of a linear layer's outputs in its top; ``rank`` is that of its input."""
    if op(layer).name != "InnerProduct":
        return 1
    axis = axis_of(layer, "inner_product_param", rank)
    return axis if axis >= 0 else None


def _convolution(params: Params, shape: tuple[int, ...], channels: int | None) -> Linear:
    """[Cout, Cin/group, kernel...] (base_conv_layer.cpp, LayerSetUp)."""
    outputs, inputs, *kernel = shape
    groups, taps = params.integer("group"), prod(kernel)
    found = 0 if channels is None else channels // inputs
    if found and outputs % found == 0:
        groups = found  # depthwise types of forks may leave ``group`` out
    padded = any((*params.integers("pad"), params.integer("pad_h"), params.integer("pad_w")))
    view = groups, outputs // groups, inputs, taps
    return Linear(view, True, inputs * groups, taps, padded, params.flag("bias_term"))


def _deconvolution(params: Params, shape: tuple[int, ...], _channels: int | None) -> Linear:
    """[Cin, Cout/group, kernel...]: conv_out_channels_ are the input's (deconv_layer.cpp)."""
    inputs, outputs, *kernel = shape
    groups, taps = params.integer("group"), prod(kernel)
    strides = (*params.integers("stride"), params.integer("stride_h"), params.integer("stride_w"))
    border = taps > 1 or max(strides) > 1
    view = groups, inputs // groups, outputs, taps
    return Linear(view, False, inputs, taps, border, params.flag("bias_term"))


def _inner_product(params: Params, shape: tuple[int, ...], channels: int | None) -> Linear:
    """[N, K], or [K, N] with ``transpose`` (inner_product_layer.cpp)."""
    outputs, first = params.integer("num_output"), not params.flag("transpose")
    inputs = prod(shape) // outputs
    known = channels if channels and inputs % channels == 0 else inputs
    view = (1, outputs, inputs, 1) if first else (1, inputs, outputs, 1)
    return Linear(view, first, known, inputs // known, False, params.flag("bias_term"))


_LINEAR: dict[str, tuple[str, Callable[[Params, tuple[int, ...], int | None], Linear]]] = {
    "Convolution": ("convolution_param", _convolution),
    "Deconvolution": ("convolution_param", _deconvolution),
    "InnerProduct": ("inner_product_param", _inner_product),
}
WEIGHTED = _LINEAR.keys() | _AFFINE.keys()
"""The types that are followed here down to their numbers."""

_LEARNED = re.compile(r"Conv|InnerProduct|LSTM|RNN|Embed|^PReLU$|^Local$|^Normalize$|^Parameter$")


def learns(layer: Layer) -> bool:
    """Whether a layer of this type computes with numbers that training found."""
    name = op(layer).name
    if name in ("Scale", "Bias"):
        return len(layer.bottoms) == 1
    return name in ("BatchNorm", "BN") or _LEARNED.search(name) is not None


class Taps(NamedTuple):
    """Where the windows of a convolution meet its input, each with a number for each axis."""

    kernel: tuple[int, ...]
    pad: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]

    def steps_in(self, other: Taps) -> tuple[int, ...] | None:
        """Along each axis, which one in how many taps of ``other`` is one of these; None where the
        first and the last tap of both are not the same, or the windows lie elsewhere."""
        if (self.pad, self.stride) != (other.pad, other.stride):
            return None
        steps = []
        for old, new, far, near in zip(
            self.kernel, other.kernel, self.dilation, other.dilation, strict=True
        ):
            if (old - 1) * far != (new - 1) * near or (old > 1 and far % near):
                return None
            steps.append(far // near if old > 1 else 1)
        return tuple(steps)


def taps(layer: Layer) -> Taps | None:
    """The windows as the text has them (base_conv_layer.cpp, LayerSetUp); None for layers without,
    and where the kernel is not that of the weights."""
    if op(layer).name not in ("Convolution", "Deconvolution") or not layer.blobs:
        return None
    params, kernel = layer.params("convolution_param"), layer.blobs[0].shape[2:]

    def each(name: str, absent: int, repeated: str) -> tuple[int, ...]:
        if name and (params.has(f"{name}_h") or params.has(f"{name}_w")):
            return params.integer(f"{name}_h"), params.integer(f"{name}_w")
        found = params.integers(repeated) or (absent,)
        return found * len(kernel) if len(found) == 1 else found

    made = Taps(
        each("kernel", 0, "kernel_size"),
        each("pad", 0, "pad"),
        each("stride", 1, "stride"),
        each("", 1, "dilation"),
    )
    fits = made.kernel == kernel and {len(numbers) for numbers in made} == {len(kernel)}
    return made if fits and min(made.dilation, default=1) > 0 else None


def thinned(layer: Layer, steps: tuple[int, ...]) -> tuple[Layer, bool]:
    """The layer with one in ``steps`` taps of its weights, and whether all others are 0."""
    weights = array(layer.blobs[0])
    every = (slice(None, None, step) for step in (1, 1, *steps))
    kept = weights[tuple(every)]
    idle = np.count_nonzero(weights) == np.count_nonzero(kept)
    return layer.with_blobs((ArrayBlob(kept.astype(np.float64)), *layer.blobs[1:])), idle


def patches(seed: int, channels: int, taps: int, count: int) -> Doubles:
    """(channels, taps, count) numbers with 0.5 <= |x| < 1.5: none vanishes, no two are alike."""
    numbers = uniform(seed, channels * taps * count)
    result: Doubles = (numbers + np.copysign(0.5, numbers)).reshape(channels, taps, count)
    return result


def uniform(seed: int, count: int) -> Doubles:
    """``count`` numbers with -1 <= x < 1.

    SplitMix64 (Steele et al. 2014) of a counter: the same numbers on every numpy, whose own
    generators promise no stable stream; and importing those costs more than a small proof.
    """
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(seed)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    numbers: Doubles = (z >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    return numbers


def response(layer: Layer, layout: Linear, x: Doubles, sizes: Doubles | None = None) -> Response:
    """What a linear layer makes of patches ``x`` of shape (channels * taps, count).

    ``sizes`` are the magnitudes that went into ``x``; None says that no ``|x|`` exceeds
    PATCH_LARGEST, which makes those of the result cheap to bound.
    """
    weights, (groups, rows, columns, inner) = layer.blobs[0], layout.view
    width, count = columns * inner, x.shape[1]
    x = x.reshape(groups, -1, count)
    if sizes is None and not layout.outputs_first:
        sizes = np.abs(x)
    sizes = None if sizes is None else sizes.reshape(groups, -1, count)
    values = np.zeros((groups, layout.outputs // groups, count))
    magnitude = np.zeros_like(values)
    # Whole groups while they are small (depthwise layers have many), else rows of one group.
    group_step = max(1, CHUNK // (rows * width))
    row_step = rows if group_step > 1 else max(1, CHUNK // width)
    for group in range(0, groups, group_step):
        last = min(group + group_step, groups)
        for row in range(0, rows, row_step):
            stop = min(row + row_step, rows)
            start = (group * rows + row) * width
            block = weights.read(start, start + (last - group) * (stop - row) * width)
            block = block.reshape(last - group, stop - row, columns, inner)
            if layout.outputs_first:
                outputs, inputs = slice(row, stop), slice(None)
            else:
                outputs, inputs = slice(None), slice(row * inner, stop * inner)
                block = block.swapaxes(1, 2)
            block = block.reshape(*block.shape[:2], -1)
            values[group:last, outputs] += block.astype(np.float64) @ x[group:last, inputs]
            block = np.abs(block)
            magnitude[group:last, outputs] += (
                block.sum(axis=2, keepdims=True) * PATCH_LARGEST
                if sizes is None
                else block.astype(np.float64) @ sizes[group:last, inputs]
            )
    bias = np.zeros((1, 1))
    if len(layer.blobs) > 1:
        bias = array(layer.blobs[1]).reshape(-1, 1).astype(np.float64)
    return Response(values.reshape(-1, count) + bias, magnitude.reshape(-1, count) + np.abs(bias))
