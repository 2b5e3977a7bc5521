"""Caffe's layers with learned blobs, in torch. Each takes the bottoms and gives the tops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812

from caffefold._proto import caffe_pb2 as pb
from tests.reference.caffe_layers import Function, Layer, Tensor, Tops, along, canonical, fill

DEPTHWISE = ("ConvolutionDepthwise", "DepthwiseConvolution")
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
DECONVOLUTIONS = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
NVCAFFE_MIN_EPS = 1e-5
SEGNET_EPS = 1e-9


# ------------------------------------------------------------------------------------ linear layers


def convolution(layer: Layer, bottoms: list[Tensor]) -> Tops:
    return [_convolve(layer, bottom, transposed=False) for bottom in bottoms]


def deconvolution(layer: Layer, bottoms: list[Tensor]) -> Tops:
    return [_convolve(layer, bottom, transposed=True) for bottom in bottoms]


def _per_axis(
    layer: Layer, values: Sequence[int], sides: tuple[int, int] | None, count: int, default: int
) -> tuple[int, ...]:
    """A setting for each spatial axis, from the repeated field or from the _h and _w fields."""
    if sides is not None:
        if count != 2 or values:
            raise layer.fail("_h and _w settings are for two spatial axes, and stand alone")
        return sides
    if len(values) not in (0, 1, count):
        raise layer.fail(f"{len(values)} settings for {count} spatial axes")
    return tuple(values) * (count if len(values) == 1 else 1) or (default,) * count


def _window(layer: Layer, p: pb.ConvolutionParameter, count: int) -> list[tuple[int, ...]]:
    """Kernel, stride, pad and dilation, each for `count` spatial axes."""

    def sides(name: str) -> tuple[int, int] | None:
        given = p.HasField(f"{name}_h") or p.HasField(f"{name}_w")
        return (getattr(p, f"{name}_h"), getattr(p, f"{name}_w")) if given else None

    return [
        _per_axis(layer, p.kernel_size, sides("kernel"), count, 0),
        _per_axis(layer, p.stride, sides("stride"), count, 1),
        _per_axis(layer, p.pad, sides("pad"), count, 0),
        _per_axis(layer, p.dilation, None, count, 1),
    ]


def _convolve(layer: Layer, x: Tensor, *, transposed: bool) -> Tensor:
    p = layer.spec.convolution_param
    axis = canonical(p.axis, x.dim())
    channels, space = x.shape[axis], x.shape[axis + 1 :]
    count = len(space)
    if count not in CONVOLUTIONS:
        raise NotImplementedError(f"{layer.spec.name}: {count} spatial axes")
    kernel, stride, pad, dilation = _window(layer, p, count)
    group = channels if layer.spec.type in DEPTHWISE else p.group
    if min(*kernel, *stride, p.num_output) < 1 or channels % group or p.num_output % group:
        raise layer.fail("no kernel or output, or channels not divisible by the group")
    layer.expect(1 + p.bias_term)
    ends = (channels, p.num_output) if transposed else (p.num_output, channels)
    weight = layer.weight(0, (ends[0], ends[1] // group, *kernel), p.weight_filler)
    bias = layer.weight(1, (p.num_output,), p.bias_filler) if p.bias_term else None
    flat = x.reshape(-1, channels, *space)
    if transposed:
        y = DECONVOLUTIONS[count](
            flat, weight, bias, stride=stride, padding=pad, groups=group, dilation=dilation
        )
    else:
        y = CONVOLUTIONS[count](
            flat, weight, bias, stride=stride, padding=pad, groups=group, dilation=dilation
        )
    return y.reshape(*x.shape[:axis], *y.shape[1:])


def inner_product(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.inner_product_param
    axis = canonical(p.axis, x.dim())
    inputs = math.prod(x.shape[axis:])
    layer.expect(1 + p.bias_term)
    shape = (inputs, p.num_output) if p.transpose else (p.num_output, inputs)
    weight = layer.weight(0, shape, p.weight_filler)
    y = x.reshape(-1, inputs) @ (weight if p.transpose else weight.T)
    if p.bias_term:
        y = y + layer.weight(1, (p.num_output,), p.bias_filler)
    return [y.reshape(*x.shape[:axis], p.num_output)]


def im2col(layer: Layer, bottoms: list[Tensor]) -> Tops:
    """The windows that a convolution multiplies, along the channels."""
    (x,) = bottoms
    p = layer.spec.convolution_param
    channels, space = x.shape[1], x.shape[2:]
    kernel, stride, pad, dilation = _window(layer, p, len(space))
    extents = [
        (size + 2 * pad[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i, size in enumerate(space)
    ]
    columns = F.unfold(x, kernel, dilation, pad, stride)
    return [columns.reshape(len(x), channels * math.prod(kernel), *extents)]


def embed(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.embed_param
    layer.expect(1 + p.bias_term)
    y = layer.weight(0, (p.input_dim, p.num_output), p.weight_filler)[x.long()]
    return [y + layer.weight(1, (p.num_output,), p.bias_filler) if p.bias_term else y]


# ------------------------------------------------------------------------------------ normalisation


def batch_norm(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.batch_norm_param
    channels = 1 if x.dim() == 1 else x.shape[1]
    if len(layer.spec.param) != 3 and any(spec.lr_mult for spec in layer.spec.param):
        raise layer.fail("Cannot configure batch normalization statistics as layer parameters")
    eps = p.eps
    gamma: Tensor | None = None
    beta: Tensor | None = None
    if layer.expect(3, 5) == 3:
        mean, variance = layer.weight(0, (channels,)), layer.weight(1, (channels,))
        factor = layer.weight(2, (1,))
    else:
        places = (0, 1, 3, 4)
        factor = layer.flat(2, 1) if layer.five_blobs == "intel" else torch.ones(1)
        if layer.five_blobs == "nvcaffe":
            eps = max(eps, NVCAFFE_MIN_EPS)
            if layer.learned.blobs[4].values.size == 1:
                places = (2, 3, 0, 1)  # NVCaffe 0.15: scale, bias, mean, variance, reserved
        mean, variance, gamma, beta = (layer.flat(place, channels) for place in places)
    scale = 0.0 if float(factor) == 0 else 1 / float(factor)
    mean, variance = mean * scale, variance * scale
    if p.HasField("use_global_stats") and not p.use_global_stats:
        mean, variance = _batch_statistics(x)
    return [_normalise(x, mean, variance, eps, gamma, beta)]


def bn(layer: Layer, bottoms: list[Tensor]) -> Tops:
    """`BN` of PSPNet (slope, bias, mean, variance) or of SegNet (scale, shift)."""
    (x,) = bottoms
    p, channels = layer.spec.bn_param, x.shape[1]
    if layer.expect(4, 2) == 4:
        slope, bias, mean, variance = (layer.flat(index, channels) for index in range(4))
        return [_normalise(x, mean, variance, p.eps, slope, bias)]
    scale, shift = layer.flat(0, channels), layer.flat(1, channels)
    if p.bn_mode == pb.BNParameter.INFERENCE:
        return [x * along(scale, 1, x.dim()) + along(shift, 1, x.dim())]
    return [_normalise(x, *_batch_statistics(x), SEGNET_EPS, scale, shift)]


def _batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over the batch and all positions, per channel."""
    per_channel = x.reshape(1, -1) if x.dim() == 1 else x.transpose(0, 1).flatten(1)
    return per_channel.mean(1), per_channel.var(1, unbiased=False)


def _normalise(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    gamma: Tensor | None,
    beta: Tensor | None,
) -> Tensor:
    # A 1-D blob is one channel: its only axis is the batch.
    axis, dims = (0, 1) if x.dim() == 1 else (1, x.dim())
    y = (x - along(mean, axis, dims)) / along(torch.sqrt(variance + eps), axis, dims)
    if gamma is not None:
        y = y * along(gamma, axis, dims)
    return y if beta is None else y + along(beta, axis, dims)


def normalize(layer: Layer, bottoms: list[Tensor]) -> Tops:
    """SSD's Normalize: by the L2 norm, then a learned scale."""
    (x,) = bottoms
    p = layer.spec.norm_param
    axes = list(range(1, x.dim())) if p.across_spatial else [1]
    y = x / torch.sqrt((x * x).sum(axes, keepdim=True) + p.eps)
    layer.expect(1)
    shape = () if p.channel_shared else (x.shape[1],)
    return [y * along(layer.weight(0, shape, _or_value(p, "scale_filler", 1)), 1, x.dim())]


# ------------------------------------------------------------------------------- scale, bias, prelu


def _or_value(
    param: pb.ScaleParameter | pb.PReLUParameter | pb.NormalizeParameter, name: str, value: float
) -> pb.FillerParameter:
    """The layer's own filler, or a constant where it names none."""
    if name in {descriptor.name for descriptor, _ in param.ListFields()}:
        filler: pb.FillerParameter = getattr(param, name)
        return filler
    return pb.FillerParameter(value=value)


def _learned_shape(layer: Layer, x: Tensor, axis: int, num_axes: int) -> tuple[int, ...]:
    end = x.dim() if num_axes == -1 else axis + num_axes
    if num_axes < -1 or end > x.dim():
        raise layer.fail(f"axis {axis}, num_axes {num_axes} of a blob with {x.dim()} axes")
    return tuple(x.shape[axis:end])


def _second_bottom(layer: Layer, bottoms: list[Tensor], axis: int) -> tuple[Tensor, int]:
    """The second bottom of Scale or Bias, and where on the first it lies."""
    x, values = bottoms
    start = 0 if values.dim() == 0 else canonical(axis, x.dim())
    if tuple(values.shape) != tuple(x.shape[start : start + values.dim()]):
        raise layer.fail(f"second bottom {tuple(values.shape)} does not fit {tuple(x.shape)}")
    return values, start


def scale(layer: Layer, bottoms: list[Tensor]) -> Tops:
    x, p = bottoms[0], layer.spec.scale_param
    if len(bottoms) == 2:
        factor, axis = _second_bottom(layer, bottoms, p.axis)
        layer.expect(int(p.bias_term))
    else:
        axis = canonical(p.axis, x.dim())
        shape = _learned_shape(layer, x, axis, p.num_axes)
        layer.expect(1 + p.bias_term)
        factor = layer.weight(0, shape, _or_value(p, "filler", 1))
    y = x * along(factor, axis, x.dim())
    if p.bias_term:
        shift = layer.weight(2 - len(bottoms), factor.shape, p.bias_filler)
        y = y + along(shift, axis, x.dim())
    return [y]


def bias(layer: Layer, bottoms: list[Tensor]) -> Tops:
    x, p = bottoms[0], layer.spec.bias_param
    if len(bottoms) == 2:
        shift, axis = _second_bottom(layer, bottoms, p.axis)
    else:
        axis = canonical(p.axis, x.dim())
        shape = _learned_shape(layer, x, axis, p.num_axes)
        layer.expect(1)
        shift = layer.weight(0, shape, p.filler)
    return [x + along(shift, axis, x.dim())]


def prelu(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.prelu_param
    layer.expect(1)
    shape = () if p.channel_shared else (x.shape[1],)
    slope = along(layer.weight(0, shape, _or_value(p, "filler", 0.25)), 1, x.dim())
    return [x.clamp(min=0) + slope * x.clamp(max=0)]


# ---------------------------------------------------------------------------------- without bottoms


def parameter(layer: Layer, _bottoms: list[Tensor]) -> Tops:
    return [layer.weight(0, layer.spec.parameter_param.shape.dim)]


def dummy_data(layer: Layer, _bottoms: list[Tensor]) -> Tops:
    p, count = layer.spec.dummy_data_param, len(layer.spec.top)
    shapes = [list(shape.dim) for shape in p.shape]
    shapes = shapes or [
        list(dims) for dims in zip(p.num, p.channels, p.height, p.width, strict=True)
    ]
    fillers = list(p.data_filler) or [pb.FillerParameter()]
    if {len(shapes), len(fillers)} - {1, count}:
        raise layer.fail(f"{len(shapes)} shapes and {len(fillers)} fillers for {count} tops")
    each = zip(shapes * (count // len(shapes)), fillers * (count // len(fillers)), strict=True)
    return [torch.tensor(fill(filler, shape), dtype=layer.dtype) for shape, filler in each]


SOURCES: dict[str, Function] = {"DummyData": dummy_data, "Parameter": parameter}

LEARNED: dict[str, Function] = {
    "BN": bn,
    "BatchNorm": batch_norm,
    "Bias": bias,
    "Convolution": convolution,
    "ConvolutionDepthwise": convolution,
    "Deconvolution": deconvolution,
    "DepthwiseConvolution": convolution,
    "Embed": embed,
    "Im2col": im2col,
    "InnerProduct": inner_product,
    "Normalize": normalize,
    "PReLU": prelu,
    "Scale": scale,
}
