"""Template placeholders get their numbers: from options, else from the shapes of the weights.

Given   num_output: cls6x     and a caffemodel whose blob has 24 outputs
Result  num_output: 24        and everywhere else cls1x: 4, cls3x: 12

What neither options nor weights tell stays as it is; ``check`` then names it with line and column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from caffefold.errors import ModelError, Option, UsageError
from caffefold.formats.prototxt.tree import Field, ListValue, Message, Scalar
from caffefold.ir import placeholder
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import parse_int
from caffefold.ops.detection import DETECTION_OUTPUT
from caffefold.ops.loss import MULTIBOX_LOSS
from caffefold.ops.table import op
from caffefold.passes.contracts import text_agrees
from caffefold.passes.infra import Change, ChangeKind, PassResult
from caffefold.passes.view.classes import detector_classes

RULE = "placeholders"


@dataclass(frozen=True, slots=True)
class FillPlaceholders:
    """Replace placeholders; options and weights must agree."""

    values: Mapping[str, str] = field(default_factory=dict)
    classes: int | None = None
    name: str = RULE
    requires: ClassVar = (text_agrees,)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Fill what is known.

        Raises:
            UsageError: an option contradicts the weights, or names no placeholder of the net.
            ModelError: the weights contradict each other.
        """
        used: set[str] = set()
        if self.values:
            _note_used(net.items, used)
        seen = _Observed()
        for layer, raw, number in _observations(net):
            seen.add(layer, raw, number)
        for layer, raw, number in _class_observations(net):
            if placeholder.name_of(raw) not in seen.values:
                seen.add(layer, raw, number)
        values = dict(seen.values)
        for name, value in self.values.items():
            if name in values and values[name] != value:
                says = f": the weights of layer '{seen.owner[name]}' say {values[name]}"
                raise UsageError(Option("values", f"{name}={value}"), says)
            if name not in used:
                reason = ": no placeholder of that name in this net"
                raise UsageError(Option("values", f"{name}={value}"), reason)
            values[name] = value
        classes = self.classes
        if seen.classes is not None:
            if classes is not None and classes != seen.classes:
                says = f": the weights of layer '{seen.owner['classes']}' say {seen.classes}"
                raise UsageError(Option("classes", str(classes)), says)
            classes = seen.classes
        filled: dict[str, str] = {}
        if self.classes is not None:
            _check_classes(net, self.classes)
        items = tuple(_fill_item(item, values, classes, filled) for item in net.items)
        changes = [
            Change(ChangeKind.PLACEHOLDER_FILLED, (), (), f"{raw} = {value}")
            for raw, value in filled.items()
        ]
        return PassResult(replace(net, items=items) if filled else net, tuple(changes))


def check(net: Net) -> None:
    """Refuse a net that still holds a placeholder in place of a value.

    Raises:
        TextError: naming line, column, field and the option that sets it.
    """
    for item in net.items:
        owner = f"layer '{item.name}': " if isinstance(item, Layer) else ""
        top = item.field if isinstance(item, Layer) else item
        for found, raw in _scalars(top):
            if raw[0] not in "\"'" and placeholder.present(raw):
                error = net.document.error(found.offset, f"{owner}{found.name} is {raw}, ")
                raise error.advised(*placeholder.advice(raw).parts)


class _Observed:
    """What the weights say of each placeholder, and which layer said it first."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.classes: int | None = None
        self.owner: dict[str, str] = {}

    def add(self, layer: Layer, raw: str, number: int) -> None:
        multiple = placeholder.class_multiple(raw)
        if multiple is not None:
            if multiple == 0 or number % multiple:
                raise ModelError(
                    f"{layer.error(f'num_output is {raw}, the weights say {number}')}, "
                    f"which is no multiple of {multiple}; the caffemodel belongs to another net"
                )
            self._agree(layer, "classes", raw, self.classes, number // multiple)
            self.classes = number // multiple
            return
        name = placeholder.name_of(raw)
        if name is not None:
            old = self.values.get(name)
            self._agree(layer, name, raw, None if old is None else int(old), number)
            self.values[name] = str(number)

    def _agree(self, layer: Layer, name: str, raw: str, old: int | None, new: int) -> None:
        if old is not None and old != new:
            raise ModelError(
                f"{layer.error(f'{raw} makes {name} {new} by its weights')}, but layer "
                f"'{self.owner[name]}' makes it {old}; the caffemodel belongs to another net"
            )
        self.owner.setdefault(name, layer.name)


def _observations(net: Net) -> Iterator[tuple[Layer, str, int]]:
    """(layer, placeholder, number of outputs its weights have) for each templated num_output."""
    for layer in net.layers:
        message = layer.body.message(op(layer).param)
        if message is None or not layer.blobs:
            continue
        value = message.last("num_output")
        if isinstance(value, Scalar) and parse_int(value.raw) is None:
            number = op(layer).output_channels(layer)
            if number:
                yield layer, value.raw, number


def _detectors(net: Net) -> Iterator[tuple[Layer, str]]:
    """(layer, num_classes as written) of each detection layer."""
    for layer in net.layers:
        if op(layer) not in (MULTIBOX_LOSS, DETECTION_OUTPUT):
            continue
        message = layer.body.message(op(layer).param)
        value = message.last("num_classes") if message is not None else None
        if isinstance(value, Scalar):
            yield layer, value.raw


def _class_observations(net: Net) -> Iterator[tuple[Layer, str, int]]:
    """(layer, placeholder, classes its weights speak of) for each templated num_classes."""
    for layer, raw in _detectors(net):
        if parse_int(raw) is None:
            number = detector_classes(net, layer)
            if number:
                yield layer, raw, number


def _check_classes(net: Net, classes: int) -> None:
    for layer, raw in _detectors(net):
        if parse_int(raw) not in (None, classes):
            says = f": layer '{layer.name}' says num_classes: {raw}"
            raise UsageError(Option("classes", str(classes)), says)


def _scalars(field: Field) -> Iterator[tuple[Field, str]]:
    """Every plain value below ``field`` with the field that holds it."""
    values = field.value.items if isinstance(field.value, ListValue) else (field.value,)
    for value in values:
        if isinstance(value, Scalar):
            yield field, value.raw
        else:
            for inner in value.fields:
                yield from _scalars(inner)


def _note_used(items: tuple[Field | Layer, ...], used: set[str]) -> None:
    for item in items:
        for _, raw in _scalars(item.field if isinstance(item, Layer) else item):
            name = placeholder.name_of(raw)
            if name is not None:
                used.add(name)
            elif placeholder.present(raw):
                used.update(placeholder.names(raw))


def _fill_item(
    item: Field | Layer, values: Mapping[str, str], classes: int | None, filled: dict[str, str]
) -> Field | Layer:
    if not isinstance(item, Layer):
        return _fill(item, values, classes, filled)
    new = _fill(item.field, values, classes, filled)
    return item if new is item.field else item.edited(new.body)


def _fill(
    field: Field, values: Mapping[str, str], classes: int | None, filled: dict[str, str]
) -> Field:
    value = field.value
    if isinstance(value, Message):
        inner = tuple(_fill(f, values, classes, filled) for f in value.fields)
        if all(a is b for a, b in zip(inner, value.fields, strict=True)):
            return field
        return field.with_body(replace(value, fields=inner))
    if isinstance(value, ListValue):
        raws = [_fill_raw(str(item), values, classes, filled) for item in value.items]
        if raws == [str(item) for item in value.items]:
            return field
        items = tuple(Scalar(raw) for raw in raws)
        return replace(field, value=ListValue(f"[{', '.join(raws)}]", items))
    raw = _fill_raw(value.raw, values, classes, filled)
    return field if raw == value.raw else replace(field, value=Scalar(raw))


def _fill_raw(
    raw: str, values: Mapping[str, str], classes: int | None, filled: dict[str, str]
) -> str:
    if raw[0].isdigit():
        return raw
    new = placeholder.fill(raw, values, classes)
    if new != raw:
        filled[raw] = new
    return new
