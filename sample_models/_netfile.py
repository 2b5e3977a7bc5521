"""A small reader for the prototxt files of the sample models.

One statement per line, as in the files of this folder; not a general text-format parser.
Independent of `caffefold`. Also knows what Caffe does to a net before training it that shows in
a snapshot: it drops the layers of the other phase, fixes BatchNorm's learning rates and inserts
Split layers.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINE = re.compile(r"(?:(?P<open>\w+)\s*\{|(?P<key>\w+)\s*:\s*(?P<value>[^#]*?)|(?P<close>\}))$")


@dataclass
class Message:
    """Fields in the order of the file; a value is a string or a nested message."""

    items: list[tuple[str, str | Message]] = field(default_factory=list)

    def texts(self, key: str) -> list[str]:
        """Return every plain value of `key`."""
        return [value for name, value in self.items if name == key and isinstance(value, str)]

    def text(self, key: str, default: str = "") -> str:
        """Return the last plain value of `key`, or `default`."""
        return (self.texts(key) or [default])[-1]

    def message(self, key: str) -> Message:
        """Return the last message called `key`; an empty one if there is none."""
        found = [value for name, value in self.items if name == key and isinstance(value, Message)]
        return found[-1] if found else Message()


@dataclass(frozen=True)
class Layer:
    """One layer: what joins it to the net, and the message with everything else."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: Message = field(default_factory=Message)


def read_net(text: str) -> tuple[str, list[Layer]]:
    """Return the net's name and its layers."""
    net = _read_message(text)
    layers = [item for key, item in net.items if key == "layer" and isinstance(item, Message)]
    return net.text("name"), [_layer(message) for message in layers]


def _read_message(text: str) -> Message:
    stack = [Message()]
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"line {number}: cannot read {line!r}")
        if match["open"]:
            inner = Message()
            stack[-1].items.append((match["open"], inner))
            stack.append(inner)
        elif match["close"]:
            stack.pop()
        else:
            stack[-1].items.append((match["key"], match["value"].strip('"')))
    if len(stack) != 1:
        raise ValueError("the braces do not match")
    return stack[0]


def _layer(message: Message) -> Layer:
    return Layer(
        message.text("name"),
        message.text("type"),
        tuple(message.texts("bottom")),
        tuple(message.texts("top")),
        message,
    )


def training_net(layers: Iterable[Layer]) -> list[Layer]:
    """Return the layers as Caffe sets them up for training, without the Split layers."""
    return [
        _with_fixed_statistics(layer) if layer.type == "BatchNorm" else layer
        for layer in layers
        if layer.message.message("include").text("phase") != "TEST"
    ]


def _with_fixed_statistics(layer: Layer) -> Layer:
    """Caffe gives each BatchNorm three `param`, learning rate 0, whatever the prototxt says."""
    others = [item for item in layer.message.items if item[0] != "param"]
    fixed: tuple[str, Message] = ("param", Message([("lr_mult", "0")]))
    return replace(layer, message=Message([*others, fixed, fixed, fixed]))


def insert_splits(layers: list[Layer]) -> list[Layer]:
    """Insert a Split layer behind each top that several layers read, named as Caffe names it."""
    sources = _sources(layers)
    readers = Counter(source for bottoms in sources for source in bottoms)
    served: Counter[tuple[int, int]] = Counter()
    result = []
    for index, layer in enumerate(layers):
        bottoms = []
        for blob, source in zip(layer.bottoms, sources[index], strict=True):
            bottoms.append(blob)
            if readers[source] > 1:
                owner = layers[source[0]].name
                bottoms[-1] = f"{_split_name(owner, blob, source[1])}_{served[source]}"
                served[source] += 1
        result.append(replace(layer, bottoms=tuple(bottoms)))
        for position, blob in enumerate(layer.tops):
            count = readers[index, position]
            if count > 1:
                name = _split_name(layer.name, blob, position)
                tops = tuple(f"{name}_{number}" for number in range(count))
                result.append(Layer(name, "Split", (blob,), tops))
    return result


def _sources(layers: list[Layer]) -> list[list[tuple[int, int]]]:
    """Return, for each layer, which (layer, top) wrote each of its bottoms."""
    latest: dict[str, tuple[int, int]] = {}
    sources = []
    for index, layer in enumerate(layers):
        sources.append([latest[blob] for blob in layer.bottoms])
        latest.update((blob, (index, position)) for position, blob in enumerate(layer.tops))
    return sources


def _split_name(owner: str, blob: str, position: int) -> str:
    return f"{blob}_{owner}_{position}_split"
