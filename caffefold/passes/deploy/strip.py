"""What only training needs goes out of the layers that stay.

Given   convolution_param { num_output: 8 weight_filler { type: "msra" } }  param { lr_mult: 1 }
Result  convolution_param { num_output: 8 }

A param's name stays: it says which layers share weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from caffefold.formats.prototxt.tree import Field, Message, drop
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import BATCH_NORM
from caffefold.ops.table import op
from caffefold.passes.contracts import text_agrees, without_rules
from caffefold.passes.infra import Change, ChangeKind, PassResult

RULE = "strip"
LAYER_FIELDS = frozenset(
    {"propagate_down", "loss_param", "loss_weight", "include", "exclude", "phase"}
    | {"transform_param", "blobs_lr", "weight_decay"}
    | {"backward_type", "backward_math"}  # NVCaffe
)
_SHARING = frozenset({"name", "share_mode"})
_SWITCHES = frozenset({"use_global_stats", "moving_average_fraction"})
_NET_FIELDS = frozenset(
    {"force_backward", "debug_info", "state"}
    # NVCaffe
    | {"global_grad_scale", "global_grad_scale_adaptive", "default_backward_type"}
    | {"default_backward_math"}
)


@dataclass(frozen=True, slots=True)
class Strip:
    """Drop train-only fields. ``trained`` says the net came with data layers or losses."""

    trained: bool = True
    name: str = RULE
    requires: ClassVar = (text_agrees,)
    ensures: ClassVar = (text_agrees, without_rules)

    def run(self, net: Net) -> PassResult:
        """Strip every layer; in a training net ``use_global_stats`` is a training switch too."""
        switched: list[str] = []
        new: dict[int, tuple[Layer, ...]] = {}
        for position, layer in enumerate(net.layers):
            stripped = layer.edited(_layer_body(layer.body))
            if op(layer) is BATCH_NORM and self.trained:
                params = BATCH_NORM.params(layer)
                if params.has("use_global_stats") and not params.flag("use_global_stats"):
                    switched.append(layer.name)
                stripped = stripped.edited(_without_switch(stripped.body))
            if stripped is not layer:
                new[position] = (stripped,)
        items = net.substitute(new)
        kept = drop_net_fields(items)
        names = tuple(layers[0].name for layers in new.values())
        changes = (
            [Change(ChangeKind.TRAINING_STRIPPED, (), names, "train-only parameters dropped")]
            if names
            else []
        )
        return PassResult(kept, tuple(changes), (), _told(switched))


def _told(switched: list[str]) -> tuple[str, ...]:
    """One warning for all layers whose training switch went."""
    if not switched:
        return ()
    more = f" and {len(switched) - 1} more" if len(switched) > 1 else ""
    said = "use_global_stats: false is the training switch; the deploy net uses stored statistics"
    return (f"layer '{switched[0]}'{more}: {said}",)


def drop_net_fields(net: Net) -> Net:
    """The net without its net-level training and debugging switches."""
    items = tuple(
        item for item in net.items if isinstance(item, Layer) or item.name not in _NET_FIELDS
    )
    return net if len(items) == len(net.items) else replace(net, items=items)


def _layer_body(body: Message) -> Message:
    fields = []
    params = [field for field in body.fields if field.name == "param"]
    # A param belongs to a blob by its place: an unnamed one before a named one holds the place.
    last = max((i for i, field in enumerate(params) if field.body.string("name")), default=-1)
    places = {id(field) for field in params[: last + 1]}
    for field in drop(body.fields, lambda f: _train_only(f) and id(f) not in places):
        new = field
        if field.name == "param":
            named = drop(field.body.fields, lambda f: f.name not in _SHARING)
            new = _with_fields(field, named)
        elif field.name.endswith("_param") and field.name != "batch_norm_param":
            new = _with_fields(field, drop(field.body.fields, _filler))
        fields.append(new)
    gone = _emptied(body)
    return _same_or(body, drop(tuple(fields), lambda f: f.name != "param" and gone(f)))


def _train_only(field: Field) -> bool:
    return field.name == "param" or field.name in LAYER_FIELDS


def _filler(field: Field) -> bool:
    return field.name == "filler" or field.name.endswith("_filler")


def _with_fields(field: Field, fields: tuple[Field, ...]) -> Field:
    if not isinstance(field.value, Message) or fields == field.body.fields:
        return field
    return field.with_body(replace(field.body, fields=fields))


def _emptied(before: Message) -> Callable[[Field], bool]:
    """A test for parameter messages that held something and hold nothing now."""
    full = {f.offset for f in before.fields if f.body.fields}

    def gone(field: Field) -> bool:
        return (
            field.offset in full
            and field.offset >= 0
            and isinstance(field.value, Message)
            and not field.value.fields
        )

    return gone


def _same_or(body: Message, fields: tuple[Field, ...]) -> Message:
    same = len(fields) == len(body.fields) and all(
        a is b for a, b in zip(fields, body.fields, strict=True)
    )
    return body if same else replace(body, fields=fields)


def _without_switch(body: Message) -> Message:
    fields = []
    for field in body.fields:
        new = field
        if field.name == "batch_norm_param":
            kept = drop(field.body.fields, lambda f: f.name in _SWITCHES)
            new = _with_fields(field, kept)
            if not new.body.fields:
                continue
        fields.append(new)
    return _same_or(body, tuple(fields))
