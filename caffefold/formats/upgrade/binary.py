"""caffemodel of any age -> today's: the upgrade of ``text``, on layers read from and to the wire.

A layer of the file becomes a message of the same tree that a prototxt is, with names from the
schema. Values are left where they are: a ``_Stored`` is a range of bytes, copied under the number
that the field has at its new place; blobs are never looked at. What the schema does not know keeps
its number, unless V2 has another field there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from caffefold.errors import InputError
from caffefold.formats import schema
from caffefold.formats.caffemodel.index import check_layers, no_layers
from caffefold.formats.caffemodel.wire import (
    FIXED32,
    FIXED64,
    LEN,
    VARINT,
    ByteSource,
    Part,
    Parts,
    Range,
    SplicedSource,
    WireField,
    message,
    renumbered,
    tag,
    text_field,
    varint_field,
)
from caffefold.formats.prototxt.layout import INLINE
from caffefold.formats.prototxt.tree import Document, Field, Message, Scalar, quote, unquote
from caffefold.formats.upgrade.tables import DATA_MESSAGES, SPECS, v1_name
from caffefold.formats.upgrade.text import Log, upgrade_net

_MAX_FIELDS = 1 << 17  # of all layers that are looked into; a layer of a real file has dozens
_READ = frozenset({"name", "type", "bottom", "top", "input"})  # strings that an upgrade looks at
_LISTS = frozenset({*SPECS, "input_dim"})  # numbers that it takes one by one, even if packed
_UNKNOWN = "#"  # starts the name of a field that the schema does not know: its number follows


def upgraded_source(source: ByteSource) -> ByteSource:
    """The file as V2 has its layers, without a copy of it; ``source`` itself when it is up to date.

    What is large stays in ``source``, which is closed with the result.

    Raises:
        WeightsError: damaged, without layers, or a net that Caffe cannot upgrade.
    """
    work = WeightsUpgrade(source, layers_only=True)
    return SplicedSource(source.path, work.parts(), source) if work.needed else source


class WeightsUpgrade:
    """A caffemodel and what it takes to bring it up to date.

    ``layers_only`` leaves inputs and BatchNorm as they are.

    Raises:
        WeightsError: damaged, without layers, or a net that Caffe cannot upgrade.
    """

    def __init__(self, source: ByteSource, *, layers_only: bool = False) -> None:
        self.source = source
        self._log = _WireLog(source)
        self._left = _MAX_FIELDS
        self._fields = upgrade_net(tuple(self._net(layers_only)), self._log, layers_only)

    @property
    def needed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self._log.notes)

    def notes(self) -> tuple[str, ...]:
        """What was done, as sentences; complete once ``parts`` has run to its end."""
        return (*self._log.notes, *self._log.sentences())

    def parts(self) -> Iterator[Part]:
        """The upgraded file: new bytes, and ranges of the source to copy."""
        for field in self._fields:
            yield from self._encoded(field, "NetParameter", "")

    # ----------------------------------------------------------------------- wire -> tree

    def _net(self, layers_only: bool) -> Iterator[Field]:
        count = 0
        for field in self.source.fields(0, self.source.size):
            name = _name_of(field, "NetParameter")
            count += name in ("layer", "layers")
            check_layers(self.source, field, count)
            if name == "layers":
                yield self._message(field, name, self._old_layer(field))
            elif name == "layer" and not layers_only:
                yield self._layer(field)
            else:
                yield from self._stored(field, "NetParameter")
        if not count:
            raise no_layers(self.source)

    def _layer(self, layer: WireField) -> Field:
        """A V2 layer: looked into if it is a BatchNorm, which may have rates to be set to 0."""
        (whole,) = self._stored(layer, "NetParameter")
        inner = self.source.fields(layer.start, layer.end)
        kinds = [f for f in inner if _name_of(f, "LayerParameter") == "type"]
        if not kinds or self.source.text(kinds[-1]) != "BatchNorm":
            return whole
        return self._message(layer, "layer", self._opened(layer, "LayerParameter", {"param"}))

    def _old_layer(self, layer: WireField) -> Iterator[Field]:
        """The fields of a V0 or V1 layer."""
        number = 0
        for field in self.source.fields(layer.start, layer.end):
            if _name_of(field, "V1LayerParameter") == "type" and v1_name(field.value):
                number = field.value
        data = DATA_MESSAGES.get(v1_name(number))
        opened = {"layer"} if data is None else {"layer", data, "transform_param"}
        fields = tuple(self._opened(layer, "V1LayerParameter", opened))
        for inner in fields:
            kind = Message((inner,)).string("type")
            if kind and not v1_name(int(kind)):
                owner = f"layer '{Message(fields).string('name')}'"
                self._log.note(inner, owner, f"unknown V1 type {kind} dropped")
            else:
                yield inner

    def _opened(self, outer: WireField, kind: str, opened: set[str]) -> Iterator[Field]:
        """The fields of a message; of those named in ``opened``, their fields, too."""
        for field in self.source.fields(outer.start, outer.end):
            name = _name_of(field, kind)
            if name in opened:
                inner = _fields(kind)[name].message
                yield self._message(field, name, self._opened(field, inner, set()))
            else:
                yield from self._stored(field, kind)

    def _message(self, field: WireField, name: str, inner: Iterator[Field]) -> Field:
        return Field(name, Message(tuple(inner)), INLINE, offset=field.tag_start)

    def _stored(self, field: WireField, kind: str) -> Iterator[Field]:
        """The field as it stands; packed numbers that belong to blobs or inputs one by one."""
        name = _name_of(field, kind)
        for value in self._values(field, name, kind):
            self._left -= 1
            if self._left < 0:
                raise self.source.error(
                    field.tag_start, f"more than {_MAX_FIELDS} fields; no net has so many"
                )
            yield Field(name, value, INLINE, offset=field.tag_start)

    def _values(self, field: WireField, name: str, kind: str) -> Iterator[Scalar]:
        source = self.source
        wanted = LEN if name.startswith(_UNKNOWN) else _fields(kind)[name].wire_type
        if name in _LISTS and field.wire_type == LEN and wanted == FIXED32:
            for at in range(field.start, field.end - 3, 4):
                yield _Stored("", field._replace(wire_type=FIXED32, start=at, end=at + 4), kind)
        elif name in _LISTS and field.wire_type == LEN and wanted == VARINT:
            yield from (Scalar(str(value)) for value in source.integers(field))
        elif name in _READ and field.wire_type == LEN:
            yield _Stored(quote(source.text(field)), field, kind)
        elif kind == "ParamSpec" and field.wire_type == FIXED32:
            (number,) = struct.unpack("<f", source.read(field.start, field.end))
            yield _Stored(str(number), field, kind)
        else:
            yield _Stored(str(field.value) if field.wire_type == VARINT else "", field, kind)

    # ----------------------------------------------------------------------- tree -> wire

    def _encoded(self, field: Field, kind: str, owner: str) -> Parts:
        """The field of a message of type ``kind``, for the wire; ``owner`` is the layer."""
        value = field.value
        if field.name.startswith(_UNKNOWN):
            assert isinstance(value, _Stored)
            if value.kind != kind and value.field.number in _names(kind):
                what = f"unknown field {value.field.number} dropped; V2 has another field there"
                self._log.note(field, owner, what)
                return []
            return [Range(value.field.tag_start, value.field.end)]
        declared = _fields(kind)[field.name]
        if isinstance(value, _Stored):
            if value.kind == kind and declared.wire_type == value.field.wire_type:
                return [Range(value.field.tag_start, value.field.end)]
            return renumbered(value.field, declared.number)
        if isinstance(value, Message):
            owner = owner or f"layer '{value.string('name')}'"
            inner = [
                part for f in value.fields for part in self._encoded(f, declared.message, owner)
            ]
            return message(declared.number, inner)
        if declared.wire_type == LEN:
            return [text_field(declared.number, unquote(value.raw))]
        if declared.wire_type == FIXED32:
            return [tag(declared.number, FIXED32) + struct.pack("<f", float(value.raw))]
        return [varint_field(declared.number, int(value.raw))]


@dataclass(frozen=True, slots=True)
class _Stored(Scalar):
    """A value that is copied from the file, where it is a field of a message of type ``kind``."""

    field: WireField
    kind: str


class _WireLog(Log):
    """What was done to a caffemodel. Layers are counted: a million make one line."""

    steps = MappingProxyType({"V0": "from V0 to V1", "V1": "from V1 to V2"})

    def __init__(self, source: ByteSource) -> None:
        super().__init__(Document(source.path, "", ()))
        self._source = source
        self._found: dict[str, tuple[int, str]] = {}

    def note(self, field: Field, owner: str, what: str) -> None:
        if f"'{_UNKNOWN}" not in what:
            count, first = self._found.get(what, (0, owner))
            self._found[what] = count + 1, first

    def error(self, field: Field, what: str) -> InputError:
        return self._source.error(field.offset, what)

    def sentences(self) -> tuple[str, ...]:
        """One sentence for each kind of note."""
        return tuple(
            f"{first}{f' and {count - 1} more' if count > 1 else ''}: {what}"
            for what, (count, first) in self._found.items()
        )


# ----------------------------------------------------------------------------- the schema


class _Declared(NamedTuple):
    """A field of the schema; ``message`` is its message type, if it has one."""

    number: int
    wire_type: int
    packable: bool
    message: str


@cache
def _fields(kind: str) -> dict[str, _Declared]:
    """The fields of a message type by name."""
    found = {}
    for field in schema.message(kind).fields:
        special = {field.TYPE_FLOAT: FIXED32, field.TYPE_DOUBLE: FIXED64}
        long = (field.TYPE_STRING, field.TYPE_BYTES, field.TYPE_MESSAGE)
        wire_type = LEN if field.type in long else special.get(field.type, VARINT)
        inner = "" if field.message_type is None else str(field.message_type.name)
        packable = isinstance(field.default_value, list)  # new protobufs warn of ``label``
        found[field.name] = _Declared(field.number, wire_type, packable, inner)
    return found


@cache
def _names(kind: str) -> dict[int, str]:
    """The names of a message type's fields by number."""
    return {field.number: name for name, field in _fields(kind).items()}


def _name_of(field: WireField, kind: str) -> str:
    """The field's name in a message of type ``kind``; one of another wire type is unknown."""
    name = _names(kind).get(field.number, "")
    if name:
        declared = _fields(kind)[name]
        if field.wire_type == declared.wire_type or (field.wire_type == LEN and declared.packable):
            return name
    return f"{_UNKNOWN}{field.number}"
