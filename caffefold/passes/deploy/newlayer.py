"""Layers that no source holds: their text, and names nobody else has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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


def free_name(net: Net, wish: str, going: Collection[int] = ()) -> str:
    """``wish``, or with a number behind it when a layer or blob is called that already.

    The layers at the positions ``going`` do not count: they are about to leave.
    """
    staying = [layer for i, layer in enumerate(net.layers) if i not in going]
    taken = {layer.name for layer in staying} | {top for layer in staying for top in layer.tops}
    name, number = wish, 2
    while name in taken:
        name, number = f"{wish}{number}", number + 1
    return name
