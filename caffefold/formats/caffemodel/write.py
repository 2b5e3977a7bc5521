"""caffemodel <- layers: a plan of byte ranges and computed blobs, then one pass through the file.

All sizes are known before the first byte is written, so nothing is buffered: numbers are read or
computed a chunk at a time and rounded once, to float32 or, as NVCaffe and OpenCV read it, to half
precision (``raw_data``). Every blob has its shape record, which files of old Caffes lack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, Union

import numpy as np

from caffefold.errors import ModelError
from caffefold.formats.caffemodel.blob import Blob, Floats, chunks, size
from caffefold.formats.caffemodel.index import V2, LayerRecord, WeightsFile
from caffefold.formats.caffemodel.precision import FLOAT32, Precision
from caffefold.formats.caffemodel.wire import (
    Part,
    Range,
    len_field,
    len_header,
    message,
    text_field,
    varint,
    varint_field,
    write_parts,
)
from caffefold.frozen import dataclass

_DATA, _SHAPE, _RAW_TYPE, _RAW_DATA = 5, 7, 10, 12
_FLOAT16 = 2  # NVCaffe: Type { DOUBLE = 0; FLOAT = 1; FLOAT16 = 2; ... }

Fields = Sequence[tuple[int, Sequence[Part]]]
"""Fields of a message in ascending order: the number of each, and its bytes with the tag."""


class NewLayer(NamedTuple):
    """A layer as it is written: its wiring, its other fields, its blobs and how they are stored."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    fields: Fields = ()
    """All but those above and the blobs."""
    blobs: tuple[Blob, ...] = ()
    shapes: tuple[tuple[int, ...] | None, ...] = ()
    """The shape of each blob as Caffe holds it; None, or none at all: unknown, as it is stored."""
    precision: Precision = FLOAT32


@dataclass(frozen=True, slots=True)
class Numbers:
    """The payload of a blob; ``what`` names it in errors."""

    blob: Blob
    what: str
    precision: Precision

    def __len__(self) -> int:
        return size(self.blob) * self.precision.itemsize


_Part = Union[bytes, Range, Numbers]  # noqa: UP007 - a runtime alias on Python 3.10


def write_weights(
    out: BinaryIO,
    source: WeightsFile,
    layers: Iterable[NewLayer],
    *,
    head: Fields = (),
    strangers: Iterable[LayerRecord] = (),
) -> None:
    """Write a caffemodel of exactly ``layers``, in their order, to ``out``.

    Args:
        out: where to.
        source: the file that stored blobs and ranges of bytes refer to.
        layers: the layers of the net.
        head: the fields of the net that are no layer.
        strangers: records of ``source`` that follow as they are, byte for byte.

    Raises:
        ModelError: a number that would be written is NaN or infinite, or too large for its type;
            layer and blob are named.
        OSError: writing failed.
    """
    for part in _parts(head, layers, strangers):
        if isinstance(part, Numbers):
            out.writelines(numbers.data for numbers in rounded(part))
        else:
            write_parts(out, source.source, [part])


def _parts(
    head: Fields, layers: Iterable[NewLayer], strangers: Iterable[LayerRecord]
) -> Iterator[_Part]:
    for number, parts in head:
        if number < V2.layer:
            yield from parts
    for layer in layers:
        yield from _record_parts(layer)
    for record in strangers:
        if record.start < record.body:  # the file has it in one piece
            yield Range(record.start, record.end)
        else:
            named = NewLayer(record.name, record.type, (), (), blobs=record.blobs)
            yield from _record_parts(named)
    for number, parts in head:
        if number > V2.layer:
            yield from parts


def _record_parts(layer: NewLayer) -> list[_Part]:
    """The whole record, with its fields in ascending order."""
    parts: list[_Part] = [text_field(V2.name, layer.name)]
    parts += [text_field(V2.type, layer.type)] if layer.type else []
    parts += [text_field(V2.bottom, name) for name in layer.bottoms]
    parts += [text_field(V2.top, name) for name in layer.tops]
    for number, some in layer.fields:
        parts += some if number < V2.blobs else ()
    shapes = layer.shapes or (None,) * len(layer.blobs)
    for index, (blob, shape) in enumerate(zip(layer.blobs, shapes, strict=True)):
        numbers = Numbers(blob, f"layer '{layer.name}': blob {index}", layer.precision)
        parts += message(V2.blobs, _blob_parts(numbers, shape))
    for number, some in layer.fields:
        parts += some if number > V2.blobs else ()
    return message(V2.layer, parts)


def _blob_parts(numbers: Numbers, shape: tuple[int, ...] | None) -> list[_Part]:
    """The fields of a blob. Numbers first, as Caffe's Blob::ToProto leaves them on the wire."""
    stored, own = numbers.blob.stored, numbers.blob.shape
    dims = b"".join(map(varint, own if shape is None else shape))
    rest: list[_Part] = [len_field(_SHAPE, len_field(1, dims))]
    if shape is None and stored is not None and stored.legacy and stored.shape == own:
        # Caffe compares these, if they are there, and by milder rules (blob.cpp, ShapeEquals).
        rest += [varint_field(number, dim) for number, dim in enumerate(own, 1)]
    if stored is not None:
        rest += [Range(start, end) for start, end in stored.extra]
    if numbers.precision.itemsize == 4:
        return [len_header(_DATA, len(numbers)), numbers, *rest]
    header = varint_field(_RAW_TYPE, _FLOAT16) + len_header(_RAW_DATA, len(numbers))
    return [*rest, header, numbers]


def rounded(part: Numbers) -> Iterator[Floats]:
    """The blob's numbers in their type, each rounded once; refuses what is not finite."""
    name, largest = part.precision.name, part.precision.largest
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for chunk in chunks(part.blob):
            numbers = chunk.astype(part.precision.dtype, copy=False)
            # A sum is finite only if every term is; it may also overflow, hence the second look.
            if (
                not np.isfinite(np.add.reduce(numbers, dtype="<f4"))
                and not np.isfinite(numbers).all()
            ):
                bad = chunk[~np.isfinite(numbers)][0]
                if abs(bad) < FLOAT32.largest and part.precision is not FLOAT32:
                    raise ModelError(
                        f"{part.what} would hold {bad:g}, more than {name} can ({largest:g}); "
                        "write float32, which is the default"
                    )
                bad = numbers[~np.isfinite(numbers)][0]
                raise ModelError(
                    f"{part.what} would hold {bad}; the caffemodel has NaN or Inf there, "
                    "or values no float32 can hold once folded"
                )
            yield numbers
