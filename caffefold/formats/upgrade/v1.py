"""Prototxt V1 -> V2: ``layers { type: CONVOLUTION blobs_lr: 1 }`` to ``layer { ... param { } }``.

What Caffe's UpgradeNetDataTransformation and UpgradeV1Net do (src/caffe/util/upgrade_proto.cpp),
on the text: all that V1 and V2 spell the same stays as it is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from caffefold.formats.prototxt.layout import (
    INLINE,
    block,
    deeper,
    fresh,
    indent_of,
    moved,
    taken_apart,
)
from caffefold.formats.prototxt.tree import Document, Field, Lines, Message, Scalar, quote, unquote
from caffefold.formats.upgrade.tables import (
    DATA_MESSAGES,
    TRANSFORMATIONS,
    V1_NAMES,
    V1_TYPES,
)
from caffefold.humanize import counted

# V1 fields that became fields of ParamSpec, by blob.
_SPEC = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}
_MAX_SPECS = 4_096  # of one kind, in one layer; a real one has two


def v1_type(body: Message) -> str:
    """The V1 name of a V1 layer's type, however it is written; ``""`` for one V1 does not have."""
    raw = body.last("type")
    word = unquote(raw.raw) if isinstance(raw, Scalar) else ""
    if word in V1_TYPES:
        return word
    number = _integer(word)
    return "" if number is None else V1_NAMES.get(number, "")


def _integer(word: str) -> int | None:
    try:
        return int(word, 0)
    except ValueError:
        return None


# ------------------------------------------------------------------------- transformations


def upgrade_transformations(fields: tuple[Field, ...], notes: list[str]) -> tuple[Field, ...]:
    """V1 data layers with scale, mean_file, crop_size and mirror in their ``transform_param``.

    Like Caffe: once one data layer of the net needs it, all of them get a ``transform_param`` and
    the message of their type, empty if need be.
    """
    count = sum(any(_transformations(layer)) for layer in fields)
    if not count:
        return fields
    notes.append(f"transformations moved to transform_param in {counted(count, 'data layer')}")
    return tuple(_transformed(layer) if _data_message(layer) else layer for layer in fields)


def _data_message(layer: Field) -> str:
    """The message that may hold transformations; ``""`` when this is no V1 data layer."""
    return DATA_MESSAGES.get(v1_type(layer.body), "") if layer.name == "layers" else ""


def _transformations(layer: Field) -> list[Field]:
    name = _data_message(layer)
    return [
        inner
        for outer in layer.body.fields
        if name and outer.name == name
        for inner in outer.body.fields
        if inner.name in TRANSFORMATIONS
    ]


def _transformed(layer: Field) -> Field:
    name = _data_message(layer)
    going = _transformations(layer)
    fields = [_without(inner) if inner.name == name else inner for inner in layer.body.fields]
    place = next((i for i, inner in enumerate(fields) if inner.name == name), -1)
    if place < 0:
        lead = fresh(fields[-1].lead)
        place = len(fields)
        fields.append(Field(name, Message((), close=" }"), lead=lead, sep=" "))
    target = next(
        (i for i in range(len(fields) - 1, -1, -1) if fields[i].name == "transform_param"), -1
    )
    if target < 0:
        target = place + 1
        empty = Message((), close=fresh(fields[place].lead) + "}" if _broken(going) else " }")
        lead = fresh(fields[place].lead)
        fields.insert(target, Field("transform_param", empty, lead=lead, sep=" "))
    fields[target] = _with(fields[target], going)
    return layer.with_body(replace(layer.body, fields=tuple(fields)))


def _broken(fields: list[Field]) -> bool:
    return any("\n" in inner.lead for inner in fields)


def _without(data: Field) -> Field:
    """The data message without its transformations."""
    body = data.body
    kept = tuple(inner for inner in body.fields if inner.name not in TRANSFORMATIONS)
    return data.with_body(replace(body, fields=kept))


def _with(transform: Field, values: list[Field]) -> Field:
    """``transform_param`` with ``values``, each in place of one it has already."""
    fields = list(transform.body.fields)
    for value in values:
        old = next((i for i, inner in enumerate(fields) if inner.name == value.name), -1)
        if old >= 0:
            fields[old] = replace(fields[old], value=value.value)
        elif transform.body.fields and "#" not in value.lead:
            fields.append(replace(value, lead=fresh(transform.body.fields[-1].lead)))
        else:
            fields.append(value)
    return transform.with_body(replace(transform.body, fields=tuple(fields)))


# ---------------------------------------------------------------------------------- layers


def upgrade_v1(
    fields: tuple[Field, ...], document: Document, notes: list[str]
) -> tuple[Field, ...]:
    """The net's fields with every V1 layer as a V2 layer, in the order of the file.

    Raises:
        TextError: a layer type is a number that V1 does not have.
    """
    old = [layer for layer in fields if layer.name == "layers"]
    if not old:
        return fields
    notes.append(f"{counted(len(old), 'layer')} from V1 (layers {{ ... }}) to V2 (layer {{ ... }})")
    if len(old) < sum(layer.name in ("layer", "layers") for layer in fields):
        notes.append(
            "the net has both 'layer' and 'layers', which Caffe refuses; "
            "they are kept in the order of the file"
        )
    lines = Lines(document.source)
    return tuple(
        _layer(layer, document, lines, notes) if layer.name == "layers" else layer
        for layer in fields
    )


def _layer(layer: Field, document: Document, lines: Lines, notes: list[str]) -> Field:
    if not isinstance(layer.value, Message):
        raise document.error(layer.offset, "'layers' is a layer, so it needs braces { ... }")
    fields = layer.body.fields
    for name in _SPEC:
        fields = taken_apart(fields, name)
    owner = f"layer '{layer.body.string('name')}'"
    fields = tuple(
        _typed(inner, owner, document, lines, notes) if inner.name == "type" else inner
        for inner in fields
    )
    count = sum(inner.name in _SPEC for inner in fields)
    if count > _MAX_SPECS:
        raise document.error(layer.offset, f"{owner}: more than {_MAX_SPECS} rates in one layer")
    if count:
        fields = _with_specs(fields)
    return replace(layer, name="layer", value=replace(layer.body, fields=fields))


def _typed(kind: Field, owner: str, document: Document, lines: Lines, notes: list[str]) -> Field:
    body = Message((kind,))
    name = v1_type(body)
    if name:
        return replace(kind, value=Scalar(quote(V1_TYPES[name][1])))
    word = body.string("type")
    if _integer(word) is not None:
        raise document.error(kind.offset, f"{owner}: V1 has no layer type {word}")
    raw = kind.value.raw if isinstance(kind.value, Scalar) else ""
    if raw[:1] in ("'", '"'):
        return kind  # written as V2 has it
    notes.append(f"line {lines.of(kind.offset)}: {owner}: unknown V1 type {word} kept as it is")
    return replace(kind, value=Scalar(quote(word)))


@dataclass(slots=True)
class _Spec:
    """One ``param { ... }`` in the making."""

    message: Field | None = None
    fields: list[Field] = field(default_factory=list)


def _with_specs(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """The fields with blobs_lr and its like as ``param { ... }``, where the first of them stood.

    A ``param`` that is a message already, as V2 has it, takes up what belongs to its blob.
    """
    specs: list[_Spec] = []
    seen: dict[str, int] = {}
    kept: list[Field] = []
    place = -1
    lead = INLINE
    for inner in fields:
        if inner.name not in _SPEC:
            kept.append(inner)
            continue
        if place < 0:
            place, lead = len(kept), fresh(inner.lead)
        is_message = isinstance(inner.value, Message)
        index = seen.get(inner.name + "{" * is_message, 0)
        seen[inner.name + "{" * is_message] = index + 1
        if index == len(specs):
            specs.append(_Spec())
        if is_message:
            specs[index].message = inner
        else:
            specs[index].fields.append(replace(inner, name=_SPEC[inner.name]))
    kept[place:place] = [_spec(spec, lead) for spec in specs]
    return tuple(kept)


def _spec(spec: _Spec, lead: str) -> Field:
    """The field ``param { ... }``; its lines stand one level below ``lead``."""
    inside = deeper(lead)
    if spec.message is not None:
        body = spec.message.body
        inside = fresh(body.fields[-1].lead) if body.fields else inside
        added = tuple(replace(inner, lead=inside) for inner in spec.fields)
        return spec.message.with_body(replace(body, fields=body.fields + added))
    outer = spec.fields[0].lead
    lines = [replace(spec.fields[0], lead=inside)]
    for inner in spec.fields[1:]:
        own = "\n" in inner.lead and "\n" in inside
        lines.append(
            moved(inner, indent_of(inner.lead), indent_of(inside))
            if own
            else replace(inner, lead=inside)
        )
    return block("param", lines, outer if "\n" in outer else lead)
