"""Fields that neither BVLC Caffe nor its SSD branch know are dropped, for parsers that stop there.

Given   convolution_param { num_output: 8 engine: MKLDNN }  forward_type: FLOAT16
Result  convolution_param { num_output: 8 }

Layers of types that only a fork has keep theirs. A field that computes something else than upstream
would is no mere field: such a layer is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from caffefold.formats import declared, schema
from caffefold.formats.prototxt.tree import Field, Message, Scalar, drop, unquote
from caffefold.frozen import dataclass
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import Params, parse_float
from caffefold.ops.table import in_caffe
from caffefold.passes.contracts import text_agrees
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult

# How a fork computes, in which precision and with which library; not what.
_WITHOUT_EFFECT = frozenset(
    {"forward_type", "backward_type", "forward_math", "backward_math", "engine"}
    | {"default_forward_type", "default_backward_type", "default_forward_math"}
    | {"default_backward_math", "global_grad_scale", "stats_batch_size", "moving_average_fraction"}
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DropForkFields(Pass):
    """Drop fields of forks from layers of upstream's types, and from the net."""

    name: ClassVar = "fork fields"
    ensures: ClassVar = (text_agrees,)

    def run(self, net: Net) -> PassResult:
        """Drop them, and name each."""
        gone: dict[str, list[str]] = {}
        items: list[Field | Layer] = []
        kind = schema.message("LayerParameter")
        root = schema.message("NetParameter")
        for item in net.items:
            if isinstance(item, Layer):
                items.append(_plain(item, kind, gone) if in_caffe(item) else item)
            elif schema.is_upstream(root, item.name):
                items.append(item)
            else:
                gone.setdefault(f"/{item.name}", []).append("")
        if not gone:
            return PassResult(net)
        changes = tuple(
            Change(
                ChangeKind.FORK_FIELDS_DROPPED,
                modified=tuple(name for name in dict.fromkeys(layers) if name),
                detail=f"{path[1:].replace('/', '.')} dropped",
                fields=(path,),
            )
            for path, layers in gone.items()
        )
        return PassResult(replace(net, items=tuple(items)), changes)


def _plain(layer: Layer, kind: declared.Message, gone: dict[str, list[str]]) -> Layer:
    found = dict.fromkeys(path for path, _ in _strange(layer, layer.body, kind, ""))
    if not found:
        return layer
    for path in found:
        gone.setdefault(path, []).append(layer.name)
    return layer.edited(_without(layer.body, set(found), ""))


def _strange(
    layer: Layer, message: Message, kind: declared.Message, prefix: str
) -> Iterator[tuple[str, Field]]:
    """The fields of forks in a message, each with its path; those that decide are refused."""
    for field in message.fields:
        path = f"{prefix}/{field.name}"
        declared = kind.fields_by_name.get(field.name)
        if not schema.is_upstream(kind, field.name):
            if declared is not None and not _is_idle(layer, message, kind, field.name):
                raise layer.document.error(
                    field.offset,
                    f"layer '{layer.name}': {field.name} is a fork's, and without it the layer "
                    "computes something else; keep the fields of forks, or choose another target",
                )
            yield path, field
        elif declared is not None and declared.enum_type is not None:
            values, value = declared.enum_type.values_by_name, field.value
            idle = field.name in _WITHOUT_EFFECT and isinstance(value, Scalar)
            if idle and not schema.is_upstream_value(values, unquote(str(value))):
                yield path, field
        elif declared is not None and declared.message_type is not None:
            yield from _strange(layer, field.body, declared.message_type, path)


def _is_idle(layer: Layer, message: Message, kind: declared.Message, name: str) -> bool:
    """Whether a field that our schema knows changes nothing: by its nature, or by its value."""
    declared = kind.fields_by_name[name]
    if name in _WITHOUT_EFFECT:
        return True
    value = message.last(name)
    if declared.message_type is not None or not isinstance(value, Scalar):
        return False
    params = Params(layer.document, message, kind, f"layer '{layer.name}'")
    if isinstance(declared.default_value, bool):
        return params.flag(name) == declared.default_value
    number = parse_float(value.raw)
    return number is not None and number == declared.default_value


def _without(message: Message, paths: set[str], prefix: str) -> Message:
    """The message without the fields at ``paths``."""
    kept = drop(message.fields, lambda field: f"{prefix}/{field.name}" in paths)
    inner = tuple(
        field.with_body(_without(field.body, paths, f"{prefix}/{field.name}"))
        if isinstance(field.value, Message)
        else field
        for field in kept
    )
    return replace(message, fields=inner)
