"""caffemodel V0 -> V2, one layer: the parameters that lie side by side get their messages.

The text has the same in ``upgrade_v0``; both read the tables of ``legacy``.
"""

from __future__ import annotations

from functools import cache

from caffefold.formats import schema
from caffefold.formats.caffemodel.wire import (
    LEN,
    VARINT,
    ByteSource,
    WireField,
    len_field,
    varint_field,
)
from caffefold.formats.upgrade.parts import (
    Range,
    Record,
    Tally,
    fields_of,
    renumbered,
    text_of,
)
from caffefold.formats.upgrade.tables import (
    V0_MOVES,
    V0_TYPES,
    V1_TYPES,
    Connection,
    v0_target,
    v1_of_v0,
)

_NESTED = 1  # V1LayerParameter.layer
_BOTTOM, _TOP = 2, 3  # V1LayerParameter
_NAME, _TYPE, _PAD, _BLOBS = 1, 2, 7, 50  # V0LayerParameter
_SPEC = {51: "lr_mult", 52: "decay_mult"}


def is_v0(near: list[WireField]) -> bool:
    """Whether a ``layers`` record of these fields has a ``layer`` inside."""
    return any(field.number == _NESTED and field.wire_type == LEN for field in near)


def connection_of(source: ByteSource, near: list[WireField]) -> tuple[Connection, int]:
    """A ``layers`` record's V0 type, bottoms and tops, and its pad."""
    kind, pad = "", 0
    bottoms: list[str] = []
    tops: list[str] = []
    for field in near:
        if field.wire_type != LEN:
            continue
        if field.number == _BOTTOM:
            bottoms.append(text_of(source, field))
        elif field.number == _TOP:
            tops.append(text_of(source, field))
        elif field.number == _NESTED:
            for inner in fields_of(source, field):
                if inner.number == _TYPE and inner.wire_type == LEN:
                    kind = text_of(source, inner)
                elif inner.number == _PAD and inner.wire_type == VARINT:
                    pad = inner.value
    return Connection(kind, tuple(bottoms), tuple(tops)), pad


def v0_record(
    source: ByteSource, near: list[WireField], tally: Tally, bottom: str | None, pad: int | None
) -> Record:
    """A V0 layer as a V2 record; ``bottom`` and ``pad`` are those of a merged padding layer."""
    kind, name = "", ""
    last: dict[int, int] = {}
    for outer in near:
        for field in fields_of(source, outer) if outer.number == _NESTED else ():
            last[field.number] = field.tag_start
            if field.wire_type == LEN and field.number == _TYPE:
                kind = text_of(source, field)
            elif field.wire_type == LEN and field.number == _NAME:
                name = text_of(source, field)
    new = v1_of_v0(kind)
    record = Record(new)
    if _TYPE in last:
        record.type = V1_TYPES[new][1] if new else kind
        if kind not in V0_TYPES:
            what = f"taken for V1's {new}" if new else "kept as it is"
            tally.add(f"unknown V0 type '{kind}' {what}", name)
    for field in near:
        if field.number == _NESTED and field.wire_type == LEN:
            for inner in fields_of(source, field):
                _nested(record, source, inner, kind, name, last, tally, pad)
        elif field.number == _BOTTOM and bottom is not None:
            record.add([len_field(3, bottom.encode("utf-8", "surrogateescape"))])
        elif field.number in (_BOTTOM, _TOP):
            record.add(renumbered(field, field.number + 1))
        else:
            tally.add(f"field {field.number} is gone; Caffe drops it beside a V0 layer", name)
    if pad is not None:
        target = v0_target("pad", kind)
        assert target is not None  # merge_padding lets only these through
        message, number = _numbers(*target)
        record.block(message).append(varint_field(number, pad))
    return record


def _nested(
    record: Record,
    source: ByteSource,
    field: WireField,
    kind: str,
    name: str,
    last: dict[int, int],
    tally: Tally,
    pad: int | None,
) -> None:
    """One field of the inner layer."""
    known = schema.message("V0LayerParameter").fields_by_number.get(field.number)
    what = "" if known is None else known.name
    if field.number == _NAME:
        record.add(renumbered(field, 1))
    elif field.number == _TYPE:
        return
    elif field.number == _BLOBS:
        record.add(renumbered(field, 7))
    elif field.number in _SPEC:
        record.spec(source, field, _SPEC[field.number])
    elif what in V0_MOVES:
        target = v0_target(what, kind)
        if target is None:
            tally.add(f"'{what}' is gone; Caffe knows none for the V0 type '{kind}'", name)
        elif last[field.number] == field.tag_start and (what != "pad" or pad is None):
            message, number = _numbers(*target)
            record.block(message).extend(renumbered(field, number))
    elif what == "hdf5_output_param" and kind == "hdf5_output":
        numbers = schema.message("LayerParameter").fields_by_name
        record.add(renumbered(field, numbers[what].number))
    elif what:
        tally.add(f"'{what}' is gone; Caffe knows none for the V0 type '{kind}'", name)
    elif field.number in schema.message("LayerParameter").fields_by_number:
        tally.add(f"unknown field {field.number} left out; V2 has another there", name)
    else:
        record.add([Range(field.tag_start, field.end)])


@cache
def _numbers(message: str, field: str) -> tuple[int, int]:
    """The number of ``message`` in LayerParameter, and of ``field`` in it."""
    outer = schema.message("LayerParameter").fields_by_name[message]
    return outer.number, schema.parameter(message).fields_by_name[field].number
