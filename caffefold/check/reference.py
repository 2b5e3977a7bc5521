"""Caffe's test-time arithmetic in float64: affine layers as maps, linear layers on random patches.

Written from Caffe's sources and apart from ``rewrite``: the proof would be worth nothing if it
took weight layouts or formulas from the code it checks. A patch is one column of what im2col
gathers: all inputs that meet in one output pixel, so no picture is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from caffefold.formats.caffemodel.blob import CHUNK, array, size
from caffefold.formats.prototxt.tree import Scalar
from caffefold.ir.net import Layer

Doubles = NDArray[np.float64]
PATCH_LARGEST = 1.5
_AFFINE = frozenset({"BatchNorm", "BN", "Scale", "Bias", "Power"})
LINEAR = frozenset(
    {"Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Deconvolution", "InnerProduct"}
)


class Map(NamedTuple):
    """``y = scale * x + shift`` per channel; length 1 for all channels alike."""

    scale: Doubles
    shift: Doubles


class Result(NamedTuple):
    """Outputs (C, patches), and for each the sum of the magnitudes that went into it."""

    values: Doubles
    magnitude: Doubles


# ------------------------------------------------------------------------------ affine maps


def affine(layer: Layer, rank: int | None) -> Map | None:
    """The map of an affine layer in TEST; None for layers that compute something else, or NaN.

    ``rank`` is the number of axes of its input, where known; a negative ``axis`` needs it.
    """
    if layer.type not in _AFFINE or len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return None
    found = _affine(layer, rank)
    if found is None or not (np.isfinite(found.scale).all() and np.isfinite(found.shift).all()):
        return None
    return found


def _affine(layer: Layer, rank: int | None) -> Map | None:
    numbers = [array(blob).reshape(-1).astype(np.float64) for blob in layer.blobs]
    with np.errstate(all="ignore"):
        if layer.type == "BatchNorm":
            return _batch_norm(layer, numbers)
        if layer.type == "BN":
            return _bn(layer, numbers)
        if layer.type in ("Scale", "Bias"):
            return _scale_or_bias(layer, numbers, rank)
    if layer.type == "Power" and layer.params("power_param").number("power") == 1:
        params = layer.params("power_param")
        return Map(np.array([params.number("scale")]), np.array([params.number("shift")]))
    return None


def _batch_norm(layer: Layer, numbers: list[Doubles]) -> Map | None:
    params = layer.params("batch_norm_param")
    batch_statistics = params.has("use_global_stats") and not params.flag("use_global_stats")
    if batch_statistics or len(numbers) not in (3, 5):
        return None
    eps = params.number("eps")
    if len(numbers) == 5 and numbers[4].size < numbers[0].size:  # NVCaffe 0.15
        gamma, beta, mean, variance = numbers[:4]
        return _fused(mean, variance, max(eps, 1e-5), gamma, beta)
    mean, variance, factor = numbers[:3]
    if any(params.has(name) for name in ("scale_bias", "scale_filler", "bias_filler")):
        return _fused(mean, variance, max(eps, 1e-5), numbers[3], numbers[4])
    if factor[0] == 0:
        mean, variance = np.zeros_like(mean), np.zeros_like(variance)
    else:
        mean, variance = mean / factor[0], variance / factor[0]
    unused = params.has("use_weight_bias") and not params.flag("use_weight_bias")
    if len(numbers) == 3 or unused:
        return _fused(mean, variance, eps, np.ones(1), np.zeros(1))
    return _fused(mean, variance, eps, numbers[3], numbers[4])


def _fused(mean: Doubles, variance: Doubles, eps: float, gamma: Doubles, beta: Doubles) -> Map:
    """``gamma * (x - mean) / sqrt(variance + eps) + beta``."""
    deviation = np.sqrt(variance + eps)
    return Map(gamma / deviation, beta - gamma * mean / deviation)


def _bn(layer: Layer, numbers: list[Doubles]) -> Map | None:
    params = layer.params("bn_param")
    if len(numbers) == 4:
        slope, bias, mean, variance = numbers
        return _fused(mean, variance, params.number("eps"), slope, bias)
    mode = params.message.last("bn_mode")
    inference = isinstance(mode, Scalar) and mode.raw.strip("'\"") in ("INFERENCE", "1")
    return Map(numbers[0], numbers[1]) if inference and len(numbers) == 2 else None


def _scale_or_bias(layer: Layer, numbers: list[Doubles], rank: int | None) -> Map | None:
    params = layer.params("scale_param" if layer.type == "Scale" else "bias_param")
    shape = layer.blobs[0].shape if layer.blobs else ()
    if not numbers:
        return None
    scalar = params.integer("num_axes") == 0
    legacy = len(shape) == 4 and shape[:3] == (1, 1, 1)
    one_axis = legacy or not shape or shape[0] == numbers[0].size
    axis = params.integer("axis")
    axis += rank if axis < 0 and rank is not None else 0
    if not scalar and not (one_axis and axis == 1):
        return None
    if layer.type == "Bias":
        return Map(np.ones(1), numbers[0])
    shift = numbers[1] if params.flag("bias_term") and len(numbers) > 1 else np.zeros(1)
    return Map(numbers[0], shift)


# ----------------------------------------------------------------------------- linear layers


def patches(seed: int, channels: int, taps: int, count: int) -> Doubles:
    """(channels, taps, count) numbers with 0.5 <= |x| < 1.5: none vanishes, no two are alike.

    SplitMix64 (Steele et al. 2014) of a counter: the same numbers on every numpy, whose own
    generators promise no stable stream; and importing those costs more than a small proof.
    """
    total = channels * taps * count
    z = np.arange(1, total + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(seed)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    numbers = (z >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    result: Doubles = (numbers + np.copysign(0.5, numbers)).reshape(channels, taps, count)
    return result


def patch_shape(layer: Layer, channels: int | None) -> tuple[int, int]:
    """(input channels, taps): what meets in one output, over all groups.

    For an InnerProduct the taps are the pixels of a channel; ``channels`` says how many there are.
    """
    weights = layer.blobs[0]
    if layer.type == "InnerProduct":
        inputs = size(weights) // layer.params("inner_product_param").integer("num_output")
        known = channels if channels and inputs % channels == 0 else inputs
        return known, inputs // known
    rows, columns = weights.shape[:2]
    taps = size(weights) // (rows * columns)
    return (rows if layer.type == "Deconvolution" else columns * _groups(layer)), taps


def sees_border(layer: Layer) -> bool:
    """Whether some outputs meet only part of the taps: padding, or a deconvolution's edge."""
    if layer.type == "InnerProduct":
        return False
    params = layer.params("convolution_param")
    if layer.type == "Deconvolution":
        strides = (
            *params.integers("stride"),
            params.integer("stride_h"),
            params.integer("stride_w"),
        )
        shape = layer.blobs[0].shape
        return size(layer.blobs[0]) > shape[0] * shape[1] or max(strides) > 1
    return any((*params.integers("pad"), params.integer("pad_h"), params.integer("pad_w")))


def linear(layer: Layer, x: Doubles, sizes: Doubles | None = None) -> Result:
    """A linear layer on patches ``x`` of shape (inputs, count).

    ``sizes`` are the magnitudes that went into ``x``; None says that no ``|x|`` exceeds
    PATCH_LARGEST, which makes those of the result cheap to bound.
    """
    transposed = layer.type == "Deconvolution" or (
        layer.type == "InnerProduct" and layer.params("inner_product_param").flag("transpose")
    )
    values, magnitude = (_columns if transposed else _rows)(layer, x, sizes)
    if len(layer.blobs) > 1:
        bias = array(layer.blobs[1]).reshape(-1, 1).astype(np.float64)
        values, magnitude = values + bias, magnitude + np.abs(bias)
    return Result(values, magnitude)


def _groups(layer: Layer) -> int:
    """Convolution groups; depthwise layer types of forks may leave ``group`` out."""
    depthwise = layer.type in ("ConvolutionDepthwise", "DepthwiseConvolution")
    if depthwise and layer.blobs[0].shape[1] == 1:
        return layer.blobs[0].shape[0]
    return layer.params("convolution_param").integer("group")


def _rows(layer: Layer, x: Doubles, sizes: Doubles | None) -> Result:
    """Each output is one row of weights (base_conv_layer.cpp, forward_cpu_gemm)."""
    weights = layer.blobs[0]
    groups = 1 if layer.type == "InnerProduct" else _groups(layer)
    width = x.shape[0] // groups
    per_group = size(weights) // (groups * width)
    values = np.empty((groups, per_group, x.shape[1]))
    magnitude = np.empty_like(values)
    inputs = x.reshape(groups, width, -1)
    input_sizes = None if sizes is None else sizes.reshape(groups, width, -1)
    # Whole groups while they are small (depthwise layers have many), else rows of one group.
    group_step = max(1, CHUNK // (per_group * width))
    row_step = per_group if group_step > 1 else max(1, CHUNK // width)
    for group in range(0, groups, group_step):
        last = min(group + group_step, groups)
        for row in range(0, per_group, row_step):
            stop = min(row + row_step, per_group)
            start = (group * per_group + row) * width
            block = weights.read(start, start + (last - group) * (stop - row) * width)
            block = block.reshape(last - group, stop - row, width)
            values[group:last, row:stop] = block.astype(np.float64) @ inputs[group:last]
            if input_sizes is None:
                total = np.abs(block).sum(axis=2)[:, :, None]
                magnitude[group:last, row:stop] = total * PATCH_LARGEST
            else:
                magnitude[group:last, row:stop] = (
                    np.abs(block).astype(np.float64) @ input_sizes[group:last]
                )
    return Result(values.reshape(-1, x.shape[1]), magnitude.reshape(-1, x.shape[1]))


def _columns(layer: Layer, x: Doubles, sizes: Doubles | None) -> Result:
    """Each output is one column: [Cin, Cout/group, taps] (deconv), [K, N] (transposed product)."""
    weights = layer.blobs[0]
    if layer.type == "Deconvolution":
        groups = layer.params("convolution_param").integer("group")
        rows, columns = weights.shape[:2]
    else:
        groups, columns = 1, layer.params("inner_product_param").integer("num_output")
        rows = size(weights) // columns
    taps = size(weights) // (rows * columns)
    values = np.zeros((groups, columns, x.shape[1]))
    magnitude = np.zeros_like(values)
    inputs = x.reshape(rows, taps, -1)
    input_sizes = np.abs(inputs) if sizes is None else sizes.reshape(rows, taps, -1)
    per_row = columns * taps
    for row in range(rows):
        block = weights.read(row * per_row, (row + 1) * per_row).reshape(columns, taps)
        block = block.astype(np.float64)
        group = row // (rows // groups)
        values[group] += block @ inputs[row]
        magnitude[group] += np.abs(block) @ input_sizes[row]
    return Result(values.reshape(-1, x.shape[1]), magnitude.reshape(-1, x.shape[1]))
