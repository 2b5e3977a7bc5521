"""Which blob of a BatchNorm or BN layer is what, in every dialect; the table is in rewrite/sources.

Sources: batch_norm_layer.cpp of BVLC Caffe, of NVCaffe (and its net.cpp) and of Intel Caffe;
bn_layer.cpp of the yjxiong fork.
"""

from __future__ import annotations

from typing import NamedTuple

from caffefold.formats.caffemodel.blob import size
from caffefold.ir.net import Layer

_NVIDIA_SMALLEST_EPS = 1e-5  # NVCaffe: eps = max(eps, CUDNN_BN_MIN_EPSILON)
_NVIDIA_FIELDS = ("scale_bias", "scale_filler", "bias_filler")


class Roles(NamedTuple):
    """Positions of a layer's blobs; None where the dialect has none such, or does not use it."""

    mean: int
    variance: int
    factor: int | None = None
    """What mean and variance are divided by; without one they are used as they are."""
    gamma: int | None = None
    beta: int | None = None
    smallest_eps: float = 0.0


def roles(layer: Layer) -> Roles | None:
    """What the blobs are; None for a layout of no known dialect, or one without statistics."""
    count = len(layer.blobs)
    if layer.type == "BN":
        return Roles(2, 3, None, 0, 1) if count == 4 else None
    if count == 3:
        return Roles(0, 1, 2)
    if count != 5:
        return None
    if size(layer.blobs[4]) == 1 and size(layer.blobs[0]) > 1:
        return Roles(2, 3, None, 0, 1, _NVIDIA_SMALLEST_EPS)
    if size(layer.blobs[2]) != 1:
        return None
    params = layer.params("batch_norm_param")
    fused = params.message.last("use_weight_bias") is None or params.flag("use_weight_bias")
    gamma, beta = (3, 4) if fused else (None, None)
    if any(params.has(name) for name in _NVIDIA_FIELDS):
        return Roles(0, 1, None, gamma, beta, _NVIDIA_SMALLEST_EPS)
    return Roles(0, 1, 2, gamma, beta)
