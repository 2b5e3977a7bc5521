"""What passes require of a net and ensure: conditions, each raises ContractError where it fails."""

from __future__ import annotations

from collections.abc import Callable

from caffefold.analysis import fit
from caffefold.errors import CaffefoldError
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op

Condition = Callable[[Net], None]
"""Raises ``ContractError`` for a net that does not meet it."""


class ContractError(AssertionError):
    """A pass was given, or made, a net that it must not: a bug of ours."""


def text_agrees(net: Net) -> None:
    """What a layer says of itself is what its text says."""
    for layer in net.layers:
        written = Layer.of(layer.field, layer.document)
        for name in ("name", "type", "bottoms", "tops"):
            if getattr(layer, name) != getattr(written, name):
                raise ContractError(f"layer '{layer.name}': its {name} differ from its text")


def wired(net: Net) -> None:
    """Every bottom is made by a layer before it, and no top is made twice."""
    for problem in graph.build(net).problems:
        raise ContractError(str(problem))


def without_rules(net: Net) -> None:
    """No layer has include or exclude rules: they were applied."""
    for layer in net.layers:
        if any(layer.body.message(name) is not None for name in ("include", "exclude")):
            raise ContractError(f"layer '{layer.name}': an include or exclude rule is left")


def without_losses(net: Net) -> None:
    """No layer is a loss."""
    for layer in net.layers:
        if op(layer).is_loss(layer):
            raise ContractError(f"layer '{layer.name}': {layer.type} is a loss")


def blobs_fit(net: Net) -> None:
    """Weights have the number and the shapes that the text asks for."""
    if net.weights is None:
        return
    try:
        fit.check(net)
    except CaffefoldError as error:
        raise ContractError(str(error)) from error
