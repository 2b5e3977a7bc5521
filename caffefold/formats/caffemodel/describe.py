"""A caffemodel's layers as a prototxt document: what the file knows of its net, without numbers.

Forks reuse field numbers (SEMANTICS), so only name, type, bottoms and tops are sure; parameters
are what the schema makes of them, right where the file comes from a Caffe that the schema knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from caffefold.formats import declared
from caffefold.formats.caffemodel.index import LayerRecord, WeightsFile
from caffefold.formats.caffemodel.wire import LEN, WireField
from caffefold.formats.prototxt.parse import parse
from caffefold.formats.prototxt.tree import Document, Field, block, quote, scalar
from caffefold.formats.schema import OURS, TEXT_ONLY, Schema, descriptor

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

_PHASE = 10  # of LayerParameter: the phase of the net that was saved, alike in all its layers
_FIRST_PARAMETER = 100  # LayerParameter: messages of layer types; below are fields of every layer
_NET_NAME = 1  # of NetParameter


class Unread(NamedTuple):
    """A field of a record that was left out."""

    layer: str
    """Empty for a field of the net itself."""
    type: str
    field: str
    """Its path: ``convolution_param.150``; a number where no schema has a name for it."""


Belongs = Callable[[str, str], bool]
"""Whether a parameter such as ``crop_param`` can be that of a layer type."""


def to_document(weights: WeightsFile, *, parameters: bool = False) -> Document:
    """The net inside ``weights``, without the Split layers that Caffe inserted.

    ``parameters`` decodes the layers' other fields, too; a layer whose fields cannot be decoded
    has none.
    """
    return _document(
        weights, lambda record: _decoded(weights, record, OURS)[0] if parameters else []
    )


def described(weights: WeightsFile, schema: Schema, belongs: Belongs) -> tuple[str, list[Unread]]:
    """The net inside ``weights`` as text, with all that ``schema`` knows of it; and what it does
    not know, or what another schema must have numbered."""
    unread: list[Unread] = []

    def parameters(record: LayerRecord) -> list[Field]:
        fields, missed = _decoded(weights, record, schema, belongs)
        unread.extend(missed)
        return fields

    made = _document(weights, parameters)
    name = [field for field in made.fields if field.name == "name"]
    layers = [field for field in made.fields if field.name != "name"]
    own, missed = _net_fields(weights)
    unread += missed
    return str(Document(weights.path, "", (*name, *own, *layers), tail="\n")).lstrip(), unread


def _document(weights: WeightsFile, parameters: Callable[[LayerRecord], list[Field]]) -> Document:
    splits = {}
    kept = []
    for record in weights.layers:
        tops = _strings(weights, record, record.layout.top)
        if _is_inserted(record, tops):
            bottoms = _strings(weights, record, record.layout.bottom)
            splits.update(dict.fromkeys(tops, bottoms[0]) if bottoms else {})
        else:
            kept.append(record)
    fields = [scalar("name", quote(weights.name), "")] if weights.name else []
    fields += [_layer(weights, record, splits, parameters(record)) for record in kept]
    return Document(weights.path, "", tuple(fields), tail="\n")


def _is_inserted(record: LayerRecord, tops: list[str]) -> bool:
    """Whether Caffe put this Split in (insert_splits.cpp names it and its tops)."""
    if record.type != "Split" or not record.name.endswith("_split"):
        return False
    return tops == [f"{record.name}_{i}" for i in range(len(tops))]


def _layer(
    weights: WeightsFile, record: LayerRecord, splits: dict[str, str], parameters: list[Field]
) -> Field:
    inner = [
        scalar("name", quote(record.name), "  "),
        scalar("type", quote(record.type), "  "),
    ]
    for name in _strings(weights, record, record.layout.bottom):
        source = name
        for _ in splits:  # a Split may read a Split
            if source not in splits:
                break
            source = splits[source]
        inner.append(scalar("bottom", quote(source), "  "))
    tops = _strings(weights, record, record.layout.top)
    inner += [scalar("top", quote(name), "  ") for name in tops]
    return block("layer", [*inner, *parameters], "")


def _strings(weights: WeightsFile, record: LayerRecord, number: int) -> list[str]:
    return [
        weights.source.read(field.start, field.end).decode("utf-8", "surrogateescape")
        for field in weights.source.fields(record.body, record.end)
        if field.number == number and field.wire_type == LEN
    ]


def _decoded(
    weights: WeightsFile, record: LayerRecord, schema: Schema, belongs: Belongs | None = None
) -> tuple[list[Field], list[Unread]]:
    """The other fields of a layer, and those that ``schema`` has no place for."""
    layout = record.layout
    skipped = {layout.name, layout.type, layout.bottom, layout.top, layout.blobs, _PHASE}
    given = weights.source.fields(record.body, record.end)
    kind = _descriptor(schema, "LayerParameter")
    kept, strange = [], []
    for field in (each for each in given if each.number not in skipped):
        about = kind.fields_by_number.get(field.number)
        known = about is not None and field.number < TEXT_ONLY
        fits = belongs is None or field.number < _FIRST_PARAMETER
        if about is not None and known and (fits or (belongs and belongs(record.type, about.name))):
            kept.append(field)
        else:
            strange.append(str(field.number))
    message = _message(weights, kept, kind)
    if message is None:
        return [], [Unread(record.name, record.type, "all of its parameters")]
    paths = [*dict.fromkeys(strange), *_unknown(message)]
    return _printed(message, "  "), [Unread(record.name, record.type, path) for path in paths]


def _net_fields(weights: WeightsFile) -> tuple[list[Field], list[Unread]]:
    """What the net says beside its name and its layers: ``input`` and its like, which no fork
    numbers otherwise."""
    ranges = (weights.source.fields(start, end) for start, end in weights.other)
    kept = [field for fields in ranges for field in fields if field.number != _NET_NAME]
    message = _message(weights, kept, _descriptor(OURS, "NetParameter"))
    if message is None:
        return [], [Unread("", "", "all of the net's own fields")]
    return _printed(message, ""), [Unread("", "", path) for path in _unknown(message)]


def _descriptor(schema: Schema, name: str) -> Descriptor:
    """The descriptor of a message; of a fork's, the fork's own, whose numbers count."""
    found: Any = schema.message(name)
    if isinstance(found, declared.Message):
        return descriptor(name)
    own: Descriptor = getattr(found, "fork", found)
    return own


def _message(weights: WeightsFile, fields: Iterable[WireField], kind: Descriptor) -> Message | None:
    """The message of some fields; None where it is none of this kind."""
    from google.protobuf import message_factory
    from google.protobuf.message import DecodeError

    data = b"".join(weights.source.read(field.tag_start, field.end) for field in fields)
    try:
        made: Message = message_factory.GetMessageClass(kind).FromString(data)
    except (DecodeError, ValueError):
        return None
    return made


def _unknown(message: Message, path: str = "") -> list[str]:
    """The numbers of fields that no declaration has, each with the way to it."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    fields: Any = UnknownFieldSet(message)  # a sequence, which its stub does not say
    found = [f"{path}{field.field_number}" for field in fields]
    for about, value in message.ListFields():
        if about.message_type is not None:
            inner = value if isinstance(about.default_value, list) else [value]
            found += [each for one in inner for each in _unknown(one, f"{path}{about.name}.")]
    return list(dict.fromkeys(found))


def _printed(message: Message, indent: str) -> list[Field]:
    from google.protobuf import text_format

    text = re.sub(
        r"^", indent, text_format.MessageToString(message).rstrip("\n"), flags=re.MULTILINE
    )
    return list(parse("\n" + text).fields) if text.strip() else []
