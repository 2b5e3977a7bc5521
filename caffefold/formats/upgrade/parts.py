"""The pieces an upgraded caffemodel is put together from: new bytes, and ranges of the old file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO, NamedTuple, Union

from caffefold.formats.caffemodel.wire import (
    FIXED32,
    LEN,
    VARINT,
    ByteSource,
    WireField,
    len_field,
    len_header,
    tag,
    varint_field,
)

_COPY = 1 << 20
_SMALL = 1 << 12
_WINDOW = 1 << 14
_MAX_FIELDS = 1 << 17  # of one message; a layer of a real file has dozens
_MAX_SPECS = 1 << 12
_MAX_NAME = 1 << 16
_SPEC_NUMBERS = {"name": 1, "share_mode": 2, "lr_mult": 3, "decay_mult": 4}


class Range(NamedTuple):
    """Bytes of the source file."""

    start: int
    end: int


Part = Union[bytes, Range]  # noqa: UP007 - a runtime alias on Python 3.10
Parts = list[Part]


def length(part: Part) -> int:
    """How many bytes a part is."""
    return part.end - part.start if isinstance(part, Range) else len(part)


def message(number: int, parts: Iterable[Part]) -> Parts:
    """A length-delimited field around ``parts``."""
    inner = list(parts)
    return [len_header(number, sum(map(length, inner))), *inner]


def renumbered(field: WireField, number: int) -> Parts:
    """``field`` under another number."""
    if field.wire_type == LEN:
        return message(number, [Range(field.start, field.end)])
    return [tag(number, field.wire_type), Range(field.start, field.end)]


def fields_of(source: ByteSource, outer: WireField) -> Iterator[WireField]:
    """The fields of a sub-message; refuses more than any real one has."""
    fields = source.fields(outer.start, outer.end)
    yield from islice(fields, _MAX_FIELDS)
    if next(fields, None) is not None:
        raise source.error(
            outer.tag_start, f"more than {_MAX_FIELDS} fields in one layer; the file is damaged"
        )


def text_of(source: ByteSource, field: WireField) -> str:
    """The string in ``field``."""
    if field.end - field.start > _MAX_NAME:
        raise source.error(field.tag_start, "a name of more than 64 KiB; the file is damaged")
    return source.read(field.start, field.end).decode("utf-8", "surrogateescape")


def write_parts(out: BinaryIO, source: ByteSource, parts: Iterable[Part]) -> None:
    """Write the parts, ranges copied piece by piece."""
    for part in parts:
        if isinstance(part, Range):
            out.writelines(
                source.read(start, min(start + _COPY, part.end))
                for start in range(part.start, part.end, _COPY)
            )
        else:
            out.write(part)


class Tally:
    """What was given up or kept unread, counted: a million layers give one sentence."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, layer: str) -> None:
        """It happened once more, in ``layer``."""
        count, first = self._found.get(what, (0, layer))
        self._found[what] = count + 1, first

    def sentences(self) -> tuple[str, ...]:
        """One sentence per kind."""
        return tuple(
            f"layer '{first}'{f' and {count - 1} more' if count > 1 else ''}: {what}"
            if first
            else what
            for what, (count, first) in self._found.items()
        )


class Record:
    """A V2 layer in the making. ``kind`` is its V1 type, ``type`` the string V2 has."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.type: str | None = None
        self._parts: Parts = []
        self._blocks: dict[int, Parts] = {}
        self._specs: list[dict[str, bytes]] = []
        self._seen: dict[str, int] = {}

    def add(self, parts: Parts) -> None:
        """Whole fields."""
        self._parts += parts

    def block(self, number: int) -> Parts:
        """The fields of parameter message ``number``, to be added to."""
        return self._blocks.setdefault(number, [])

    def spec(self, source: ByteSource, field: WireField, name: str) -> None:
        """One or, packed, several values of ``name`` of the next blobs' ParamSpecs."""
        for value in _spec_values(source, field, name):
            index = self._seen.get(name, 0)
            self._seen[name] = index + 1
            if index == len(self._specs):
                self._specs.append({})
            if index >= _MAX_SPECS:
                raise source.error(field.tag_start, f"more than {_MAX_SPECS} {name} in one layer")
            self._specs[index][name] = value

    def parts(self) -> Parts:
        """The layer's fields."""
        found: Parts = []
        if self.type is not None:
            found.append(len_field(2, self.type.encode("utf-8", "surrogateescape")))
        found += self._parts
        for spec in self._specs:
            found.append(
                len_field(6, b"".join(spec[name] for name in _SPEC_NUMBERS if name in spec))
            )
        for number, inner in self._blocks.items():
            found += message(number, inner)
        return found


def _spec_values(source: ByteSource, field: WireField, name: str) -> Iterator[bytes]:
    """Each value of a spec field as a whole field of ParamSpec."""
    number = _SPEC_NUMBERS[name]
    size = field.end - field.start
    if field.wire_type == LEN and size > _MAX_NAME:
        raise source.error(field.tag_start, f"more than {_MAX_SPECS} {name} in one layer")
    if name == "name" and field.wire_type == LEN:
        yield len_field(number, source.read(field.start, field.end))
    elif name == "share_mode" and field.wire_type == VARINT:
        yield varint_field(number, field.value)
    elif name == "share_mode" and field.wire_type == LEN:
        at = field.start
        while at < field.end:
            value, at = source.varint(at, field.end)
            yield varint_field(number, value)
    elif field.wire_type == FIXED32 or (field.wire_type == LEN and size % 4 == 0):
        data = source.read(field.start, field.end)
        for at in range(0, len(data), 4):
            yield tag(number, FIXED32) + data[at : at + 4]


class SplicedSource(ByteSource):
    """A file that is not there: parts of ``base`` and new bytes, read as if they were one file.

    What is small is held; large ranges stay in ``base``, which is closed with this.
    """

    def __init__(self, base: ByteSource, parts: Iterable[Part]) -> None:
        self.path = base.path
        self._base = base
        self._pieces: list[bytes | Range] = []
        self._starts: list[int] = []
        self._window = b""
        self._window_start = 0
        self.size = 0
        small = bytearray()
        for part in parts:
            if isinstance(part, Range) and length(part) > _SMALL:
                self._append(bytes(small))
                small.clear()
                self._append(part)
            else:
                small += base.read(*part) if isinstance(part, Range) else part
        self._append(bytes(small))

    def _append(self, piece: bytes | Range) -> None:
        if length(piece):
            self._starts.append(self.size)
            self._pieces.append(piece)
            self.size += length(piece)

    def close(self) -> None:
        """Close the file behind it."""
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
            piece = self._pieces[index]
            first = start - self._starts[index]
            last = min(end - self._starts[index], length(piece))
            if isinstance(piece, Range):
                found.append(self._base.read(piece.start + first, piece.start + last))
            else:
                found.append(piece[first:last])
            start += last - first
            index += 1
        return found[0] if len(found) == 1 else b"".join(found)

    def _byte(self, at: int) -> int:
        index = at - self._window_start
        if not 0 <= index < len(self._window):
            if not 0 <= at < self.size:
                raise self.error(at, "the file ends here; it is cut off")
            self._window = self.read(at, min(at + _WINDOW, self.size))
            self._window_start = at
            index = 0
        return self._window[index]
