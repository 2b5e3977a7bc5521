"""Take channels out of a deploy net that is not folded yet.

Given   conv (64 outputs) -> BatchNorm -> Scale (gamma 0 in 9 channels) -> ReLU -> conv2
Result  conv, BatchNorm and Scale with 55 channels; conv2 with 55 inputs, and in its bias what the
        constant ReLU(beta) of the nine added

A net whose layers are not understood stays as it is there, with the reason (``flow``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np

from caffefold.analysis.health import DEAD
from caffefold.analysis.shapes import Shapes, infer
from caffefold.frozen import dataclass
from caffefold.humanize import counted
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import LinearOp, Refusal, SkipCode
from caffefold.ops.shape import Shape
from caffefold.ops.table import op
from caffefold.ops.wiring import RESHAPE, Slice
from caffefold.options import SlimOptions
from caffefold.passes.contracts import blobs_fit, text_agrees, wired
from caffefold.passes.infra import (
    Change,
    ChangeKind,
    Pass,
    PassResult,
    Skip,
)
from caffefold.passes.slim.choose import Choice, Chooser, smallest, under
from caffefold.passes.slim.cut import Linear, cut_dims, cut_linear, cut_numbers, cut_points
from caffefold.passes.slim.flow import Content, Flow, Keeps, Reader, walk
from caffefold.passes.slim.gammas import Sizes
from caffefold.passes.slim.shared import families
from caffefold.passes.slim.units import Labels, Mask

_MOST_ROUNDS = 64


class Held(NamedTuple):
    """Channels of a layer that could have gone, and why they stay."""

    layer: str
    channels: int
    of: int
    reason: Refusal


class Kept(NamedTuple):
    """Which elements of a blob stay: these places along an axis."""

    axis: int
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes from a net, and what does not and why."""

    net: Net
    flow: Flow
    choice: Choice
    bounded: int = 0
    """How many channels with a gamma go only because what comes from outside is of a plain size
    (``ranges.INPUT``); where the result is approximate, that is not asked."""

    @property
    def kept(self) -> tuple[Kept | None, ...]:
        """What stays of each version; None: all of it."""
        return tuple(_kept(content, self.choice.gone) for content in self.flow.contents)

    @property
    def held(self) -> tuple[Held, ...]:
        """Who could have lost channels, and why not: layer by layer."""
        roots, found = self.flow.units.roots(), []
        for reader in self.flow.readers:
            if reader.sums:
                units = roots[reader.outputs.reshape(-1)].tolist()
                why = Counter(map(self.choice.held.get, units))
                name = self.net.layers[reader.position].name
                found += [Held(name, why[each], len(units), each) for each in why if each]
        return tuple(found)

    @property
    def gammas(self) -> tuple[Sizes, ...]:
        """All gammas, layer by layer."""
        return tuple(
            Sizes(self.net.layers[g.position].name, g.sizes, self.choice.gone[g.labels])
            for g in self.flow.gammas
        )


@dataclass(frozen=True, slots=True)
class Planner:
    """Decides what goes from a net."""

    options: SlimOptions
    blobs: Mapping[str, str] = field(default_factory=dict)
    """Blobs whose channels stay, with the reason."""

    def plan(self, net: Net) -> Plan:
        """What goes."""
        shapes = infer(net)
        keeps = self.stays(net)
        options = self.options
        flow = walk(net, shapes, keeps, self.tiny(net, shapes, keeps))
        chooser = Chooser(net, flow, keeps.families)
        choice = chooser.dead(options.multiple, approximate=options.approximate)
        bounded = 0
        if options.by_size:
            flow, choice = self.by_size(net, shapes, keeps, chooser)
        elif not options.approximate and choice.gone.any():
            anything = Chooser(net, walk(net, shapes, keeps, largest=np.inf), keeps.families)
            always = anything.dead(options.multiple, approximate=False).gone
            bounded = sum(int((choice.gone & ~always)[g.labels].sum()) for g in flow.gammas)
        return Plan(net, flow, choice, bounded)

    def stays(self, net: Net) -> Keeps:
        """What is left alone: what was asked for, and what shares weights."""
        alike, why = families(net.layers)
        for layer in net.layers:
            if self.options.keeps(layer.name):
                why[layer.name] = Refusal(SkipCode.KEPT, f"'{layer.name}' is kept as requested")
        blobs = {
            name: Refusal(SkipCode.TRAINING_READS, reason) for name, reason in self.blobs.items()
        }
        return Keeps(why, blobs, alike)

    def tiny(self, net: Net, shapes: Shapes, keeps: Keeps) -> dict[int, Mask]:
        """Gammas that are taken for 0, where the result may be approximate."""
        if not self.options.approximate:
            return {}
        found = walk(net, shapes, keeps).gammas
        return {g.position: g.sizes < DEAD for g in found}

    def by_size(
        self, net: Net, shapes: Shapes, keeps: Keeps, chooser: Chooser
    ) -> tuple[Flow, Choice]:
        """The units of the smallest gammas. What is put back has its gamma again, until all that
        are taken for 0 go."""
        wanted = self.chosen(net, chooser)
        choice = chooser.settle(wanted, self.options.multiple, approximate=True)
        for _ in range(_MOST_ROUNDS):
            zero = {
                g.position: choice.gone[g.labels]
                for g in chooser.flow.gammas
                if choice.gone[g.labels].any()
            }
            flow = walk(net, shapes, keeps, zero)
            again = Chooser(net, flow, keeps.families)
            again.score = chooser.score
            settled = again.settle(
                choice.gone & (again.roots == np.arange(len(again.roots))),
                self.options.multiple,
                approximate=True,
            )
            held = {**choice.held, **settled.held}
            same = (settled.gone == choice.gone).all()
            choice = Choice(settled.gone, held)
            if same:
                break
        return flow, choice

    def chosen(self, net: Net, chooser: Chooser) -> Mask:
        """The units that options ask for."""
        options, flow = self.options, chooser.flow
        wanted = np.zeros(len(chooser.roots), bool)
        if options.threshold is not None:
            wanted |= under(chooser, options.threshold)
        if options.ratio is not None:
            wanted |= smallest(chooser, flow.gammas, options.ratio)
        for pattern, share in options.layers.items():
            for gamma in flow.gammas:
                names = {net.layers[gamma.position].name, *self.makers(net, flow, gamma.labels)}
                if any(fnmatchcase(name, pattern) for name in names):
                    wanted |= smallest(chooser, [gamma], share)
        return chooser.evened(wanted)

    def makers(self, net: Net, flow: Flow, labels: Labels) -> list[str]:
        """Names of the linear layers that make these very channels."""
        first = set(labels.tolist())
        return [
            net.layers[r.position].name
            for r in flow.readers
            if set(r.outputs.reshape(-1).tolist()) == first
        ]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Slim(Pass):
    """What a plan says is gone from weights and text."""

    plan: Plan
    name: ClassVar = "slim"
    requires: ClassVar = (text_agrees, wired, blobs_fit)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Cut layer by layer."""
        return PassResult(*cut(self.plan, net), skips(self.plan))


def cut(plan: Plan, net: Net) -> tuple[Net, tuple[Change, ...]]:
    """``net`` without what goes: the net of the plan, or one with layers of its names."""
    by_name = _cutters(plan)
    new: dict[int, tuple[Layer, ...]] = {}
    names = []
    for position, layer in enumerate(net.layers):
        change = by_name.get((layer.name, op(layer).name))
        made = layer if change is None else change(layer)
        if made is not layer:
            new[position] = (made,)
            names.append(layer.name)
    if not new:
        return net, ()
    gone = sum(int(each.gone.sum()) for each in plan.gammas)
    detail = f"{counted(gone, 'channel')} with a gamma taken out"
    change_ = Change(ChangeKind.SLIMMED, (), tuple(dict.fromkeys(names)), detail)
    return net.substitute(new), (change_,)


def skips(plan: Plan) -> tuple[Skip, ...]:
    """Who could have lost channels, and why not."""
    found = []
    for layer, channels, of, (code, message) in plan.held:
        stay = "stays" if channels == 1 else "stay"
        text = f"{counted(channels, 'channel')} of {of} {stay}: {message}"
        found.append(Skip(Slim.name, (layer,), code, text))
    return tuple(found)


Cutter = Callable[[Layer], Layer]


def _cutters(plan: Plan) -> dict[tuple[str, str], Cutter]:
    """By name and type of a layer, what makes the layer without what goes."""
    net, flow, gone = plan.net, plan.flow, plan.choice.gone
    shapes = infer(net)
    found: dict[tuple[str, str], Cutter] = {}
    for reader in flow.readers:
        linear = _linear(reader, gone)
        if not (linear.inputs.all() and linear.outputs.all()):
            layer = net.layers[reader.position]
            found[layer.name, op(layer).name] = partial(cut_linear, plan=linear)
    for position, layer in enumerate(net.layers):
        makes = shapes.graph.writes[position]
        if not makes or not layer.bottoms or isinstance(op(layer), LinearOp):
            continue
        old = [shapes.versions[version] for version in makes]
        made = [flow.contents[version] for version in makes]
        new = [_extents(*pair, gone) for pair in zip(old, made, strict=True)]
        change = _cutter(layer, old, new, made[0], gone)
        if change is not None and new != old:
            found[layer.name, op(layer).name] = change
    return found


def _cutter(
    layer: Layer, old: Sequence[Shape], new: Sequence[Shape], made: Content | None, gone: Mask
) -> Cutter | None:
    """How a layer that is not linear makes tops of the shapes ``new`` instead of ``old``."""
    own = op(layer)
    known = [shape for shape in new if shape is not None]
    if isinstance(own, Slice) and len(known) == len(new):
        axis = own.axis(layer, len(known[0]))
        return partial(cut_points, extents=[shape[axis] or 0 for shape in known])
    if own is RESHAPE and known and old[0] is not None:
        return partial(cut_dims, before=old[0], after=known[0])
    if layer.blobs and made is not None:
        return partial(cut_numbers, keep=~gone[made.labels.reshape(-1)])
    return None


def _linear(reader: Reader, gone: Mask) -> Linear:
    keep_in, keep_out = ~gone[reader.content.labels], ~gone[reader.outputs]
    constants = reader.constants if reader.sums else np.zeros(keep_in.shape)
    return Linear(reader.layout, keep_in, keep_out, constants)


def _kept(content: Content | None, gone: Mask) -> Kept | None:
    if content is None or not gone[content.labels].any():
        return None
    axis = max(range(content.labels.ndim), key=lambda i: content.labels.shape[i])
    keep = np.flatnonzero(~gone[content.labels.reshape(-1)])
    return Kept(axis + 1, tuple(keep.tolist()))


def _extents(shape: Shape, content: Content | None, gone: Mask) -> Shape:
    """The shape without what goes."""
    kept = _kept(content, gone)
    if shape is None or kept is None:
        return shape
    return (*shape[: kept.axis], len(kept.places), *shape[kept.axis + 1 :])
