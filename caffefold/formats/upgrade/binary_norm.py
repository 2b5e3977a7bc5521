"""caffemodel: BatchNorm layers with three ``param`` get lr_mult and decay_mult 0.

What Caffe's UpgradeNetBatchNorm does (src/caffe/util/upgrade_proto.cpp), by byte ranges.
"""

from __future__ import annotations

from caffefold.formats.caffemodel.wire import FIXED32, LEN, ByteSource, WireField, tag
from caffefold.formats.upgrade.parts import Parts, Range, fields_of, message, text_of

_LAYER = 100
_ZERO = bytes(4)


def _specs(source: ByteSource, layer: WireField) -> list[WireField]:
    """The three ``param`` of a BatchNorm layer; none for any other layer."""
    kind = ""
    specs = []
    for field in fields_of(source, layer):
        if field.number == 2 and field.wire_type == LEN and field.end - field.start < 16:
            kind = text_of(source, field)
        elif field.number == 6 and field.wire_type == LEN:
            specs.append(field)
    return specs if kind == "BatchNorm" and len(specs) == 3 else []


def not_frozen(source: ByteSource, layer: WireField) -> bool:
    """Whether this V2 layer is a BatchNorm with three ``param`` of which one is not fixed."""
    for spec in _specs(source, layer):
        values = {3: b"", 4: b""}
        for field in fields_of(source, spec):
            if field.number in values and field.wire_type == FIXED32:
                values[field.number] = source.read(field.start, field.end)
        if any(value not in (_ZERO, b"\0\0\0\x80") for value in values.values()):
            return True
    return False


def frozen(source: ByteSource, layer: WireField) -> Parts:
    """The layer with lr_mult and decay_mult 0 in each ``param``."""
    parts: Parts = []
    for field in fields_of(source, layer):
        if field.number != 6 or field.wire_type != LEN:
            parts.append(Range(field.tag_start, field.end))
            continue
        kept: Parts = [
            Range(inner.tag_start, inner.end)
            for inner in fields_of(source, field)
            if inner.number not in (3, 4)
        ]
        kept.append(tag(3, FIXED32) + _ZERO + tag(4, FIXED32) + _ZERO)
        parts += message(6, kept)
    return message(_LAYER, parts)
