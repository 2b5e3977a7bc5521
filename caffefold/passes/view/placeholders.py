"""Template placeholders get their numbers: from options, else from the shapes of the weights.

Given   num_output: cls6x     and a caffemodel whose blob has 24 outputs
Result  num_output: 24        and everywhere else cls1x: 4, cls3x: 12

What is known from neither stays as it is; ``check`` then names it with line and column.

How many classes a detector has, its weights say, too: in an SSD each prior box has 4 location
outputs and one output per class, so the convolutions behind ``mbox_conf`` have num_classes / 4
times as many outputs as those behind ``mbox_loc``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import ClassVar

from caffefold.errors import ModelError, Option, Text, UsageError
from caffefold.formats.prototxt.tree import Field, ListValue, Scalar, with_scalars
from caffefold.frozen import dataclass
from caffefold.ir import placeholder
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import parse_int
from caffefold.ops.base import LinearOp
from caffefold.ops.detection import DETECTION_OUTPUT
from caffefold.ops.loss import MULTIBOX_LOSS
from caffefold.ops.table import op
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult

_CLASSES = ""  # among the observed values, the number of classes


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FillPlaceholders(Pass):
    """Replace placeholders; options and weights must agree."""

    values: Mapping[str, str] = field(default_factory=dict)
    classes: int | None = None
    name: ClassVar = "placeholders"

    def run(self, net: Net) -> PassResult:
        """Fill what is known.

        Raises:
            UsageError: an option contradicts the weights, or names no placeholder of the net.
            ModelError: the weights contradict each other.
        """
        seen = _observed(net)
        used = _used(net) if self.values else ()
        for name, value in self.values.items():
            asked = Option("values", f"{name}={value}")
            _check_agreed(asked, value, seen.get(name))
            if name not in used:
                raise UsageError(asked, ": no placeholder of that name in this net")
        if self.classes is not None:
            asked = Option("classes", str(self.classes))
            _check_agreed(asked, str(self.classes), seen.get(_CLASSES))
            for layer, raw in _detectors(net):
                if parse_int(raw) not in (None, self.classes):
                    raise UsageError(asked, f": layer '{layer.name}' sets num_classes: {raw}")
        agreed = set(seen)
        classes, _ = seen.pop(_CLASSES, (self.classes, ""))
        values = {name: str(number) for name, (number, _) in seen.items()} | {**self.values}
        filled: dict[str, str] = {}

        def fill(raw: str) -> str:
            new = raw if raw[0].isdigit() else placeholder.fill(raw, values, classes)
            if new != raw:
                filled[raw] = new
            return new

        items: list[Field | Layer] = []
        for item in net.items:
            if isinstance(item, Layer):
                items.append(item.edited(with_scalars(item.field, fill).body))
            else:
                items.append(with_scalars(item, fill))
        changes = tuple(
            Change(ChangeKind.PLACEHOLDER_FILLED, (), (), f"{raw} = {value}")
            for raw, value in filled.items()
        )
        warnings: tuple[str, ...] = ()
        if self.classes is not None and not (filled or _CLASSES in agreed or any(_detectors(net))):
            asked = Option("classes", str(self.classes))
            warnings = (Text(asked, ": no effect; this net has no placeholder and no detector"),)
        made = replace(net, items=tuple(items)) if filled else net
        return PassResult(made, changes, (), warnings)


def check(net: Net) -> None:
    """Refuse a net that still holds a placeholder in place of a value.

    Raises:
        TextError: naming line, column, field and the option that sets it.
    """
    for item, found, raw in _scalars(net):
        if raw[0] not in "\"'" and placeholder.present(raw):
            owner = f"layer '{item.name}': " if isinstance(item, Layer) else ""
            error = net.document.error(found.offset, f"{owner}{found.name} is {raw}, ")
            raise error.advised(*placeholder.advice(raw).parts)


def _scalars(net: Net) -> Iterator[tuple[Field | Layer, Field, str]]:
    """(item, field, value) for each plain value of the net and the item and field that hold it."""

    def below(found: Field) -> Iterator[tuple[Field, str]]:
        values = found.value.items if isinstance(found.value, ListValue) else (found.value,)
        for value in values:
            if isinstance(value, Scalar):
                yield found, value.raw
            else:
                for inner in value.fields:
                    yield from below(inner)

    for item in net.items:
        for found, raw in below(item.field if isinstance(item, Layer) else item):
            yield item, found, raw


def _used(net: Net) -> set[str]:
    """The names of all placeholders; bare words among them."""
    used: set[str] = set()
    for _, _, raw in _scalars(net):
        name = placeholder.name_of(raw)
        used.update(placeholder.names(raw) if name is None else [name])
    return used


# ---------------------------------------------------------------- what the weights say


def _observed(net: Net) -> dict[str, tuple[int, str]]:
    """By placeholder, its number by the weights and the layer that says so first."""
    seen: dict[str, tuple[int, str]] = {}
    for layer in net.layers:
        message = layer.body.message(op(layer).param)
        value = message.last("num_output") if message is not None and layer.blobs else None
        if isinstance(value, Scalar) and parse_int(value.raw) is None:
            _observe(seen, layer, value.raw, op(layer).output_channels(layer))
    for layer, raw in _detectors(net):
        if parse_int(raw) is None and placeholder.name_of(raw) not in seen:
            _observe(seen, layer, raw, _detector_classes(net, layer))
    return seen


def _observe(seen: dict[str, tuple[int, str]], layer: Layer, raw: str, number: int | None) -> None:
    """Note that ``raw`` of ``layer`` stands for ``number``; nothing where that is not known."""
    multiple = placeholder.class_multiple(raw)
    name = placeholder.name_of(raw) if multiple is None else _CLASSES
    if not number or name is None:
        return
    if multiple is not None:
        if multiple == 0 or number % multiple:
            raise ModelError(
                f"{layer.error(f'num_output is {raw}, the weights give {number}')}, "
                f"which is not a multiple of {multiple}; the caffemodel belongs to another net"
            )
        number //= multiple
    old, owner = seen.setdefault(name, (number, layer.name))
    if old != number:
        what = f"{raw} makes {name or 'classes'} {number} by its weights"
        raise ModelError(
            f"{layer.error(what)}, but layer '{owner}' makes it {old}; "
            "the caffemodel belongs to another net"
        )


def _check_agreed(asked: Option, value: str, seen: tuple[int, str] | None) -> None:
    if seen is not None and value != str(seen[0]):
        raise UsageError(asked, f": the weights of layer '{seen[1]}' give {seen[0]}")


def _detectors(net: Net) -> Iterator[tuple[Layer, str]]:
    """(layer, num_classes as written) of each detection layer."""
    for layer in net.layers:
        if op(layer) in (MULTIBOX_LOSS, DETECTION_OUTPUT):
            message = layer.body.message(op(layer).param)
            value = message.last("num_classes") if message is not None else None
            if isinstance(value, Scalar):
                yield layer, value.raw


def _detector_classes(net: Net, detector: Layer) -> int | None:
    """num_classes of a MultiBoxLoss or DetectionOutput by the weights; None when not known.

    Only with ``share_location``: otherwise there are more than 4 location outputs a box.
    """
    if len(detector.bottoms) < 2 or not op(detector).params(detector).flag("share_location"):
        return None
    location, confidence = (_outputs_behind(net, blob) for blob in detector.bottoms[:2])
    return confidence * 4 // location if location and confidence * 4 % location == 0 else None


def _outputs_behind(net: Net, blob: str) -> int:
    """Outputs of all linear layers that ``blob`` is made of, without looking behind them."""
    makers = {top: layer for layer in net.layers for top in layer.tops if layer.bottoms != (top,)}
    total = 0
    queue, seen = [blob], {blob}
    while queue:
        layer = makers.get(queue.pop())
        if layer is None:
            continue
        if isinstance(op(layer), LinearOp):
            outputs = op(layer).output_channels(layer)
            if outputs is None:
                return 0
            total += outputs
            continue
        queue += [name for name in layer.bottoms if name not in seen]
        seen.update(layer.bottoms)
    return total
