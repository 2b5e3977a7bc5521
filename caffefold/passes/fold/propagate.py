"""Where an affine map may go: up to linear layers that end in it, down to those that begin with it.

Up    through Concat (a slice of the map to every branch), Slice (the other branches get the
      identity), average pooling, Dropout; always exact at a linear layer's output.
Down  through Slice, Concat (the other branches get the identity), average pooling, Dropout; exact
      at a linear layer's input unless padding or a border sees a shift.

Both only plan: the answer is who absorbs what, or the reason why nobody may. Which channels go
where is each layer type's own answer (``Op.channels``, ``Op.commutes``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from caffefold.analysis.shapes import Shapes
from caffefold.ir.affine import Affine, join
from caffefold.ir.edit import Editor
from caffefold.ir.net import Layer
from caffefold.ops.base import Joined, LinearLayout, LinearOp, Refusal, SkipCode, Split
from caffefold.ops.shape import Dim, Shape
from caffefold.ops.table import op
from caffefold.passes.fold.absorb import refuse_input


class Range(NamedTuple):
    """Which channels of the map that was asked for meet the channels of a version.

    Channel c of the version is channel ``c + delta`` of the map, if that is in ``start:stop``.
    """

    delta: int = 0
    start: int = 0
    stop: int = 1 << 62


WHOLE = Range()


class Absorption(NamedTuple):
    """One linear layer absorbs ``affine``, of which ``range`` is what it was asked for."""

    position: int
    layout: LinearLayout
    affine: Affine
    range: Range


Plan = list[Absorption]
Guard = Callable[[Layer], Refusal | None]
_IDENTITY = Affine.identity()


class Propagation:
    """Plans the ways of maps through one net while it is edited.

    ``shapes`` are those of the versions the editor started from; ``guard`` says why a linear layer
    must not be changed, if so.
    """

    def __init__(self, editor: Editor, shapes: Shapes, guard: Guard) -> None:
        self.editor = editor
        self.shapes = shapes
        self.guard = guard

    def up(
        self, version: int, affine: Affine, asking: set[int], asked: Range = WHOLE
    ) -> Plan | Refusal:
        """Who absorbs ``affine`` on its output so that ``version`` comes out mapped.

        ``asking`` are the layers that the map stands for; nobody else may read the version.
        """
        editor = self.editor
        if editor.is_input(version):
            return Refusal(SkipCode.NOT_LINEAR, "its input is an input of the net")
        position = editor.producer[version]
        source = editor.layers[position]
        others = [editor.layers[r].name for r in editor.readers[version] if r not in asking]
        if others:
            return Refusal(
                SkipCode.SEVERAL_READERS,
                f"what '{source.name}' computes is also read by "
                + ", ".join(f"'{name}'" for name in dict.fromkeys(others)),
            )
        if editor.is_output(version):
            return Refusal(SkipCode.NET_OUTPUT, f"what '{source.name}' computes is a net output")
        own = op(source)
        if isinstance(own, LinearOp):
            layout = self._layout(position, own)
            if isinstance(layout, Refusal):
                return layout
            if affine.channels not in (1, layout.outputs):
                raise source.error(
                    f"it has {layout.outputs} outputs, but the affine layer behind it "
                    f"{affine.channels} channels; the caffemodel belongs to another net"
                )
            return [Absorption(position, layout, affine, asked)]
        if own.commutes(source):
            return self.up(editor.reads[position][0], affine, {position}, asked)
        match own.channels(source, self._bottoms(position)):
            case Joined():
                return self._up_branches(position, affine, asked)
            case Split() as split:
                return self._up_slice(position, version, split, affine, asked)
        return Refusal(SkipCode.NOT_LINEAR, f"its input comes from '{source.name}' ({source.type})")

    def down(self, version: int, affine: Affine) -> Plan | Refusal:
        """Who absorbs ``affine`` on its input so that ``version`` need not be mapped."""
        editor = self.editor
        if editor.is_output(version):
            return Refusal(SkipCode.NET_OUTPUT, f"'{editor.name[version]}' is an output of the net")
        plan: Plan = []
        for position in dict.fromkeys(editor.readers[version]):
            part = self._down_reader(position, version, affine)
            if isinstance(part, Refusal):
                return part
            plan += part
        return plan

    # ------------------------------------------------------------------------------------ up

    def _up_branches(self, position: int, affine: Affine, asked: Range) -> Plan | Refusal:
        """Each branch of a Concat takes its slice; all or none."""
        layer, inputs = self.editor.layers[position], self.editor.reads[position]
        if len(set(inputs)) != len(inputs):
            return Refusal(
                SkipCode.NOT_LINEAR, f"'{layer.name}' does not join different blobs along channels"
            )
        plan: Plan = []
        at = 0
        for version, count in zip(inputs, self._channels(inputs), strict=True):
            if count is None:
                return Refusal(
                    SkipCode.NOT_LINEAR, f"a branch of '{layer.name}' has no known channel count"
                )
            shifted = asked._replace(delta=asked.delta + at)
            part = self.up(version, affine.part(at, at + count), {position}, shifted)
            if isinstance(part, Refusal):
                return Refusal(part.code, f"a branch of '{layer.name}': {part.message}")
            plan += part
            at += count
        return plan

    def _up_slice(
        self, position: int, version: int, split: Split, affine: Affine, asked: Range
    ) -> Plan | Refusal:
        """Behind a Slice: its input takes the map in this range, the identity elsewhere."""
        if split.ranges is None:
            return self._unknown_slice(position)
        tops = self.editor.writes[position]
        whole = join(
            (affine if made == version else _IDENTITY, stop - start)
            for made, (start, stop) in zip(tops, split.ranges, strict=True)
        )
        start, stop = split.ranges[tops.index(version)]
        delta = asked.delta
        moved = Range(delta - start, max(asked.start, delta), min(asked.stop, delta + stop - start))
        return self.up(self.editor.reads[position][0], whole, {position}, moved)

    # ---------------------------------------------------------------------------------- down

    def _down_reader(self, position: int, version: int, affine: Affine) -> Plan | Refusal:
        layer = self.editor.layers[position]
        own = op(layer)
        if isinstance(own, LinearOp):
            layout = self._layout(position, own)
            if isinstance(layout, Refusal):
                return layout
            refusal = refuse_input(layer, layout, affine)
            return refusal or [Absorption(position, layout, affine, WHOLE)]
        if own.commutes(layer):
            return self.down(self.editor.writes[position][0], affine)
        match own.channels(layer, self._bottoms(position)):
            case Joined():
                return self._down_concat(position, version, affine)
            case Split() as split:
                return self._down_slice(position, split, affine)
        return Refusal(SkipCode.NOT_LINEAR, f"its result is read by '{layer.name}' ({layer.type})")

    def _down_concat(self, position: int, version: int, affine: Affine) -> Plan | Refusal:
        """In front of a Concat: the joined channels take the map here, the identity elsewhere."""
        layer, inputs = self.editor.layers[position], self.editor.reads[position]
        known = [count for count in self._channels(inputs) if count is not None]
        if len(known) < len(inputs):
            return Refusal(SkipCode.NOT_LINEAR, f"'{layer.name}' does not join known channels")
        whole = join(
            (affine if v == version else _IDENTITY, c) for v, c in zip(inputs, known, strict=True)
        )
        return self.down(self.editor.writes[position][0], whole)

    def _down_slice(self, position: int, split: Split, affine: Affine) -> Plan | Refusal:
        if split.ranges is None:
            return self._unknown_slice(position)
        plan: Plan = []
        for made, (start, stop) in zip(self.editor.writes[position], split.ranges, strict=True):
            part = self.down(made, affine.part(start, stop))
            if isinstance(part, Refusal):
                return part
            plan += part
        return plan

    # -------------------------------------------------------------------------------- helpers

    def _layout(self, position: int, own: LinearOp) -> LinearLayout | Refusal:
        layer, reads = self.editor.layers[position], self.editor.reads[position]
        channels = self.shapes.channels(reads[0]) if reads else None
        return self.guard(layer) or own.layout(layer, channels)

    def _bottoms(self, position: int) -> list[Shape]:
        return [self.shapes.versions[version] for version in self.editor.reads[position]]

    def _channels(self, versions: list[int]) -> list[Dim]:
        return [self.shapes.channels(version) for version in versions]

    def _unknown_slice(self, position: int) -> Refusal:
        name = self.editor.layers[position].name
        return Refusal(SkipCode.NOT_LINEAR, f"'{name}' does not slice known channels")
