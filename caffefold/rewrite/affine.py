"""The algebra of per-channel affine maps, and which layers are one at test time.

A map is ``y[c] = scale[c] * x[c] + shift[c]`` in float64. Sources of the formulas: Caffe's
batch_norm_layer.cpp, scale_layer.cpp, bias_layer.cpp, power_layer.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from caffefold.formats.blob import array
from caffefold.model.blob import Doubles
from caffefold.model.net import Layer
from caffefold.rewrite.base import Refusal, SkipCode


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """``y = scale * x + shift`` per channel; length C, or length 1 for all channels alike."""

    scale: Doubles
    shift: Doubles

    def then(self, after: Affine) -> Affine:
        """This map followed by ``after``."""
        return Affine(self.scale * after.scale, self.shift * after.scale + after.shift)

    def over(self, channels: int) -> Affine:
        """The same map written out for ``channels`` channels.

        Raises:
            ValueError: the map has another number of channels.
        """
        return Affine(
            np.broadcast_to(self.scale, (channels,)), np.broadcast_to(self.shift, (channels,))
        )

    @property
    def channels(self) -> int:
        """Number of channels; 1 fits any."""
        return max(self.scale.size, self.shift.size)


def of_layer(layer: Layer, rank: int) -> Affine | Refusal:
    """The map that ``layer`` computes at test time on blobs with ``rank`` axes, or why none."""
    if len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return Refusal(
            SkipCode.TWO_BOTTOMS, f"it has {len(layer.bottoms)} inputs, so its factor is not stored"
        )
    result = _SOURCES[layer.type](layer, rank)
    if isinstance(result, Refusal):
        return result
    bad = ~(np.isfinite(result.scale) & np.isfinite(result.shift))
    if bad.any():
        channel = int(np.flatnonzero(bad)[0])
        return Refusal(
            SkipCode.NOT_FINITE, f"its result is not a finite number in channel {channel}"
        )
    return result


def is_affine_type(layer: Layer) -> bool:
    """Whether layers of this type may be a per-channel affine map."""
    return layer.type in _SOURCES


def _batch_norm(layer: Layer, rank: int) -> Affine | Refusal:
    del rank  # always along axis 1
    params = layer.params("batch_norm_param")
    if params.has("use_global_stats") and not params.flag("use_global_stats"):
        return Refusal(
            SkipCode.BATCH_STATISTICS,
            "use_global_stats: false makes it use the statistics of each batch",
        )
    if not layer.blobs:
        return _no_weights()
    if len(layer.blobs) != 3:
        return Refusal(
            SkipCode.UNKNOWN_LAYOUT, f"it has {len(layer.blobs)} blobs where BatchNorm has 3"
        )
    mean, variance, factor = (_vector(layer, i) for i in range(3))
    if not factor[0] and not mean.any() and not variance.any():
        return Refusal(
            SkipCode.NO_STATISTICS, "its statistics were never collected: all blobs are zero"
        )
    unscale = 0.0 if factor[0] == 0 else 1.0 / factor[0]
    with np.errstate(all="ignore"):
        scale = 1.0 / np.sqrt(variance * unscale + params.number("eps"))
        return Affine(scale, -(mean * unscale) * scale)


def _scale(layer: Layer, rank: int) -> Affine | Refusal:
    params = layer.params("scale_param")
    if not layer.blobs:
        return _no_weights()
    refusal = _axis_refusal(layer, "scale_param", rank)
    if refusal:
        return refusal
    gamma = _vector(layer, 0)
    if params.flag("bias_term"):
        return Affine(gamma, _vector(layer, 1)) if len(layer.blobs) > 1 else _no_weights()
    return Affine(gamma, np.zeros(1))


def _bias(layer: Layer, rank: int) -> Affine | Refusal:
    if not layer.blobs:
        return _no_weights()
    return _axis_refusal(layer, "bias_param", rank) or Affine(np.ones(1), _vector(layer, 0))


def _power(layer: Layer, rank: int) -> Affine | Refusal:
    del rank
    params = layer.params("power_param")
    if params.number("power") != 1:
        return Refusal(SkipCode.NOT_LINEAR, f"its power is {params.number('power'):g}, not 1")
    return Affine(np.array([params.number("scale")]), np.array([params.number("shift")]))


_SOURCES: dict[str, Callable[[Layer, int], Affine | Refusal]] = {
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Bias": _bias,
    "Power": _power,
}


def _vector(layer: Layer, index: int) -> Doubles:
    return array(layer.blobs[index]).reshape(-1).astype(np.float64)


def _no_weights() -> Refusal:
    return Refusal(SkipCode.NO_WEIGHTS, "the caffemodel holds no numbers for it")


def _axis_refusal(layer: Layer, field: str, rank: int) -> Refusal | None:
    """None when the parameter lies along the channel axis, or is one number for all."""
    params = layer.params(field)
    axis, num_axes = params.integer("axis"), params.integer("num_axes")
    if num_axes == 0:
        return None
    axis += rank if axis < 0 else 0
    covered = rank - axis if num_axes == -1 else num_axes
    if axis == 1 and covered == 1:
        return None
    shape = list(layer.blobs[0].shape)
    return Refusal(
        SkipCode.NOT_CHANNEL_AXIS,
        f"its factor of shape {shape} starts at axis {axis}, not along the channels alone",
    )
