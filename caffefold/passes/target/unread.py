"""Parameters that a consumer does not read are dropped where they say nothing.

Given   Convolution { axis: 1  dilation: 1 }        for PPQ, whose parser has neither
Result  Convolution { }

What says something stays, and the net is refused (limits.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import ClassVar

from caffefold.formats.prototxt.tree import Field, drop
from caffefold.frozen import dataclass
from caffefold.ir.net import Layer, Net
from caffefold.passes.contracts import text_agrees
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult

_ONES = frozenset({"dilation", "coeff"})
"""Repeated fields whose absence is 1 (base_conv_layer.cpp, eltwise_layer.cpp)."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DropUnread(Pass):
    """Drop fields at their defaults, of those that a consumer does not read."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """``message.field``, as in the row of a target."""
    name: ClassVar = "unread"
    ensures: ClassVar = (text_agrees,)

    def run(self, net: Net) -> PassResult:
        """Drop them layer by layer."""
        new: dict[int, tuple[Layer, ...]] = {}
        gone: dict[str, list[str]] = {}
        for position, layer in enumerate(net.layers):
            made = layer
            for path in self.fields:
                kept = _without(made, *path.split("."))
                if kept is not made:
                    made = kept
                    gone.setdefault(path, []).append(layer.name)
            if made is not layer:
                new[position] = (made,)
        changes = tuple(
            Change(ChangeKind.REWRITTEN, (), tuple(names), f"{path} dropped: it is the default")
            for path, names in gone.items()
        )
        return PassResult(net.substitute(new), changes) if new else PassResult(net)


def _without(layer: Layer, param: str, name: str) -> Layer:
    message = layer.body.message(param)
    if message is None or message.last(name) is None or not _is_default(layer, param, name):
        return layer
    fields = tuple(_dropped(each, param, name) for each in layer.body.fields)
    return layer.edited(replace(layer.body, fields=fields))


def _dropped(each: Field, param: str, name: str) -> Field:
    if each.name != param:
        return each
    kept: tuple[Field, ...] = drop(each.body.fields, lambda inner: inner.name == name)
    return each.with_fields(kept)


def _is_default(layer: Layer, param: str, name: str) -> bool:
    """Whether the field says what its absence says."""
    params = layer.params(param)
    declared = params.descriptor.fields_by_name[name]
    if isinstance(declared.default_value, list):
        return name in _ONES and all(number == 1 for number in params.numbers(name))
    if isinstance(declared.default_value, bool):
        return params.flag(name) is declared.default_value
    return params.number(name) == float(declared.default_value)
