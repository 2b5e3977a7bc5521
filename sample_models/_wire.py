"""Protobuf wire bytes in a few lines, for the generators of the sample models.

Nothing is shared with `caffefold`: files written with this module are therefore also an
independent check of its reader.
"""

from __future__ import annotations

import struct

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    """Return `value` as a base-128 varint (negative numbers as 64-bit two's complement)."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(field: int, wire_type: int) -> bytes:
    """Return the key that stands before each value."""
    return varint(field << 3 | wire_type)


def int_field(field: int, value: int) -> bytes:
    """Return an integer, bool or enum field."""
    return tag(field, VARINT) + varint(value)


def float_field(field: int, value: float) -> bytes:
    """Return a float field."""
    return tag(field, FIXED32) + struct.pack("<f", value)


def header(field: int, size: int) -> bytes:
    """Return what stands before a string, message or packed field of `size` bytes."""
    return tag(field, BYTES) + varint(size)


def bytes_field(field: int, payload: bytes) -> bytes:
    """Return a string, message or packed field."""
    return header(field, len(payload)) + payload


def string_field(field: int, text: str) -> bytes:
    """Return a string field."""
    return bytes_field(field, text.encode())


def packed_ints(field: int, values: tuple[int, ...]) -> bytes:
    """Return a packed repeated integer field."""
    return bytes_field(field, b"".join(varint(value) for value in values))
