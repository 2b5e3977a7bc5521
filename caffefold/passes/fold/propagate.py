"""Where an affine map may go: up to linear layers that end in it, down to those that begin with it.

Up    through Concat (a slice of the map to every branch), Slice (the other branches get the
      identity), average pooling, Dropout; always exact at a linear layer's output.
Down  through Slice, Concat (the other branches get the identity), average pooling, Dropout; exact
      at a linear layer's input unless padding or a border sees a shift.

Both only plan: the answer is who absorbs what, or the reason why nobody may. Which channels go
where is each layer type's own answer (``Op.channels``, ``Op.commutes``).

On the way a map is not written out: a blob remembers which of its channels meet which of the map's,
as runs (``Piece``). Each layer is passed once, whatever joins and parts there are; numbers are made
for the linear layers, whose weights are at least as many.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

import numpy as np

from caffefold.analysis.shapes import Shapes
from caffefold.ir.affine import Affine
from caffefold.ir.edit import Editor
from caffefold.ir.net import Layer
from caffefold.ops.base import (
    ChannelFlow,
    Joined,
    LinearLayout,
    LinearOp,
    Refusal,
    SkipCode,
    Split,
)
from caffefold.ops.shape import Shape
from caffefold.ops.table import op
from caffefold.passes.fold.absorb import refuse_input

# No small text may ask for much time or memory; ordinary nets have a few pieces for each Concat.
_MOST_PIECES = 1 << 18  # of all blobs on one way
_WIDEST = 1 << 20  # channels of a Concat that are not mapped alike

_SHOWN = 5  # names of a list


class Piece(NamedTuple):
    """The channels of a blob from ``at`` on meet the channels ``start:stop`` of a map."""

    at: int
    start: int
    stop: int

    @property
    def end(self) -> int:
        """Where it ends in the blob."""
        return self.at + self.stop - self.start


Pieces = tuple[Piece, ...]
"""In order and apart from each other; channels in between meet the identity."""
WHOLE: Pieces = (Piece(0, 0, 1 << 62),)
"""All channels, however many there are."""


class Absorption(NamedTuple):
    """One linear layer absorbs ``affine``: these ``pieces`` of the map that was asked for."""

    position: int
    layout: LinearLayout
    affine: Affine
    pieces: Pieces


class Plan(NamedTuple):
    """Who absorbs what, so that a map can go."""

    absorptions: list[Absorption]
    mapped: list[int]
    """The versions on the way there, which then hold other values."""
    hops: dict[int, int]
    """From versions on the way that one layer reads and hands on, to what holds the same behind."""


Answer = Plan | Refusal
Guard = Callable[[Layer], Refusal | None]


class _Way:
    """What one map meets: planned so far, and where to go on."""

    def __init__(self, affine: Affine, start: int) -> None:
        self.affine = affine
        self.start = start
        """The version that is, or need not be, mapped."""
        self.plan = Plan([], [], {})
        self.queue: list[int] = []
        """Positions of the layers to pass next, as a heap; negative on the way up."""
        self.met: dict[int, list[int]] = {}
        """By position of these layers, the versions that are to be mapped."""
        self.pieces: dict[int, Pieces] = {}
        """By version."""
        self.branch_of: dict[int, str] = {}
        """By version, the name of the last Concat that was passed."""
        self.left = _MOST_PIECES

    def go_to(self, position: int, key: int, version: int, pieces: Pieces) -> Refusal | None:
        """Pass the layer at ``position`` when ``key`` is the least; refused when it is too much."""
        if position not in self.met:
            heappush(self.queue, key)
        self.met.setdefault(position, []).append(version)
        self.pieces[version] = pieces
        self.left -= len(pieces)
        return None if self.left >= 0 else _blocked("it would go apart into too many pieces")


class Propagation:
    """Plans the ways of maps through one net while it is edited.

    ``shapes`` are those of the versions the editor started from; ``guard`` says why a linear layer
    must not be changed, if so.
    """

    def __init__(self, editor: Editor, shapes: Shapes, guard: Guard) -> None:
        self.editor = editor
        self.shapes = shapes
        self.guard = guard
        self._passes: dict[int, bool] = {}
        self._flows: dict[int, ChannelFlow] = {}
        self._tops: dict[int, dict[int, int]] = {}
        self._above: dict[int, int] = {}
        self._below: dict[int, int] = {}

    def went(self, plan: Plan, *, upward: bool) -> None:
        """The plan was carried out: the next map passes its straight parts in one step.

        Only affine layers go, and none of them reads the versions there: they keep their one
        reader, and hold other values already.
        """
        (self._above if upward else self._below).update(plan.hops)

    def up(self, version: int, affine: Affine, asking: set[int]) -> Answer:
        """Who absorbs ``affine`` on its output so that ``version`` comes out mapped.

        ``asking`` are the layers that the map stands for; nobody else may read the version.
        """
        way = _Way(affine, version)
        refusal = self._ask(way, version, WHOLE, asking)
        way.plan.mapped.clear()  # the first one stays what the layers that go made of it
        while refusal is None and way.queue:
            position = -heappop(way.queue)
            refusal = self._up_through(position, way)
            if refusal is not None:
                refusal = _in_branch(way.branch_of.get(way.met[position][0]), refusal)
        return refusal or way.plan

    def down(self, version: int, affine: Affine) -> Answer:
        """Who absorbs ``affine`` on its input so that ``version`` need not be mapped."""
        way = _Way(affine, version)
        refusal = self._tell(way, version, WHOLE)
        way.plan.mapped.clear()
        while refusal is None and way.queue:
            refusal = self._down_through(heappop(way.queue), way)
        return refusal or way.plan

    # ------------------------------------------------------------------------------------ up

    def _ask(self, way: _Way, version: int, pieces: Pieces, asking: set[int]) -> Refusal | None:
        """Have ``version`` mapped, by the linear layer that makes it or by what that reads."""
        editor = self.editor
        way.plan.mapped.append(version)
        if editor.is_input(version):
            return _blocked("its input is an input of the net")
        position = editor.producer[version]
        source = editor.layers[position]
        what = f"the output of '{source.name}' is"
        readers = editor.readers[version]
        others = islice((r for r in readers if r not in asking), _SHOWN)
        names = dict.fromkeys(f"'{editor.layers[r].name}'" for r in others)
        if names:
            more = len(readers) - len(asking) - _SHOWN
            rest = f" and {more} more" if more > 0 else ""
            return Refusal(
                SkipCode.SEVERAL_READERS, f"{what} also read by {', '.join(names)}{rest}"
            )
        if editor.is_output(version):
            return Refusal(SkipCode.NET_OUTPUT, f"{what} a net output")
        own = op(source)
        if not isinstance(own, LinearOp):
            return way.go_to(position, -position, version, pieces)
        layout = self._layout(position, own)
        if isinstance(layout, Refusal):
            return layout
        found = _written(way.affine, pieces, layout.outputs)
        if found is None:
            raise source.error(
                f"it has {layout.outputs} outputs, but the affine layer after it "
                f"{way.affine.channels} channels; the caffemodel belongs to another net"
            )
        way.plan.absorptions.append(Absorption(position, layout, found, pieces))
        return None

    def _up_through(self, position: int, way: _Way) -> Refusal | None:
        source, versions = self.editor.layers[position], way.met[position]
        bottoms = self._bottoms(position)
        if self._commutes(position, bottoms):
            if versions[0] != way.start:
                way.plan.hops[versions[0]] = self.editor.reads[position][0]
            return self._ask_further(position, way, versions[0], way.pieces[versions[0]])
        match self._flow(position, bottoms):
            case Joined():
                return self._up_branches(position, way.pieces[versions[0]], way)
            case Split() as split:
                if split.ranges is None:
                    return self._unknown_slice(position)
                parts = ((*split.ranges[self._top(position, v)], way.pieces[v]) for v in versions)
                return self._ask_further(position, way, versions[0], _joined(parts, way.affine))
        return _blocked(f"its input comes from '{source.name}' ({source.type})")

    def _ask_further(
        self, position: int, way: _Way, version: int, pieces: Pieces
    ) -> Refusal | None:
        """Behind a layer with one bottom: that is mapped instead of ``version``."""
        first, branch = self.editor.reads[position][0], way.branch_of.get(version)
        before = _end(self._above, first)
        if branch is not None:
            way.branch_of[before] = branch
        asking = {position} if before == first else set(self.editor.readers[before])
        return self._ask(way, before, pieces, asking)

    def _up_branches(self, position: int, pieces: Pieces, way: _Way) -> Refusal | None:
        """Each branch of a Concat takes its slice; all or none."""
        layer, inputs = self.editor.layers[position], self.editor.reads[position]
        if len(set(inputs)) != len(inputs):
            return _blocked(f"'{layer.name}' does not join different blobs along channels")
        at = 0
        for version in inputs:
            count = self.shapes.channels(version)
            if count is None:
                return _blocked(f"a branch of '{layer.name}' has no known channel count")
            way.branch_of[version] = layer.name
            refusal = self._ask(way, version, part_of(pieces, at, at + count), {position})
            if refusal is not None:
                return _in_branch(layer.name, refusal)
            at += count
        return self._too_wide(position, at)

    # ---------------------------------------------------------------------------------- down

    def _tell(self, way: _Way, version: int, pieces: Pieces) -> Refusal | None:
        """All that read ``version`` are to expect it unmapped."""
        editor = self.editor
        way.plan.mapped.append(version)
        if editor.is_output(version):
            return Refusal(SkipCode.NET_OUTPUT, f"'{editor.name[version]}' is an output of the net")
        for reader in dict.fromkeys(editor.readers[version]):
            refusal = way.go_to(reader, reader, version, pieces)
            if refusal is not None:
                return refusal
        return None

    def _down_through(self, position: int, way: _Way) -> Refusal | None:
        layer, version = self.editor.layers[position], way.met[position][0]
        own, pieces = op(layer), way.pieces[version]
        if isinstance(own, LinearOp):
            layout = self._layout(position, own)
            if isinstance(layout, Refusal):
                return layout
            affine: Affine | None = way.affine
            if pieces != WHOLE:
                affine = _written(way.affine, pieces, self.shapes.channels(version))
            if affine is None:
                return _blocked(f"'{layer.name}' does not read known channels")
            way.plan.absorptions.append(Absorption(position, layout, affine, pieces))
            return refuse_input(layer, layout, affine)
        bottoms, tops = self._bottoms(position), self.editor.writes[position]
        if self._commutes(position, bottoms):
            if version != way.start and len(self.editor.readers[version]) == 1:
                way.plan.hops[version] = tops[0]
            return self._tell(way, _end(self._below, tops[0]), pieces)
        match self._flow(position, bottoms):
            case Joined():
                return self._down_concat(position, way)
            case Split() as split:
                if split.ranges is None:
                    return self._unknown_slice(position)
                for made, channels in zip(tops, split.ranges, strict=True):
                    part = part_of(pieces, *channels)
                    refusal = self._tell(way, made, part) if part else None
                    if refusal is not None:
                        return refusal
                return None
        return _blocked(f"its result is read by '{layer.name}' ({layer.type})")

    def _down_concat(self, position: int, way: _Way) -> Refusal | None:
        """In front of a Concat: the joined channels take the map here, the identity elsewhere."""
        parts: list[tuple[int, int, Pieces]] = []
        at = 0
        mapped = set(way.met[position])
        for read in self.editor.reads[position]:
            count = self.shapes.channels(read)
            if count is None:
                name = self.editor.layers[position].name
                return _blocked(f"'{name}' does not join known channels")
            if read in mapped:
                parts.append((at, at + count, way.pieces[read]))
            at += count
        joined = _joined(parts, way.affine)
        alike = way.affine.channels == 1 and joined == (Piece(0, joined[0].start, at),)
        refusal = None if alike else self._too_wide(position, at)
        return refusal or self._tell(way, self.editor.writes[position][0], joined)

    # -------------------------------------------------------------------------------- helpers

    def _layout(self, position: int, own: LinearOp) -> LinearLayout | Refusal:
        layer, reads = self.editor.layers[position], self.editor.reads[position]
        channels = self.shapes.channels(reads[0]) if reads else None
        return self.guard(layer) or own.layout(layer, channels)

    def _bottoms(self, position: int) -> list[Shape]:
        return [self.shapes.versions[version] for version in self.editor.reads[position]]

    def _commutes(self, position: int, bottoms: list[Shape]) -> bool:
        """Whether a map may move through a layer; asked once as well."""
        if position not in self._passes:
            layer = self.editor.layers[position]
            self._passes[position] = op(layer).commutes(layer, bottoms)
        return self._passes[position]

    def _flow(self, position: int, bottoms: list[Shape]) -> ChannelFlow:
        """Where a layer's channels come from; shapes stay the same, so it is asked once."""
        if position not in self._flows:
            layer = self.editor.layers[position]
            self._flows[position] = op(layer).channels(layer, bottoms)
        return self._flows[position]

    def _top(self, position: int, version: int) -> int:
        """Which of the layer's tops a version is."""
        if position not in self._tops:
            self._tops[position] = {v: i for i, v in enumerate(self.editor.writes[position])}
        return self._tops[position][version]

    def _too_wide(self, position: int, channels: int) -> Refusal | None:
        name = self.editor.layers[position].name
        return _blocked(f"'{name}' has {channels} channels") if channels > _WIDEST else None

    def _unknown_slice(self, position: int) -> Refusal:
        return _blocked(f"'{self.editor.layers[position].name}' does not slice known channels")


def _blocked(message: str) -> Refusal:
    return Refusal(SkipCode.NOT_LINEAR, message)


def _in_branch(name: str | None, refusal: Refusal) -> Refusal:
    """The refusal of one branch of the Concat of this name."""
    return (
        refusal
        if name is None
        else refusal._replace(message=f"a branch of '{name}': {refusal.message}")
    )


def _end(hops: dict[int, int], start: int) -> int:
    """Where the hops from ``start`` lead; next time in one."""
    end, passed = start, []
    while end in hops:
        passed.append(end)
        end = hops[end]
    hops.update(dict.fromkeys(passed, end))
    return end


# ------------------------------------------------------------------------------------- pieces


def part_of(pieces: Pieces, start: int, stop: int) -> Pieces:
    """What the channels ``start:stop`` meet, counted from ``start``."""
    first = max(bisect_right(pieces, start, key=lambda piece: piece.at) - 1, 0)
    found = []
    for piece in islice(pieces, first, None):
        if piece.at >= stop:
            break
        low, high = max(piece.at, start), min(piece.end, stop)
        if low < high:
            moved = piece.start - piece.at
            found.append(Piece(low - start, low + moved, high + moved))
    return tuple(found)


def _joined(parts: Iterable[tuple[int, int, Pieces]], affine: Affine) -> Pieces:
    """What channels meet of which the ranges ``start:stop`` meet these pieces.

    Neighbours that meet neighbours become one piece; where all channels are mapped alike, all do.
    """
    found: list[Piece] = []
    for start, stop, pieces in sorted(parts):
        for piece in part_of(pieces, 0, stop - start):
            at, last = piece.at + start, found[-1] if found else WHOLE[0]
            if last.end == at and (affine.channels == 1 or last.stop == piece.start):
                found[-1] = last._replace(stop=last.stop + piece.stop - piece.start)
            else:
                found.append(piece._replace(at=at))
    return tuple(found)


def _written(affine: Affine, pieces: Pieces, channels: int | None) -> Affine | None:
    """These pieces of a map as a map of so many channels; None when that cannot be.

    A map of one number for all channels stays that, where no channel is left out.
    """
    if pieces == WHOLE:
        return affine if channels is None or affine.channels in (1, channels) else None
    if channels is None:
        return None
    pieces = part_of(pieces, 0, channels)
    if affine.channels == 1 and len(pieces) == 1 and pieces[0].end == pieces[0].at + channels:
        return affine
    scale, shift, terms = np.ones(channels), np.zeros(channels), np.zeros(channels)
    for piece in pieces:
        part, there = affine.part(piece.start, piece.stop), slice(piece.at, piece.end)
        if part.channels not in (1, piece.stop - piece.start):
            return None
        scale[there], shift[there], terms[there] = part.scale, part.shift, part.sizes
    return Affine(scale, shift, terms)
