"""Takes out what does nothing at test time.

Given   fc6 -> ReLU -> Dropout -> fc7
Result  fc6 -> ReLU -> fc7

Dropout (not SegNet's, which samples in TEST too) and written-out Split layers with one top. A layer
stays when a net input or output would lose its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from caffefold.ir.edit import Editor
from caffefold.ir.net import Net
from caffefold.ops.base import SkipCode
from caffefold.ops.table import op
from caffefold.passes.contracts import blobs_fit, text_agrees, wired
from caffefold.passes.infra import Change, ChangeKind, PassResult, Predicate, Skip, nothing

RULE = "tidy"


@dataclass(frozen=True, slots=True)
class Tidy:
    """Drop layers that hand their input on unchanged."""

    keeps: Predicate = nothing
    """Whether the layer of this name is left alone."""
    name: str = RULE
    requires: ClassVar = (text_agrees, wired, blobs_fit)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Drop every identity layer whose going costs no name."""
        positions = [
            i
            for i, layer in enumerate(net.layers)
            if op(layer).is_identity(layer) and not self.keeps(layer.name)
        ]
        if not positions:
            return PassResult(net)
        editor = Editor(net)
        gone = [position for position in positions if editor.bypass([position])]
        skips = tuple(
            Skip(
                RULE,
                (net.layers[position].name,),
                SkipCode.NET_OUTPUT,
                "without it a net input or output would lose its name",
            )
            for position in positions
            if position not in set(gone)
        )
        names = tuple(net.layers[position].name for position in gone)
        changes = (
            (Change(ChangeKind.IDENTITY_DROPPED, names, (), "does nothing at test time"),)
            if names
            else ()
        )
        return PassResult(editor.to_net(), changes, skips)
