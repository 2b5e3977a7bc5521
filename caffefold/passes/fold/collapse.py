"""Affine layers that no linear layer can absorb become one Scale; identities are dropped.

Given   Concat -> BatchNorm -> Scale -> ReLU      (a branch of the Concat is read elsewhere too)
Result  Concat -> Scale -> ReLU                   the same numbers, half the layers

A single Scale, Bias or Power is kept as it is. The new layer takes the place and the name of the
chain's last Scale, or else of its last layer with numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from caffefold.analysis.shapes import Shapes, infer
from caffefold.formats.prototxt.tree import Field, block, quote, scalar, set_scalar
from caffefold.frozen import dataclass
from caffefold.ir.affine import Affine
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.edit import Editor
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import SCALE, Normalization
from caffefold.ops.base import AffineOp
from caffefold.ops.table import op
from caffefold.passes.contracts import blobs_fit, text_agrees, wired
from caffefold.passes.fold.exact import settled_map
from caffefold.passes.fold.fold import Chain, affine_maps, chains, unshared
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult, Predicate, nothing

_WIDEST = 1 << 20  # channels that one number for all is written out for
_PARAMETERS = frozenset({"batch_norm_param", "bn_param", "scale_param"})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Collapse(Pass):
    """One Scale layer for every chain of affine layers that is still there."""

    keeps: Predicate = nothing
    """Whether the layer of this name is left alone."""
    name: ClassVar = "collapse"
    requires: ClassVar = (text_agrees, wired, blobs_fit)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Collapse each chain."""
        if not any(isinstance(op(layer), AffineOp) for layer in net.layers):
            return PassResult(net)
        editor, shapes = Editor(net), infer(net)
        maps, _ = affine_maps(editor, shapes, self.keeps)
        found = [_collapse(editor, shapes, chain) for chain in chains(editor, maps)]
        return PassResult(editor.to_net(), tuple(change for change in found if change))


def _collapse(editor: Editor, shapes: Shapes, chain: Chain) -> Change | None:
    """Make one chain one layer, or none; None when it is kept."""
    positions, affine, parts = chain
    layers = [editor.layers[position] for position in positions]
    names = tuple(layer.name for layer in layers)
    if affine.is_identity and editor.bypass(positions):
        return Change(ChangeKind.UNIT_DROPPED, names, (), f"{', '.join(names)} changes nothing")
    if len(layers) == 1 and not isinstance(op(layers[0]), Normalization):
        return None
    known = shapes.channels(editor.reads[positions[0]][0])
    channels = affine.channels if affine.channels > 1 else known
    home = _home(layers)
    if channels is None or home is None or channels > max(affine.channels, _WIDEST):
        return None
    stays = layers[home]
    going = [position for position in positions if position != positions[home]]
    if not editor.bypass(going, taker=positions[home]):
        return None
    editor.layers[positions[home]] = as_scale(stays, settled_map(affine, parts).over(channels))
    removed = tuple(name for name in names if name != stays.name)
    detail = f"{', '.join(names)} -> one Scale layer '{stays.name}'"
    return Change(ChangeKind.COLLAPSED, removed, (stays.name,), detail)


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
    # Its numbers are its own now, whatever layer it shared the old ones with.
    blobs = (ArrayBlob(affine.scale.copy()), ArrayBlob(affine.shift.copy()))
    return unshared(layer.edited(body)).with_blobs(blobs)
