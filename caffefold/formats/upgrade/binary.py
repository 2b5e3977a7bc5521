"""caffemodel of any age -> today's, by byte ranges: blobs are never looked at, only carried over.

V1 and V2 layers differ in field numbers, in the type (enum, string) and in what ParamSpec collects;
the messages inside are the same bytes. V0 layers hold their parameters side by side. The facts are
those of ``tables``, the numbers those of the schema, the order of steps that of Caffe's
UpgradeNetAsNeeded (src/caffe/util/upgrade_proto.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice

from caffefold.errors import WeightsError
from caffefold.formats import schema
from caffefold.formats.caffemodel.index import check_layers, no_layers
from caffefold.formats.caffemodel.wire import (
    FIXED32,
    LEN,
    VARINT,
    ByteSource,
    Part,
    Parts,
    Range,
    SplicedSource,
    WireField,
    len_field,
    message,
    renumbered,
    tag,
    text_field,
    varint,
    varint_field,
)
from caffefold.formats.upgrade.tables import (
    DATA_MESSAGES,
    MAX_SPECS,
    PADDING,
    SPECS,
    TRANSFORMATIONS,
    V0_NET_KEPT,
    V0_TYPES,
    Connection,
    Padded,
    is_v0_field,
    merge_padding,
    v0_target,
    v1_name,
    v1_of_v0,
    v1_types,
)
from caffefold.humanize import counted

_MAX_FIELDS = 1 << 17  # of one message; a layer of a real file has dozens
_MAX_BYTES = 1 << 16  # of packed values that belong to one layer
_MAX_INPUTS = 10_000


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

    The file is walked once here, to know what is needed, and again by ``parts``. ``layers_only``
    leaves inputs and BatchNorm as they are.

    Raises:
        WeightsError: damaged, without layers, or a net that Caffe cannot upgrade.
    """

    def __init__(self, source: ByteSource, *, layers_only: bool = False) -> None:
        self.source = source
        self._layers_only = layers_only
        self._tally = _Tally()
        self._v0 = self._v1 = self._v2 = self._data = self._norm = 0
        self._inputs: list[WireField] = []
        self._dims: list[int] = []
        self._shapes: list[Range] = []
        self._connections: list[Connection] = []
        self._padded: dict[int, Padded] = {}
        self._scan()

    @property
    def needed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self._v1 or self._norm or self._moves_inputs)

    @property
    def _moves_inputs(self) -> bool:
        return bool(self._inputs) and not self._layers_only

    def notes(self) -> tuple[str, ...]:
        """What was done, as sentences; complete once ``parts`` has run to its end."""
        found = []
        gone = sum(connection.type == PADDING for connection in self._connections)
        if self._v0:
            found.append(f"{counted(self._v0 - gone, 'layer')} from V0 to V1")
        if gone:
            found.append(f"{counted(gone, 'padding layer')} merged into what they feed")
        if self._data:
            what = counted(self._data, "data layer")
            found.append(f"transformations moved to transform_param in {what}")
        if self._v1:
            found.append(f"{counted(self._v1 - gone, 'layer')} from V1 to V2")
        if self._v1 and self._v2:
            found.append("the file has layers of V1 and of V2, which Caffe refuses; both are kept")
        if self._moves_inputs:
            names = ", ".join(map(self.source.text, self._inputs))
            shaped = self._shapes or self._dims
            found.append(f"inputs {'made an Input layer' if shaped else 'removed'}: {names}")
        if self._norm:
            what = counted(self._norm, "BatchNorm layer")
            found.append(f"lr_mult and decay_mult set to 0 in {what}")
        return (*found, *self._tally.sentences())

    # --------------------------------------------------------------------------- first walk

    def _scan(self) -> None:
        source = self.source
        old: list[WireField] = []
        for field, name in _named(source.fields(0, source.size), "NetParameter"):
            if name == "layers" and field.wire_type == LEN:
                old.append(field)
                self._scan_old(list(_fields_of(source, field)))
            elif name == "layer" and field.wire_type == LEN:
                self._v2 += 1
                if not self._layers_only:
                    self._norm += _frozen(source, field) is not None
            else:
                self._scan_input(field, name)
            check_layers(source, field, self._v1 + self._v2)
        if not self._v1 + self._v2:
            raise no_layers(source)
        if not self._layers_only and (self._shapes or self._dims):
            enough = len(self._shapes) if self._shapes else len(self._dims) // 4
            for field in self._inputs[enough : enough + 1]:
                raise source.error(
                    field.tag_start, f"the input '{source.text(field)}' has no shape"
                )
        if self._v0:
            self._connections = [_connection(source, field) for field in old]
            inputs = [source.text(field) for field in self._inputs]
            self._padded = merge_padding(inputs, self._connections, self._padding_error)

    def _scan_old(self, near: list[WireField]) -> None:
        self._v1 += 1
        self._v0 += _is_v0(near)
        data = DATA_MESSAGES.get(_v1_type(near), "")
        self._data += any(
            inner_name in TRANSFORMATIONS
            for outer, name in _named(near, "V1LayerParameter")
            if data and name == data and outer.wire_type == LEN
            for _, inner_name in _named(_fields_of(self.source, outer), _type_of(data))
        )

    def _scan_input(self, field: WireField, name: str) -> None:
        if name == "input" and field.wire_type == LEN:
            self._inputs.append(field)
        elif name == "input_shape" and field.wire_type == LEN:
            self._shapes.append(Range(field.start, field.end))
        elif name == "input_dim":
            self._dims += islice(self.source.integers(field), _MAX_INPUTS + 1)
        if max(len(self._inputs), len(self._shapes), len(self._dims)) > _MAX_INPUTS:
            raise self.source.error(field.tag_start, f"more than {_MAX_INPUTS} inputs")

    def _padding_error(self, index: int, what: str) -> WeightsError:
        layer = self._connections[index]
        return self.source.error(0, f"V0 layer {index} of type '{layer.type}' {what}")

    # -------------------------------------------------------------------------- second walk

    def parts(self) -> Iterator[Part]:
        """The upgraded file: new bytes, and ranges of the source to copy."""
        source = self.source
        pending = self._input_layer()
        index = 0
        for field, name in _named(source.fields(0, source.size), "NetParameter"):
            made: Parts | None = None
            if field.wire_type == LEN and name in ("layers", "layer"):
                yield from pending
                pending = []
                if name == "layers":
                    made = self._layer(field, index)
                    index += 1
                elif self._norm:
                    made = _frozen(source, field)
            elif self._drops(name):
                continue
            yield from [Range(field.tag_start, field.end)] if made is None else made
        yield from pending

    def _drops(self, name: str) -> bool:
        """Whether this net-level field goes."""
        if self._moves_inputs and name in ("input", "input_dim", "input_shape"):
            return True
        if not self._v0 or not name or name in V0_NET_KEPT:
            return False
        self._tally.add(f"'{name}' is gone; Caffe drops it from a V0 net", "")
        return True

    def _layer(self, layer: WireField, index: int) -> Parts:
        """A ``layers`` of V0 or V1 as a ``layer`` of V2; nothing for a padding layer."""
        if self._v0 and self._connections[index].type == PADDING:
            return []
        near = list(_fields_of(self.source, layer))
        record = _Record(self.source, self._tally)
        if _is_v0(near):
            self._from_v0(record, near, self._padded.get(index))
        else:
            self._from_v1(record, near)
        if self._data and record.kind in DATA_MESSAGES:
            record.block(DATA_MESSAGES[record.kind])
            record.block("transform_param")
        return message(_number("NetParameter", "layer"), record.parts())

    def _from_v1(self, record: _Record, near: list[WireField]) -> None:
        record.kind = _v1_type(near)
        fields = list(_named(near, "V1LayerParameter"))
        record.name = _last_text(self.source, fields, "name")
        data = DATA_MESSAGES.get(record.kind, "") if self._data else ""
        for field, name in fields:
            if name == "type" and field.wire_type == VARINT:
                if v1_name(field.value):
                    record.type = v1_types()[v1_name(field.value)]
                else:
                    record.tell(f"unknown V1 type {field.value} left out")
            elif name in SPECS:
                record.spec(field, SPECS[name])
            elif data and name == data and field.wire_type == LEN:
                record.block(data)  # even where all of it moves
                for inner, part in _named(_fields_of(self.source, field), _type_of(data)):
                    if part in TRANSFORMATIONS:
                        record.move(inner, "transform_param", part)
                    else:
                        record.block(data).append(Range(inner.tag_start, inner.end))
            elif data and name == "transform_param" and field.wire_type == LEN:
                record.block(name).insert(0, Range(field.start, field.end))
            else:
                record.keep(field, name)

    def _from_v0(self, record: _Record, near: list[WireField], padded: Padded | None) -> None:
        source = self.source
        outer = list(_named(near, "V1LayerParameter"))
        inner = [
            each
            for field, name in outer
            if name == "layer" and field.wire_type == LEN
            for each in _named(_fields_of(source, field), "V0LayerParameter")
        ]
        last = {name: field for field, name in inner}
        kind = _last_text(source, inner, "type")
        record.name = _last_text(source, inner, "name")
        record.kind = v1_of_v0(kind)
        if "type" in last:
            record.type = v1_types()[record.kind] if record.kind else kind
            if kind not in V0_TYPES:
                what = f"taken for V1's {record.kind}" if record.kind else "kept as it is"
                record.tell(f"unknown V0 type '{kind}' {what}")
        for field, name in outer:
            if name == "layer" and field.wire_type == LEN:
                for each, part in _named(_fields_of(source, field), "V0LayerParameter"):
                    if part == "pad" and padded is not None:
                        continue
                    self._from_v0_field(record, each, part, kind, last)
            elif name == "bottom" and padded is not None:
                record.put(text_field(_number("LayerParameter", name), padded.bottom))
            elif name in ("bottom", "top"):
                record.keep(field, name)
            else:
                record.tell(f"field {field.number} is gone; Caffe drops it beside a V0 layer")
        target = v0_target("pad", kind)
        if padded is not None and target is not None:
            number = _number(_type_of(target.message), target.field)
            record.block(target.message).append(varint_field(number, int(padded.pad)))

    def _from_v0_field(
        self, record: _Record, field: WireField, name: str, kind: str, last: dict[str, WireField]
    ) -> None:
        if name == "type":
            return
        target = v0_target(name, kind) if is_v0_field(name) else None
        if target is not None and target.message:
            if last[name] == field:  # written twice, the last counts; V1 repeats some
                record.move(field, *target)
        elif name in SPECS and target is not None:
            record.spec(field, SPECS[name])
        elif target is not None or not name:
            record.keep(field, name)
        else:
            record.tell(f"'{name}' is gone; Caffe knows none for the V0 type '{kind}'")

    def _input_layer(self) -> Parts:
        if not self._moves_inputs or not (self._shapes or self._dims):
            return []
        numbers = _numbers("LayerParameter")
        dim = _number("BlobShape", "dim")
        parts: Parts = [text_field(numbers["name"], "input"), text_field(numbers["type"], "Input")]
        shapes: Parts = []
        for index, field in enumerate(self._inputs):
            parts += renumbered(field, numbers["top"])
            shape: Part
            if self._shapes:
                shape = self._shapes[index]
            else:
                shape = len_field(dim, b"".join(map(varint, self._dims[4 * index : 4 * index + 4])))
            shapes += message(_number("InputParameter", "shape"), [shape])
        parts += message(numbers["input_param"], shapes)
        return message(_number("NetParameter", "layer"), parts)


class _Tally:
    """What was dropped or left unread, counted: a million layers give one sentence."""

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


class _Record:
    """A V2 layer in the making. ``kind`` is its V1 type, ``type`` the string V2 has."""

    def __init__(self, source: ByteSource, tally: _Tally) -> None:
        self.name = self.kind = ""
        self.type: str | None = None
        self._source = source
        self._tally = tally
        self._parts: Parts = []
        self._blocks: dict[str, Parts] = {}
        self._specs: list[dict[str, bytes]] = []
        self._seen: dict[str, int] = {}

    def tell(self, what: str) -> None:
        """Note what became of something in this layer."""
        self._tally.add(what, self.name)

    def put(self, part: Part) -> None:
        """A whole field."""
        self._parts.append(part)

    def keep(self, field: WireField, name: str) -> None:
        """A field that V1 and V2 both call ``name``, or one that the schema does not know."""
        if name in _kept_from_v1():
            self._parts += renumbered(field, _number("LayerParameter", name))
        elif field.number in _names("LayerParameter"):
            self.tell(f"unknown field {field.number} left out; V2 has another there")
        else:
            self._parts.append(Range(field.tag_start, field.end))

    def block(self, name: str) -> Parts:
        """The fields of the parameter message ``name``, to be added to."""
        return self._blocks.setdefault(name, [])

    def move(self, field: WireField, target: str, name: str) -> None:
        """A field that becomes ``name`` of the parameter message ``target``."""
        self.block(target).extend(renumbered(field, _number(_type_of(target), name)))

    def spec(self, field: WireField, name: str) -> None:
        """One or, packed, several values of ``name`` of the next blobs' ParamSpecs."""
        source = self._source
        if field.wire_type == LEN and field.end - field.start > _MAX_BYTES:
            raise source.error(field.tag_start, f"more than {MAX_SPECS} {name} in one layer")
        for value in _spec_values(source, field, name):
            index = self._seen.get(name, 0)
            self._seen[name] = index + 1
            if index >= MAX_SPECS:
                raise source.error(field.tag_start, f"more than {MAX_SPECS} {name} in one layer")
            if index == len(self._specs):
                self._specs.append({})
            self._specs[index][name] = value

    def parts(self) -> Parts:
        """The layer's fields."""
        numbers = _numbers("LayerParameter")
        found: Parts = [] if self.type is None else [text_field(numbers["type"], self.type)]
        found += self._parts
        for spec in self._specs:
            inner = b"".join(spec[name] for name in SPECS.values() if name in spec)
            found.append(len_field(numbers["param"], inner))
        for name, parts in self._blocks.items():
            found += message(numbers[name], parts)
        return found


def _spec_values(source: ByteSource, field: WireField, name: str) -> Iterator[bytes]:
    """Each value of a spec field as a whole field of ParamSpec."""
    number = _number("ParamSpec", name)
    if name == "name":
        if field.wire_type == LEN:
            yield len_field(number, source.read(field.start, field.end))
    elif name == "share_mode":
        yield from (varint_field(number, value) for value in source.integers(field))
    elif field.wire_type in (FIXED32, LEN) and (field.end - field.start) % 4 == 0:
        data = source.read(field.start, field.end)
        for at in range(0, len(data), 4):
            yield tag(number, FIXED32) + data[at : at + 4]


def _frozen(source: ByteSource, layer: WireField) -> Parts | None:
    """A BatchNorm layer with lr_mult and decay_mult 0 in its three ``param``.

    None where Caffe's UpgradeNetBatchNorm changes nothing.
    """
    fields = list(_named(_fields_of(source, layer), "LayerParameter"))
    specs = [field for field, name in fields if name == "param" and field.wire_type == LEN]
    if len(specs) != 3 or _last_text(source, fields, "type") != "BatchNorm":
        return None
    rates = [_number("ParamSpec", name) for name in ("lr_mult", "decay_mult")]
    fixed = b"".join(tag(number, FIXED32) + bytes(4) for number in rates)
    learns = False
    parts: Parts = []
    for field, _ in fields:
        if field not in specs:
            parts.append(Range(field.tag_start, field.end))
            continue
        values = dict.fromkeys(rates, b"")
        kept: Parts = []
        for inner in _fields_of(source, field):
            if inner.number not in values:
                kept.append(Range(inner.tag_start, inner.end))
            elif inner.wire_type == FIXED32:
                values[inner.number] = source.read(inner.start, inner.end)
        learns |= any(value not in (bytes(4), b"\0\0\0\x80") for value in values.values())
        parts += message(field.number, [*kept, fixed])
    return message(layer.number, parts) if learns else None


# --------------------------------------------------------------------------- fields by name


@cache
def _numbers(kind: str) -> dict[str, int]:
    """Field numbers of a message type, by name."""
    return {field.name: field.number for field in schema.message(kind).fields}


@cache
def _names(kind: str) -> dict[int, str]:
    """Field names of a message type, by number."""
    return {number: name for name, number in _numbers(kind).items()}


def _number(kind: str, name: str) -> int:
    return _numbers(kind)[name]


def _type_of(parameter: str) -> str:
    """The message type of a layer's parameter field."""
    return str(schema.parameter(parameter).name)


@cache
def _kept_from_v1() -> frozenset[str]:
    """The fields that mean the same in V1 and V2."""
    return frozenset(_numbers("V1LayerParameter")) - {"layer", "type", *SPECS}


def _named(
    fields: Iterator[WireField] | list[WireField], kind: str
) -> Iterator[tuple[WireField, str]]:
    """The fields with their names in the message type ``kind``; ``""`` for unknown ones."""
    names = _names(kind)
    for field in fields:
        yield field, names.get(field.number, "")


def _fields_of(source: ByteSource, outer: WireField) -> Iterator[WireField]:
    """The fields of a sub-message; refuses more than any real one has."""
    fields = source.fields(outer.start, outer.end)
    yield from islice(fields, _MAX_FIELDS)
    if next(fields, None) is not None:
        raise source.error(
            outer.tag_start, f"more than {_MAX_FIELDS} fields in one layer; the file is damaged"
        )


def _last_text(source: ByteSource, fields: list[tuple[WireField, str]], wanted: str) -> str:
    found = [field for field, name in fields if name == wanted and field.wire_type == LEN]
    return source.text(found[-1]) if found else ""


def _is_v0(near: list[WireField]) -> bool:
    """Whether a ``layers`` record of these fields has a ``layer`` inside."""
    number = _number("V1LayerParameter", "layer")
    return any(field.number == number and field.wire_type == LEN for field in near)


def _v1_type(near: list[WireField]) -> str:
    """The V1 name of a V1 record's type; ``""`` when it has none, or one that V1 does not know."""
    number = _number("V1LayerParameter", "type")
    kinds = [v1_name(f.value) for f in near if f.number == number and f.wire_type == VARINT]
    return next(filter(None, reversed(kinds)), "")


def _connection(source: ByteSource, layer: WireField) -> Connection:
    """A ``layers`` record's V0 type, bottoms, tops and pad."""
    kind, pad = "", 0
    wires: dict[str, list[str]] = {"bottom": [], "top": []}
    for field, name in _named(_fields_of(source, layer), "V1LayerParameter"):
        if field.wire_type != LEN:
            continue
        if name in wires:
            wires[name].append(source.text(field))
        elif name == "layer":
            for inner, part in _named(_fields_of(source, field), "V0LayerParameter"):
                if part == "type" and inner.wire_type == LEN:
                    kind = source.text(inner)
                elif part == "pad" and inner.wire_type == VARINT:
                    pad = inner.value
    return Connection(kind, tuple(wires["bottom"]), tuple(wires["top"]), str(pad))
