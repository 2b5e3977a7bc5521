"""Prototxt, net level: ``input:`` fields -> an Input layer; BatchNorm layers with three ``param``.

What Caffe's UpgradeNetInput and UpgradeNetBatchNorm do (src/caffe/util/upgrade_proto.cpp).
"""

from __future__ import annotations

from dataclasses import replace

from caffefold.formats.prototxt.layout import (
    INLINE,
    block,
    deeper,
    fresh,
    indent_of,
    moved,
    taken_apart,
)
from caffefold.formats.prototxt.tree import (
    Document,
    Field,
    Message,
    Scalar,
    detached,
    quote,
    set_scalar,
)
from caffefold.humanize import counted

_INPUTS = ("input", "input_dim", "input_shape")


def upgrade_inputs(
    fields: tuple[Field, ...], document: Document, notes: list[str]
) -> tuple[Field, ...]:
    """The net's fields with an Input layer, in front of all layers, for the ``input`` fields.

    Raises:
        TextError: there are fewer shapes than inputs.
    """
    if not any(field.name == "input" for field in fields):
        return fields
    for name in _INPUTS:
        fields = taken_apart(fields, name)
    inputs = [field for field in fields if field.name == "input"]
    shapes = [field for field in fields if field.name == "input_shape"]
    dims = [field for field in fields if field.name == "input_dim"]
    names = ", ".join(Message(tuple(inputs)).strings("input"))
    place = next(i for i, field in enumerate(fields) if field.name in (*_INPUTS, "layer"))
    lead = fields[place].lead
    if fields[place].name not in _INPUTS:
        lead = fresh(lead)  # the comments belong to the layer that stands here
    kept: list[Field] = []
    saved = ""
    for index, field in enumerate(fields):
        if field.name not in _INPUTS:
            kept.append(replace(field, lead=saved + field.lead) if saved else field)
            saved = ""
        elif index != place:
            saved += detached(field.lead)
    if not shapes and not dims:
        notes.append(f"inputs without shape removed: {names}")
        return tuple(kept)
    notes.append(f"inputs made an Input layer: {names}")
    outer = "\n" if not place and "\n" not in lead else fresh(lead)
    inside = deeper(outer)
    made = (
        _from_shapes(inputs, shapes, document, deeper(inside))
        if shapes
        else _from_dims(inputs, dims, document, deeper(inside))
    )
    head = [
        Field("name", Scalar(quote("input")), lead=inside),
        Field("type", Scalar(quote("Input")), lead=inside),
        *(replace(field, name="top", lead=inside) for field in inputs),
        block("input_param", made, inside),
    ]
    layer = Field("layer", Message(tuple(head), close=outer + "}"), lead=lead, sep=" ")
    at = sum(field.name not in _INPUTS for field in fields[:place])
    return (*kept[:at], layer, *kept[at:])


def _from_shapes(
    inputs: list[Field], shapes: list[Field], document: Document, lead: str
) -> list[Field]:
    if len(shapes) < len(inputs):
        field = inputs[len(shapes)]
        raise document.error(field.offset, "this input has no input_shape")
    return [
        replace(
            moved(shape, indent_of(shape.lead), indent_of(lead)),
            name="shape",
            lead=lead,
        )
        for shape in shapes[: len(inputs)]
    ]


def _from_dims(
    inputs: list[Field], dims: list[Field], document: Document, lead: str
) -> list[Field]:
    if len(dims) < 4 * len(inputs):
        field = inputs[len(dims) // 4]
        raise document.error(field.offset, "this input has no four input_dim")
    made = []
    for index in range(len(inputs)):
        four = [replace(dim, name="dim") for dim in dims[4 * index : 4 * index + 4]]
        told = any("#" in dim.trail or "#" in dim.lead for dim in four)
        if told and lead != INLINE:
            inner = [replace(dim, lead=_told(dim.lead, deeper(lead))) for dim in four]
            made.append(block("shape", inner, lead))
        else:
            inner = [replace(dim, lead=INLINE) for dim in four]
            made.append(Field("shape", Message(tuple(inner), close=" }"), lead=lead, sep=" "))
    return made


def _told(old: str, new: str) -> str:
    """``new`` with the comments of ``old`` in front."""
    comments = [line.strip() for line in old.split("\n") if line.strip().startswith("#")]
    return "".join(new + comment for comment in comments) + new


# ------------------------------------------------------------------------------- BatchNorm


def upgrade_batch_norm(fields: tuple[Field, ...], notes: list[str]) -> tuple[Field, ...]:
    """The fields with lr_mult and decay_mult 0 in BatchNorm layers that have three ``param``."""
    found = list(fields)
    count = 0
    for index, layer in enumerate(fields):
        body = layer.body
        if layer.name != "layer" or body.string("type") != "BatchNorm":
            continue
        parts = taken_apart(body.fields, "param")
        specs = [inner for inner in parts if inner.name == "param"]
        if len(specs) != 3 or all(_frozen(spec.body) for spec in specs):
            continue
        count += 1
        fixed = (replace(i, value=_freeze(i.body)) if i.name == "param" else i for i in parts)
        found[index] = layer.with_body(replace(body, fields=tuple(fixed)))
    if not count:
        return fields
    notes.append(f"lr_mult and decay_mult set to 0 in {counted(count, 'BatchNorm layer')}")
    return tuple(found)


def _is_zero(spec: Message, name: str) -> bool:
    value = spec.last(name)
    try:
        return isinstance(value, Scalar) and float(value.raw.rstrip("fF")) == 0
    except ValueError:
        return False


def _frozen(spec: Message) -> bool:
    return _is_zero(spec, "lr_mult") and _is_zero(spec, "decay_mult")


def _freeze(spec: Message) -> Message:
    for name in ("lr_mult", "decay_mult"):
        if not _is_zero(spec, name):
            spec = set_scalar(spec, name, "0")
    return spec
