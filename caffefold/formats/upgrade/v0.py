"""Prototxt V0 -> V1: ``layers { layer { type: "conv" num_output: 96 } bottom: "data" }``.

What Caffe's UpgradeV0Net does (src/caffe/util/upgrade_proto.cpp), on the text: the inner layer's
fields come up one level, parameters move into the message of the layer's type with their comments,
and padding layers merge into what they feed. Fields that Caffe drops are dropped and named; fields
that no Caffe knows stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from caffefold.errors import TextError
from caffefold.formats import schema
from caffefold.formats.prototxt.layout import before, block, deeper, indent_of, moved, taken_apart
from caffefold.formats.prototxt.tree import (
    Document,
    Field,
    Lines,
    Message,
    Scalar,
    drop,
    quote,
    set_scalar,
    set_strings,
)
from caffefold.formats.upgrade.tables import (
    PADDING,
    V0_KEPT,
    V0_MOVES,
    V0_NET_KEPT,
    V0_TYPES,
    Connection,
    merge_padding,
    v0_target,
    v1_of_v0,
)
from caffefold.humanize import counted


def is_v0(field: Field) -> bool:
    """Whether this top-level field is a V0 layer: a message ``layer`` inside ``layers``.

    A ``layer`` inside a ``layer`` counts too; Caffe itself never read that.
    """
    return field.name in ("layers", "layer") and field.body.message("layer") is not None


def upgrade_v0(
    fields: tuple[Field, ...], document: Document, notes: list[str]
) -> tuple[Field, ...]:
    """The net's fields with every V0 layer as a V1 layer; ``notes`` gets what was done.

    Raises:
        TextError: where Caffe stops: an unknown bottom, padding in front of something that
            takes no pad, or layers inside layers inside layers.
    """
    if not any(is_v0(field) for field in fields):
        return fields
    fields, merged = _without_padding(fields, document)
    lost = _Lost(document, notes)
    known = set(schema.message("NetParameter").fields_by_name) - {*V0_NET_KEPT, "layer"}
    for field in fields:
        if field.name in known:
            lost.field(field, "the net", "Caffe drops it from a V0 net")
    kept = drop(fields, lambda field: field.name in known)
    count = sum(map(is_v0, kept))
    notes.append(f"{counted(count, 'layer')} from V0 (layers {{ layer {{ ... }} }}) to V1")
    if merged:
        notes.append(f"padding layers merged into what they feed: {', '.join(merged)}")
    return tuple(_layer(field, lost) if is_v0(field) else field for field in kept)


class _Lost:
    """Tells of the fields that are given up."""

    def __init__(self, document: Document, notes: list[str]) -> None:
        self.document = document
        self._lines = Lines(document.source)
        self._notes = notes

    def field(self, field: Field, owner: str, why: str) -> None:
        """``field`` of ``owner`` goes."""
        self._notes.append(
            f"line {self._lines.of(field.offset)}: {owner}: '{field.name}' is gone; {why}"
        )

    def kept(self, field: Field, owner: str, what: str) -> None:
        """``field`` of ``owner`` stays although Caffe would stop at it."""
        self._notes.append(f"line {self._lines.of(field.offset)}: {owner}: {what}")


# ---------------------------------------------------------------------------- padding layers


def _without_padding(
    fields: tuple[Field, ...], document: Document
) -> tuple[tuple[Field, ...], tuple[str, ...]]:
    """The fields with padding layers merged, and the names of those layers."""
    places = [i for i, field in enumerate(fields) if field.name == "layers" or is_v0(field)]
    inputs = Message(fields).strings("input")
    connections = [_connection(fields[place]) for place in places]

    def error(index: int, message: str) -> TextError:
        field = fields[places[index]]
        return document.error(field.offset, f"layer '{_name(field)}' {message}")

    merged = merge_padding(inputs, connections, error)
    edited = list(fields)
    for index, change in merged.items():
        place = places[index]
        source = _inner(fields[places[change.padding]])
        pad = source.last("pad")
        edited[place] = _padded(
            edited[place], pad.raw if isinstance(pad, Scalar) else "0", change.bottom
        )
    gone = {places[i] for i, connection in enumerate(connections) if connection.type == PADDING}
    offsets = {id(edited[place]) for place in gone}
    names = tuple(_name(fields[place]) for place in sorted(gone))
    return drop(tuple(edited), lambda field: id(field) in offsets), names


def _connection(field: Field) -> Connection:
    body = field.body
    return Connection(_inner(field).string("type"), body.strings("bottom"), body.strings("top"))


def _inner(field: Field) -> Message:
    return field.body.message("layer") or Message(())


def _name(field: Field) -> str:
    return _inner(field).string("name") or field.body.string("name")


def _padded(field: Field, pad: str, bottom: str) -> Field:
    body = set_strings(field.body, "bottom", (bottom,))
    fields = list(body.fields)
    place = max(i for i, inner in enumerate(fields) if inner.name == "layer")
    fields[place] = fields[place].with_body(
        set_scalar(fields[place].body, "pad", pad, after="kernelsize")
    )
    return field.with_body(replace(body, fields=tuple(fields)))


# ------------------------------------------------------------------------------- one layer


def _layer(connection: Field, lost: _Lost) -> Field:
    """A V0 layer as a V1 layer."""
    body = connection.body
    owner = f"layer '{_name(connection)}'"
    known = schema.message("V1LayerParameter").fields_by_name
    fields: list[Field] = []
    comment = ""
    for field in taken_apart(body.fields, "layer"):
        if field.name == "layer" and isinstance(field.value, Message):
            inner = list(_flattened(field, owner, lost))
            rest = field.value.close[:-1] + field.trail
        elif field.name in known and field.name not in ("bottom", "top"):
            lost.field(field, owner, "Caffe drops it beside a V0 layer")
            continue
        else:
            inner, rest = [field], ""
        if inner:
            fields.append(replace(inner[0], lead=before(comment, inner[0].lead)))
            fields += inner[1:]
            comment = ""
        comment = before(comment, rest) if "#" in rest else comment
    body = replace(body, fields=tuple(fields), close=before(comment, body.close))
    if body.message("layer") is not None:
        raise lost.document.error(
            connection.offset, f"{owner}: a V0 layer holds one 'layer {{ ... }}', this has more"
        )
    return replace(connection, name="layers", value=body)


def _flattened(nested: Field, owner: str, lost: _Lost) -> Iterator[Field]:
    """The fields of the inner ``layer``, as they stand in a V1 layer."""
    body = nested.body
    kind = body.string("type")
    outer = indent_of(nested.lead)
    old = next((i for f in body.fields if (i := indent_of(f.lead)) is not None), None)
    blocks: dict[str, list[Field]] = {}
    leads: dict[str, str] = {}
    order: list[Field | str] = []
    last = {field.name: i for i, field in enumerate(body.fields)}
    for index, field in enumerate(body.fields):
        if field.name in V0_MOVES:
            target = v0_target(field.name, kind)
            if target is None:
                lost.field(field, owner, f"Caffe knows none for the V0 type '{kind}'")
            elif last[field.name] == index:  # written twice, the last counts; V1 repeats some
                message, name = target
                if message not in blocks:
                    order.append(message)
                    leads[message] = moved(field, old, outer).lead
                blocks.setdefault(message, []).append(replace(field, name=name))
        elif field.name == "type":
            order.append(moved(_typed(field, owner, lost), old, outer))
        elif field.name == "hdf5_output_param" and kind != "hdf5_output":
            lost.field(field, owner, f"Caffe knows none for the V0 type '{kind}'")
        else:
            order.append(moved(field, old, outer))
            if field.name not in {*V0_KEPT, "hdf5_output_param"}:
                lost.kept(field, owner, f"unknown field '{field.name}' kept as it is")
    comment = nested.lead if "#" in nested.lead else ""
    if "#" in body.open:
        comment = before(comment, body.open[1:]) if comment else body.open[1:]
    for item in order:
        made = item if isinstance(item, Field) else _block(item, blocks[item], leads[item], old)
        yield replace(made, lead=before(comment, made.lead))
        comment = ""


def _block(name: str, fields: list[Field], lead: str, old: str | None) -> Field:
    """A parameter message of the fields that moved into it; the first one's comments lead it."""
    start = deeper(lead)
    first = replace(fields[0], lead=start)
    rest = [_at(field, old, indent_of(start)) for field in fields]
    return block(name, [moved(first, old, indent_of(start)), *rest[1:]], lead)


def _at(field: Field, old: str | None, new: str | None) -> Field:
    """``field`` at the depth ``new``, on a line of its own where the others are."""
    if new is not None and "\n" not in field.lead:
        return replace(field, lead="\n" + new)
    return moved(field, old, new)


def _typed(field: Field, owner: str, lost: _Lost) -> Field:
    kind = Message((field,)).string("type")
    name = v1_of_v0(kind)
    if kind not in V0_TYPES:
        what = f"taken for V1's {name}" if name else "kept as it is"
        lost.kept(field, owner, f"unknown V0 type '{kind}' {what}")
    return replace(field, value=Scalar(name or quote(kind)))
