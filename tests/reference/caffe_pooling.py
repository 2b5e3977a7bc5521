"""Caffe's pooling and local response normalisation, in torch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812

from caffefold._proto import caffe_pb2 as pb
from tests.reference.caffe_layers import Function, Layer, Tensor, Tops

FLT_MAX = float(torch.finfo(torch.float32).max)


def pooling(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.pooling_param
    average = p.pool == pb.PoolingParameter.AVE
    if x.dim() != 4 or p.pool == pb.PoolingParameter.STOCHASTIC:
        raise NotImplementedError(f"{layer.spec.name}: this kind of pooling")

    def sides(name: str, whole: int) -> tuple[int, int]:
        if p.HasField(f"{name}_h"):
            return getattr(p, f"{name}_h"), getattr(p, f"{name}_w")
        return whole, whole

    kernel, stride = sides("kernel", p.kernel_size), sides("stride", p.stride)
    pad = sides("pad", p.pad)
    if p.global_pooling:
        if p.kernel_size or p.kernel_h or p.kernel_w:
            raise layer.fail("With Global_pooling: true Filter size cannot specified")
        kernel, stride, pad = (x.shape[2], x.shape[3]), (1, 1), (0, 0)
    if min(kernel) < 1 or pad[0] >= kernel[0] or pad[1] >= kernel[1]:
        raise layer.fail("pad must be smaller than the kernel")
    floor = p.round_mode == pb.PoolingParameter.FLOOR or not p.ceil_mode
    outputs = [
        _pooled(layer, x.shape[2 + axis], kernel[axis], stride[axis], pad[axis], any(pad), floor)
        for axis in (0, 1)
    ]
    top = _pool(x, outputs, kernel, stride, pad, average=average)
    if len(layer.spec.top) == 1 or average:
        return [top]
    return [top, _mask(x, top, outputs, kernel, stride, pad)]


def _pool(
    x: Tensor,
    outputs: list[int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    *,
    average: bool,
) -> Tensor:
    windows = _windows(x, outputs, kernel, stride, pad, 0.0 if average else -math.inf)
    if not average:
        return windows.amax((-2, -1)).clamp(min=-FLT_MAX)
    rows, columns = (
        _counted(x.shape[2 + axis], outputs[axis], kernel[axis], stride[axis], pad[axis])
        for axis in (0, 1)
    )
    return windows.sum((-2, -1)) / (rows[:, None] * columns)


def _mask(
    x: Tensor,
    top: Tensor,
    outputs: list[int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
) -> Tensor:
    """Where in its channel each maximum stands (row * width + column); the first of equal ones."""
    size = x.shape[2] * x.shape[3]
    places = torch.arange(size, dtype=x.dtype).reshape(1, 1, *x.shape[2:])
    numbered = _windows(places, outputs, kernel, stride, pad, math.inf)
    windows = _windows(x, outputs, kernel, stride, pad, -math.inf)
    return numbered.where(windows == top[..., None, None], math.inf).amin((-2, -1))


def spp(layer: Layer, bottoms: list[Tensor]) -> Tops:
    """Spatial pyramid pooling: level i pools into 2^i x 2^i bins."""
    (x,) = bottoms
    p = layer.spec.spp_param
    if p.pool == pb.SPPParameter.STOCHASTIC:
        raise NotImplementedError(f"{layer.spec.name}: this kind of pooling")
    levels = []
    for level in range(p.pyramid_height):
        bins = 1 << level
        rows, columns = (-(-size // bins) for size in x.shape[2:])
        pad_h, pad_w = (
            (kernel * bins - size + 1) // 2
            for kernel, size in zip((rows, columns), x.shape[2:], strict=True)
        )
        if pad_h >= rows or pad_w >= columns:
            raise layer.fail("pad must be smaller than the kernel")
        kernel = (rows, columns)
        average = p.pool == pb.SPPParameter.AVE
        levels.append(_pool(x, [bins, bins], kernel, kernel, (pad_h, pad_w), average=average))
    if len(levels) == 1:
        return levels
    return [torch.cat([pooled.flatten(1) for pooled in levels], 1)]


def _pooled(
    layer: Layer, size: int, kernel: int, stride: int, pad: int, padded: bool, floor: bool
) -> int:
    """The output's extent: rounded up, but no window starts beyond the image."""
    steps = (size + 2 * pad - kernel) / stride
    count = (math.floor(steps) if floor else math.ceil(steps)) + 1
    if padded and (count - 1) * stride >= size + pad:
        count -= 1
    if count < 1:
        raise layer.fail("the kernel is larger than the image")
    return count


def _windows(
    x: Tensor,
    outputs: list[int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    value: float,
) -> Tensor:
    """All windows (two axes of positions, two of elements); `value` stands outside the image."""
    margins: list[int] = []
    for axis in (1, 0):
        needed = (outputs[axis] - 1) * stride[axis] + kernel[axis]
        margins += [pad[axis], needed - pad[axis] - x.shape[2 + axis]]
    padded = F.pad(x, margins, value=value)
    return padded.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])


def _counted(size: int, outputs: int, kernel: int, stride: int, pad: int) -> Tensor:
    """Elements per window along one axis: Caffe counts padding, but only up to size + pad."""
    start = torch.arange(outputs) * stride - pad
    return (start + kernel).clamp(max=size + pad) - start


def lrn(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.lrn_param
    if p.local_size % 2 == 0:
        raise layer.fail("LRN only supports odd values for local_size")
    reach = p.local_size // 2
    squares = x * x
    if p.norm_region == pb.LRNParameter.WITHIN_CHANNEL:
        window, position = (p.local_size, p.local_size), (1, 1)
        size = list(x.shape[2:])
        sums = _windows(squares, size, window, position, (reach, reach), 0.0).sum((-2, -1))
        rows, columns = (_counted(extent, extent, window[0], 1, reach) for extent in size)
        # k has no part in this region's formula.
        return [x * torch.pow(1 + p.alpha * sums / (rows[:, None] * columns), -p.beta)]
    padded = F.pad(squares, (0, 0, 0, 0, reach, reach))
    sums = padded.unfold(1, p.local_size, 1).sum(-1)
    return [x * torch.pow(p.k + p.alpha / p.local_size * sums, -p.beta)]


POOLING: dict[str, Function] = {"LRN": lrn, "Pooling": pooling, "SPP": spp}
