"""Caffe's test-time arithmetic in float64, layer by layer, on random patches.

Written from Caffe's sources and apart from ``rewrite``: the proof would be worth nothing if it
took weight layouts or formulas from the code it checks. A patch is one column of what im2col
gathers: all inputs that meet in one output pixel, so no picture is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffefold.formats.blob import CHUNK, array, size
from caffefold.model.net import Layer

Doubles = NDArray[np.float64]
PATCH_LARGEST = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Outputs (C, patches), and for each the sum of the magnitudes that went into it."""

    values: Doubles
    magnitude: Doubles


def patches(seed: int, inputs: int, count: int) -> Doubles:
    """(inputs, count) random numbers with 0.5 <= |x| < 1.5: none vanishes, no two are alike.

    SplitMix64 (Steele et al. 2014) of a counter: the same numbers on every numpy, whose own
    generators promise no stable stream; and importing those costs more than a small proof.
    """
    z = np.arange(1, inputs * count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(seed)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    numbers = (z >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    result: Doubles = (numbers + np.copysign(0.5, numbers)).reshape(inputs, count)
    return result


def patch_size(layer: Layer) -> int:
    """How many inputs meet in one output of each group, over all groups."""
    weights = layer.blobs[0]
    if layer.type == "InnerProduct":
        return size(weights) // layer.params("inner_product_param").integer("num_output")
    shape = weights.shape
    taps = size(weights) // (shape[0] * shape[1])
    return shape[0] * taps if layer.type == "Deconvolution" else shape[1] * _groups(layer) * taps


def _groups(layer: Layer) -> int:
    """Convolution groups; depthwise layer types of forks may leave ``group`` out."""
    groups = layer.params("convolution_param").integer("group")
    if layer.type in ("ConvolutionDepthwise", "DepthwiseConvolution"):
        return layer.blobs[0].shape[0] if layer.blobs[0].shape[1] == 1 else groups
    return groups


def linear(layer: Layer, x: Doubles) -> Result:
    """A Convolution, Deconvolution or InnerProduct on patches ``x`` of (patch_size, count)."""
    transposed = layer.type == "Deconvolution" or (
        layer.type == "InnerProduct" and layer.params("inner_product_param").flag("transpose")
    )
    values, weight = (_columns if transposed else _rows)(layer, x)
    magnitude = np.repeat(weight[:, None] * PATCH_LARGEST, x.shape[1], axis=1)
    if len(layer.blobs) > 1:
        bias = array(layer.blobs[1]).reshape(-1, 1).astype(np.float64)
        values, magnitude = values + bias, magnitude + np.abs(bias)
    return Result(values, magnitude)


def _rows(layer: Layer, x: Doubles) -> tuple[Doubles, Doubles]:
    """Each output is one row of weights (base_conv_layer.cpp, forward_cpu_gemm)."""
    weights = layer.blobs[0]
    groups = 1 if layer.type == "InnerProduct" else _groups(layer)
    width = x.shape[0] // groups
    per_group = size(weights) // (groups * width)
    values = np.empty((groups, per_group, x.shape[1]))
    absolute = np.empty((groups, per_group))
    inputs = x.reshape(groups, width, -1)
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
            absolute[group:last, row:stop] = np.abs(block).sum(axis=2)
    return values.reshape(groups * per_group, -1), absolute.reshape(-1)


def _columns(layer: Layer, x: Doubles) -> tuple[Doubles, Doubles]:
    """Each output is one column: [Cin, Cout/group, taps] (deconv), [K, N] (transposed product)."""
    weights = layer.blobs[0]
    if layer.type == "Deconvolution":
        groups = layer.params("convolution_param").integer("group")
        rows, columns = weights.shape[0], weights.shape[1]
    else:
        groups, columns = 1, layer.params("inner_product_param").integer("num_output")
        rows = size(weights) // columns
    taps = size(weights) // (rows * columns)
    values = np.zeros((groups, columns, x.shape[1]))
    absolute = np.zeros((groups, columns))
    inputs = x.reshape(rows, taps, -1)
    per_row = columns * taps
    for row in range(rows):
        block = weights.read(row * per_row, (row + 1) * per_row).reshape(columns, taps)
        group = row // (rows // groups)
        values[group] += block.astype(np.float64) @ inputs[row]
        absolute[group] += np.abs(block).sum(axis=1)
    return values.reshape(groups * columns, -1), absolute.reshape(-1)


def pointwise(layer: Layer, x: Result) -> Result:
    """A BatchNorm, Scale, Bias or Power layer on (C, patches), as Caffe computes it in TEST."""
    values, magnitude = x.values, x.magnitude
    numbers = [array(blob).reshape(-1, 1).astype(np.float64) for blob in layer.blobs]
    if layer.type == "BatchNorm":
        mean, variance, factor = numbers
        unscale = 0.0 if factor[0, 0] == 0 else 1.0 / factor[0, 0]
        deviation = np.sqrt(variance * unscale + layer.params("batch_norm_param").number("eps"))
        mean = mean * unscale
        return Result((values - mean) / deviation, (magnitude + np.abs(mean)) / deviation)
    if layer.type == "Scale":
        values, magnitude = values * numbers[0], magnitude * np.abs(numbers[0])
        if layer.params("scale_param").flag("bias_term"):
            values, magnitude = values + numbers[1], magnitude + np.abs(numbers[1])
        return Result(values, magnitude)
    if layer.type == "Bias":
        return Result(values + numbers[0], magnitude + np.abs(numbers[0]))
    if layer.type == "Power":
        params = layer.params("power_param")
        times, plus = params.number("scale"), params.number("shift")
        return Result(values * times + plus, magnitude * abs(times) + abs(plus))
    raise NotImplementedError(layer.type)
