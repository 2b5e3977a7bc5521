"""Where an affine map may go: up to linear layers that end in it, down to those that begin with it.

Up    through Concat (a slice of the map to every branch), Slice (the other branches get the
      identity), average pooling, Dropout; always exact at a linear layer's output.
Down  through Slice, Concat (the other branches get the identity), average pooling, Dropout; exact
      at a linear layer's input unless padding or a border sees a shift.

Both only plan: the answer is who absorbs what, or the reason why nobody may. Which channels go
where is each layer type's own answer (``Op.channels``, ``Op.commutes``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from caffefold.analysis.shapes import Shapes
from caffefold.ir.affine import Affine, join
from caffefold.ir.edit import Editor
from caffefold.ir.net import Layer
from caffefold.ops.base import Joined, LinearLayout, LinearOp, Refusal, SkipCode, Split
from caffefold.ops.shape import Shape
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


class Plan(NamedTuple):
    """Who absorbs what, so that a map can go."""

    absorptions: list[Absorption]
    mapped: list[int]
    """The versions on the way there, which then hold other values."""


Answer = Plan | Refusal
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

    def up(self, version: int, affine: Affine, asking: set[int], asked: Range = WHOLE) -> Answer:
        """Who absorbs ``affine`` on its output so that ``version`` comes out mapped.

        ``asking`` are the layers that the map stands for; nobody else may read the version.
        """
        editor = self.editor
        if editor.is_input(version):
            return _blocked("its input is an input of the net")
        position = editor.producer[version]
        source = editor.layers[position]
        what = f"the output of '{source.name}' is"
        others = [editor.layers[r].name for r in editor.readers[version] if r not in asking]
        if others:
            names = ", ".join(f"'{name}'" for name in dict.fromkeys(others))
            return Refusal(SkipCode.SEVERAL_READERS, f"{what} also read by {names}")
        if editor.is_output(version):
            return Refusal(SkipCode.NET_OUTPUT, f"{what} a net output")
        own = op(source)
        if isinstance(own, LinearOp):
            layout = self._layout(position, own)
            if isinstance(layout, Refusal):
                return layout
            if affine.channels not in (1, layout.outputs):
                raise source.error(
                    f"it has {layout.outputs} outputs, but the affine layer after it "
                    f"{affine.channels} channels; the caffemodel belongs to another net"
                )
            return Plan([Absorption(position, layout, affine, asked)], [])
        bottoms = self._bottoms(position)
        if own.commutes(source, bottoms):
            before = editor.reads[position][0]
            return _by_way_of(before, self.up(before, affine, {position}, asked))
        match own.channels(source, bottoms):
            case Joined():
                return self._up_branches(position, affine, asked)
            case Split() as split:
                return self._up_slice(position, version, split, affine, asked)
        return _blocked(f"its input comes from '{source.name}' ({source.type})")

    def down(self, version: int, affine: Affine) -> Answer:
        """Who absorbs ``affine`` on its input so that ``version`` need not be mapped."""
        editor = self.editor
        if editor.is_output(version):
            return Refusal(SkipCode.NET_OUTPUT, f"'{editor.name[version]}' is an output of the net")
        readers = dict.fromkeys(editor.readers[version])
        return _together(self._down_reader(position, version, affine) for position in readers)

    # ------------------------------------------------------------------------------------ up

    def _up_branches(self, position: int, affine: Affine, asked: Range) -> Answer:
        """Each branch of a Concat takes its slice; all or none."""
        layer, inputs = self.editor.layers[position], self.editor.reads[position]
        if len(set(inputs)) != len(inputs):
            return _blocked(f"'{layer.name}' does not join different blobs along channels")
        plan = Plan([], [])
        at = 0
        for version in inputs:
            count = self.shapes.channels(version)
            if count is None:
                return _blocked(f"a branch of '{layer.name}' has no known channel count")
            shifted = asked._replace(delta=asked.delta + at)
            part = self.up(version, affine.part(at, at + count), {position}, shifted)
            if isinstance(part, Refusal):
                return Refusal(part.code, f"a branch of '{layer.name}': {part.message}")
            _extend(plan, _by_way_of(version, part))
            at += count
        return plan

    def _up_slice(
        self, position: int, version: int, split: Split, affine: Affine, asked: Range
    ) -> Answer:
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
        before = self.editor.reads[position][0]
        return _by_way_of(before, self.up(before, whole, {position}, moved))

    # ---------------------------------------------------------------------------------- down

    def _down_reader(self, position: int, version: int, affine: Affine) -> Answer:
        layer = self.editor.layers[position]
        own = op(layer)
        if isinstance(own, LinearOp):
            layout = self._layout(position, own)
            if isinstance(layout, Refusal):
                return layout
            refusal = refuse_input(layer, layout, affine)
            return refusal or Plan([Absorption(position, layout, affine, WHOLE)], [])
        bottoms = self._bottoms(position)
        if own.commutes(layer, bottoms):
            made = self.editor.writes[position][0]
            return _by_way_of(made, self.down(made, affine))
        match own.channels(layer, bottoms):
            case Joined():
                return self._down_concat(position, version, affine)
            case Split() as split:
                return self._down_slice(position, split, affine)
        return _blocked(f"its result is read by '{layer.name}' ({layer.type})")

    def _down_concat(self, position: int, version: int, affine: Affine) -> Answer:
        """In front of a Concat: the joined channels take the map here, the identity elsewhere."""
        parts = []
        for read in self.editor.reads[position]:
            count = self.shapes.channels(read)
            if count is None:
                name = self.editor.layers[position].name
                return _blocked(f"'{name}' does not join known channels")
            parts.append((affine if read == version else _IDENTITY, count))
        made = self.editor.writes[position][0]
        return _by_way_of(made, self.down(made, join(parts)))

    def _down_slice(self, position: int, split: Split, affine: Affine) -> Answer:
        if split.ranges is None:
            return self._unknown_slice(position)
        tops = zip(self.editor.writes[position], split.ranges, strict=True)
        parts = ((made, self.down(made, affine.part(*channels))) for made, channels in tops)
        return _together(_by_way_of(made, part) for made, part in parts)

    # -------------------------------------------------------------------------------- helpers

    def _layout(self, position: int, own: LinearOp) -> LinearLayout | Refusal:
        layer, reads = self.editor.layers[position], self.editor.reads[position]
        channels = self.shapes.channels(reads[0]) if reads else None
        return self.guard(layer) or own.layout(layer, channels)

    def _bottoms(self, position: int) -> list[Shape]:
        return [self.shapes.versions[version] for version in self.editor.reads[position]]

    def _unknown_slice(self, position: int) -> Refusal:
        return _blocked(f"'{self.editor.layers[position].name}' does not slice known channels")


def _blocked(message: str) -> Refusal:
    return Refusal(SkipCode.NOT_LINEAR, message)


def _by_way_of(version: int, answer: Answer) -> Answer:
    """The plan, in which ``version`` changes its value as well."""
    if not isinstance(answer, Refusal):
        answer.mapped.append(version)
    return answer


def _together(parts: Iterable[Answer]) -> Answer:
    """All plans as one; the first refusal, if any."""
    plan = Plan([], [])
    for part in parts:
        if isinstance(part, Refusal):
            return part
        _extend(plan, part)
    return plan


def _extend(plan: Plan, part: Answer) -> None:
    """Add a plan to another."""
    assert not isinstance(part, Refusal)
    plan.absorptions.extend(part.absorptions)
    plan.mapped.extend(part.mapped)
