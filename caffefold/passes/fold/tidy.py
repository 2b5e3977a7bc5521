"""Takes out what does nothing at test time.

Given   fc6 -> ReLU -> Dropout -> fc7
Result  fc6 -> ReLU -> fc7

Dropout (not SegNet's, which samples in TEST too) and written-out Split layers with one top. A layer
stays when a net input or output would lose its name.
"""

from __future__ import annotations

from typing import ClassVar

from caffefold.frozen import dataclass
from caffefold.ir.edit import Editor
from caffefold.ir.net import Net
from caffefold.ops.base import SkipCode
from caffefold.ops.table import op
from caffefold.passes.contracts import blobs_fit, text_agrees, wired
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult, Predicate, Skip, nothing


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Tidy(Pass):
    """Drop layers that hand their input on unchanged."""

    keeps: Predicate = nothing
    """Whether the layer of this name is left alone."""
    name: ClassVar = "tidy"
    requires: ClassVar = (text_agrees, wired, blobs_fit)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Drop every identity layer whose going costs no name."""
        idle = [
            (i, layer.name)
            for i, layer in enumerate(net.layers)
            if op(layer).is_identity(layer) and not self.keeps(layer.name)
        ]
        if not idle:
            return PassResult(net)
        editor = Editor(net)
        names: list[str] = []
        skips: list[Skip] = []
        for position, name in idle:
            if editor.bypass([position]):
                names.append(name)
            else:
                why = "without it a net input or output would lose its name"
                skips.append(Skip(self.name, (name,), SkipCode.NET_OUTPUT, why))
        change = Change(ChangeKind.IDENTITY_DROPPED, tuple(names), (), "does nothing at test time")
        return PassResult(editor.to_net(), (change,) if names else (), tuple(skips))
