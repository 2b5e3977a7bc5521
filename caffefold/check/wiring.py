"""Are two nets the same expression? Each value is what computes it, from what, down to the inputs.

A folded layer stands for its chain: ``conv1'(x)`` reads as ``scale1(bn1(conv1(x)))``. If a layer
reads a value that folding took away, or a fold went across an in-place layer, they differ.
"""

from __future__ import annotations

from collections.abc import Iterable

from caffefold.errors import ProofError
from caffefold.formats.text import Field, ListValue, Message, Scalar, unquote
from caffefold.model import graph
from caffefold.model.net import Layer, Net
from caffefold.rewrite.base import Change

Expression = int
_WIRING_FIELDS = frozenset({"name", "bottom", "top"})


def check(original: Net, written: Net, folds: Iterable[Change]) -> tuple[str, ...]:
    """The outputs of ``written``; each is the same expression in ``original``.

    Raises:
        ProofError: an output differs, is missing or new.
    """
    chains = {change.modified[0]: change.removed for change in folds}
    by_name = {layer.name: layer for layer in original.layers}
    known: dict[object, Expression] = {}
    wanted = _outputs(original, {}, by_name, known)
    found = _outputs(written, chains, by_name, known)
    if wanted.keys() != found.keys():
        raise ProofError(
            f"the written net has the outputs {sorted(found)}, the original {sorted(wanted)}; "
            "nothing was put in place"
        )
    for name, value in wanted.items():
        if found[name] != value:
            raise ProofError(
                f"output '{name}' is not computed as in the original net; nothing was put in place"
            )
    return tuple(found)


def _outputs(
    net: Net,
    chains: dict[str, tuple[str, ...]],
    by_name: dict[str, Layer],
    known: dict[object, Expression],
) -> dict[str, Expression]:
    """Output name -> expression. ``known`` gives equal expressions equal numbers."""

    def number(key: object) -> Expression:
        return known.setdefault(key, len(known))

    wiring = graph.validate(net)
    values: dict[int, Expression] = {}
    for index, version in enumerate(wiring.versions):
        if version.producer == graph.OUTSIDE:
            values[index] = number(("input", version.blob))
    for position, layer in enumerate(net.layers):
        inputs = tuple(values[v] for v in wiring.reads[position])
        # In a folded layer the bias is new; all else must be as it was in the original.
        source = by_name.get(layer.name, layer) if layer.name in chains else layer
        if source is not layer and _settings(source, True) != _settings(layer, True):
            raise ProofError(f"layer '{layer.name}': folding changed more than its bias")
        for j, made in enumerate(wiring.writes[position]):
            value = number((layer.name, _settings(source, False), inputs, j))
            for name in chains.get(layer.name, ()):
                value = number((name, _settings(by_name[name], False), (value,), 0))
            values[made] = value
    return {wiring.versions[i].blob: values[i] for i in wiring.sinks}


def _settings(layer: Layer, ignore_bias: bool) -> tuple[tuple[str, str], ...]:
    """Type and parameters as (path, value) pairs; formatting and comments do not count."""
    pairs: list[tuple[str, str]] = []
    for field in layer.body.fields:
        if field.name not in _WIRING_FIELDS:
            _flatten(field, "", pairs)
    return tuple(p for p in pairs if not (ignore_bias and p[0].endswith("/bias_term")))


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
