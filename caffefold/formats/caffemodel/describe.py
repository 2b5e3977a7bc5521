"""A caffemodel's layers as a prototxt document: what the file knows of its net, without numbers.

Forks reuse field numbers (SEMANTICS), so only name, type, bottoms and tops are sure; parameters
are what the schema makes of them, right where the file comes from a Caffe that the schema knows.
"""

from __future__ import annotations

from caffefold.formats import schema
from caffefold.formats.caffemodel.index import LayerRecord, WeightsFile
from caffefold.formats.caffemodel.wire import LEN
from caffefold.formats.prototxt.parse import parse
from caffefold.formats.prototxt.tree import Document, Field, block, quote, scalar

_PHASE = 10  # of LayerParameter: the phase of the net that was saved, alike in all its layers


def to_document(weights: WeightsFile, *, parameters: bool = False) -> Document:
    """The net inside ``weights``, without the Split layers that Caffe inserted.

    ``parameters`` decodes the layers' other fields, too; a layer whose fields cannot be decoded
    has none.
    """
    splits = {
        top: bottoms[0]
        for record in weights.layers
        if record.type == "Split" and (bottoms := _strings(weights, record, record.layout.bottom))
        for top in _strings(weights, record, record.layout.top)
    }
    fields = [scalar("name", quote(weights.name), "")] if weights.name else []
    for record in weights.layers:
        if record.type != "Split":
            fields.append(_layer(weights, record, splits, parameters))
    return Document(weights.path, "", tuple(fields), tail="\n")


def _layer(
    weights: WeightsFile, record: LayerRecord, splits: dict[str, str], parameters: bool
) -> Field:
    inner = [
        scalar("name", quote(record.name), "  "),
        scalar("type", quote(record.type), "  "),
    ]
    for name in _strings(weights, record, record.layout.bottom):
        source = name
        for _ in splits:  # a Split may read a Split
            source = splits.get(source, source)
        inner.append(scalar("bottom", quote(source), "  "))
    tops = _strings(weights, record, record.layout.top)
    inner += [scalar("top", quote(name), "  ") for name in tops]
    if parameters:
        inner += _parameters(weights, record)
    return block("layer", inner, "")


def _strings(weights: WeightsFile, record: LayerRecord, number: int) -> list[str]:
    return [
        weights.source.read(field.start, field.end).decode("utf-8", "surrogateescape")
        for field in weights.source.fields(record.body, record.end)
        if field.number == number and field.wire_type == LEN
    ]


def _parameters(weights: WeightsFile, record: LayerRecord) -> list[Field]:
    from google.protobuf import message_factory, text_format
    from google.protobuf.message import DecodeError

    layout = record.layout
    skipped = {layout.name, layout.type, layout.bottom, layout.top, layout.blobs, _PHASE}
    data = b"".join(
        weights.source.read(field.tag_start, field.end)
        for field in weights.source.fields(record.body, record.end)
        if field.number not in skipped
    )
    try:
        kind = message_factory.GetMessageClass(schema.message("LayerParameter"))
        message = kind.FromString(data)
    except DecodeError:
        return []
    text = text_format.MessageToString(message)
    return list(parse(text, weights.path).fields) if text else []
