"""Caffe's layers without learned blobs, in torch. Each takes the bottoms and gives the tops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812

from caffefold._proto import caffe_pb2 as pb
from tests.reference.caffe_layers import Function, Layer, Tensor, Tops, canonical


def elementwise(function: Callable[[pb.LayerParameter, Tensor], Tensor]) -> Function:
    """A layer that maps each element by itself."""
    return lambda layer, bottoms: [function(layer.spec, bottom) for bottom in bottoms]


def power(spec: pb.LayerParameter, x: Tensor) -> Tensor:
    p = spec.power_param
    inner = p.shift + p.scale * x
    return inner if p.power == 1 else torch.pow(inner, p.power)


def relu(spec: pb.LayerParameter, x: Tensor) -> Tensor:
    return x.clamp(min=0) + spec.relu_param.negative_slope * x.clamp(max=0)


def exponential(spec: pb.LayerParameter, x: Tensor) -> Tensor:
    p = spec.exp_param
    factor = 1.0 if p.base == -1 else math.log(p.base)
    return torch.exp(factor * (p.shift + p.scale * x))


def logarithm(spec: pb.LayerParameter, x: Tensor) -> Tensor:
    p = spec.log_param
    divisor = 1.0 if p.base == -1 else math.log(p.base)
    return torch.log(p.shift + p.scale * x) / divisor


def swish(spec: pb.LayerParameter, x: Tensor) -> Tensor:
    return x * torch.sigmoid(spec.swish_param.beta * x)


def mvn(layer: Layer, bottoms: list[Tensor]) -> Tops:
    """Mean 0 and, by default, deviation 1; always with four axes, and eps beside the deviation."""
    (x,) = bottoms
    p = layer.spec.mvn_param
    axes = list(range(1 if p.across_channels else 2, 4))
    x = x.reshape(tuple(x.shape) + (1,) * (4 - x.dim()))
    y = x - x.mean(axes, keepdim=True)
    if p.normalize_variance:
        y = y / ((y * y).mean(axes, keepdim=True).sqrt() + p.eps)
    return [y]


# ------------------------------------------------------------------------------------ several blobs


def batch_reindex(_layer: Layer, bottoms: list[Tensor]) -> Tops:
    x, places = bottoms
    return [x[places.long()]]


def select(_layer: Layer, bottoms: list[Tensor]) -> Tops:
    """Filter: the images whose selector is not 0."""
    *blobs, selector = bottoms
    return [blob[selector.flatten() != 0] for blob in blobs]


def concat(layer: Layer, bottoms: list[Tensor]) -> Tops:
    p = layer.spec.concat_param
    axis = p.concat_dim if p.HasField("concat_dim") else canonical(p.axis, bottoms[0].dim())
    return [torch.cat(bottoms, axis)]


def slices(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.slice_param
    axis = p.slice_dim if p.HasField("slice_dim") else canonical(p.axis, x.dim())
    tops, extent = len(layer.spec.top), x.shape[axis]
    if not p.slice_point and extent % tops:
        raise layer.fail(f"{extent} does not divide into {tops} tops")
    points = list(p.slice_point) or [extent // tops * part for part in range(1, tops)]
    edges = [0, *points, extent]
    sizes = [end - start for start, end in itertools.pairwise(edges)]
    if len(sizes) != tops or min(sizes) < 1:
        raise layer.fail(f"slice points {points} for {tops} tops of {extent}")
    return list(torch.split(x, sizes, axis))


def eltwise(layer: Layer, bottoms: list[Tensor]) -> Tops:
    p = layer.spec.eltwise_param
    if len({tuple(bottom.shape) for bottom in bottoms}) != 1 or len(bottoms) < 2:
        raise layer.fail("needs two or more bottoms of one shape")
    if p.operation == pb.EltwiseParameter.PROD:
        return [math.prod(bottoms[1:], start=bottoms[0])]
    if p.operation == pb.EltwiseParameter.MAX:
        return [torch.stack(bottoms).amax(0)]
    if p.coeff and len(p.coeff) != len(bottoms):
        raise layer.fail("one coefficient per bottom")
    coefficients = list(p.coeff) or [1.0] * len(bottoms)
    terms = [factor * bottom for factor, bottom in zip(coefficients, bottoms, strict=True)]
    return [torch.stack(terms).sum(0)]


def axpy(_layer: Layer, bottoms: list[Tensor]) -> Tops:
    """SENet: gate (N x C) times x, plus y."""
    gate, x, y = bottoms
    return [gate.reshape(*x.shape[:2], *(1,) * (x.dim() - 2)) * x + y]


# ------------------------------------------------------------------------------------- other shapes


def flatten(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.flatten_param
    return [x.flatten(canonical(p.axis, x.dim()), canonical(p.end_axis, x.dim()))]


def reshape(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.reshape_param
    start = p.axis if p.axis >= 0 else x.dim() + p.axis + 1
    end = x.dim() if p.num_axes == -1 else start + p.num_axes
    dims = [x.shape[start + at] if dim == 0 else dim for at, dim in enumerate(p.shape.dim)]
    if -1 in dims:
        known = math.prod(dim for dim in dims if dim != -1)
        dims[dims.index(-1)] = math.prod(x.shape[start:end]) // known
    return [x.reshape(*x.shape[:start], *dims, *x.shape[end:])]


def permute(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    order = list(layer.spec.permute_param.order)
    order += [axis for axis in range(x.dim()) if axis not in order]
    return [x.permute(order)]


def tile(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.tile_param
    return [torch.cat([x] * p.tiles, canonical(p.axis, x.dim()))]


def crop(layer: Layer, bottoms: list[Tensor]) -> Tops:
    x, like = bottoms
    p = layer.spec.crop_param
    start = canonical(p.axis, x.dim())
    offsets = list(p.offset) or [0]
    if len(offsets) not in (1, x.dim() - start):
        raise layer.fail("one offset, or one per axis")
    for axis in range(start, x.dim()):
        offset = offsets[0] if len(offsets) == 1 else offsets[axis - start]
        x = x.narrow(axis, offset, like.shape[axis])
    return [x]


def shuffle_channel(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    group = layer.spec.shuffle_channel_param.group
    if x.shape[1] % group:
        raise layer.fail(f"{x.shape[1]} channels in {group} groups")
    return [x.reshape(x.shape[0], group, -1, *x.shape[2:]).transpose(1, 2).flatten(1, 2)]


def interp(layer: Layer, bottoms: list[Tensor]) -> Tops:
    """PSPNet's bilinear resizing, corners on corners; negative padding crops first."""
    p = layer.spec.interp_param
    x = F.pad(bottoms[0], (p.pad_beg, p.pad_end) * 2)
    size = list(x.shape[2:])
    if len(bottoms) == 2:
        size = list(bottoms[1].shape[2:])
    elif p.HasField("height"):
        size = [p.height, p.width]
    else:
        size = [(extent - 1) // p.shrink_factor + 1 for extent in size]
        size = [extent + (extent - 1) * (p.zoom_factor - 1) for extent in size]
    return [F.interpolate(x, size=size, mode="bilinear", align_corners=True)]


# --------------------------------------------------------------------------------------- reductions


def softmax(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    return [torch.softmax(x, canonical(layer.spec.softmax_param.axis, x.dim()))]


def reduction(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.reduction_param
    kept = x.shape[: canonical(p.axis, x.dim())]
    rows = x.reshape(*kept, -1)
    functions: dict[int, Callable[[Tensor], Tensor]] = {
        pb.ReductionParameter.SUM: lambda r: r.sum(-1),
        pb.ReductionParameter.ASUM: lambda r: r.abs().sum(-1),
        pb.ReductionParameter.SUMSQ: lambda r: (r * r).sum(-1),
        pb.ReductionParameter.MEAN: lambda r: r.mean(-1),
    }
    return [p.coeff * functions[p.operation](rows)]


def argmax(layer: Layer, bottoms: list[Tensor]) -> Tops:
    (x,) = bottoms
    p = layer.spec.argmax_param
    axis = canonical(p.axis, x.dim()) if p.HasField("axis") else 1
    rows = x if p.HasField("axis") else x.flatten(1)
    # Of equal values Caffe takes the later index first.
    values, order = rows.flip(axis).sort(dim=axis, descending=True, stable=True)
    places = rows.shape[axis] - 1 - order
    top_values = values.narrow(axis, 0, p.top_k)
    top_places = places.narrow(axis, 0, p.top_k).to(x.dtype)
    if p.HasField("axis"):
        return [top_values if p.out_max_val else top_places]
    pair = [top_places, top_values] if p.out_max_val else [top_places]
    y = torch.stack(pair, 1)
    return [y.reshape(*y.shape, *(1,) * (x.dim() - 3))]


PLAIN: dict[str, Function] = {
    "AbsVal": elementwise(lambda _, x: x.abs()),
    "ArgMax": argmax,
    "Axpy": axpy,
    "BatchReindex": batch_reindex,
    "BNLL": elementwise(lambda _, x: F.softplus(x)),
    "Clip": elementwise(lambda spec, x: x.clamp(spec.clip_param.min, spec.clip_param.max)),
    "Concat": concat,
    "Crop": crop,
    "Dropout": elementwise(lambda _, x: x),
    "ELU": elementwise(lambda spec, x: F.elu(x, spec.elu_param.alpha)),
    "Eltwise": eltwise,
    "Exp": elementwise(exponential),
    "Filter": select,
    "Flatten": flatten,
    "Interp": interp,
    "Log": elementwise(logarithm),
    "MVN": mvn,
    "Permute": permute,
    "Power": elementwise(power),
    "ReLU": elementwise(relu),
    "ReLU6": elementwise(lambda _, x: x.clamp(0, 6)),
    "Reduction": reduction,
    "Reshape": reshape,
    "ShuffleChannel": shuffle_channel,
    "Sigmoid": elementwise(lambda _, x: torch.sigmoid(x)),
    "Silence": lambda _layer, _bottoms: [],
    "Slice": slices,
    "Softmax": softmax,
    "Split": lambda layer, bottoms: bottoms * len(layer.spec.top),
    "Swish": elementwise(swish),
    "TanH": elementwise(lambda _, x: torch.tanh(x)),
    "Threshold": elementwise(lambda spec, x: (x > spec.threshold_param.threshold).to(x.dtype)),
    "Tile": tile,
}
