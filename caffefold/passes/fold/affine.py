"""Which layers are an affine map at test time, in every dialect of Caffe: one entry each.

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
batch_norm_layer.cpp and net.cpp of NVCaffe; bn_layer.cpp of the yjxiong and SegNet forks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caffefold.errors import ModelError
from caffefold.formats.caffemodel.blob import array, size
from caffefold.formats.prototxt.tree import Scalar
from caffefold.ir.affine import Affine
from caffefold.ir.blob import Doubles
from caffefold.ir.net import Layer
from caffefold.ir.params import Params
from caffefold.ops.norm import Roles, roles
from caffefold.passes.infra import Refusal, SkipCode


def of_layer(layer: Layer, rank: int | None = None) -> Affine | Refusal:
    """The map that ``layer`` computes at test time, or why it is none that can be folded.

    ``rank`` is the number of axes of its input, where known; a negative ``axis`` needs it.
    """
    if len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return Refusal(
            SkipCode.TWO_BOTTOMS, f"it has {len(layer.bottoms)} inputs, so its factor is not stored"
        )
    if layer.type != "Power" and not layer.blobs:
        return Refusal(SkipCode.NO_WEIGHTS, "the caffemodel holds no numbers for it")
    with np.errstate(all="ignore"):
        result = _SOURCES[layer.type](layer, rank)
    if isinstance(result, Refusal):
        return result
    bad = ~(np.isfinite(result.scale) & np.isfinite(result.shift))
    if bad.any():
        channel = int(np.flatnonzero(bad)[0])
        return Refusal(SkipCode.NOT_FINITE, f"it computes no finite number in channel {channel}")
    return result


def is_source(layer: Layer) -> bool:
    """Whether layers of this type may be an affine map."""
    return layer.type in _SOURCES


def zero_factor(layer: Layer) -> bool:
    """Whether Caffe takes the statistics as 0, because the factor that scales them is 0."""
    if layer.type != "BatchNorm" or len(layer.blobs) != 3:
        return False
    return not array(layer.blobs[2]).any()


# ------------------------------------------------------------------------------- BatchNorm


def _batch_norm(layer: Layer, _rank: int | None) -> Affine | Refusal:
    params = layer.params("batch_norm_param")
    if params.has("use_global_stats") and not params.flag("use_global_stats"):
        return Refusal(
            SkipCode.BATCH_STATISTICS,
            "use_global_stats: false makes it use the statistics of each batch",
        )
    found = roles(layer)
    if found is None:
        five = "5 blobs with the factor third or last"
        return _unknown(layer, five if len(layer.blobs) == 5 else "3 or 5")
    mean, variance = _vector(layer, found.mean), _vector(layer, found.variance)
    if found.factor is not None:
        factor = _vector(layer, found.factor)
        if not factor[0] and not mean.any() and not variance.any():
            return _no_statistics()
        unscale = 0.0 if factor[0] == 0 else 1.0 / factor[0]
        mean, variance = mean * unscale, variance * unscale
    plain = _normalise(mean, variance, max(params.number("eps"), found.smallest_eps))
    return _fused(layer, found, plain)


def _fused(layer: Layer, found: Roles, plain: Affine) -> Affine:
    """The forms of forks that are BatchNorm and Scale in one layer."""
    if found.gamma is None or found.beta is None:
        return plain
    return plain.then(Affine(_vector(layer, found.gamma), _vector(layer, found.beta)))


def _bn(layer: Layer, _rank: int | None) -> Affine | Refusal:
    params = layer.params("bn_param")
    found = roles(layer)
    if found is not None:
        mean, variance = _vector(layer, found.mean), _vector(layer, found.variance)
        if not mean.any() and not variance.any():
            return _no_statistics()
        return _fused(layer, found, _normalise(mean, variance, params.number("eps")))
    if len(layer.blobs) != 2:
        return _unknown(layer, "2 or 4")
    mode = params.message.last("bn_mode")
    if not isinstance(mode, Scalar) or mode.raw not in ("INFERENCE", "1", '"INFERENCE"'):
        return Refusal(
            SkipCode.LEARNING_MODE,
            "SegNet's BN in LEARN mode uses the statistics of each batch; its file holds none",
        )
    return Affine(_vector(layer, 0), _vector(layer, 1))


def _normalise(mean: Doubles, variance: Doubles, eps: float) -> Affine:
    scale = 1.0 / np.sqrt(variance + eps)
    return Affine(scale, -mean * scale)


def _no_statistics() -> Refusal:
    message = "its statistics were never collected: mean, variance and factor are all zero"
    return Refusal(SkipCode.NO_STATISTICS, message)


# --------------------------------------------------------------------- Scale, Bias, Power


def _scale(layer: Layer, rank: int | None) -> Affine | Refusal:
    params = layer.params("scale_param")
    refusal = _axis_refusal(layer, params, rank)
    if refusal is not None:
        return refusal
    gamma = _vector(layer, 0)
    if not params.flag("bias_term"):
        return Affine(gamma, np.zeros(1))
    if len(layer.blobs) != 2:
        return _unknown(layer, "2 (its bias_term is true)")
    return Affine(gamma, _vector(layer, 1))


def _bias(layer: Layer, rank: int | None) -> Affine | Refusal:
    refusal = _axis_refusal(layer, layer.params("bias_param"), rank)
    return refusal or Affine(np.ones(1), _vector(layer, 0))


def _power(layer: Layer, _rank: int | None) -> Affine | Refusal:
    params = layer.params("power_param")
    if params.number("power") != 1:
        return Refusal(SkipCode.NOT_LINEAR, f"its power is {params.number('power'):g}, not 1")
    return Affine(np.array([params.number("scale")]), np.array([params.number("shift")]))


_SOURCES: dict[str, Callable[[Layer, int | None], Affine | Refusal]] = {
    "BatchNorm": _batch_norm,
    "BN": _bn,
    "Scale": _scale,
    "Bias": _bias,
    "Power": _power,
}


def _vector(layer: Layer, index: int) -> Doubles:
    numbers: Doubles = array(layer.blobs[index]).reshape(-1).astype(np.float64)
    if not np.isfinite(numbers).all():
        bad = numbers[~np.isfinite(numbers)][0]
        raise ModelError(
            f"layer '{layer.name}': blob {index} holds {bad}; the caffemodel has NaN or Inf there, "
            "did its training diverge?"
        )
    return numbers


def _unknown(layer: Layer, wanted: str) -> Refusal:
    return Refusal(
        SkipCode.UNKNOWN_LAYOUT, f"it has {len(layer.blobs)} blobs where {layer.type} has {wanted}"
    )


def _axis_refusal(layer: Layer, params: Params, rank: int | None) -> Refusal | None:
    """None when the parameter lies along the channel axis alone, or is one number for all.

    The blob's own shape tells how many axes it covers; a legacy 4-D shape has leading ones.
    """
    axis, shape = params.integer("axis"), layer.blobs[0].shape
    if params.integer("num_axes") == 0 or not shape:
        return None
    one_axis = size(layer.blobs[0]) in (shape[0], shape[-1] if len(shape) == 4 else -1)
    # A negative axis counts from the end; -1 is the channel axis of (N, C), -3 of (N, C, H, W).
    channel = axis == 1 or (axis < 0 and rank is not None and axis + rank == 1)
    if one_axis and channel:
        return None
    return Refusal(
        SkipCode.NOT_CHANNEL_AXIS,
        f"its factor of shape {list(shape)} starts at axis {axis}, not along the channels alone",
    )
