"""Prototxt of any age -> today's: V0, V1, old transformations, inputs, BatchNorm, solver types.

In the order of Caffe's UpgradeNetAsNeeded (src/caffe/util/upgrade_proto.cpp), on the lossless
tree: what needs no upgrade prints as it was written, comments and unknown fields stay.

Where Caffe stops and this goes on, because the file is readable: a net with both ``layer`` and
``layers`` keeps the order of the file; a layer type that neither V0 nor V1 has keeps its word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import zip_longest

from caffefold.errors import InputError
from caffefold.formats import schema
from caffefold.formats.prototxt.layout import (
    INLINE,
    before,
    block,
    deeper,
    fresh,
    indent_of,
    moved,
    respaced,
    taken_apart,
)
from caffefold.formats.prototxt.tree import (
    Document,
    Field,
    Message,
    Scalar,
    detached,
    drop,
    quote,
    set_scalar,
    set_strings,
)
from caffefold.formats.upgrade.solver import NETS, is_solver, upgrade_solver_type
from caffefold.formats.upgrade.tables import (
    DATA_MESSAGES,
    MAX_SPECS,
    PADDED,
    PADDING,
    SPECS,
    TRANSFORMATIONS,
    V0_NET_KEPT,
    V0_TYPES,
    is_v0_field,
    v0_target,
    v1_name,
    v1_of_v0,
    v1_types,
    v2_type,
)
from caffefold.humanize import counted

_Fields = tuple[Field, ...]
_MOST = 1_000  # fields that are noted one by one; no net that anybody wrote has so many
INPUTS = ("input", "input_dim", "input_shape")


def upgrade_document(
    document: Document, *, layers_only: bool = False
) -> tuple[Document, tuple[str, ...]]:
    """``document`` in today's format, and what was done, as sentences; none: it is the same.

    ``layers_only`` leaves net-level ``input`` fields and BatchNorm ``param`` as they are: deploy
    nets are still written so, and every Caffe reads them. A solver gets today's ``type``, and the
    nets inside it are upgraded.

    Raises:
        TextError: the net is one that Caffe cannot upgrade, with the place.
    """
    old = {"layers", "solver_type", *NETS}
    if layers_only and not any(field.name in old or is_v0(field) for field in document.fields):
        return document, ()
    log = Log(document)
    fields = document.fields
    if document.crlf:  # comes back when the document is encoded
        fields = tuple(respaced(f, lambda space: space.replace("\r\n", "\n")) for f in fields)
    if is_solver(document):
        fields = tuple(
            _net_inside(field, log, layers_only) if field.name in NETS else field
            for field in fields
        )
        fields = upgrade_solver_type(fields, document, log.notes)
    else:
        fields = _upgraded(fields, log, layers_only)
    return replace(document, fields=fields) if log.notes else document, log.sentences()


class Doubt(str):
    """A note that is a warning: Caffe itself refuses what was left so."""

    __slots__ = ()


class Log:
    """What was done, as sentences, and where in the document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.notes: list[str] = []
        self._fields = 0  # that were noted one by one
        self._doubted = False  # whether one of the others is to be doubted
        self._at = self._breaks = 0  # line breaks in the source before ``_at``

    def upgraded(self, count: int, step: str) -> None:
        """Note that layers of one format became layers of the next."""
        self.notes.append(f"{counted(count, 'layer')} {step}")

    def merged(self, names: list[str]) -> None:
        """Note which padding layers are gone."""
        if names:
            self.notes.append(
                f"padding layers merged into the layers they feed: {', '.join(names)}"
            )

    def transformed(self, count: int) -> None:
        """Note that transformations moved."""
        what = counted(count, "data layer")
        self.notes.append(f"transformations moved to transform_param in {what}")

    def mixed(self) -> None:
        """Note that the net has layers of V1 and of V2."""
        self.notes.append(
            "the net has both 'layer' and 'layers', which Caffe refuses; "
            "they are kept in the order of the file"
        )

    def frozen(self, count: int) -> None:
        """Note that statistics of BatchNorm layers are no longer learned."""
        what = counted(count, "BatchNorm layer")
        self.notes.append(f"lr_mult and decay_mult set to 0 in {what}")

    def note(self, field: Field, owner: str, what: str) -> None:
        """Note what became of ``field`` of ``owner``; of too many, how many more there are."""
        self._fields += 1
        if self._fields > _MOST:
            self._doubted |= isinstance(what, Doubt)
            return
        at = max(field.offset, 0)
        if at < self._at:
            self._at = self._breaks = 0
        self._breaks += self.document.source.count("\n", self._at, at)
        self._at = at
        self.notes.append(type(what)(f"line {self._breaks + 1}: {owner}: {what}"))

    def sentences(self) -> tuple[str, ...]:
        """All that was done."""
        more = self._fields - _MOST
        if more <= 0:
            return tuple(self.notes)
        kind = Doubt if self._doubted else str
        return (*self.notes, kind(f"{more} more fields like these"))

    def gone(self, field: Field, owner: str, why: str) -> None:
        """Note that ``field`` of ``owner`` was dropped."""
        self.note(field, owner, f"'{field.name}' dropped; {why}")

    def error(self, field: Field, what: str) -> InputError:
        """The error for a net that cannot be upgraded, at ``field``."""
        return self.document.error(field.offset, what)


def is_v0(field: Field) -> bool:
    """Whether this top-level field is a V0 layer: a message ``layer`` inside ``layers``.

    A ``layer`` inside a ``layer`` counts too; Caffe itself never read that.
    """
    return field.name in ("layers", "layer") and field.body.message("layer") is not None


def _upgraded(fields: _Fields, log: Log, layers_only: bool) -> _Fields:
    if any(field.name == "layers" or is_v0(field) for field in fields):
        fields = taken_apart(fields, ("layers",))
        fields = _from_v0(fields, log)
        fields = _with_transformations_apart(fields, log)
        fields = _from_v1(fields, log)
    if not layers_only:
        fields = with_input_layer(fields, log)
        fields = _with_frozen_statistics(fields, log)
    return fields


def _net_inside(field: Field, log: Log, layers_only: bool) -> Field:
    if not isinstance(field.value, Message):
        return field
    inner = Log(log.document)
    fields = _upgraded(field.body.fields, inner, layers_only)
    log.notes += [f"{field.name}: {note}" for note in inner.sentences()]
    return field.with_fields(fields) if inner.notes else field


# ------------------------------------------------------------------------------- V0 -> V1


def _from_v0(fields: _Fields, log: Log) -> _Fields:
    """The net's fields with every V0 layer as a V1 layer, as Caffe's UpgradeV0Net makes them.

    The inner layer's fields come up one level, parameters move into the message of the layer's
    type with their comments, and padding layers merge into what they feed. Fields that Caffe drops
    are dropped and named; fields that no Caffe knows stay.

    Raises:
        TextError: where Caffe stops: an unknown bottom, padding in front of something that
            takes no pad, or layers inside layers inside layers.
    """
    if not any(map(is_v0, fields)):
        return fields
    padding = Padding(Message(fields).strings("input"))
    fields = tuple(
        padding.absorbed(field, log) if field.name == "layers" or is_v0(field) else field
        for field in fields
    )
    fields = drop(fields, is_padding)
    known = set(schema.message("NetParameter").fields_by_name) - {*V0_NET_KEPT, "layer"}
    for field in fields:
        if field.name in known:
            log.gone(field, "the net", "Caffe drops it from a V0 net")
    kept = drop(fields, lambda field: field.name in known)
    log.upgraded(sum(map(is_v0, kept)), "from V0 (layers { layer { ... } }) to V1")
    log.merged(padding.merged)
    return tuple(upgraded_v0(field, log) if is_v0(field) else field for field in kept)


def is_padding(field: Field) -> bool:
    """Whether this top-level field is a padding layer of V0."""
    return is_v0(field) and _inner(field).string("type") == PADDING


class Padding:
    """Merges the padding layers of a V0 net into what they feed; give it one layer after another.

    ``inputs`` are the blobs that no layer writes; ``merged`` are the names of the layers that went.
    """

    def __init__(self, inputs: Iterable[str]) -> None:
        self.merged: list[str] = []
        self._writers: dict[str, Field | None] = dict.fromkeys(inputs)  # None: no padding layer

    def absorbed(self, layer: Field, log: Log) -> Field:
        """The layer with the pad of the padding layer that feeds it; one of these as it is.

        Raises:
            TextError: where Caffe stops.
        """
        found = layer
        for bottom in layer.body.strings("bottom"):
            if bottom not in self._writers:
                what = f"reads '{bottom}', which no earlier layer writes"
                raise log.error(layer, f"layer '{_name(layer)}' {what}")
            source = self._writers[bottom]
            found = found if source is None else _padded(layer, source, log)
        padding = is_padding(layer)
        self._writers |= dict.fromkeys(layer.body.strings("top"), layer if padding else None)
        if padding:
            self.merged.append(_name(layer))
        return found


def _inner(field: Field) -> Message:
    return field.body.message("layer") or Message(())


def _name(field: Field) -> str:
    return _inner(field).string("name") or field.body.string("name")


def _padded(field: Field, padding: Field, log: Log) -> Field:
    """The layer with the pad of the padding layer that feeds it, reading what that one reads."""
    kind, fed = _inner(field).string("type"), "a padding layer feeds it"
    sources = padding.body.strings("bottom")
    if kind not in PADDED:
        raise log.error(field, f"layer '{_name(field)}': {fed}, but '{kind}' takes no pad")
    if len(field.body.strings("bottom")) != 1:
        raise log.error(field, f"layer '{_name(field)}': {fed}, so it may have only one bottom")
    if len(sources) != 1 or len(padding.body.strings("top")) != 1:
        what = "a padding layer has exactly one bottom and one top"
        raise log.error(padding, f"layer '{_name(padding)}': {what}")
    pad = _inner(padding).last("pad")
    body = set_strings(field.body, "bottom", sources)
    fields = list(body.fields)
    place = max(i for i, inner in enumerate(fields) if inner.name == "layer")
    raw = pad.raw if isinstance(pad, Scalar) else "0"
    inner = set_scalar(fields[place].body, "pad", raw, after="kernelsize")
    fields[place] = fields[place].with_body(inner)
    return field.with_fields(fields)


def upgraded_v0(connection: Field, log: Log) -> Field:
    """A V0 layer as a V1 layer."""
    body = connection.body
    owner = f"layer '{_name(connection)}'"
    known = schema.message("V1LayerParameter").fields_by_name
    fields: list[Field] = []
    comment = ""
    for field in taken_apart(body.fields, ("layer",)):
        if field.name == "layer" and isinstance(field.value, Message):
            inner = list(_flattened(field, owner, log))
            rest = field.value.close[:-1] + field.trail
        elif field.name in known and field.name not in ("bottom", "top"):
            log.gone(field, owner, "Caffe drops it beside a V0 layer")
            continue
        else:
            inner, rest = [field], ""
        if inner and comment:
            inner[0] = replace(inner[0], lead=before(comment, inner[0].lead))
            comment = ""
        fields += inner
        comment = before(comment, rest) if "#" in rest else comment
    body = replace(body, fields=tuple(fields), close=before(comment, body.close))
    if body.message("layer") is not None:
        raise log.error(
            connection, f"{owner}: a V0 layer holds one 'layer {{ ... }}', this has more"
        )
    return replace(connection, name="layers", value=body)


def _flattened(nested: Field, owner: str, log: Log) -> Iterator[Field]:
    """The fields of the inner ``layer``, as they stand in a V1 layer."""
    body = nested.body
    kind = body.string("type")
    outer = indent_of(nested.lead)
    old = next((i for f in body.fields if (i := indent_of(f.lead)) is not None), None)
    blocks: dict[str, list[Field]] = {}
    order: list[Field | str] = []
    last = {field.name: field for field in body.fields}
    for field in body.fields:
        known = is_v0_field(field.name)
        target = v0_target(field.name, kind) if known else None
        if field.name == "type":
            order.append(moved(_v1_typed(field, owner, log), old, outer))
        elif known and target is None:
            log.gone(field, owner, f"Caffe has none for the V0 type '{kind}'")
        elif target is None or not target.message:
            order.append(moved(field, old, outer))
            if not known:
                log.note(field, owner, f"unknown field '{field.name}' kept unchanged")
        elif last[field.name] is field:  # written twice, the last counts; V1 repeats some
            if target.message not in blocks:
                order.append(target.message)
            blocks.setdefault(target.message, []).append(replace(field, name=target.field))
    comment = nested.lead if "#" in nested.lead else ""
    if "#" in body.open:
        comment = before(comment, body.open[1:]) if comment else body.open[1:]
    for item in order:
        made = item if isinstance(item, Field) else _block(item, blocks[item], old, outer)
        yield replace(made, lead=before(comment, made.lead)) if comment else made
        comment = ""


def _block(name: str, fields: list[Field], old: str | None, outer: str | None) -> Field:
    """A parameter message of the fields that moved into it; the first one's comments lead it."""
    lead = moved(fields[0], old, outer).lead
    start = deeper(lead)
    new = indent_of(start)
    inner = [moved(replace(fields[0], lead=start), old, new)]
    for field in fields[1:]:
        alone = new is not None and "\n" not in field.lead  # the others are on lines of their own
        inner.append(replace(field, lead=f"\n{new}") if alone else moved(field, old, new))
    return block(name, inner, lead)


def _v1_typed(field: Field, owner: str, log: Log) -> Field:
    kind = Message((field,)).string("type")
    name = v1_of_v0(kind)
    if kind not in V0_TYPES:
        what = f"read as V1's {name}" if name else "kept unchanged"
        log.note(field, owner, f"unknown V0 type '{kind}' {what}")
    return replace(field, value=Scalar(name or quote(kind)))


# ----------------------------------------------------------------- transformations (in V1)


def _with_transformations_apart(fields: _Fields, log: Log) -> _Fields:
    """V1 data layers with scale, mean_file, crop_size and mirror in their ``transform_param``.

    Like Caffe's UpgradeNetDataTransformation: once one data layer of the net needs it, all of them
    get a ``transform_param`` and the message of their type, empty if need be.
    """
    count = sum(any(transformations(layer)) for layer in fields)
    if not count:
        return fields
    log.transformed(count)
    return tuple(transformed(layer) if data_message(layer) else layer for layer in fields)


def data_message(layer: Field) -> str:
    """The message that may hold transformations; ``""`` when this is no V1 data layer."""
    return DATA_MESSAGES.get(_v1_type(layer.body), "") if layer.name == "layers" else ""


def transformations(layer: Field) -> list[Field]:
    name = data_message(layer)
    return [
        inner
        for outer in layer.body.fields
        if name and outer.name == name
        for inner in outer.body.fields
        if inner.name in TRANSFORMATIONS
    ]


def transformed(layer: Field) -> Field:
    name = data_message(layer)
    going = transformations(layer)
    fields = [
        inner.with_fields(f for f in inner.body.fields if f.name not in TRANSFORMATIONS)
        if inner.name == name
        else inner
        for inner in layer.body.fields
    ]
    place = next((i for i, inner in enumerate(fields) if inner.name == name), len(fields))
    if place == len(fields):
        lead = fresh(fields[-1].lead)
        fields.append(Field(name, Message((), close=" }"), lead=lead, sep=" "))
    target = max((i for i, f in enumerate(fields) if f.name == "transform_param"), default=-1)
    if target < 0:
        target = place + 1
        lead = fresh(fields[place].lead)
        close = lead + "}" if any("\n" in inner.lead for inner in going) else " }"
        fields.insert(target, Field("transform_param", Message((), close=close), lead, sep=" "))
    fields[target] = _with(fields[target], going)
    return layer.with_fields(fields)


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
    return transform.with_fields(fields)


# ------------------------------------------------------------------------------- V1 -> V2


def _from_v1(fields: _Fields, log: Log) -> _Fields:
    """The net's fields with every V1 layer as a V2 layer, in the order of the file.

    As in Caffe's UpgradeV1Net; what V1 and V2 spell alike stays as it is written.

    Raises:
        TextError: a layer type is a number that V1 does not have.
    """
    count = sum(layer.name == "layers" for layer in fields)
    if not count:
        return fields
    log.upgraded(count, "from V1 (layers { ... }) to V2 (layer { ... })")
    if any(layer.name == "layer" for layer in fields):
        log.mixed()
    return tuple(upgraded_v1(layer, log) if layer.name == "layers" else layer for layer in fields)


def upgraded_v1(layer: Field, log: Log) -> Field:
    if not isinstance(layer.value, Message):
        raise log.error(layer, "'layers' is a layer, so it needs braces { ... }")
    owner = f"layer '{layer.body.string('name')}'"
    fields = tuple(_v2_typed(f, owner, log) if f.name == "type" else f for f in layer.body.fields)
    if any(inner.name in SPECS for inner in fields):
        fields = taken_apart(fields, SPECS)
        if sum(inner.name in SPECS for inner in fields) > MAX_SPECS:
            raise log.error(layer, f"{owner}: more than {MAX_SPECS} rates in one layer")
        fields = _with_specs(fields)
    return replace(layer, name="layer", value=replace(layer.body, fields=fields))


def _v1_type(body: Message) -> str:
    """The V1 name of a V1 layer's type, however it is written; ``""`` for one V1 does not have."""
    word = body.string("type")
    if word in v1_types():
        return word
    number = _integer(word)
    return "" if number is None else v1_name(number)


def _integer(word: str) -> int | None:
    try:
        return int(word, 0)
    except ValueError:
        return None


def _v2_typed(kind: Field, owner: str, log: Log) -> Field:
    body = Message((kind,))
    name = _v1_type(body)
    if name:
        return replace(kind, value=Scalar(quote(v1_types()[name])))
    word = body.string("type")
    if _integer(word) is not None:
        raise log.error(kind, f"{owner}: V1 has no layer type {word}")
    raw = kind.value.raw if isinstance(kind.value, Scalar) else ""
    if raw[:1] in ("'", '"'):
        return kind  # written as V2 has it
    if not v2_type(word):
        log.note(kind, owner, Doubt(f"unknown V1 type {word} kept unchanged"))
    return replace(kind, value=Scalar(quote(v2_type(word) or word)))


def _with_specs(fields: _Fields) -> _Fields:
    """The fields with blobs_lr and its like as ``param { ... }``, where the first of them stood.

    A ``param`` that is a message already, as V2 has it, absorbs what belongs to its blob.
    """
    old = [field for field in fields if field.name in SPECS]
    kept = [field for field in fields if field.name not in SPECS]
    messages = [field for field in old if isinstance(field.value, Message)]
    by_blob: list[list[Field]] = [[] for _ in old]
    seen = dict.fromkeys(SPECS, 0)
    for field in old:
        if not isinstance(field.value, Message):
            by_blob[seen[field.name]].append(replace(field, name=SPECS[field.name]))
            seen[field.name] += 1
    lead = fresh(old[0].lead)
    specs = [_spec(*each, lead) for each in zip_longest(messages, filter(None, by_blob))]
    place = fields.index(old[0])
    return (*kept[:place], *specs, *kept[place:])


def _spec(message: Field | None, values: list[Field] | None, lead: str) -> Field:
    """The field ``param { ... }``; its lines stand one level below ``lead``."""
    inside = deeper(lead)
    if message is not None:
        body = message.body
        inside = fresh(body.fields[-1].lead) if body.fields else inside
        added = (replace(inner, lead=inside) for inner in values or ())
        return message.with_fields((*body.fields, *added))
    assert values  # there is a message or a value for each
    lines = [replace(values[0], lead=inside)]
    for inner in values[1:]:
        own = "\n" in inner.lead and "\n" in inside
        at = indent_of(inner.lead), indent_of(inside)
        lines.append(moved(inner, *at) if own else replace(inner, lead=inside))
    return block("param", lines, values[0].lead if "\n" in values[0].lead else lead)


# --------------------------------------------------------------------------- inputs (in V2)


def with_input_layer(fields: _Fields, log: Log) -> _Fields:
    """The net's fields with an Input layer, in front of all layers, for the ``input`` fields.

    As in Caffe's UpgradeNetInput.

    Raises:
        TextError: there are fewer shapes than inputs.
    """
    if not any(field.name == "input" for field in fields):
        return fields
    fields = taken_apart(fields, INPUTS)
    inputs, dims, shapes = ([f for f in fields if f.name == name] for name in INPUTS)
    names = ", ".join(Message(tuple(inputs)).strings("input"))
    place = next(i for i, field in enumerate(fields) if field.name in (*INPUTS, "layer"))
    lead = fields[place].lead
    if fields[place].name not in INPUTS:
        lead = fresh(lead)  # the comments belong to the layer that stands here
    kept: list[Field] = []
    saved = ""
    for index, field in enumerate(fields):
        if field.name not in INPUTS:
            kept.append(replace(field, lead=saved + field.lead) if saved else field)
            saved = ""
        elif index != place:
            saved += detached(field.lead)
    if not shapes and not dims:
        log.notes.append(f"inputs without a shape dropped: {names}")
        return tuple(kept)
    log.notes.append(f"inputs turned into an Input layer: {names}")
    outer = "\n" if not place and "\n" not in lead else fresh(lead)
    inside = deeper(outer)
    for field in inputs[len(shapes) if shapes else len(dims) // 4 :]:
        name = Message((field,)).string("input")
        raise log.error(
            field, f"the input '{name}' has no shape: neither input_shape nor four input_dim"
        )
    made = (_from_shapes if shapes else _from_dims)(inputs, shapes or dims, deeper(inside))
    head = [
        Field("name", Scalar(quote("input")), lead=inside),
        Field("type", Scalar(quote("Input")), lead=inside),
        *(replace(field, name="top", lead=inside) for field in inputs),
        block("input_param", made, inside),
    ]
    layer = Field("layer", Message(tuple(head), close=outer + "}"), lead=lead, sep=" ")
    at = sum(field.name not in INPUTS for field in fields[:place])
    return (*kept[:at], layer, *kept[at:])


def _from_shapes(inputs: list[Field], shapes: list[Field], lead: str) -> list[Field]:
    return [
        replace(moved(shape, indent_of(shape.lead), indent_of(lead)), name="shape", lead=lead)
        for shape in shapes[: len(inputs)]
    ]


def _from_dims(inputs: list[Field], dims: list[Field], lead: str) -> list[Field]:
    made = []
    for index in range(len(inputs)):
        four = [replace(dim, name="dim") for dim in dims[4 * index : 4 * index + 4]]
        commented = any("#" in dim.trail or "#" in dim.lead for dim in four)
        if commented and lead != INLINE:
            inner = [replace(dim, lead=_below_comments(dim.lead, deeper(lead))) for dim in four]
            made.append(block("shape", inner, lead))
        else:
            inner = [replace(dim, lead=INLINE) for dim in four]
            made.append(Field("shape", Message(tuple(inner), close=" }"), lead=lead, sep=" "))
    return made


def _below_comments(old: str, new: str) -> str:
    """``new`` with the comments of ``old`` in front."""
    comments = [line.strip() for line in old.split("\n") if line.strip().startswith("#")]
    return "".join(new + comment for comment in comments) + new


# ------------------------------------------------------------------------ BatchNorm (in V2)


def _with_frozen_statistics(fields: _Fields, log: Log) -> _Fields:
    found = tuple(frozen_layer(field) or field for field in fields)
    count = sum(new is not old for new, old in zip(found, fields, strict=True))
    if count:
        log.frozen(count)
    return found


def frozen_layer(layer: Field) -> Field | None:
    """A BatchNorm layer with lr_mult and decay_mult 0 in its three ``param``.

    None where Caffe's UpgradeNetBatchNorm changes nothing.
    """
    if layer.name != "layer" or layer.body.string("type") != "BatchNorm":
        return None
    parts = taken_apart(layer.body.fields, ("param",))
    frozen = tuple(i.with_body(_frozen(i.body)) if i.name == "param" else i for i in parts)
    if sum(inner.name == "param" for inner in parts) != 3 or frozen == parts:
        return None
    return layer.with_fields(frozen)


def _frozen(spec: Message) -> Message:
    for name in ("lr_mult", "decay_mult"):
        if not _is_zero(spec.last(name)):
            spec = set_scalar(spec, name, "0")
    return spec


def _is_zero(value: Scalar | Message | None) -> bool:
    try:
        return isinstance(value, Scalar) and float(value.raw.rstrip("fF")) == 0
    except ValueError:
        return False
