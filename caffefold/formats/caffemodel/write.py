"""caffemodel <- layers: a plan of byte ranges and computed blobs, then one pass through the file.

All sizes are known before the first byte is written, so nothing is buffered: untouched bytes are
copied from the source, numbers are computed a chunk at a time and rounded once, to float32 or, as
NVCaffe and OpenCV read it, to half precision (``raw_data``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Union

import numpy as np

from caffefold.errors import ModelError
from caffefold.formats.caffemodel.blob import Blob, Floats, chunks, size
from caffefold.formats.caffemodel.index import LayerRecord, WeightsFile
from caffefold.formats.caffemodel.precision import FLOAT32, Precision
from caffefold.formats.caffemodel.wire import (
    VARINT,
    Range,
    WireField,
    len_field,
    len_header,
    message,
    text_field,
    varint,
    varint_field,
    write_parts,
)

_DATA, _SHAPE, _RAW_TYPE, _RAW_DATA = 5, 7, 10, 12
_FLOAT16 = 2  # NVCaffe: Type { DOUBLE = 0; FLOAT = 1; FLOAT16 = 2; ... }
_FIRST_PARAMETER = 100  # LayerParameter: messages of layer types; below are fields of every layer
_SCALE_WITH_BIAS = len_field(142, varint_field(4, 1))  # scale_param { bias_term: true }


class NewLayer(NamedTuple):
    """What becomes of one record: its wiring, its blobs, and what these are stored as.

    ``as_scale`` makes it the record of a Scale layer with bias, whatever it was.
    """

    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    blobs: tuple[Blob, ...]
    as_scale: bool = False
    precision: Precision = FLOAT32


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The payload of a blob; ``what`` names it in errors."""

    blob: Blob
    what: str
    precision: Precision

    def __len__(self) -> int:
        return size(self.blob) * self.precision.itemsize


_Part = Union[bytes, Range, _Numbers]  # noqa: UP007 - a runtime alias on Python 3.10


def write_weights(
    out: BinaryIO, source: WeightsFile, layers: Mapping[str, NewLayer | None]
) -> None:
    """Write ``source`` with new layers to ``out``.

    ``layers`` gives by name what becomes of a layer: new wiring and blobs, or None to leave it out.
    Records of other names pass through byte for byte; of two records of one name the first counts.

    Raises:
        ModelError: a number that would be written is NaN or infinite, or too large for its type;
            layer and blob are named.
        OSError: writing failed.
    """
    for part in _parts(source, layers):
        if isinstance(part, _Numbers):
            out.writelines(numbers.data for numbers in _rounded(part))
        else:
            write_parts(out, source.source, [part])


def _parts(source: WeightsFile, layers: Mapping[str, NewLayer | None]) -> Iterator[_Part]:
    yield from (Range(start, end) for start, end in source.other)
    seen: set[str] = set()
    for record in source.layers:
        if record.name in layers:
            new = layers[record.name]
            if new is not None and record.name not in seen:
                yield from _record_parts(source, record, new)
            seen.add(record.name)
        elif record.start < record.body:  # the file has it in one piece
            yield Range(record.start, record.end)
        else:
            yield from _record_parts(source, record, NewLayer((), (), record.blobs))


def _record_parts(source: WeightsFile, record: LayerRecord, new: NewLayer) -> list[_Part]:
    """The whole record: fields in Caffe's order, by number, with the blobs in their place."""
    layout = record.layout
    parts: list[_Part] = []
    after: list[_Part] = []
    for field in source.source.fields(record.body, record.end):
        replaced = field.number in (layout.bottom, layout.top, layout.blobs)
        if replaced or field.number in layout.train_only:
            continue
        if new.as_scale and (field.number == layout.type or field.number >= _FIRST_PARAMETER):
            continue
        side = parts if field.number < layout.blobs else after
        if field.number in layout.linear and len(new.blobs) > len(record.blobs):
            side.append(_without_bias_term(source, field, layout.linear[field.number]))
        else:
            side.append(Range(field.tag_start, field.end))
    if new.as_scale:
        parts.append(len_field(layout.type, b"Scale"))
        after.append(_SCALE_WITH_BIAS)
    parts += [text_field(layout.bottom, name) for name in new.bottoms]
    parts += [text_field(layout.top, name) for name in new.tops]
    for index, blob in enumerate(new.blobs):
        numbers = _Numbers(blob, f"layer '{record.name}': blob {index}", new.precision)
        parts += message(layout.blobs, _blob_parts(numbers))
    return message(layout.layer, parts + after)


def _without_bias_term(source: WeightsFile, outer: WireField, bias_term: int) -> bytes:
    """A convolution or inner product parameter without ``bias_term: false`` (true by default)."""
    kept = b"".join(
        source.source.read(field.tag_start, field.end)
        for field in source.source.fields(outer.start, outer.end)
        if not (field.number == bias_term and field.wire_type == VARINT)
    )
    return len_field(outer.number, kept)


def _blob_parts(numbers: _Numbers) -> list[_Part]:
    """The fields of a blob. Numbers first, as Caffe's Blob::ToProto leaves them on the wire."""
    stored = numbers.blob.stored
    shape: list[_Part]
    if stored is not None and stored.shape == numbers.blob.shape:
        shape = [Range(start, end) for start, end in stored.extra]
    else:
        dims = b"".join(map(varint, numbers.blob.shape))
        shape = [len_field(_SHAPE, len_field(1, dims))]
    if numbers.precision.itemsize == 4:
        return [len_header(_DATA, len(numbers)), numbers, *shape]
    header = varint_field(_RAW_TYPE, _FLOAT16) + len_header(_RAW_DATA, len(numbers))
    return [*shape, header, numbers]


def _rounded(part: _Numbers) -> Iterator[Floats]:
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
