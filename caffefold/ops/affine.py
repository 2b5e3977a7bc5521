"""Layers that are an affine map per channel at test time, in every dialect of Caffe.

| type      | blobs                             | map                                              |
|-----------|-----------------------------------|--------------------------------------------------|
| BatchNorm | mean, var, factor                 | (x - m/f) / sqrt(v/f + eps); 1/f is 0 for f = 0  |
| BatchNorm | mean, var, factor, gamma, beta    | Intel: gamma * BatchNorm + beta                  |
| BatchNorm | mean, var, corr, gamma, beta      | NVCaffe: the factor is applied already           |
| BatchNorm | gamma, beta, mean, var, reserved  | NVCaffe 0.15 and DIGITS                          |
| BN        | slope, bias, mean, var            | yjxiong, PSPNet: slope * (x - m) / sqrt(v+eps)+b |
| BN        | scale, shift                      | SegNet in INFERENCE mode: scale * x + shift      |
| Scale     | gamma [, beta]                    | gamma * x + beta                                 |
| Bias      | beta                              | x + beta                                         |
| Power     | none                              | scale * x + shift, when power is 1               |

Sources: batch_norm_layer.cpp, scale_layer.cpp, bias_layer.cpp, power_layer.cpp of BVLC Caffe;
batch_norm_layer.cpp and net.cpp of NVCaffe and of Intel Caffe; bn_layer.cpp of the yjxiong and
SegNet forks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from caffefold.errors import ModelError
from caffefold.formats.caffemodel.blob import array, size
from caffefold.formats.prototxt.tree import Scalar
from caffefold.ir.affine import Affine, Statistics
from caffefold.ir.blob import Doubles
from caffefold.ir.net import Layer
from caffefold.ops.base import (
    AffineOp,
    Refusal,
    SkipCode,
    WeightSpec,
    blob_size,
    missing_bias,
)
from caffefold.ops.shape import (
    Dim,
    Shape,
    ShapeList,
    axis_of,
    canonical,
    first,
    product,
    second,
    total,
    unified,
)

_NVIDIA_SMALLEST_EPS = 1e-5  # NVCaffe: eps = max(eps, CUDNN_BN_MIN_EPSILON)
_NVIDIA_FIELDS = ("scale_bias", "scale_filler", "bias_filler")


class BlobRoles(NamedTuple):
    """Positions of a layer's blobs; None where the dialect has none such, or does not use it."""

    mean: int
    variance: int
    factor: int | None = None
    """What mean and variance are divided by; without one they are used as they are."""
    gamma: int | None = None
    beta: int | None = None
    smallest_eps: float = 0.0


class Normalization(AffineOp):
    """BatchNorm and BN: statistics of a training, per channel."""

    def blob_roles(self, layer: Layer) -> BlobRoles | None:
        """What the stored blobs are; None for an unknown layout, or one without statistics."""
        raise NotImplementedError

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return per_channel(layer, bottoms)

    def input_channels(self, layer: Layer, rank: int | None = None, found: Dim = None) -> Dim:
        return blob_size(layer, 0)

    def macs(self, layer: Layer, bottoms: ShapeList, tops: ShapeList) -> Dim:
        return total(first(tops))

    def _map(
        self, layer: Layer, roles: BlobRoles, mean: Doubles, variance: Doubles, factor: float = 1.0
    ) -> Affine:
        """The map of statistics, and of the gamma and beta that forks have in the same layer."""
        eps = max(self.params(layer).number("eps"), roles.smallest_eps)
        source = Statistics(mean, variance, factor, eps)
        unscale = 0.0 if factor == 0 else 1.0 / factor
        found = _normalise(mean * unscale, variance * unscale, eps)
        if roles.gamma is not None and roles.beta is not None:
            after = Affine(vector(layer, roles.gamma), vector(layer, roles.beta))
            found = found.then(after)
            source = source._replace(gamma=after.scale, beta=after.shift)
        return replace(found, source=source)


class BatchNorm(Normalization):
    """BatchNorm of BVLC Caffe, and the fused forms of NVCaffe and Intel Caffe."""

    param = "batch_norm_param"
    required = True

    def blob_roles(self, layer: Layer) -> BlobRoles | None:
        count = len(layer.blobs)
        if count == 3:
            return BlobRoles(0, 1, 2)
        if count != 5:
            return None
        if size(layer.blobs[4]) == 1 and size(layer.blobs[0]) > 1:
            return BlobRoles(2, 3, None, 0, 1, _NVIDIA_SMALLEST_EPS)
        if size(layer.blobs[2]) != 1:
            return None
        params = self.params(layer)
        fused = not params.has("use_weight_bias") or params.flag("use_weight_bias")
        gamma, beta = (3, 4) if fused else (None, None)
        if any(map(params.has, _NVIDIA_FIELDS)):
            return BlobRoles(0, 1, None, gamma, beta, _NVIDIA_SMALLEST_EPS)
        return BlobRoles(0, 1, 2, gamma, beta)

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        """Caffe's three; five where the text or the file has what forks have in this layer."""
        one = (blob_size(layer, 0) or channels_of(first(bottoms)),)
        three = (WeightSpec("mean", one), WeightSpec("variance", one), WeightSpec("factor", (1,)))
        fused = any(map(self.params(layer).has, (*_NVIDIA_FIELDS, "use_weight_bias")))
        if len(layer.blobs) not in (0, 3, 5):
            return None
        if len(layer.blobs) == 3 or not (layer.blobs or fused):
            return three
        if layer.blobs and size(layer.blobs[4]) == 1:
            names = ("gamma", "beta", "mean", "variance")
            return (*(WeightSpec(name, one) for name in names), WeightSpec("reserved", (1,)))
        return (*three, WeightSpec("gamma", one), WeightSpec("beta", one))

    def affine(self, layer: Layer, rank: int | None) -> Affine | Refusal:
        params = self.params(layer)
        if params.has("use_global_stats") and not params.flag("use_global_stats"):
            return Refusal(
                SkipCode.BATCH_STATISTICS,
                "use_global_stats: false makes it use the statistics of each batch",
            )
        roles = self.blob_roles(layer)
        if roles is None:
            five = "5 blobs with the factor third or last"
            return _unknown(layer, five if len(layer.blobs) == 5 else "3 or 5")
        mean, variance = vector(layer, roles.mean), vector(layer, roles.variance)
        if roles.factor is None:
            return self._map(layer, roles, mean, variance)
        factor = float(vector(layer, roles.factor)[0])
        if not factor and not mean.any() and not variance.any():
            return _no_statistics()
        return self._map(layer, roles, mean, variance, factor)

    def zero_factor(self, layer: Layer) -> bool:
        """Whether Caffe takes the statistics as 0, because the factor that scales them is 0."""
        return len(layer.blobs) == 3 and not array(layer.blobs[2]).any()


class ForkBN(Normalization):
    """BN of yjxiong's fork and PSPNet, with statistics; of SegNet, with the finished map."""

    param = "bn_param"

    def blob_roles(self, layer: Layer) -> BlobRoles | None:
        return BlobRoles(2, 3, None, 0, 1) if len(layer.blobs) == 4 else None

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        """slope, bias, mean, variance of PSPNet; scale, shift of SegNet; fields decide."""
        one = (blob_size(layer, 0) or channels_of(first(bottoms)),)
        params, count = self.params(layer), len(layer.blobs)
        segnet = any(params.has(name) for name in ("scale_filler", "shift_filler", "bn_mode"))
        if count == 2 or (not count and segnet):
            return (WeightSpec("scale", one), WeightSpec("shift", one))
        if count in (0, 4):
            names = ("slope", "bias", "mean", "variance")
            return tuple(WeightSpec(name, one) for name in names)
        return None

    def affine(self, layer: Layer, rank: int | None) -> Affine | Refusal:
        params, roles = self.params(layer), self.blob_roles(layer)
        if roles is not None:
            mean, variance = vector(layer, roles.mean), vector(layer, roles.variance)
            if not mean.any() and not variance.any():
                return _no_statistics()
            return self._map(layer, roles, mean, variance)
        if len(layer.blobs) != 2:
            return _unknown(layer, "2 or 4")
        mode = params.message.last("bn_mode")
        if not isinstance(mode, Scalar) or mode.raw not in ("INFERENCE", "1", '"INFERENCE"'):
            return Refusal(
                SkipCode.LEARNING_MODE,
                "SegNet's BN in LEARN mode uses the statistics of each batch; its file holds none",
            )
        return Affine(vector(layer, 0), vector(layer, 1))


class Scale(AffineOp):
    """Scale: learned numbers cover ``num_axes`` axes from ``axis`` on, or come as second bottom."""

    param = "scale_param"
    fillers = MappingProxyType({"weights": "filler", "bias": "bias_filler"})
    joins = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params, shape, learned = self.params(layer), first(bottoms), blob_size(layer, 0)
        at, span = params.integer("axis"), params.integer("num_axes")
        if shape is None:
            return [None]
        if len(bottoms) > 1:
            factor = bottoms[1]
            if factor:  # a scalar fits anywhere
                axis = canonical(layer, at, len(shape))
                covered = shape[axis : axis + len(factor)]
                unified(layer, (covered, factor), "its input and its factor")
            return [shape]
        axis = canonical(layer, at, len(shape))
        stop = len(shape) if span == -1 else axis + span
        if not axis <= stop <= len(shape):
            raise layer.error(f"axis {at} with num_axes {span}, its input has {len(shape)} axes")
        if learned is not None and span:
            _one_per_channel(layer, learned, product(shape[axis:stop]))
        return [shape]

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        """gamma, unless it is the second bottom; beta, with ``bias_term``."""
        covered = self._covered(layer, bottoms)
        if covered is None:  # how many axes they have depends on the input
            return None
        own = (WeightSpec("weights", covered),) if len(layer.bottoms) < 2 else ()
        return (*own, *((WeightSpec("bias", covered),) if self._has_bias(layer) else ()))

    def stated_by_blobs(self, layer: Layer) -> dict[str, Sequence[int | str]]:
        own = len(layer.bottoms) < 2
        return missing_bias(layer, self.params(layer), 2) if own and layer.blobs else {}

    def _has_bias(self, layer: Layer) -> bool:
        return self.params(layer).flag("bias_term")

    def _covered(self, layer: Layer, bottoms: ShapeList) -> Shape:
        """The shape of the learned numbers."""
        params, shape = self.params(layer), first(bottoms)
        span = params.integer("num_axes")
        if len(layer.bottoms) > 1:
            return second(bottoms)
        if shape is None and layer.blobs:
            return layer.blobs[0].shape
        if not span:
            return ()
        if shape is None:
            return None
        axis = canonical(layer, params.integer("axis"), len(shape))
        return shape[axis:] if span == -1 else shape[axis : axis + span]

    def wants_weights(self, layer: Layer) -> bool:
        return len(layer.bottoms) < 2 or self._has_bias(layer)

    def is_learned(self, layer: Layer) -> bool:
        return bool(layer.blobs) if len(layer.bottoms) > 1 else super().is_learned(layer)

    def input_channels(self, layer: Layer, rank: int | None = None, found: Dim = None) -> Dim:
        if not layer.blobs or not layer.blobs[0].shape or len(layer.bottoms) != 1:
            return None
        if not self.params(layer).integer("num_axes"):
            return None
        return size(layer.blobs[0]) if self._along_channels(layer, rank) else None

    def _along_channels(self, layer: Layer, rank: int | None) -> bool:
        """Whether the numbers lie along axis 1 alone; legacy 4-D shapes have leading ones."""
        shape, axis = layer.blobs[0].shape, self.params(layer).integer("axis")
        one_axis = size(layer.blobs[0]) in (shape[0], shape[-1] if len(shape) == 4 else -1)
        # A negative axis counts from the end; -1 is the channel axis of (N, C), -3 of (N, C, H, W).
        return one_axis and (axis == 1 or (axis < 0 and rank is not None and axis + rank == 1))

    def macs(self, layer: Layer, bottoms: ShapeList, tops: ShapeList) -> Dim:
        return total(first(tops))

    def affine(self, layer: Layer, rank: int | None) -> Affine | Refusal:
        return self._axis_refusal(layer, rank) or self._affine(layer)

    def _affine(self, layer: Layer) -> Affine | Refusal:
        """The numbers as a map, along whichever axis they lie."""
        gamma = vector(layer, 0)
        if not self._has_bias(layer):
            return Affine(gamma, np.zeros(1))
        if len(layer.blobs) != 2:
            return _unknown(layer, "2 (its bias_term is true)")
        return Affine(gamma, vector(layer, 1))

    def along_last(self, layer: Layer, rank: int) -> Affine | None:
        """The map of a layer with a number for each index of its input's last axis, of ``rank``
        axes; None when its numbers are others.

        Raises:
            ModelError: the stored numbers are not finite.
        """
        if len(layer.bottoms) != 1 or len(layer.tops) != 1 or not layer.blobs:
            return None
        axis = self.params(layer).integer("axis")
        if len(layer.blobs[0].shape) != 1 or axis not in (-1, rank - 1):
            return None
        found = self._affine(layer)
        return None if isinstance(found, Refusal) else found

    def _axis_refusal(self, layer: Layer, rank: int | None) -> Refusal | None:
        """None when the numbers lie along the channel axis alone, or are one number for all."""
        params, shape = self.params(layer), layer.blobs[0].shape
        if params.integer("num_axes") == 0 or not shape or self._along_channels(layer, rank):
            return None
        return Refusal(
            SkipCode.NOT_CHANNEL_AXIS,
            f"its factor of shape {list(shape)} starts at axis {params.integer('axis')}, "
            "not along the channels alone",
        )


class Bias(Scale):
    """Bias: as Scale, but the numbers are added (bias_layer.cpp)."""

    param = "bias_param"
    fillers = MappingProxyType({"bias": "filler"})

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        found = super().weights(layer, bottoms)
        return None if found is None else tuple(spec._replace(role="bias") for spec in found)

    def stated_by_blobs(self, layer: Layer) -> dict[str, Sequence[int | str]]:
        return {}

    def _has_bias(self, layer: Layer) -> bool:
        return False

    def macs(self, layer: Layer, bottoms: ShapeList, tops: ShapeList) -> Dim:
        return 0

    def _affine(self, layer: Layer) -> Affine | Refusal:
        return Affine(np.ones(1), vector(layer, 0))


class Power(AffineOp):
    """Power: (shift + scale * x) ^ power (power_layer.cpp)."""

    param = "power_param"
    learned = False

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return [first(bottoms)] * len(layer.tops)

    def affine(self, layer: Layer, rank: int | None) -> Affine | Refusal:
        params = self.params(layer)
        if params.number("power") != 1:
            return Refusal(SkipCode.NOT_LINEAR, f"its power is {params.number('power'):g}, not 1")
        return Affine(np.array([params.number("scale")]), np.array([params.number("shift")]))


def affine_map(op: AffineOp, layer: Layer, rank: int | None = None) -> Affine | Refusal:
    """The map that ``layer`` computes at test time, or why it is none that can be folded.

    ``rank`` is the number of axes of its input, where known; a negative ``axis`` needs it.

    Raises:
        ModelError: the stored numbers are not finite.
    """
    if len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return Refusal(
            SkipCode.TWO_BOTTOMS, f"it has {len(layer.bottoms)} inputs, so its factor is not stored"
        )
    if op.learned and not layer.blobs:
        return Refusal(SkipCode.NO_WEIGHTS, "the caffemodel holds no weights for it")
    with np.errstate(all="ignore"):
        result = op.affine(layer, rank)
    if isinstance(result, Refusal):
        return result
    bad = ~(np.isfinite(result.scale) & np.isfinite(result.shift))
    if bad.any():
        channel = int(np.flatnonzero(bad)[0])
        return Refusal(SkipCode.NOT_FINITE, f"its result is not finite in channel {channel}")
    return result


def per_channel(layer: Layer, bottoms: ShapeList) -> ShapeList:
    """Tops like the bottom; learned numbers must be one for each channel, or one for all."""
    shape, learned = first(bottoms), blob_size(layer, 0)
    if shape is not None and learned not in (None, 1):
        _one_per_channel(layer, learned, channels_of(shape))
    return [shape] * len(layer.tops)


def vector(layer: Layer, index: int) -> Doubles:
    """A stored blob as a float64 vector.

    Raises:
        ModelError: it holds NaN or infinity.
    """
    numbers: Doubles = array(layer.blobs[index]).reshape(-1).astype(np.float64)
    if not np.isfinite(numbers).all():
        bad = numbers[~np.isfinite(numbers)][0]
        raise ModelError(
            f"layer '{layer.name}': blob {index} holds {bad}; the caffemodel has NaN or Inf there, "
            "did its training diverge?"
        )
    return numbers


def channels_of(shape: Shape) -> Dim:
    """Axis 1; a blob of one axis has one channel (batch_norm_layer.cpp)."""
    return 1 if shape is not None and len(shape) < 2 else axis_of(shape, 1)


def _one_per_channel(layer: Layer, learned: int | None, channels: Dim) -> None:
    if learned is not None and channels is not None and learned != channels:
        raise layer.error(
            f"it has learned {learned} numbers, its input has {channels} channels; "
            "check the input shape, or the weights"
        )


def _normalise(mean: Doubles, variance: Doubles, eps: float) -> Affine:
    scale = 1.0 / np.sqrt(variance + eps)
    return Affine(scale, -mean * scale)


def _no_statistics() -> Refusal:
    message = "its statistics were never collected: mean, variance and factor are all zero"
    return Refusal(SkipCode.NO_STATISTICS, message)


def _unknown(layer: Layer, wanted: str) -> Refusal:
    return Refusal(
        SkipCode.UNKNOWN_LAYOUT, f"it has {len(layer.blobs)} blobs where {layer.type} has {wanted}"
    )


BATCH_NORM, BN, SCALE, BIAS = BatchNorm("BatchNorm"), ForkBN("BN"), Scale("Scale"), Bias("Bias")
POWER = Power("Power")
OPS = (BATCH_NORM, BN, SCALE, BIAS, POWER)
