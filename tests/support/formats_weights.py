"""Pieces of caffemodels, written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from google.protobuf.message import Message

from caffefold.formats.caffemodel.index import WeightsFile
from caffefold.formats.caffemodel.wire import len_field, varint, varint_field

Opened: TypeAlias = Callable[[bytes | Message], WeightsFile]


def shape_field(*dims: int) -> bytes:
    """The shape of a blob."""
    return len_field(7, len_field(1, b"".join(map(varint, dims))))


def legacy_shape(*dims: int) -> bytes:
    """num, channels, height and width, as far as given."""
    return b"".join(varint_field(number, dim) for number, dim in enumerate(dims, 1))


def layer_field(name: str, *blobs: bytes) -> bytes:
    """A layer record of a caffemodel."""
    fields = len_field(1, name.encode()) + b"".join(len_field(7, blob) for blob in blobs)
    return len_field(100, fields)
