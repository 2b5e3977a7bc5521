"""The table of all layer types: one row for each type and each alias."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from caffefold.formats.forks import UPSTREAM_TYPES
from caffefold.ir.net import Layer
from caffefold.ops import (
    activation,
    affine,
    detection,
    linear,
    loss,
    pooling,
    recurrent,
    source,
    wiring,
)
from caffefold.ops.base import Op

OPS: tuple[Op, ...] = (
    *source.OPS,
    *linear.OPS,
    *affine.OPS,
    *activation.OPS,
    *wiring.OPS,
    *pooling.OPS,
    *recurrent.OPS,
    *detection.OPS,
    *loss.OPS,
)
TABLE: Mapping[str, Op] = MappingProxyType({kind: each for each in OPS for kind in each.types})


def op(layer: Layer) -> Op:
    """What ``layer`` is, by its type."""
    return op_of(layer.type)


def op_of(kind: str) -> Op:
    """The definition of a layer type; of one that no table lists, by how it is named."""
    return TABLE.get(kind) or _unlisted(kind)


def in_caffe(layer: Layer) -> bool:
    """Whether BVLC's Caffe or SSD has the layer's type, so that it does the same everywhere."""
    return is_in_caffe(layer.type)


def is_in_caffe(kind: str) -> bool:
    """Whether BVLC's Caffe or SSD has the layer type ``kind``."""
    return kind in UPSTREAM_TYPES


_unlisted = lru_cache(maxsize=256)(loss.by_name)
