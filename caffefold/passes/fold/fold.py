"""Folds affine layers into linear layers, wherever that is exact.

Given   conv1 -> BatchNorm -> Scale -> ReLU
Result  conv1 -> ReLU, with other weights and a bias

Neighbouring affine layers form a chain: one map. A chain goes up to the linear layers whose output
it maps, else down to those whose input it maps; as a whole, or not at all. Versions of blobs
(ir/edit.py) make in-place layers in between visible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np

from caffefold.analysis.shapes import Shapes, infer
from caffefold.errors import Option, Text
from caffefold.formats.prototxt.tree import drop
from caffefold.frozen import dataclass
from caffefold.ir.affine import Affine
from caffefold.ir.edit import Editor
from caffefold.ir.graph import OUTSIDE
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import BATCH_NORM, Scale, affine_map
from caffefold.ops.base import AffineOp, Refusal, SkipCode
from caffefold.ops.linear import INNER_PRODUCT
from caffefold.ops.table import op
from caffefold.passes.contracts import blobs_fit, text_agrees, wired
from caffefold.passes.fold.absorb import absorb_input, absorb_output
from caffefold.passes.fold.exact import Step, settled
from caffefold.passes.fold.propagate import WHOLE, Absorption, Piece, Plan, Propagation
from caffefold.passes.infra import (
    Absorbed,
    Change,
    ChangeKind,
    LayerRef,
    Pass,
    PassResult,
    Predicate,
    Skip,
    nothing,
    references,
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Fold(Pass):
    """Every chain of affine layers is folded into linear layers, or kept with a reason."""

    directions: str = "all"
    """``all``; or ``output``: only into the layer a chain follows."""
    keeps: Predicate = nothing
    """Whether the layer of this name is left as it is."""
    unshare: bool = False
    """Give a layer that shares weights its own copy, so that it can absorb."""
    name: ClassVar = "fold"
    requires: ClassVar = (text_agrees, wired, blobs_fit)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Fold until nothing more can be; one Skip for each affine layer that is kept."""
        folder = _Folder(net, self)
        folder.products()
        way = 1
        while folder.sweep(way):
            way = -way  # back: a map may have waited for the one in front of it, or behind it
        for position, steps in folder.steps.items():
            layers = folder.editor.layers
            layers[position] = settled(layers[position], net.layers[position], steps)
        result = folder.editor.to_net()
        return PassResult(
            result, tuple(folder.changes), tuple(folder.skips()), tuple(folder.warnings)
        )


class Chain(NamedTuple):
    """Affine layers in a row, each the only reader of the one before: one map."""

    positions: tuple[int, ...]
    affine: Affine
    parts: tuple[Affine, ...]
    """What it was composed of."""


def affine_maps(
    editor: Editor, shapes: Shapes, keeps: Predicate
) -> tuple[dict[int, Affine], dict[int, Refusal]]:
    """By position, the map of each affine layer, or the reason why it takes no part."""
    maps, refused = {}, {}
    for position, layer in enumerate(editor.layers):
        own = op(layer)
        if not isinstance(own, AffineOp):
            continue
        if keeps(layer.name):
            refused[position] = Refusal(SkipCode.KEPT, "it is kept as requested")
            continue
        rank = shapes.rank(editor.reads[position][0]) if layer.bottoms else None
        found = affine_map(own, layer, rank)
        if isinstance(found, Refusal):
            refused[position] = found
        else:
            maps[position] = found
    return maps, refused


def chains(editor: Editor, maps: Mapping[int, Affine]) -> list[Chain]:
    """The maximal chains among the affine layers that are still there."""
    found: list[Chain] = []
    taken: set[int] = set()
    for first in sorted(maps):
        if first not in taken and editor.alive[first]:
            found.append(_chain_from(first, editor, maps))
            taken.update(found[-1].positions)
    return found


def _chain_from(first: int, editor: Editor, maps: Mapping[int, Affine]) -> Chain:
    """The chain that starts with the affine layer at ``first``."""
    positions, affine, parts = [first], maps[first], [maps[first]]
    while (following := editor.follower(positions[-1])) in maps:
        after = maps[following]
        if 1 not in (affine.channels, after.channels) and affine.channels != after.channels:
            raise editor.layers[following].error(
                f"it has {after.channels} channels, its input {affine.channels}; "
                "the caffemodel belongs to another net"
            )
        affine = affine.then(after)
        positions.append(following)
        parts.append(after)
    return Chain(tuple(positions), affine, tuple(parts))


class _Asked(NamedTuple):
    """What came of asking for the one map that all ``readers`` of a blob compute."""

    readers: list[int]
    changes: int
    """How many there had been."""
    answer: Plan | Refusal


class _Folder:
    """The work of one run; positions are those of the given net."""

    def __init__(self, net: Net, options: Fold) -> None:
        self.editor = Editor(net)
        shapes = infer(net)
        self.propagation = Propagation(self.editor, shapes, self.guard)
        self.options = options
        self.shared = shared_weights(net.layers)
        self.references = references(net.layers)
        self.changes: list[Change] = []
        self.asked: dict[int, _Asked] = {}
        self.steps: dict[int, list[Step]] = {}
        """By position of a linear layer, what it absorbed."""
        self.maps, self.refused = affine_maps(self.editor, shapes, options.keeps)
        self.warnings: list[str] = [
            f"layer '{layer.name}': the scale factor of its statistics is 0, so Caffe treats "
            "mean and variance as 0; folded as Caffe computes it"
            for layer in (net.layers[position] for position in self.maps)
            if op(layer) is BATCH_NORM and BATCH_NORM.zero_factor(layer)
        ]
        if options.unshare and not self.shared:
            self.warnings.append(Text(Option("unshare"), ": no effect; no layers share weights"))

    def products(self) -> None:
        """Fold into each InnerProduct of another axis what lies along its outputs, right behind.

        Those are the last axis of its top, which are not the channels that all else is about.
        """
        editor, shapes = self.editor, self.propagation.shapes
        for position, layer in enumerate(editor.layers):
            own = op(layer)
            if not isinstance(own, AffineOp) or self.options.keeps(layer.name):
                continue
            read = editor.reads[position][0] if layer.bottoms else -1
            source = editor.producer[read] if read >= 0 else OUTSIDE
            if source == OUTSIDE or op(editor.layers[source]) is not INNER_PRODUCT:
                continue
            product, rank = editor.layers[source], shapes.rank(read)
            affine = self.maps.get(position)
            if rank != 2 and (affine is None or affine.channels > 1):
                affine = None
                if isinstance(own, Scale) and rank is not None:
                    affine = own.along_last(layer, rank)
            layout = self.guard(product) or INNER_PRODUCT.product(product)
            alone = editor.readers[read] == [position] and not editor.is_output(read)
            on_channels = INNER_PRODUCT.params(product).integer("axis") == 1
            if on_channels or affine is None or isinstance(layout, Refusal) or not alone:
                continue
            if affine.channels in (1, layout.outputs):
                plan = Plan([Absorption(source, layout, affine, WHOLE)], [], {})
                self.apply([Chain((position,), affine, (affine,))], plan, upward=True)

    def sweep(self, way: int) -> bool:
        """Try every chain once, forth (1) or back (-1); whether anything was folded."""
        folded = False
        for chain in chains(self.editor, self.maps)[::way]:
            if self.editor.alive[chain.positions[0]]:
                folded |= self.fold(chain)
        return folded

    def fold(self, chain: Chain) -> bool:
        """Put one chain into linear layers, if some may take it."""
        editor = self.editor
        above = self.upward(chain, editor.reads[chain.positions[0]][0])
        if above is None:
            return True
        below = self.propagation.down(editor.writes[chain.positions[-1]][0], chain.affine)
        if not isinstance(below, Refusal):
            if self.options.directions == "output":
                below = Refusal(SkipCode.NOT_ASKED, "folding into an input was not requested")
            elif self.apply([chain], below, upward=False):
                return True
        reason = _reason(above, below)
        for position in chain.positions:
            self.refused[position] = reason
        return False

    def upward(self, chain: Chain, before: int) -> Plan | Refusal | None:
        """Put a chain into what makes its input, with all chains there that compute the same: None
        when that was done; else the plan that a name stands against, or why there is none."""
        readers, known = self.editor.readers[before], self.asked.get(before)
        if known is not None and known.readers is readers and known.changes == len(self.changes):
            return known.answer
        group = self.alike(chain, readers)
        answer = self.propagation.up(before, chain.affine, {each.positions[0] for each in group})
        if not isinstance(answer, Refusal) and self.apply(group, answer, upward=True):
            return None
        if len(group) > 1:  # the same for each of them, while nothing changes
            self.asked[before] = _Asked(readers, len(self.changes), answer)
        return answer

    def alike(self, chain: Chain, readers: list[int]) -> list[Chain]:
        """All readers of the chain's input, if every one is a chain that computes the same map."""
        if len(readers) == 1:
            return [chain]
        # A blob with several readers is inside no chain: each reader starts one, if it is affine.
        found: list[Chain] = []
        for reader in readers:
            if reader not in self.maps:
                return [chain]
            found.append(_chain_from(reader, self.editor, self.maps))
            if not found[-1].affine.equals(chain.affine):
                return [chain]
        return found

    def guard(self, layer: Layer) -> Refusal | None:
        """Why this linear layer must not be changed, if so."""
        if self.options.keeps(layer.name):
            return Refusal(SkipCode.KEPT, f"'{layer.name}' is kept as requested")
        if layer.name in self.shared and not self.options.unshare:
            return Refusal(SkipCode.SHARED_WEIGHTS, self.shared[layer.name])
        return None

    def apply(self, group: list[Chain], plan: Plan, *, upward: bool) -> bool:
        """Absorb as planned and take the chains out; False when a name stands against it."""
        editor = self.editor
        going = [position for chain in group for position in chain.positions]
        absorptions = plan.absorptions
        if not editor.bypass(going, absorptions[0].position, plan.mapped):
            return False
        self.propagation.went(plan, upward=upward)
        absorb = absorb_output if upward else absorb_input
        folded = tuple(self.references[p] for p in group[0].positions)
        claims = []
        for item in absorptions:
            layer = editor.layers[item.position]
            if layer.name in self.shared:
                layer = unshared(layer)
            with np.errstate(over="ignore"):
                editor.layers[item.position] = absorb(layer, item.layout, item.affine)
            step = Step(group[0].parts, item.pieces, item.affine.channels, item.layout, upward)
            self.steps.setdefault(item.position, []).append(step)
            if upward:
                to = self.references[item.position]
                claims += [_claim(to, folded, item, piece) for piece in item.pieces]
        removed = tuple(editor.layers[position].name for position in going)
        for position in going:
            self.refused.pop(position, None)
        modified = tuple(dict.fromkeys(editor.layers[item.position].name for item in absorptions))
        way = "into" if upward else "into the input of"
        detail = f"{', '.join(removed)} folded {way} {', '.join(modified)}"
        self.changes.append(Change(ChangeKind.FOLDED, removed, modified, detail, tuple(claims)))
        return True

    def skips(self) -> list[Skip]:
        """One Skip for each affine layer that is still there."""
        layers, alive = self.editor.layers, self.editor.alive
        return [
            Skip(Fold.name, (layers[p].name,), *self.refused[p])
            for p in sorted(self.refused)
            if alive[p]
        ]


def _claim(
    layer: LayerRef, chain: tuple[LayerRef, ...], item: Absorption, piece: Piece
) -> Absorbed:
    """Which channels of the chain's map ``layer`` took, and at which of its outputs."""
    stop = min(piece.stop, piece.start + item.layout.outputs - piece.at)
    return Absorbed(layer, chain, piece.start, stop, piece.at)


def _reason(above: Plan | Refusal, below: Plan | Refusal) -> Refusal:
    """Of the reasons against both directions, the more specific one. Where there was a plan, it is
    a name that stood against it."""
    if isinstance(above, Refusal) and above.code != SkipCode.NOT_LINEAR:
        return above
    if not isinstance(above, Refusal) or not isinstance(below, Refusal):
        why = "without it a net input or output would lose its name, or its name its value"
        return Refusal(SkipCode.NET_OUTPUT, why)
    if below.code in (SkipCode.NOT_LINEAR, SkipCode.NET_OUTPUT):
        return Refusal(above.code, f"{above.message}, and {below.message}")
    return below


# ---------------------------------------------------------------------------- shared weights


def shared_weights(layers: Sequence[Layer]) -> dict[str, str]:
    """Layer name -> why its weights also serve another layer (net.cpp: ParamSpec.name)."""
    owners: dict[str, list[str]] = {}
    for layer in layers:
        for field in layer.body.fields:
            if field.name == "param" and field.body.string("name"):
                owners.setdefault(field.body.string("name"), []).append(layer.name)
    found: dict[str, str] = {}
    for param, names in owners.items():
        if len(names) > 1:
            for name in names:
                found.setdefault(name, f"the weights of '{name}' are shared as param '{param}'")
    for name, times in Counter(layer.name for layer in layers if layer.blobs).items():
        if times > 1:
            found.setdefault(name, f"{times} layers are called '{name}' and share its weights")
    return found


def unshared(layer: Layer) -> Layer:
    """The layer without the param names that tie its weights to others; it has its own copy."""
    kept = drop(layer.body.fields, lambda f: f.name == "param" and bool(f.body.string("name")))
    return layer.edited(replace(layer.body, fields=kept)) if kept != layer.body.fields else layer
