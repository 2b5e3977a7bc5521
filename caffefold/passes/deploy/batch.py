"""Which inputs have the batch as their first axis, so that another size may be written there.

Given   x (5 x 2 x 3) and cont (5 x 2) -> LSTM; data (1 x 3 x 8 x 8) -> conv
Result  data; the first axis of the others is time

A layer that reads the input may say what its first axis is (``Op.axes``). Beyond that, a batch size
changes no weights and fits at every layer, together with those of the other inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from caffefold.analysis.axes import wanted_axes
from caffefold.analysis.shapes import Shapes, infer
from caffefold.errors import TextError
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import WeightSpec
from caffefold.ops.shape import ShapeList
from caffefold.ops.table import op
from caffefold.ops.wiring import RESHAPE

Dims = tuple[int, ...]
_MOST = 8  # suspects of one layer that are tried one by one
_ROUNDS = 32  # layers that do not take the batch; where there are more, no input is changed


def batched(net: Net, inputs: Mapping[str, Dims], batch: int) -> frozenset[str]:
    """Those of ``inputs``, the shapes of a net's inputs by blob, that can have the first axis
    ``batch``."""
    wiring = graph.build(net)
    versions = {v.blob: i for i, v in reversed([*enumerate(wiring.versions)])}
    chosen = set()
    for blob, dims in inputs.items():
        if dims and wanted_axes(net, wiring, versions[blob])[:1] in ("", "N"):
            chosen.add(blob)
    before = _Answers.of(net, infer(net))

    def broken(blobs: Collection[str]) -> int | None:
        """The first layer that does not take another batch size for ``blobs``."""
        changed = {blob: (batch, *inputs[blob][1:]) for blob in blobs}
        after = _Answers.of(net, infer(net, changed) if changed else infer(net))
        return before.broken(after, net)

    for _ in range(_ROUNDS):
        position = broken(chosen)
        behind = () if position is None else (position, *wiring.ancestors(wiring.reads[position]))
        read = {version for each in behind for version in wiring.reads[each]}
        suspects = sorted(blob for blob in chosen if versions[blob] in read)
        if not suspects:
            return frozenset(chosen)
        alone = (x for x in suspects[:_MOST] if broken(chosen - {x}) != position)
        chosen -= {culprit} if (culprit := next(alone, "")) else set(suspects)
    return frozenset()


class _Answers(NamedTuple):
    """What the layers of a net say of some input shapes."""

    failing: frozenset[int]
    weights: tuple[tuple[WeightSpec, ...] | None, ...]

    @classmethod
    def of(cls, net: Net, shapes: Shapes) -> _Answers:
        pairs = zip(net.layers, shapes.bottoms, strict=True)
        return cls(frozenset(shapes.failing), tuple(_weights(*pair) for pair in pairs))

    def broken(self, other: _Answers, net: Net) -> int | None:
        """The first layer that fails, or has other weights, in ``other`` only."""
        recurrent = any(op(layer).recurrent for layer in net.layers)
        for position, layer in enumerate(net.layers):
            if position in other.failing - self.failing:
                if not (recurrent and op(layer) is RESHAPE):  # sequences.py fits those
                    return position
            elif _differ(self.weights[position], other.weights[position]):
                return position
        return None


def _weights(layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
    try:
        return op(layer).weights(layer, bottoms)
    except TextError:
        return None


def _differ(one: tuple[WeightSpec, ...] | None, other: tuple[WeightSpec, ...] | None) -> bool:
    """Whether two lists of blobs certainly have different shapes."""
    if one is None or other is None:
        return False
    return any(
        a is not None and b is not None and a != b
        for mine, yours in zip(one, other, strict=False)
        for a, b in zip(mine.shape, yours.shape, strict=False)
    )
