"""What no linear layer may take becomes one Scale layer; what changes nothing goes.

Given   Concat -> BatchNorm -> Scale -> ReLU      (a branch of the Concat is read elsewhere too)
Result  Concat -> Scale -> ReLU                   the same numbers, half the layers

A single Scale, Bias or Power stays as it is. The new layer takes the place and the name of the
chain's last Scale, or else of its last layer with numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from caffefold.analysis.shapes import infer
from caffefold.formats.prototxt.tree import Field, block, quote, scalar, set_scalar
from caffefold.ir.affine import Affine
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.edit import Editor
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import SCALE, Normalization, affine_map
from caffefold.ops.base import AffineOp, Refusal
from caffefold.ops.table import op
from caffefold.passes.contracts import blobs_fit, text_agrees, wired
from caffefold.passes.fold.shared import unshared
from caffefold.passes.infra import Change, ChangeKind, PassResult, Predicate, nothing

RULE = "collapse"
_PARAMETERS = frozenset({"batch_norm_param", "bn_param", "scale_param"})


@dataclass(frozen=True, slots=True)
class Collapse:
    """One Scale layer for every chain of affine layers that is still there."""

    keeps: Predicate = nothing
    """Whether the layer of this name is left alone."""
    name: str = RULE
    requires: ClassVar = (text_agrees, wired, blobs_fit)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Collapse each chain."""
        worker = _Collapser(net, self.keeps)
        for first in sorted(worker.maps):
            worker.collapse(first)
        return PassResult(worker.editor.to_net(), tuple(worker.changes))


class _Collapser:
    def __init__(self, net: Net, keeps: Predicate) -> None:
        self.editor = Editor(net)
        self.shapes = infer(net)
        self.changes: list[Change] = []
        self.maps: dict[int, Affine] = {}
        self.done: set[int] = set()
        for position, layer in enumerate(net.layers):
            own = op(layer)
            if not isinstance(own, AffineOp) or keeps(layer.name):
                continue
            rank = self.shapes.rank(self.editor.reads[position][0]) if layer.bottoms else None
            found = affine_map(own, layer, rank)
            if not isinstance(found, Refusal):
                self.maps[position] = found

    def collapse(self, first: int) -> None:
        """Handle the chain that begins at ``first``, unless an earlier one holds it."""
        if first in self.done:
            return
        chain = [first]
        while (following := self.editor.follower(chain[-1])) in self.maps:
            chain.append(following)
        self.done.update(chain)
        affine = self.maps[first]
        for position in chain[1:]:
            affine = affine.then(self.maps[position])
        layers = [self.editor.layers[position] for position in chain]
        names = tuple(layer.name for layer in layers)
        if affine.is_identity and self.editor.bypass(chain):
            self.changes.append(
                Change(ChangeKind.UNIT_DROPPED, names, (), f"{', '.join(names)} changes nothing")
            )
            return
        if len(chain) == 1 and not isinstance(op(layers[0]), Normalization):
            return
        channels = self.shapes.channels(self.editor.reads[first][0])
        channels = affine.channels if affine.channels > 1 else channels
        home = _home(layers)
        if channels is None or home is None:
            return
        others = [position for position in chain if position != chain[home]]
        if not self.editor.bypass(others):
            return
        stays = layers[home]
        self.editor.layers[chain[home]] = as_scale(stays, affine.over(channels))
        going = tuple(name for name in names if name != stays.name)
        detail = f"{', '.join(names)} -> one Scale layer '{stays.name}'"
        self.changes.append(Change(ChangeKind.COLLAPSED, going, (stays.name,), detail))


def _home(layers: list[Layer]) -> int | None:
    """The place in a chain whose layer becomes the Scale: it must have blobs to replace."""
    scales = [i for i, layer in enumerate(layers) if op(layer) is SCALE and layer.blobs]
    others = [i for i, layer in enumerate(layers) if layer.blobs]
    return scales[-1] if scales else others[-1] if others else None


def as_scale(layer: Layer, affine: Affine) -> Layer:
    """``layer`` as a Scale layer with bias along the channels, computing ``affine``."""
    fields: list[Field] = [f for f in layer.body.fields if f.name not in _PARAMETERS]
    indent = "  "
    if fields and "\n" in fields[0].lead:
        indent = fields[0].lead.rpartition("\n")[2]
    inner = scalar("bias_term", "true", indent * 2)
    fields.append(block("scale_param", [inner], indent))
    body = set_scalar(replace(layer.body, fields=tuple(fields)), "type", quote("Scale"))
    numbers = (np.array(affine.scale), np.array(affine.shift))
    # Its numbers are its own now, whatever layer it shared the old ones with.
    return unshared(layer.edited(body)).with_blobs(tuple(ArrayBlob(n) for n in numbers))
