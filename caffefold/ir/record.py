"""A layer's text as the record that a caffemodel holds of it, and a net's text as its head.

Tools that read the caffemodel alone (Netron, Ascend ATC) see the net of the prototxt: every field
that our schema knows is written from the text. What only a fork's schema knows has no number there;
such fields are carried over from the record that the layer was read with. Fields are ordered by
number, as protobuf writes them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from caffefold.errors import TextError
from caffefold.formats import declared, schema
from caffefold.formats.caffemodel.index import MAX_FIELDS, V2, WeightsFile
from caffefold.formats.caffemodel.wire import (
    FIXED32,
    FIXED64,
    LEN,
    ByteSource,
    Part,
    Range,
    WireField,
    len_field,
    len_header,
    tag,
    varint,
)
from caffefold.formats.caffemodel.write import Fields
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import Params

_OWN = frozenset({V2.name, V2.type, V2.bottom, V2.top, V2.blobs})
_NOT_HERE = _OWN | V2.train_only
_FIRST_PARAMETER = 100  # LayerParameter: messages of layer types; below are fields of every layer
# FieldDescriptor.type
_INTEGERS = frozenset({3, 4, 5, 13})
_DOUBLE, _FLOAT, _BOOL, _STRING, _MESSAGE, _BYTES, _ENUM = 1, 2, 8, 9, 11, 12, 14


def layer_fields(layer: Layer, source: ByteSource) -> Fields:
    """The fields of the layer's record, but for its blobs; ``source`` is where its old one lies.

    Fields that only training reads are left out, as everywhere in a deploy pair.
    """
    kind = schema.message("LayerParameter")
    owner = f"layer '{layer.name}'"
    kept: Iterable[WireField] = ()
    strange = any(f.name not in _declared(kind.name) for f in layer.body.fields)
    record = layer.record
    if record is not None and record.type == layer.type:
        kept = (f for f in source.fields(record.body, record.end) if f.number not in _OWN)
    params = Params(layer.document, layer.body, kind, owner)
    return _merged(params, kept, source, strange, _NOT_HERE)


def net_fields(net: Net, weights: WeightsFile) -> Fields:
    """The fields of the net that are no layer: its name, ``input`` and the like."""
    kept = (f for start, end in weights.other for f in weights.source.fields(start, end))
    params = net.params()._replace(descriptor=schema.message("NetParameter"))
    return _merged(params, kept, weights.source, strange=False)


class _Declared(NamedTuple):
    """What the encoder asks of a field's declaration."""

    number: int
    kind: int
    repeated: bool
    packed: bool
    enum: dict[str, int]


@cache
def _declared(kind: str) -> dict[str, _Declared]:
    """The fields of a message of our schema by name, but those that only texts have."""
    fields = schema.message(kind).fields
    return {f.name: _declaration(f) for f in fields if f.number < schema.TEXT_ONLY}


@cache
def _numbers(kind: str) -> frozenset[int]:
    return frozenset(about.number for about in _declared(kind).values())


def _declaration(field: declared.Field) -> _Declared:
    enum = field.enum_type
    values = {} if enum is None else {name: v.number for name, v in enum.values_by_name.items()}
    return _Declared(field.number, field.type, field.is_repeated, field.is_packed, values)


def _merged(
    params: Params,
    old: Iterable[WireField],
    source: ByteSource,
    strange: bool,
    without: frozenset[int] = frozenset(),
) -> list[tuple[int, list[Part]]]:
    """The message of ``params``, with the fields of ``old`` that the text cannot say; none of the
    numbers in ``without``.

    ``strange``: the text has fields of a fork, whose numbers may be those of other fields of ours;
    parameters that are not in the text are theirs then.
    """
    known = _declared(params.descriptor.name)
    before: dict[int, list[WireField]] = {}
    for count, field in enumerate(old):
        if count == MAX_FIELDS:
            what = f"more than {MAX_FIELDS} fields; no layer has so many"
            raise source.error(field.tag_start, what)
        before.setdefault(field.number, []).append(field)
    found: dict[int, list[Part]] = {}
    unsaid: set[int] = set()
    for name in dict.fromkeys(field.name for field in params.message.fields):
        about = known.get(name)
        if about is None or about.number in without:
            continue
        try:
            found[about.number] = _field(params, name, about, before.get(about.number, []), source)
        except TextError:  # a value that only a fork knows: what the record has is what it means
            unsaid.add(about.number)
    numbers = _numbers(params.descriptor.name)
    for number, fields in before.items():
        free = number not in numbers or number in unsaid
        free = free or (strange and number >= _FIRST_PARAMETER)
        if free and number not in found and number not in without:
            found[number] = [Range(field.tag_start, field.end) for field in fields]
    return sorted((number, parts) for number, parts in found.items() if parts)


def _field(
    params: Params, name: str, about: _Declared, before: list[WireField], source: ByteSource
) -> list[Part]:
    """All occurrences of one field, as its declaration writes it."""
    if about.kind == _MESSAGE:
        return _messages(params, name, about, before, source)
    if about.kind in _INTEGERS and not about.repeated:
        raw = str(params.message.last(name))
        if raw.isdecimal() and len(raw) < 10 and (raw == "0" or raw[0] != "0"):  # nearly always
            return [tag(about.number, 0) + varint(int(raw))]
    values = [_value(about, value) for value in _values(params, name, about)]
    if about.packed:
        return [len_field(about.number, b"".join(values))] if values else []
    head = tag(about.number, _wire_type(about.kind))
    return [b"".join(head + value for value in (values if about.repeated else values[-1:]))]


def _messages(
    params: Params, name: str, about: _Declared, before: list[WireField], source: ByteSource
) -> list[Part]:
    written = list(params.messages(name))
    if not about.repeated:
        written = written[-1:]
    found: list[Part] = []
    alike = len(before) == len(written)
    for i, inner in enumerate(written):
        old = source.fields(before[i].start, before[i].end) if alike else ()
        ours = inner._replace(descriptor=schema.message(inner.descriptor.name))
        parts = [part for _, some in _merged(ours, old, source, strange=False) for part in some]
        found += [len_header(about.number, sum(map(len, parts))), *parts]
    return found


def _values(params: Params, name: str, about: _Declared) -> Iterable[int | float | str]:
    if about.kind in (_FLOAT, _DOUBLE):
        return params.numbers(name)
    if about.kind in (_STRING, _BYTES):
        return params.message.strings(name)
    if about.kind == _BOOL:
        return (params.flag(name),)
    if about.kind == _ENUM:
        return [about.enum[value] for value in params.enums(name)]
    return params.integers(name)


def _value(about: _Declared, value: int | float | str) -> bytes:
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        return varint(len(data)) + data
    if about.kind in (_FLOAT, _DOUBLE):
        return struct.pack("<f" if about.kind == _FLOAT else "<d", value)
    return varint(int(value))


def _wire_type(kind: int) -> int:
    return {_DOUBLE: FIXED64, _FLOAT: FIXED32, _STRING: LEN, _BYTES: LEN}.get(kind, 0)
