"""Layers that no source holds: their text, and names nobody else has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, Union

from caffefold.formats.prototxt.tree import Document, Field, block, quote, scalar
from caffefold.ir.net import Layer, Net

Parameter: TypeAlias = Union[str, int, "Parameters"]
Parameters: TypeAlias = Mapping[str, Parameter | Sequence[Parameter]]
"""What a message holds: values as they are printed, messages, several of a repeated field."""


def message(name: str, values: Parameters, indent: str) -> Field:
    """``name { ... }``, each value on a line of its own."""
    inner = indent + "  "
    fields: list[Field] = []
    for key, value in values.items():
        for one in [value] if isinstance(value, (str, int, Mapping)) else value:
            if isinstance(one, Mapping):
                fields.append(message(key, one, inner))
            else:
                fields.append(scalar(key, str(one), inner))
    return block(name, fields, indent)


def new_layer(
    document: Document,
    kind: str,
    name: str,
    bottoms: Sequence[str],
    top: str,
    params: Parameters,
    lead: str = "\n",
) -> Layer:
    """A layer of type ``kind`` with one top and the parameter messages ``params``, printed behind
    ``lead``."""
    head: Parameters = {
        "name": quote(name),
        "type": quote(kind),
        "bottom": [quote(bottom) for bottom in bottoms],
        "top": quote(top),
    }
    return Layer.of(replace(message("layer", {**head, **params}, ""), lead=lead), document)


class Names:
    """The layers of a growing net, and the names of them and of their blobs.

    The layers at the positions ``going`` give theirs free: they are about to leave.
    """

    def __init__(self, net: Net, going: Collection[int]) -> None:
        self.layers = list(net.layers)
        self._taken: set[str] = set()
        self._tried: dict[str, int] = {}
        for position, layer in enumerate(net.layers):
            if position not in going:
                self._taken.update((layer.name, *layer.tops))

    def add(self, layers: Iterable[Layer]) -> None:
        """Take note of new layers."""
        for layer in layers:
            self.layers.append(layer)
            self._taken.update((layer.name, *layer.tops))

    def free(self, wish: str) -> str:
        """``wish``, or with a number behind it when a layer or blob is called that already."""
        name, number = wish, self._tried.get(wish, 2)
        while name in self._taken:
            self._tried[wish] = number
            name, number = f"{wish}{number}", number + 1
        return name


def free_name(net: Net, wish: str) -> str:
    """``wish``, or with a number behind it when a layer or blob of ``net`` is called that."""
    return Names(net, ()).free(wish)
