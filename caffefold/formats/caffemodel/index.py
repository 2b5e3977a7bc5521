"""caffemodel -> index: which bytes are which layer's blobs. Nothing large is read or kept.

Only what all forks agree on is believed: a layer's name, type and blobs (SEMANTICS: field numbers
above 100 collide between forks). Everything else is remembered as a byte range and passes through.
Memory stays in proportion whatever the file holds: layers and pieces of blobs are limited, and
neighbouring other fields are one range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from math import prod
from pathlib import Path
from typing import NamedTuple

from caffefold.errors import WeightsError
from caffefold.formats import detect
from caffefold.formats.caffemodel.blob import Blob, Floats, Piece, StoredBlob, array
from caffefold.formats.caffemodel.wire import (
    FIXED32,
    FIXED64,
    LEN,
    VARINT,
    ByteSource,
    Closeable,
    SplicedSource,
    WireField,
    text_field,
)
from caffefold.frozen import dataclass

MAX_DIMS = 32  # Caffe's kMaxBlobAxes
# The largest real nets have less than 20,000 layers, with at most five blobs of one piece each.
MAX_LAYERS = 100_000
MAX_PIECES = 300_000
MAX_FIELDS = 1 << 17  # of one layer; a layer of a real file has dozens


class Layout(NamedTuple):
    """Field numbers of a layer record; ``layer`` is its number in NetParameter."""

    layer: int
    name: int
    type: int
    bottom: int
    top: int
    blobs: int
    train_only: frozenset[int]
    """loss_weight, param, propagate_down, include, exclude, phase and their old forms."""


V2 = Layout(100, 1, 2, 3, 4, 7, frozenset({5, 6, 8, 9, 10, 11}))
V1 = Layout(2, 4, 5, 2, 3, 6, frozenset({7, 8, 32, 33, 35, 1001, 1002}))


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """One layer of a snapshot, which fills ``start:end`` of the file, tag included.

    Of a layer of an HDF5 file, ``start`` equals ``body``: no tag and no blobs stand there.
    """

    layout: Layout
    name: str
    type: str
    blobs: tuple[Blob, ...]
    body: int
    """Where its first field starts, after tag and length."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """An indexed caffemodel; the file stays open while its numbers are needed."""

    source: ByteSource
    name: str
    layers: tuple[LayerRecord, ...]
    other: tuple[tuple[int, int], ...]
    """Byte ranges of the net-level fields that are no layer, tags included."""

    @property
    def path(self) -> str:
        """Where the file was opened."""
        return self.source.path

    def by_name(self) -> dict[str, LayerRecord]:
        """Records by layer name; of several with one name the first counts, as in Caffe."""
        found: dict[str, LayerRecord] = {}
        for record in self.layers:
            found.setdefault(record.name, record)
        return found

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def weights_in_memory(
    path: str,
    net: str,
    types: Mapping[str, str],
    blobs: Mapping[str, tuple[Blob, ...]],
    file: Closeable | None = None,
) -> WeightsFile:
    """Weights of the layers named in ``blobs``; a record has a name and a type as wire fields.

    ``path`` is what messages call them; ``file``, which the blobs are read from, is closed with
    them. A layer that is not in ``types`` has none.
    """
    data = text_field(1, net) if net else b""
    other = ((0, len(data)),) if net else ()
    written = bytearray(data)
    layers = []
    for name, numbers in blobs.items():
        start = len(written)
        written += text_field(V2.name, name)
        written += text_field(V2.type, types[name]) if name in types else b""
        kind = types.get(name, "")
        layers.append(LayerRecord(V2, name, kind, numbers, start, start, len(written)))
    return WeightsFile(SplicedSource(path, [bytes(written)], file), net, tuple(layers), other)


def open_weights(path: str | Path) -> WeightsFile:
    """Index a caffemodel without loading it.

    Raises:
        InputError: missing, empty, a directory, or another kind of file (which is named).
        WeightsError: truncated or damaged, with the byte offset.
    """
    detect.expect_caffemodel(path)
    source = ByteSource(path)
    try:
        return index(source)
    except BaseException:
        source.close()
        raise


def check_layers(source: ByteSource, field: WireField, count: int) -> None:
    """Refuse the layer ``field`` when it is one more than any net has.

    Raises:
        WeightsError: ``count`` is more than ``MAX_LAYERS``.
    """
    if count > MAX_LAYERS:
        raise source.error(
            field.tag_start, f"more than {MAX_LAYERS} layers in one file; no net has so many"
        )


def no_layers(source: ByteSource) -> WeightsError:
    """The error for a file without layers."""
    what = "no layers in this file; is it a caffemodel (a Caffe snapshot of weights)?"
    return WeightsError(what, path=source.path)


Quota = Iterator[int]  # counts down from MAX_PIECES


def _take(quota: Quota, source: ByteSource, field: WireField) -> None:
    """One more blob, or run of numbers in it; WeightsError when no more are allowed."""
    if next(quota, None) is None:
        raise source.error(
            field.tag_start, f"more than {MAX_PIECES} blobs, or pieces of them; no net has that"
        )


def index(source: ByteSource) -> WeightsFile:
    """Index the caffemodel in ``source``, which the result keeps.

    Raises:
        WeightsError: as ``open_weights``.
    """
    layers: list[LayerRecord] = []
    other: list[tuple[int, int]] = []
    quota = iter(range(MAX_PIECES))
    name = ""
    for field in source.fields(0, source.size):
        if field.wire_type == LEN and field.number in (V1.layer, V2.layer):
            layout = V2 if field.number == V2.layer else V1
            layers.append(_layer(source, layout, field, quota))
            check_layers(source, field, len(layers))
        else:
            _add_range(other, field)
            if field.number == 1 and field.wire_type == LEN:
                name = source.text(field)
    if not layers:
        raise no_layers(source)
    return WeightsFile(source, name, tuple(layers), tuple(other))


def _add_range(ranges: list[tuple[int, int]], field: WireField) -> None:
    """The bytes of ``field``; neighbours become one range."""
    if ranges and ranges[-1][1] == field.tag_start:
        ranges[-1] = ranges[-1][0], field.end
    else:
        ranges.append((field.tag_start, field.end))


def _layer(source: ByteSource, layout: Layout, outer: WireField, quota: Quota) -> LayerRecord:
    name = kind = ""
    found: list[WireField] = []
    for field in source.fields(outer.start, outer.end):
        if field.number == layout.name and field.wire_type == LEN:
            name = source.text(field)
        elif field.number == layout.type:
            kind = source.text(field) if field.wire_type == LEN else f"V1:{field.value}"
        elif field.number == layout.blobs and field.wire_type == LEN:
            _take(quota, source, field)
            found.append(field)
    blobs = tuple(
        _blob(source, field, f"layer '{name}': blob {i}", quota) for i, field in enumerate(found)
    )
    return LayerRecord(layout, name, kind, blobs, outer.start, outer.tag_start, outer.end)


# ------------------------------------------------------------------------------------ blobs

# BlobProto: num 1, channels 2, height 3, width 4, data 5, diff 6, shape 7, double_data 8,
# double_diff 9; NVCaffe: raw_data_type 10, raw_diff_type 11, raw_data 12, raw_diff 13.
_DATA = {5: "<f4", 8: "<f8"}
_DATA_TYPE = {5: FIXED32, 8: FIXED64}
_RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}
_DIFFS = frozenset({6, 9, 11, 13})


def read_blob(path: str | Path) -> Floats:
    """The numbers of a file that holds one BlobProto, such as ``mean.binaryproto``.

    Raises:
        WeightsError: the file holds something else.
    """
    with ByteSource(path) as source:
        whole = WireField(0, LEN, 0, 0, source.size, 0)
        return array(_blob(source, whole, "blob", iter(range(MAX_PIECES))))


def _blob(source: ByteSource, outer: WireField, what: str, quota: Quota) -> StoredBlob:
    legacy: dict[int, int] = {}
    shape: tuple[int, ...] | None = None
    runs: dict[str, list[Piece]] = {}
    raw_type, raw = "<f4", None
    extra: list[tuple[int, int]] = []
    for field in _blob_fields(source, outer):
        number = field.number
        if 1 <= number <= 4 and field.wire_type == VARINT:
            legacy[number] = _signed(field.value)
        elif number == 7 and field.wire_type == LEN:
            shape = _shape(source, field)
        elif number in _DATA and field.wire_type in (LEN, _DATA_TYPE[number]):
            _take(quota, source, field)
            runs.setdefault(_DATA[number], []).append(_piece(source, field, _DATA[number], what))
        elif number == 10 and field.wire_type == VARINT:
            raw_type = _RAW_TYPES.get(field.value, "")
        elif number == 12 and field.wire_type == LEN:
            raw = field
        elif number in _DATA:
            raise source.error(field.tag_start, f"{what}: its numbers have the wrong wire type")
        elif number not in _DIFFS:
            _add_range(extra, field)
    if raw is not None and not runs:
        if not raw_type:
            raise source.error(outer.tag_start, f"{what}: raw_data of an unknown number type")
        runs[raw_type] = [_piece(source, raw, raw_type, what)]
    # Caffe reads double_data first when both are there (blob.cpp, FromProto).
    pieces = runs.get("<f8") or next(iter(runs.values()), [])
    count = sum(piece.length for piece in pieces)
    # As Caffe reads it (blob.cpp, FromProto): legacy dimensions count before a shape.
    dims = shape or ()
    if legacy:
        dims = tuple(legacy.get(number, 0) for number in (1, 2, 3, 4))
    elif shape is None and not pieces:
        dims = (0,)
    if any(dim < 0 for dim in dims) or len(dims) > MAX_DIMS:
        raise source.error(outer.tag_start, f"{what}: impossible shape {list(dims)}")
    if prod(dims) != count:
        raise source.error(
            outer.tag_start,
            f"{what}: shape {list(dims)} needs {prod(dims)} numbers, {count} stored",
        )
    return StoredBlob(source, dims, tuple(pieces), tuple(extra), bool(legacy))


def _blob_fields(source: ByteSource, outer: WireField) -> Iterator[WireField]:
    """The record's fields; a run of unpacked numbers comes as one field of its whole range."""
    at = outer.start
    while at < outer.end:
        for field in source.fields(at, outer.end):
            at = field.end
            if _DATA_TYPE.get(field.number) == field.wire_type:
                at = _run_end(source, field, outer.end)
                yield field._replace(end=at)
                break
            yield field


def _run_end(source: ByteSource, first: WireField, end: int) -> int:
    """Where the unpacked run that starts with ``first`` ends (the same tag before each value)."""
    stride = first.end - first.tag_start
    key = source.read(first.tag_start, first.start)
    at = first.end
    while at + stride <= end:
        block = source.read(at, min(end, at + stride * 4096))
        for i in range(0, len(block) - stride + 1, stride):
            if not block.startswith(key, i):
                return at + i
        at += len(block) // stride * stride
    return at


def _piece(source: ByteSource, field: WireField, dtype: str, what: str) -> Piece:
    itemsize = int(dtype[-1])
    length = field.end - field.start
    if field.wire_type == LEN:
        if length % itemsize:
            raise source.error(
                field.tag_start, f"{what}: {length} bytes are not a multiple of {itemsize}"
            )
        return Piece(field.start, length // itemsize, dtype, itemsize)
    tag_size = field.start - field.tag_start
    stride = tag_size + itemsize
    return Piece(field.start, (field.end - field.tag_start) // stride, dtype, stride)


def _shape(source: ByteSource, outer: WireField) -> tuple[int, ...]:
    dims: list[int] = []
    for field in source.fields(outer.start, outer.end):
        if field.number == 1:
            dims += map(_signed, islice(source.integers(field), MAX_DIMS + 1))
        if len(dims) > MAX_DIMS:
            raise source.error(outer.tag_start, f"a blob of more than {MAX_DIMS} dimensions")
    return tuple(dims)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
