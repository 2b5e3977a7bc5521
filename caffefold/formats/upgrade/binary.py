"""caffemodel of any age -> today's, by byte ranges: blobs are never looked at, only carried over.

V1 and V2 layers differ in field numbers, in the type (enum, string) and in what ParamSpec collects;
the messages inside are the same bytes. V0 layers hold their parameters side by side
(``upgrade_weights_v0``). The order of steps is that of Caffe's UpgradeNetAsNeeded
(src/caffe/util/upgrade_proto.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from caffefold.errors import WeightsError
from caffefold.formats import schema
from caffefold.formats.caffemodel.limits import check_layers
from caffefold.formats.caffemodel.wire import LEN, VARINT, ByteSource, WireField, len_field, varint
from caffefold.formats.upgrade.binary_norm import frozen, not_frozen
from caffefold.formats.upgrade.binary_v0 import connection_of, is_v0, v0_record
from caffefold.formats.upgrade.parts import (
    Part,
    Parts,
    Range,
    Record,
    SplicedSource,
    Tally,
    fields_of,
    message,
    renumbered,
    text_of,
)
from caffefold.formats.upgrade.tables import (
    DATA_MESSAGES,
    PADDING,
    TRANSFORMATIONS,
    V0_NET_KEPT,
    V1_NAMES,
    V1_TYPES,
    Connection,
    Padded,
    merge_padding,
)
from caffefold.humanize import counted

_INPUT, _INPUT_DIM, _INPUT_SHAPE = 3, 4, 8
_LAYERS, _LAYER = 2, 100
_V1_TYPE = 5
_SPEC = {1001: "name", 1002: "share_mode", 7: "lr_mult", 8: "decay_mult"}
_TRANSFORM_V1 = 36
_MAX_INPUTS = 10_000


class WeightsUpgrade:
    """A caffemodel and what it takes to bring it up to date.

    The file is walked once here, to know what is needed, and again by ``parts``. ``layers_only``
    leaves inputs and BatchNorm as they are.

    Raises:
        WeightsError: damaged, without layers, or a net that Caffe can not upgrade.
    """

    def __init__(self, source: ByteSource, *, layers_only: bool = False) -> None:
        self.source = source
        self._layers_only = layers_only
        self._tally = Tally()
        self._v0 = self._v1 = self._v2 = self._data = self._norm = 0
        self._inputs: list[WireField] = []
        self._dims: list[int] = []
        self._shapes: list[Range] = []
        self._connections: list[tuple[Connection, int]] = []
        self._scan()
        self._padded = self._merge_padding() if self._v0 else {}

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
        gone = sum(connection.type == PADDING for connection, _ in self._connections)
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
            names = ", ".join(text_of(self.source, field) for field in self._inputs)
            shaped = self._shapes or self._dims
            found.append(f"inputs {'made an Input layer' if shaped else 'removed'}: {names}")
        if self._norm:
            what = counted(self._norm, "BatchNorm layer")
            found.append(f"lr_mult and decay_mult set to 0 in {what}")
        return (*found, *self._tally.sentences())

    # --------------------------------------------------------------------------- first walk

    def _scan(self) -> None:
        source = self.source
        for field in source.fields(0, source.size):
            if field.wire_type == LEN and field.number == _LAYERS:
                self._scan_v1(field)
            elif field.wire_type == LEN and field.number == _LAYER:
                self._v2 += 1
                if not self._layers_only:
                    self._norm += not_frozen(source, field)
            elif field.number in (_INPUT, _INPUT_DIM, _INPUT_SHAPE):
                self._scan_input(field)
            check_layers(source, field, self._v1 + self._v2)
        if not self._v1 + self._v2:
            raise WeightsError(
                "no layers in this file; is it a caffemodel (a Caffe snapshot of weights)?",
                path=source.path,
            )
        if not self._layers_only and (self._shapes or self._dims):
            enough = len(self._shapes) if self._shapes else len(self._dims) // 4
            if enough < len(self._inputs):
                missing = text_of(source, self._inputs[enough])
                raise source.error(
                    self._inputs[enough].tag_start, f"the input '{missing}' has no shape"
                )

    def _scan_v1(self, layer: WireField) -> None:
        source = self.source
        self._v1 += 1
        near = list(fields_of(source, layer))
        self._v0 += is_v0(near)
        kind = _kind(near)
        if kind in DATA_MESSAGES:
            number = _v1_number(DATA_MESSAGES[kind])
            self._data += any(
                inner.number in _moving(kind)
                for outer in near
                if outer.number == number and outer.wire_type == LEN
                for inner in fields_of(source, outer)
            )

    def _scan_input(self, field: WireField) -> None:
        if field.number == _INPUT and field.wire_type == LEN:
            self._inputs.append(field)
        elif field.number == _INPUT_SHAPE and field.wire_type == LEN:
            self._shapes.append(Range(field.start, field.end))
        elif field.number == _INPUT_DIM:
            self._dims += _integers(self.source, field)
        if max(len(self._inputs), len(self._shapes), len(self._dims)) > _MAX_INPUTS:
            raise self.source.error(field.tag_start, f"more than {_MAX_INPUTS} inputs")

    def _merge_padding(self) -> dict[int, Padded]:
        source = self.source
        self._connections = [
            connection_of(source, list(fields_of(source, field)))
            for field in source.fields(0, source.size)
            if field.wire_type == LEN and field.number == _LAYERS
        ]
        inputs = [text_of(source, field) for field in self._inputs]
        layers = [connection for connection, _ in self._connections]
        return merge_padding(inputs, layers, self._padding_error)

    def _padding_error(self, index: int, message: str) -> WeightsError:
        layer = self._connections[index][0]
        return self.source.error(0, f"V0 layer {index} of type '{layer.type}' {message}")

    # -------------------------------------------------------------------------- second walk

    def parts(self) -> Iterator[Part]:
        """The file as it shall be: bytes, and ranges of the source to copy."""
        source = self.source
        pending = self._input_layer()
        index = 0
        for field in source.fields(0, source.size):
            if field.wire_type == LEN and field.number in (_LAYERS, _LAYER):
                yield from pending
                pending = []
            if field.wire_type == LEN and field.number == _LAYERS:
                yield from self._layer(field, index)
                index += 1
            elif field.wire_type == LEN and field.number == _LAYER:
                if self._norm and not_frozen(source, field):
                    yield from frozen(source, field)
                else:
                    yield Range(field.tag_start, field.end)
            elif not self._drops(field):
                yield Range(field.tag_start, field.end)
        yield from pending

    def _drops(self, field: WireField) -> bool:
        """Whether this net-level field goes."""
        if self._moves_inputs and field.number in (_INPUT, _INPUT_DIM, _INPUT_SHAPE):
            return True
        known = schema.message("NetParameter").fields_by_number.get(field.number)
        if not self._v0 or known is None or known.name in V0_NET_KEPT:
            return False
        self._tally.add(f"'{known.name}' is gone; Caffe drops it from a V0 net", "")
        return True

    def _layer(self, layer: WireField, index: int) -> Parts:
        """A ``layers`` of V0 or V1 as a ``layer`` of V2; nothing for a padding layer."""
        source = self.source
        if self._v0 and self._connections[index][0].type == PADDING:
            return []
        near = list(fields_of(source, layer))
        if is_v0(near):
            padded = self._padded.get(index)
            bottom, pad = None, None
            if padded is not None:
                bottom, pad = padded.bottom, self._connections[padded.padding][1]
            record = v0_record(source, near, self._tally, bottom, pad)
        else:
            record = self._v1_record(near)
        if self._data and record.kind in DATA_MESSAGES:
            record.block(_v2_number(DATA_MESSAGES[record.kind]))
            record.block(_v2_number("transform_param"))
        return message(_LAYER, record.parts())

    def _v1_record(self, near: list[WireField]) -> Record:
        source = self.source
        kind = _kind(near)
        record = Record(kind)
        data = _v1_number(DATA_MESSAGES[kind]) if self._data and kind in DATA_MESSAGES else 0
        for field in near:
            number = field.number
            if number == _V1_TYPE and field.wire_type == VARINT:
                if field.value in V1_NAMES:
                    record.type = V1_TYPES[V1_NAMES[field.value]][1]
                else:
                    self._tally.add(f"unknown V1 type {field.value} left out", _name(source, near))
            elif number in _SPEC:
                record.spec(source, field, _SPEC[number])
            elif data and number == data and field.wire_type == LEN:
                self._move(record, field, kind)
            elif data and number == _TRANSFORM_V1 and field.wire_type == LEN:
                record.block(_v2_number("transform_param")).insert(0, Range(field.start, field.end))
            elif number in _renumbering():
                record.add(renumbered(field, _renumbering()[number]))
            elif number in schema.message("LayerParameter").fields_by_number:
                self._tally.add(
                    f"unknown field {number} left out; V2 has another there", _name(source, near)
                )
            else:
                record.add([Range(field.tag_start, field.end)])
        return record

    def _move(self, record: Record, data: WireField, kind: str) -> None:
        """The data message, its transformations taken to transform_param."""
        stays = record.block(_v2_number(DATA_MESSAGES[kind]))
        goes = record.block(_v2_number("transform_param"))
        moving = _moving(kind)
        for field in fields_of(self.source, data):
            if field.number in moving:
                goes += renumbered(field, moving[field.number])
            else:
                stays.append(Range(field.tag_start, field.end))

    def _input_layer(self) -> Parts:
        if not self._moves_inputs or not (self._shapes or self._dims):
            return []
        parts: Parts = [len_field(1, b"input"), len_field(2, b"Input")]
        shapes: Parts = []
        for index, field in enumerate(self._inputs):
            parts += renumbered(field, 4)
            if self._shapes:
                shapes += message(1, [self._shapes[index]])
            else:
                dims = b"".join(map(varint, self._dims[4 * index : 4 * index + 4]))
                shapes.append(len_field(1, len_field(1, dims)))
        parts += message(_v2_number("input_param"), shapes)
        return message(_LAYER, parts)


# ------------------------------------------------------------------------- schema, numbers


def _v1_number(name: str) -> int:
    return int(schema.message("V1LayerParameter").fields_by_name[name].number)


def _v2_number(name: str) -> int:
    return int(schema.message("LayerParameter").fields_by_name[name].number)


@cache
def _renumbering() -> dict[int, int]:
    """V1 field number -> V2 field number, for all that have the same name and meaning in both."""
    special = {"layer", "type", "param", "blob_share_mode", "blobs_lr", "weight_decay"}
    names = schema.message("LayerParameter").fields_by_name
    return {
        field.number: names[field.name].number
        for field in schema.message("V1LayerParameter").fields
        if field.name not in special
    }


@cache
def _moving(kind: str) -> dict[int, int]:
    """Numbers of the transformations in the data message of ``kind`` -> in transform_param."""
    data = schema.parameter(DATA_MESSAGES[kind]).fields_by_name
    transform = schema.parameter("transform_param").fields_by_name
    return {data[name].number: transform[name].number for name in TRANSFORMATIONS}


def _kind(near: list[WireField]) -> str:
    """The V1 name of a V1 record's type; ``""`` when it has none, or one that V1 does not know."""
    kind = ""
    for field in near:
        if field.number == _V1_TYPE and field.wire_type == VARINT:
            kind = V1_NAMES.get(field.value, kind)
    return kind


def _name(source: ByteSource, near: list[WireField]) -> str:
    names = [f for f in near if f.number == 4 and f.wire_type == LEN]
    return text_of(source, names[-1]) if names else ""


def _integers(source: ByteSource, field: WireField) -> Sequence[int]:
    """The numbers of one varint field, packed or not."""
    if field.wire_type == VARINT:
        return (field.value,)
    if field.end - field.start > _MAX_INPUTS * 10:
        raise source.error(field.tag_start, f"more than {_MAX_INPUTS} inputs")
    found = []
    at = field.start
    while field.wire_type == LEN and at < field.end:
        value, at = source.varint(at, field.end)
        found.append(value)
    return found


def upgraded_source(source: ByteSource) -> ByteSource:
    """The file as V2 has its layers, without a copy of it; ``source`` itself when it is up to date.

    What is large stays in ``source``, which is closed with the result.

    Raises:
        WeightsError: damaged, without layers, or a net that Caffe can not upgrade.
    """
    work = WeightsUpgrade(source, layers_only=True)
    return SplicedSource(source, work.parts()) if work.needed else source
