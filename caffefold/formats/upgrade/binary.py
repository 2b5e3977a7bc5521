"""caffemodel of any age -> today's: the upgrade of ``text``, on layers read from and to the wire.

A layer of the file becomes a message of the same tree that a prototxt is, with names from the
schema. Values are left where they are: a ``_Stored`` is a range of bytes, copied under the number
that the field has at its new place; blobs are never looked at. What the schema does not know keeps
its number, unless V2 has another field there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

from caffefold.errors import InputError
from caffefold.formats import declared, schema
from caffefold.formats.caffemodel.index import MAX_FIELDS, check_layers, no_layers
from caffefold.formats.caffemodel.wire import (
    FIXED32,
    FIXED64,
    LEN,
    VARINT,
    ByteSource,
    Part,
    Parts,
    Range,
    WireField,
    message,
    renumbered,
    tag,
    text_field,
    varint_field,
)
from caffefold.formats.prototxt.layout import INLINE
from caffefold.formats.prototxt.tree import Document, Field, Message, Scalar, quote, unquote
from caffefold.formats.upgrade.tables import DATA_MESSAGES, SPECS, V0_NET_KEPT, v1_name
from caffefold.formats.upgrade.text import (
    INPUTS,
    Doubt,
    Log,
    Padding,
    data_message,
    frozen_layer,
    is_padding,
    is_v0,
    transformations,
    transformed,
    upgraded_v0,
    upgraded_v1,
    with_input_layer,
)
from caffefold.frozen import dataclass

_MAX_INPUTS = 10_000
_READ = frozenset({"name", "type", "input"})  # strings that an upgrade looks at
_WIRES = frozenset({"bottom", "top"})  # and these, if there may be padding layers
_LISTS = frozenset({*SPECS, "input_dim"})  # numbers that it takes one by one, even if packed
_UNKNOWN = "#"  # starts the name of a field that the schema does not know: its number follows


class WeightsUpgrade:
    """A caffemodel and what it takes to bring it up to date.

    The file is walked once here, to know what is needed, and again by ``parts``, one layer after
    another. ``layers_only`` leaves inputs and BatchNorm as they are.

    Raises:
        WeightsError: damaged, without layers, or a net that Caffe cannot upgrade.
    """

    def __init__(self, source: ByteSource, *, layers_only: bool = False) -> None:
        self.source = source
        self._log, self._input_log = _WireLog(source), _WireLog(source)
        self._v0 = self._v1 = self._v2 = self._data = self._norm = 0
        self._left = MAX_FIELDS
        inputs: list[Field] = []
        for field, name in self._net():
            if name == "layers":
                v0, data = self._kind_of(field)
                self._v1 += 1
                self._v0 += v0
                self._data += bool(data and transformations(self._old_layer(field)))
            elif name == "layer":
                self._v2 += 1
                self._norm += not layers_only and self._frozen(field) is not None
            elif name in INPUTS:
                inputs += self._stored(field, "NetParameter")
                if len(inputs) > _MAX_INPUTS:
                    raise source.error(field.tag_start, f"more than {_MAX_INPUTS} inputs")
            check_layers(source, field, self._v1 + self._v2)
        if not self._v1 + self._v2:
            raise no_layers(source)
        inputs = [field for field in inputs if not self._drops(field.name)]
        self._padding = Padding(Message(tuple(inputs)).strings("input"))
        self._inputs: tuple[Field, ...] = ()
        if not layers_only:
            self._inputs = with_input_layer(tuple(inputs), self._input_log)

    @property
    def needed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self._v1 or self._norm or self._input_log.notes)

    def notes(self) -> tuple[str, ...]:
        """What was done, as sentences; complete once ``parts`` has run to its end."""
        log, gone = _WireLog(self.source), self._padding.merged
        if self._v0:
            log.upgraded(self._v0 - len(gone), "from V0 to V1")
            log.merged(gone)
        if self._data:
            log.transformed(self._data)
        if self._v1:
            log.upgraded(self._v1 - len(gone), "from V1 to V2")
        if self._v1 and self._v2:
            log.mixed()
        log.notes += self._input_log.notes
        if self._norm:
            log.frozen(self._norm)
        return (*log.notes, *self._log.sentences())

    def parts(self) -> Iterator[Part]:
        """The upgraded file: new bytes, and ranges of the source to copy."""
        moves_inputs = bool(self._input_log.notes)
        pending = self._inputs if moves_inputs else ()
        for field, name in self._net():
            made: Field | None = None
            if name in ("layers", "layer"):
                for each in pending:
                    yield from self._encoded(each, "NetParameter", "")
                pending = ()
            if name == "layers":
                made = self._converted(self._old_layer(field))
                if made is None:
                    continue
            elif name == "layer" and self._norm:
                made = self._frozen(field)
            elif self._drops(name):
                self._log.gone(Field(name, Scalar("")), "the net", "Caffe drops it from a V0 net")
                continue
            elif moves_inputs and name in INPUTS:
                continue
            if made is None:
                yield Range(field.tag_start, field.end)
            else:
                yield from self._encoded(made, "NetParameter", "")

    def _drops(self, name: str) -> bool:
        """Whether Caffe drops this net-level field."""
        known = not name.startswith(_UNKNOWN) and name != "layer"
        return bool(self._v0) and known and name not in V0_NET_KEPT

    def _converted(self, layer: Field) -> Field | None:
        """A layer of V0 or V1 as a layer of V2; None for a padding layer."""
        found = self._padding.absorbed(layer, self._log) if self._v0 else layer
        if is_padding(found):
            return None
        if is_v0(found):
            found = upgraded_v0(found, self._log)
        if self._data and data_message(found):
            found = transformed(found)
        kind = found.body.string("type")
        if kind.isdecimal() and not v1_name(int(kind)):
            owner = f"layer '{found.body.string('name')}'"
            self._log.note(found, owner, Doubt(f"unknown V1 type {kind} dropped"))
            found = found.with_fields(f for f in found.body.fields if f.name != "type")
        return upgraded_v1(found, self._log)

    # ----------------------------------------------------------------------- wire -> tree

    def _net(self) -> Iterator[tuple[WireField, str]]:
        for field in self.source.fields(0, self.source.size):
            yield field, _name_of(field, "NetParameter")

    def _frozen(self, layer: WireField) -> Field | None:
        """A V2 layer whose statistics had to be frozen."""
        inner = self.source.fields(layer.start, layer.end)
        kinds = [field for field in inner if _name_of(field, "LayerParameter") == "type"]
        if not kinds or self.source.text(kinds[-1]) != "BatchNorm":
            return None  # of other layers, nothing is looked into
        self._left = MAX_FIELDS
        opened = self._opened(layer, "LayerParameter", {"param"})
        return frozen_layer(self._message(layer, "layer", opened))

    def _kind_of(self, layer: WireField) -> tuple[bool, str]:
        """Whether this is a V0 layer; of a V1 data layer, the message with its transformations."""
        is_v0, data = False, ""
        for field in self.source.fields(layer.start, layer.end):
            name = _name_of(field, "V1LayerParameter")
            is_v0 = is_v0 or name == "layer"
            if name == "type" and v1_name(field.value):
                data = DATA_MESSAGES.get(v1_name(field.value), "")
        return is_v0, data

    def _old_layer(self, layer: WireField) -> Field:
        """A layer of V0 or V1."""
        self._left = MAX_FIELDS
        _, data = self._kind_of(layer)
        opened = {"layer", data, "transform_param"} if data else {"layer"}
        return self._message(layer, "layers", self._opened(layer, "V1LayerParameter", opened))

    def _opened(self, outer: WireField, kind: str, opened: set[str]) -> Iterator[Field]:
        """The fields of a message; of those named in ``opened``, their fields, too."""
        for field in self.source.fields(outer.start, outer.end):
            name = _name_of(field, kind)
            if name in opened:
                inner = self._opened(field, _message_type(kind, name), set())
                yield self._message(field, name, inner)
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
                    field.tag_start, f"more than {MAX_FIELDS} fields; no layer has so many"
                )
            yield Field(name, value, INLINE, offset=field.tag_start)

    def _values(self, field: WireField, name: str, kind: str) -> Iterator[Scalar]:
        source = self.source
        wanted = LEN if name.startswith(_UNKNOWN) else _wire_type(_fields(kind)[name])
        if name in _LISTS and field.wire_type == LEN and wanted == FIXED32:
            for at in range(field.start, field.end - 3, 4):
                yield _Stored("", field._replace(wire_type=FIXED32, start=at, end=at + 4), kind)
        elif name in _LISTS and field.wire_type == LEN and wanted == VARINT:
            yield from (Scalar(str(value)) for value in source.integers(field))
        elif field.wire_type == LEN and (name in _READ or (self._v0 and name in _WIRES)):
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
        number, wire_type = declared.number, _wire_type(declared)
        if isinstance(value, _Stored):
            if value.kind == kind and value.field.wire_type == wire_type:
                return [Range(value.field.tag_start, value.field.end)]
            return renumbered(value.field, number)
        if isinstance(value, Message):
            owner = owner or f"layer '{value.string('name')}'"
            kind = _message_type(kind, field.name)
            inner = [part for f in value.fields for part in self._encoded(f, kind, owner)]
            return message(number, inner)
        if wire_type == LEN:
            return [text_field(number, unquote(value.raw))]
        if wire_type == FIXED32:
            return [tag(number, FIXED32) + struct.pack("<f", float(value.raw))]
        return [varint_field(number, int(value.raw))]


@dataclass(frozen=True, slots=True)
class _Stored(Scalar):
    """A value that is copied from the file, where it is a field of a message of type ``kind``."""

    field: WireField
    kind: str


class _WireLog(Log):
    """What was done to a caffemodel. Layers are counted: a million make one line."""

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
            type(what)(f"{first}{f' and {count - 1} more' if count > 1 else ''}: {what}")
            for what, (count, first) in self._found.items()
        )


# ----------------------------------------------------------------------------- the schema


# Numbers of FieldDescriptor.Type: double, float, string, message, bytes.
_WIRE_TYPES = {1: FIXED64, 2: FIXED32, 9: LEN, 11: LEN, 12: LEN}


def _wire_type(field: declared.Field) -> int:
    return _WIRE_TYPES.get(field.type, VARINT)


@cache
def _fields(kind: str) -> dict[str, declared.Field]:
    """The fields of a message type by name."""
    return {field.name: field for field in schema.message(kind).fields}


def _message_type(kind: str, name: str) -> str:
    """The message type of a field of a message of type ``kind``."""
    found = _fields(kind)[name].message_type
    assert found is not None
    return str(found.name)


@cache
def _names(kind: str) -> dict[int, str]:
    """The names of a message type's fields by number."""
    return {field.number: name for name, field in _fields(kind).items()}


def _name_of(field: WireField, kind: str) -> str:
    """The field's name in a message of type ``kind``; one of another wire type is unknown."""
    name = _names(kind).get(field.number, "")
    if name:
        declared = _fields(kind)[name]
        packed = field.wire_type == LEN and schema.repeated(declared)
        if packed or field.wire_type == _wire_type(declared):
            return name
    return f"{_UNKNOWN}{field.number}"
