"""The layers of a random net: each function adds one, reading the named blob."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from caffefold._proto import caffe_pb2 as pb
from tests.reference.random_builder import Array, Builder, Current, Shape
from tests.reference.random_windows import (
    Window,
    convolved,
    deconvolved,
    draw_windows,
    pooled,
    write_windows,
)

MAX_CHANNELS = 8


# ------------------------------------------------------------------------------------ linear layers


def add_convolution(b: Builder, bottom: str) -> None:
    kind = "Convolution"
    if b.one_in(12):
        kind = b.pick(["DepthwiseConvolution", "ConvolutionDepthwise"])
    _add_convolution(b, bottom, kind, convolved)


def add_deconvolution(b: Builder, bottom: str) -> None:
    _add_convolution(b, bottom, "Deconvolution", deconvolved)


def _add_convolution(
    b: Builder, bottom: str, kind: str, output: Callable[[int, Window], int]
) -> None:
    shape = b.blobs[bottom].shape
    channels = shape[1]
    if kind in ("Convolution", "Deconvolution"):
        group = b.pick([g for g in range(1, channels + 1) if channels % g == 0])
        outputs = group * b.pick(range(1, MAX_CHANNELS // group + 1))
    else:
        group = outputs = channels
    windows, sides = draw_windows(b, shape[2:], output)
    layer = b.layer(kind, [bottom])
    p = layer.convolution_param
    p.num_output = outputs
    if group > 1 and (kind in ("Convolution", "Deconvolution") or b.coin()):
        p.group = group
    write_windows(b, p, windows)
    ends = (channels, outputs) if kind == "Deconvolution" else (outputs, channels)
    kernel = [window.kernel for window in windows]
    fan_in = channels // group * math.prod(kernel)
    weight = b.normal(ends[0], ends[1] // group, *kernel, scale=fan_in**-0.5)
    learned = with_bias(b, p, weight, outputs)
    b.finish_learned(layer, (shape[0], outputs, *sides), 1, learned)


def with_bias(
    b: Builder,
    param: pb.ConvolutionParameter | pb.InnerProductParameter,
    weight: Array,
    outputs: int,
) -> list[Array]:
    if b.coin():
        param.bias_term = False
        return [weight]
    if b.one_in(3):
        param.bias_term = True
    return [weight, b.normal(outputs)]


def add_inner_product(b: Builder, bottom: str) -> None:
    shape = b.blobs[bottom].shape
    axis = b.pick([1, 1, 1, 1, -1, len(shape) - 1])
    front = shape[:axis]
    inputs, outputs = math.prod(shape[axis:]), b.pick(range(1, MAX_CHANNELS + 1))
    layer = b.layer("InnerProduct", [bottom])
    p = layer.inner_product_param
    p.num_output = outputs
    if axis != 1:
        p.axis = axis
    weight = b.normal(outputs, inputs, scale=inputs**-0.5)
    if b.one_in(3):
        p.transpose = True
        weight = np.ascontiguousarray(weight.T)
    b.finish_learned(layer, (*front, outputs), 1, with_bias(b, p, weight, outputs))


# ------------------------------------------------------------------------------------ affine layers


def add_batch_norm(b: Builder, bottom: str) -> None:
    current = b.blobs[bottom]
    channels = current.shape[1]
    layer = b.layer("BatchNorm", [bottom])
    p = layer.batch_norm_param
    eps = b.pick([1e-5, 1e-3, 2e-5, 0.1])
    if eps != p.eps:
        p.eps = eps
    if b.coin():
        p.use_global_stats = True
    mean = b.normal(channels)
    variance = b.rng.uniform(0.3, 3, channels).astype(np.float32)
    factor = np.float32(b.pick([1, 999.98, 999.98]))
    stored = [mean * factor, variance * factor, np.array([factor], np.float32)]
    gain = 2.0
    if current.size * eps**-0.5 < 3000 and b.one_in(4):
        gain = eps**-0.5
        if b.one_in(2):
            stored[2][:] = 0
        else:
            # What real files hold for dead channels: nothing, a denormal, a trace below nothing.
            dead = b.rng.random(channels) < b.pick([0.5, 2])
            stored[1][dead] = b.pick([0, 1.4e-45, -7e-44])
    b.finish_learned(layer, current.shape, gain, stored)


def factors(b: Builder, shape: Shape) -> Array:
    """Factors of both signs away from 0; sometimes one of them is exactly 0."""
    values = b.rng.uniform(0.3, 2, shape) * b.rng.choice([-1, 1], shape)
    if b.one_in(6):
        values *= b.rng.random(shape) < 0.7
    result: Array = values.astype(np.float32)
    return result


def draw_axes(b: Builder, param: pb.ScaleParameter | pb.BiasParameter, shape: Shape) -> Shape:
    """The blob's shape: mostly the channel axis, somehow spelled; else a scalar or other axes."""
    dims = len(shape)
    axis, count = 1, 1
    if b.one_in(3):
        other = [
            (1 - dims, 1),
            (1, 0),
            (0, 0),
            (1, -1),
            (0, 1),
            (dims - 1, 1),
            (0, -1),
            (1, dims - 1),
        ]
        axis, count = b.pick(other)
    if axis != 1 or b.one_in(4):
        param.axis = axis
    if count != 1 or b.one_in(4):
        param.num_axes = count
    start = axis % dims
    return shape[start : dims if count == -1 else start + count]


def add_scale(b: Builder, bottom: str) -> None:
    current = b.blobs[bottom]
    gates = b.partners(lambda c: c.shape == current.shape[: len(c.shape)] and c.size < 30)
    if gates and current.size < 30 and b.one_in(5):
        add_gate(b, bottom, b.pick(gates))
        return
    layer = b.layer("Scale", [bottom])
    learned = [factors(b, draw_axes(b, layer.scale_param, current.shape))]
    if b.coin():
        layer.scale_param.bias_term = True
        learned.append(b.normal(*learned[0].shape))
    b.finish_learned(layer, current.shape, 2, learned)


def add_gate(b: Builder, bottom: str, gate: str) -> None:
    """Scale with two bottoms, as in squeeze-and-excitation: nothing learned but perhaps a bias."""
    layer = b.layer("Scale", [bottom, gate])
    layer.scale_param.axis = 0
    learned: list[Array] = []
    if b.one_in(3):
        layer.scale_param.bias_term = True
        learned.append(b.normal(*b.blobs[gate].shape))
    current = b.blobs[bottom]
    b.finish(layer, [current.shape], current.size * b.blobs[gate].size, learned)


def add_bias(b: Builder, bottom: str) -> None:
    shape = b.blobs[bottom].shape
    layer = b.layer("Bias", [bottom])
    b.finish_learned(layer, shape, 1, [b.normal(*draw_axes(b, layer.bias_param, shape))])


def add_power(b: Builder, bottom: str) -> None:
    current = b.blobs[bottom]
    layer = b.layer("Power", [bottom])
    p, size = layer.power_param, current.size * 2
    if b.coin():
        p.scale = b.pick([2, 0.5, -1, 0.0625, 0])
    if b.coin():
        p.shift = b.pick([1, -0.75])
    if size < 30 and b.one_in(5):
        p.power = 2
        size *= size
    b.finish(layer, [current.shape], size)


# ------------------------------------------------------------------------------------- other layers


def add_relu(b: Builder, bottom: str) -> None:
    layer = b.layer("ReLU", [bottom])
    if b.one_in(4):
        layer.relu_param.negative_slope = 0.1
    b.finish(layer, [b.blobs[bottom].shape], b.blobs[bottom].size)


def add_sigmoid(b: Builder, bottom: str) -> None:
    b.finish(b.layer("Sigmoid", [bottom]), [b.blobs[bottom].shape], 1)


def add_dropout(b: Builder, bottom: str) -> None:
    layer = b.layer("Dropout", [bottom])
    layer.dropout_param.dropout_ratio = 0.3
    b.finish(layer, [b.blobs[bottom].shape], b.blobs[bottom].size)


def add_split(b: Builder, bottom: str) -> None:
    b.finish(b.layer("Split", [bottom]), [b.blobs[bottom].shape] * 2, b.blobs[bottom].size)


def add_pooling(b: Builder, bottom: str) -> None:
    current = b.blobs[bottom]
    layer = b.layer("Pooling", [bottom])
    p = layer.pooling_param
    p.pool = b.pick([pb.PoolingParameter.AVE, pb.PoolingParameter.MAX])
    if b.one_in(5):
        p.global_pooling = True
        sides: Shape = (1, 1)
    else:
        windows, sides = draw_windows(b, current.shape[2:], pooled)
        if windows[0] == windows[1]:
            p.kernel_size, p.stride, p.pad = windows[0][:3]
        else:
            (p.kernel_h, p.stride_h, p.pad_h), (p.kernel_w, p.stride_w, p.pad_w) = (
                window[:3] for window in windows
            )
    b.finish(layer, [(*current.shape[:2], *sides)], current.size)


def add_concat(b: Builder, bottom: str) -> None:
    current = b.blobs[bottom]
    bottoms, axis = [bottom], 1
    if len(current.shape) == 4 and b.one_in(8):
        axis = 2
    total = current.shape[axis]

    def fits(other: Current) -> bool:
        sides = [shape[:axis] + shape[axis + 1 :] for shape in (current.shape, other.shape)]
        return sides[0] == sides[1] and total + other.shape[axis] <= MAX_CHANNELS

    for _ in range(b.pick([1, 2])):
        partners = b.partners(fits)
        if partners:
            bottoms.append(b.pick(partners))
            total += b.blobs[bottoms[-1]].shape[axis]
    layer = b.layer("Concat", b.shuffled(bottoms))
    if axis != 1:
        layer.concat_param.axis = axis
    shape = (*current.shape[:axis], total, *current.shape[axis + 1 :])
    b.finish(layer, [shape], max(b.blobs[name].size for name in bottoms))


def add_slice(b: Builder, bottom: str) -> None:
    current = b.blobs[bottom]
    channels = current.shape[1]
    layer = b.layer("Slice", [bottom])
    point = b.pick(range(1, channels))
    if channels % 2 or point != channels // 2 or b.one_in(2):
        layer.slice_param.slice_point.append(point)
    shapes = [(current.shape[0], part, *current.shape[2:]) for part in (point, channels - point)]
    b.finish(layer, shapes, current.size)


def add_eltwise(b: Builder, bottom: str) -> None:
    current = b.blobs[bottom]
    others = b.partners(lambda c: c.shape == current.shape)
    others.sort(key=bottom.__eq__)  # itself only as the last resort
    bottoms = [bottom, b.pick(others)]
    sizes = [b.blobs[name].size for name in bottoms]
    layer = b.layer("Eltwise", bottoms)
    p, size = layer.eltwise_param, sum(sizes)
    if b.one_in(3):
        p.operation = pb.EltwiseParameter.MAX
    elif b.one_in(3) and math.prod(sizes) < 300:
        p.operation = pb.EltwiseParameter.PROD
        size = math.prod(sizes)
    elif b.one_in(3):
        p.coeff.extend([1, b.pick([-1, 0.5])])
    b.finish(layer, [current.shape], size)


AFFINE = [add_batch_norm, add_scale, add_batch_norm, add_scale, add_bias, add_power]
ANY_SHAPE = [
    add_relu,
    add_inner_product,
    add_inner_product,
    add_dropout,
    add_eltwise,
    add_split,
    add_concat,
]
IMAGES = [add_convolution] * 4 + [add_deconvolution] * 2 + [add_pooling]
