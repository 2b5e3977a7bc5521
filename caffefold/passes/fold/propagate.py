"""Where an affine map may go: up to linear layers that end in it, down to those that begin with it.

Up    through Concat (a slice of the map to every branch), Slice (the other branches get the
      identity), average pooling, Dropout; always exact at a linear layer's output.
Down  through Slice, Concat (the other branches get the identity), average pooling, Dropout; exact
      at a linear layer's input unless padding or a border sees a shift.

Both only plan: the answer is who absorbs what, or the reason why nobody may. Average pooling
commutes with a map where its divisor counts no padding (pooling_layer.cpp).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from caffefold.analysis.channels import along_channels, slice_ranges
from caffefold.ir.affine import Affine, join
from caffefold.ir.net import Layer
from caffefold.ops.kinds import is_identity
from caffefold.passes.fold import absorb as linear
from caffefold.passes.fold.absorb import Linear
from caffefold.passes.fold.edit import Wires
from caffefold.passes.infra import Refusal, SkipCode


class Window(NamedTuple):
    """Which channels of the map that was asked for meet the channels of a version.

    Channel c of the version is channel ``c + delta`` of the map, if that is in ``start:stop``.
    """

    delta: int = 0
    start: int = 0
    stop: int = 1 << 62


class Absorption(NamedTuple):
    """One linear layer takes ``affine``, of which ``window`` is what it was asked for."""

    position: int
    layout: Linear
    affine: Affine
    window: Window


Plan = list[Absorption]
Guard = Callable[[Layer], Refusal | None]


def up(
    wires: Wires, version: int, affine: Affine, asking: set[int], guard: Guard
) -> Plan | Refusal:
    """Who absorbs ``affine`` on its output so that ``version`` comes out mapped.

    ``asking`` are the layers that the map stands for; nobody else may read the version.
    """
    return _Upward(wires, guard).go(version, affine, asking, Window())


def down(wires: Wires, version: int, affine: Affine, guard: Guard) -> Plan | Refusal:
    """Who absorbs ``affine`` on its input so that ``version`` need not be mapped."""
    return _Downward(wires, guard).go(version, affine)


class _Upward:
    def __init__(self, wires: Wires, guard: Guard) -> None:
        self.wires = wires
        self.guard = guard

    def go(self, version: int, affine: Affine, asking: set[int], window: Window) -> Plan | Refusal:
        wires = self.wires
        others = [wires.layers[r].name for r in wires.readers[version] if r not in asking]
        position = wires.producer[version]
        if wires.is_input(version):
            return Refusal(SkipCode.NOT_LINEAR, "its input is an input of the net")
        source = wires.layers[position]
        if others:
            return Refusal(
                SkipCode.SEVERAL_READERS,
                f"what '{source.name}' computes is also read by "
                + ", ".join(f"'{name}'" for name in dict.fromkeys(others)),
            )
        if wires.is_output(version):
            return Refusal(SkipCode.NET_OUTPUT, f"what '{source.name}' computes is a net output")
        if source.type in linear.PARAMETERS:
            layout = self.guard(source) or linear.of_layer(source)
            if isinstance(layout, Refusal):
                return layout
            if affine.channels not in (1, layout.outputs):
                raise source.error(
                    f"it has {layout.outputs} outputs, but the affine layer behind it "
                    f"{affine.channels} channels; the caffemodel belongs to another net"
                )
            return [Absorption(position, layout, affine, window)]
        if is_identity(source) or _averages(source):
            return self.go(wires.reads[position][0], affine, {position}, window)
        if source.type == "Concat":
            return self.branches(position, affine, window)
        if source.type == "Slice":
            return self.unsliced(position, version, affine, window)
        return Refusal(SkipCode.NOT_LINEAR, f"its input comes from '{source.name}' ({source.type})")

    def branches(self, position: int, affine: Affine, window: Window) -> Plan | Refusal:
        """Each branch of a Concat takes its slice; all or none."""
        layer = self.wires.layers[position]
        inputs = self.wires.reads[position]
        channels = [self.wires.extent[v].channels for v in inputs]
        rank = self.wires.extent[self.wires.writes[position][0]].rank
        if not along_channels(layer, rank) or len(set(inputs)) != len(inputs):
            return Refusal(
                SkipCode.NOT_LINEAR, f"'{layer.name}' does not join different blobs along channels"
            )
        plan: Plan = []
        at = 0
        for version, count in zip(inputs, channels, strict=True):
            if count is None:
                return Refusal(
                    SkipCode.NOT_LINEAR, f"a branch of '{layer.name}' has no known channel count"
                )
            shifted = window._replace(delta=window.delta + at)
            part = self.go(version, affine.part(at, at + count), {position}, shifted)
            if isinstance(part, Refusal):
                return Refusal(part.code, f"a branch of '{layer.name}': {part.message}")
            plan += part
            at += count
        return plan

    def unsliced(
        self, position: int, version: int, affine: Affine, window: Window
    ) -> Plan | Refusal:
        """Behind a Slice: its input takes the map in this range, the identity elsewhere."""
        layer = self.wires.layers[position]
        before = self.wires.reads[position][0]
        extent = self.wires.extent[before]
        ranges = slice_ranges(layer, extent.channels)
        if ranges is None or not along_channels(layer, extent.rank):
            return Refusal(SkipCode.NOT_LINEAR, f"'{layer.name}' does not slice known channels")
        tops = self.wires.writes[position]
        whole = join(
            (affine if made == version else Affine.identity(), stop - start)
            for made, (start, stop) in zip(tops, ranges, strict=True)
        )
        start, stop = ranges[tops.index(version)]
        delta = window.delta
        moved = Window(
            delta - start, max(window.start, delta), min(window.stop, delta + stop - start)
        )
        return self.go(before, whole, {position}, moved)


class _Downward:
    def __init__(self, wires: Wires, guard: Guard) -> None:
        self.wires = wires
        self.guard = guard

    def go(self, version: int, affine: Affine) -> Plan | Refusal:
        wires = self.wires
        if wires.is_output(version):
            return Refusal(SkipCode.NET_OUTPUT, f"'{wires.name[version]}' is an output of the net")
        plan: Plan = []
        for position in dict.fromkeys(wires.readers[version]):
            part = self.reader(position, version, affine)
            if isinstance(part, Refusal):
                return part
            plan += part
        return plan

    def reader(self, position: int, version: int, affine: Affine) -> Plan | Refusal:
        layer = self.wires.layers[position]
        if layer.type in linear.PARAMETERS:
            layout = self.guard(layer) or linear.of_layer(layer)
            if isinstance(layout, Refusal):
                return layout
            refusal = linear.refuse_input(layer, layout, affine)
            return refusal or [Absorption(position, layout, affine, Window())]
        if is_identity(layer) or _averages(layer):
            return self.go(self.wires.writes[position][0], affine)
        if layer.type == "Concat":
            return self.joined(position, version, affine)
        if layer.type == "Slice":
            return self.sliced(position, version, affine)
        return Refusal(SkipCode.NOT_LINEAR, f"its result is read by '{layer.name}' ({layer.type})")

    def joined(self, position: int, version: int, affine: Affine) -> Plan | Refusal:
        """In front of a Concat: the joined channels take the map here, the identity elsewhere."""
        layer = self.wires.layers[position]
        inputs = self.wires.reads[position]
        made = self.wires.writes[position][0]
        channels = [self.wires.extent[v].channels for v in inputs]
        known = [c for c in channels if c is not None]
        if len(known) < len(channels) or not along_channels(layer, self.wires.extent[made].rank):
            return Refusal(SkipCode.NOT_LINEAR, f"'{layer.name}' does not join known channels")
        identity = Affine.identity()
        whole = join(
            (affine if v == version else identity, c) for v, c in zip(inputs, known, strict=True)
        )
        return self.go(made, whole)

    def sliced(self, position: int, version: int, affine: Affine) -> Plan | Refusal:
        layer = self.wires.layers[position]
        extent = self.wires.extent[version]
        ranges = slice_ranges(layer, extent.channels)
        if ranges is None or not along_channels(layer, extent.rank):
            return Refusal(SkipCode.NOT_LINEAR, f"'{layer.name}' does not slice known channels")
        plan: Plan = []
        for made, (start, stop) in zip(self.wires.writes[position], ranges, strict=True):
            part = self.go(made, affine.part(start, stop))
            if isinstance(part, Refusal):
                return part
            plan += part
        return plan


def _averages(layer: Layer) -> bool:
    """Whether this is average pooling that commutes with every map."""
    if layer.type != "Pooling" or len(layer.tops) != 1:
        return False
    params = layer.params("pooling_param")
    padded = any(params.integer(name) for name in ("pad", "pad_h", "pad_w"))
    return params.enum("pool") == "AVE" and not padded
