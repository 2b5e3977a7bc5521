"""Protobuf wire format as byte ranges: the only place that knows varints and tags.

A message is walked without building it: each field is reported with the range of its payload, and
payloads are skipped, not read. Files of any size are read through a small window. What is written
is a list of parts: new bytes, and ranges of the source, which are copied piece by piece.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn, Protocol, TypeVar, Union

from caffefold.errors import WeightsError
from caffefold.frozen import dataclass

VARINT, FIXED64, LEN, FIXED32 = 0, 1, 2, 5
_GROUP_START, _GROUP_END = 3, 4
_WINDOW = 1 << 14
_COPY = 1 << 20
_SMALL = 1 << 12  # ranges up to this size are held in memory
_MAX_TEXT = 1 << 16
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

    _fd = -1
    _window = b""
    _window_start = 0

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        try:
            self._fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            self.size = os.fstat(self._fd).st_size
        except OSError as error:
            raise WeightsError(f"cannot read: {error.strerror}", path=self.path) from None

    def __enter__(self) -> ByteSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __deepcopy__(self, memo: object) -> ByteSource:
        """Itself: two of them must not close one file."""
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self.path}: an open file cannot be pickled; load the net again instead")

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

    def text(self, field: WireField) -> str:
        """The string in ``field``.

        Raises:
            WeightsError: it is longer than any name.
        """
        if field.end - field.start > _MAX_TEXT:
            raise self.error(field.tag_start, "a name of more than 64 KiB; the file is damaged")
        return self.read(field.start, field.end).decode("utf-8", "surrogateescape")

    def integers(self, field: WireField) -> Iterator[int]:
        """The numbers of one occurrence of a repeated varint field, packed or not."""
        if field.wire_type == VARINT:
            yield field.value
        at = field.start
        while field.wire_type == LEN and at < field.end:
            value, at = self.varint(at, field.end)
            yield value

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """(value, offset after it) of the varint at ``at``; it may not reach beyond ``end``."""
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
            self._window = self._fill(at)
            self._window_start = at
            index = 0
            if not self._window:
                raise self.error(at, "the file ends here; it is cut off")
        return self._window[index]

    def _fill(self, at: int) -> bytes:
        """Bytes for the window from ``at`` on; none after the end."""
        return self._pread(at, _WINDOW)

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
                raise self.error(at, f"field number {number} is invalid; the file is damaged")
            if wire_type == VARINT:
                value, stop = self.varint(begin, end)
            elif wire_type == LEN:
                length, begin = self.varint(begin, end)
                stop = begin + length
            elif wire_type in _FIXED_SIZE:
                stop = begin + _FIXED_SIZE[wire_type]
            else:
                name = {_GROUP_START: "a group", _GROUP_END: "the end of a group"}.get(wire_type)
                raise self.error(at, f"{name or f'wire type {wire_type}'} is not allowed here")
            if stop > end:
                missing = f"field {number} claims {stop - begin} bytes, only {end - begin} are left"
                raise self.error(at, f"{missing}; the file is cut off or damaged")
            yield WireField(number, wire_type, at, begin, stop, value)
            at = stop


class BytesSource(ByteSource):
    """A message in memory."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.size = len(data)
        self._window = data

    def read(self, start: int, end: int) -> bytes:
        """The bytes ``start:end``."""
        return self._window[start:end]

    def _fill(self, at: int) -> bytes:
        del at
        return b""  # all is in the window already


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


def text_field(number: int, text: str) -> bytes:
    """A whole string field."""
    return len_field(number, text.encode("utf-8", "surrogateescape"))


# ------------------------------------------------------------------------------------ parts


@dataclass(frozen=True, slots=True)
class Range:
    """The bytes ``start:end`` of the source file."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


Part = Union[bytes, Range]  # noqa: UP007 - a runtime alias on Python 3.10
Parts = list[Part]
_Sized = TypeVar("_Sized", bound=Sized)


def message(number: int, parts: Iterable[_Sized]) -> list[bytes | _Sized]:
    """A length-delimited field around ``parts``, whose lengths are in bytes."""
    inner = list(parts)
    return [len_header(number, sum(map(len, inner))), *inner]


def renumbered(field: WireField, number: int) -> Parts:
    """``field`` under another number."""
    if field.wire_type == LEN:
        return message(number, [Range(field.start, field.end)])
    return [tag(number, field.wire_type), Range(field.start, field.end)]


def write_parts(out: BinaryIO, source: ByteSource, parts: Iterable[Part]) -> None:
    """Write the parts to ``out``, ranges of ``source`` copied piece by piece."""
    for part in parts:
        if isinstance(part, Range):
            out.writelines(
                source.read(start, min(start + _COPY, part.end))
                for start in range(part.start, part.end, _COPY)
            )
        else:
            out.write(part)


class Closeable(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Let the file go."""


class SplicedSource(ByteSource):
    """A file that is not there: new bytes and ranges of ``base``, read as if they were one file.

    ``base`` is closed with it; where there are no ranges, it is any file, or none.
    """

    def __init__(self, path: str, parts: Iterable[Part], base: Closeable | None) -> None:
        self.path = path
        self._base = base
        self._parts: Parts = []
        self._starts: list[int] = []
        self.size = 0
        small = bytearray()
        for part in parts:
            if isinstance(part, Range) and len(part) > _SMALL:
                self._append(bytes(small))
                small.clear()
                self._append(part)
            else:
                small += self._bytes(part, 0, len(part))
        self._append(bytes(small))

    def _append(self, part: Part) -> None:
        if part:
            self._starts.append(self.size)
            self._parts.append(part)
            self.size += len(part)

    def _bytes(self, part: Part, first: int, last: int) -> bytes:
        """``first:last`` of one part."""
        if not isinstance(part, Range):
            return part[first:last]
        assert isinstance(self._base, ByteSource)
        return self._base.read(part.start + first, part.start + last)

    def close(self) -> None:
        """Close the file behind it."""
        if self._base is not None:
            self._base.close()

    def read(self, start: int, end: int) -> bytes:
        """The bytes ``start:end``."""
        if start >= end:
            return b""
        if start < 0 or end > self.size:
            raise self.error(self.size, "the file ends in the middle of a value")
        found = []
        index = bisect_right(self._starts, start) - 1
        while start < end:
            first = start - self._starts[index]
            last = min(end - self._starts[index], len(self._parts[index]))
            found.append(self._bytes(self._parts[index], first, last))
            start += last - first
            index += 1
        return found[0] if len(found) == 1 else b"".join(found)

    def _fill(self, at: int) -> bytes:
        return self.read(at, min(at + _WINDOW, self.size)) if at >= 0 else b""
