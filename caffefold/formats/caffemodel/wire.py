"""Protobuf wire format as byte ranges: the only place that knows varints and tags.

A message is walked without building it: each field is reported with the range of its payload, and
payloads are skipped, not read. Files of any size are read through a small window.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from caffefold.errors import WeightsError

VARINT, FIXED64, LEN, FIXED32 = 0, 1, 2, 5
_GROUP_START, _GROUP_END = 3, 4
_WINDOW = 1 << 14
_MAX_FIELD_NUMBER = (1 << 29) - 1
_FIXED_SIZE = {FIXED64: 8, FIXED32: 4}


class WireField(NamedTuple):
    """One field: ``start:end`` is its payload, ``tag_start:end`` all; ``value`` is a varint's."""

    number: int
    wire_type: int
    tag_start: int
    start: int
    end: int
    value: int


class ByteSource:
    """Read-only random access to a file; keeps one small window, never the whole file."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._fd = -1
        self._fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.size = os.fstat(self._fd).st_size
        self._window = b""
        self._window_start = 0

    def __enter__(self) -> ByteSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing. It also closes when nobody uses it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, start: int, end: int) -> bytes:
        """The bytes ``start:end``.

        Raises:
            WeightsError: the file is shorter (it was cut off, or shrank while being read).
        """
        data = self._pread(start, end - start)
        while len(data) < end - start:
            more = self._pread(start + len(data), end - start - len(data))
            if not more:
                raise self.error(start + len(data), "the file ends in the middle of a value")
            data += more
        return data

    def _pread(self, at: int, count: int) -> bytes:
        try:
            return os.pread(self._fd, count, at)
        except OSError as error:
            if self._fd < 0:
                raise  # closed: a mistake of the caller, not of the file
            raise self.error(at, f"cannot read: {error.strerror}") from None

    def error(self, offset: int, message: str) -> WeightsError:
        """A WeightsError at ``offset`` of this file."""
        return WeightsError(message, path=self.path, offset=offset)

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """(value, offset behind it) of the varint at ``at``; it may not reach beyond ``end``."""
        index = at - self._window_start
        if at < end and 0 <= index < len(self._window) and self._window[index] < 0x80:
            return self._window[index], at + 1  # nearly always: one byte, already here
        value = shift = 0
        for position in range(at, end):
            byte = self._byte(position)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    raise self.error(at, "a varint is larger than 64 bits; the file is damaged")
                return value, position + 1
            shift += 7
            if shift >= 70:
                raise self.error(at, "a varint is longer than 10 bytes; the file is damaged")
        raise self.error(at, "the file ends in the middle of a number; it is cut off or damaged")

    def _byte(self, at: int) -> int:
        index = at - self._window_start
        if not 0 <= index < len(self._window):
            self._window = self._pread(at, _WINDOW)
            self._window_start = at
            index = 0
            if not self._window:
                raise self.error(at, "the file ends here; it is cut off")
        return self._window[index]

    def fields(self, start: int, end: int) -> Iterator[WireField]:
        """The fields of the message that fills ``start:end``.

        Raises:
            WeightsError: with the byte offset, when the bytes are no protobuf message.
        """
        at = start
        while at < end:
            key, begin = self.varint(at, end)
            number, wire_type = key >> 3, key & 7
            value = 0
            if not 1 <= number <= _MAX_FIELD_NUMBER:
                raise self.error(at, f"field number {number} is impossible; the file is damaged")
            if wire_type == VARINT:
                value, stop = self.varint(begin, end)
            elif wire_type == LEN:
                length, begin = self.varint(begin, end)
                stop = begin + length
            elif wire_type in _FIXED_SIZE:
                stop = begin + _FIXED_SIZE[wire_type]
            else:
                name = {_GROUP_START: "a group", _GROUP_END: "the end of a group"}.get(wire_type)
                raise self.error(at, f"{name or f'wire type {wire_type}'} has no place here")
            if stop > end:
                missing = f"field {number} claims {stop - begin} bytes, only {end - begin} are left"
                raise self.error(at, f"{missing}; the file is cut off or damaged")
            yield WireField(number, wire_type, at, begin, stop, value)
            at = stop


def varint(value: int) -> bytes:
    """``value`` as a varint; negative numbers take ten bytes, as protobuf writes them."""
    if value < 0:
        value += 1 << 64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    """The key that starts a field."""
    return varint(number << 3 | wire_type)


def len_header(number: int, length: int) -> bytes:
    """Key and length of a length-delimited field; ``length`` payload bytes must follow."""
    return tag(number, LEN) + varint(length)


def len_field(number: int, payload: bytes) -> bytes:
    """A whole length-delimited field."""
    return len_header(number, len(payload)) + payload


def varint_field(number: int, value: int) -> bytes:
    """A whole varint field."""
    return tag(number, VARINT) + varint(value)
