"""What a layer is set to, as plain pairs: formatting, comments and wiring do not count."""

from __future__ import annotations

from caffefold.formats.prototxt.tree import Field, ListValue, Message, Scalar, unquote
from caffefold.ir.net import Layer

# Wiring is compared on its own; folding may create a bias, and un-share weights.
_IGNORED = frozenset({"name", "bottom", "top", "param"})


def settings(layer: Layer) -> tuple[tuple[str, str], ...]:
    """Type and parameters of a layer as (path, value) pairs, in file order."""
    pairs: list[tuple[str, str]] = []
    for field in layer.body.fields:
        if field.name not in _IGNORED:
            _flatten(field, "", pairs)
    return tuple(pair for pair in pairs if not pair[0].endswith("_param/bias_term"))


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
