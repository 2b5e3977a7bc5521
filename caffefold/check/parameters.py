"""What the text makes a layer compute, as plain pairs; format, comments and wiring do not count."""

from __future__ import annotations

from collections.abc import Iterable

from caffefold.formats.prototxt.tree import Field, ListValue, Message, Scalar, unquote
from caffefold.ir.net import Layer, Net

# Wiring is compared on its own; folding may create a bias, and un-share weights.
_IGNORED = frozenset({"name", "bottom", "top", "param"})


Pairs = tuple[tuple[str, str], ...]


def parameters(layer: Layer) -> Pairs:
    """Type and parameters of a layer as (path, value) pairs, in file order."""
    pairs = _flattened(field for field in layer.body.fields if field.name not in _IGNORED)
    return tuple(pair for pair in pairs if not pair[0].endswith("_param/bias_term"))


def declared_inputs(net: Net) -> Pairs:
    """The net-level ``input``, ``input_shape`` and ``input_dim`` fields as (path, value) pairs."""
    fields = (item for item in net.items if isinstance(item, Field))
    return tuple(_flattened(field for field in fields if field.name.startswith("input")))


def _flattened(fields: Iterable[Field]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for field in fields:
        _flatten(field, "", pairs)
    return pairs


def _flatten(field: Field, prefix: str, pairs: list[tuple[str, str]]) -> None:
    path = f"{prefix}/{field.name}"
    values = field.value.items if isinstance(field.value, ListValue) else (field.value,)
    for value in values:
        if isinstance(value, Scalar):
            pairs.append((path, unquote(value.raw)))
        elif isinstance(value, Message):
            pairs.append((path, "{"))
            for inner in value.fields:
                _flatten(inner, path, pairs)
