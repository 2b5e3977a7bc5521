"""Layers that no source holds: their text, and names nobody else has."""

from __future__ import annotations

from caffefold.formats.prototxt.tree import Document, Field, block, quote, scalar
from caffefold.ir.net import Layer, Net


def new_layer(document: Document, name: str, kind: str, fields: list[Field], lead: str) -> Layer:
    """A layer ``name`` of type ``kind`` with further fields, printed behind ``lead``."""
    head = [scalar("name", quote(name), "  "), scalar("type", quote(kind), "  ")]
    field = Field("layer", block("", head + fields, "").value, lead=lead, sep=" ")
    return Layer.of(field, document)


def free_name(net: Net, wish: str, going: frozenset[int] = frozenset()) -> str:
    """``wish``, or with a number behind it when a layer or blob is called that already.

    The layers at the positions ``going`` do not count: they are about to leave.
    """
    staying = [layer for i, layer in enumerate(net.layers) if i not in going]
    taken = {layer.name for layer in staying} | {top for layer in staying for top in layer.tops}
    name, number = wish, 2
    while name in taken:
        name, number = f"{wish}{number}", number + 1
    return name
