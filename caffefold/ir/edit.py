"""A net being rewired: layers go, and what read their result reads what they read.

Works on versions (ir/graph.py), not on names; names are given out again at the end, so that
net inputs and outputs keep theirs and no layer reads another value than it is meant to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE
from caffefold.ir.net import Layer, Net


class _Bypassed(NamedTuple):
    """What taking one layer out changed, as it was before: of the layer's neighbours only."""

    position: int
    name: str
    """Of its input."""
    readers: dict[int, list[int]]
    reads: dict[int, list[int]]
    named: dict[str, list[int]]
    outputs: set[int] | None
    """None: they stayed the same."""


class Editor:
    """The layers of one net and the versions between them; the given net stays as it is."""

    def __init__(self, net: Net) -> None:
        wiring = graph.validate(net)
        self.graph = wiring
        self._net = net
        self.layers: list[Layer] = list(net.layers)
        self.alive = [True] * len(self.layers)
        self.reads = [list(versions) for versions in wiring.reads]
        self.writes = [list(versions) for versions in wiring.writes]
        self.producer = [version.producer for version in wiring.versions]
        self.readers = [list(version.readers) for version in wiring.versions]
        self.name = [version.blob for version in wiring.versions]
        self._named: dict[str, list[int]] = {}
        for version, name in enumerate(self.name):
            self._named.setdefault(name, []).append(version)
        self._outputs = {i for i in wiring.sinks if self.producer[i] != OUTSIDE}

    def is_output(self, version: int) -> bool:
        """Whether the net hands this version out."""
        return version in self._outputs

    def source(self, version: int) -> Layer | None:
        """The layer that makes a version; None for a net input without a layer."""
        position = self.producer[version]
        return None if position == OUTSIDE else self.layers[position]

    def is_input(self, version: int) -> bool:
        """Whether the version comes from outside, so that its name is not ours to change."""
        source = self.source(version)
        return source is None or source.is_input

    def follower(self, position: int) -> int:
        """The one layer that reads what a one-output layer writes; -1 when others, or the outside
        world, see it too."""
        version = self.writes[position][0]
        readers = self.readers[version]
        return readers[0] if len(readers) == 1 and not self.is_output(version) else -1

    # ----------------------------------------------------------------------------- changes

    def bypass(self, positions: Iterable[int]) -> bool:
        """Take one-input, one-output layers out: what read their result reads their input.

        All or none: False, and nothing changed, when a net input or output would lose its name.
        """
        done: list[_Bypassed] = []
        for position in positions:
            step = self._bypass(position)
            if step is None:
                for each in reversed(done):
                    self._undo(each)
                return False
            done.append(step)
        return True

    def _bypass(self, position: int) -> _Bypassed | None:
        name = self._common_name(position)
        if name is None:
            return None
        before, after = self.reads[position][0], self.writes[position][0]
        old = self.name[before]
        step = _Bypassed(
            position,
            old,
            {version: self.readers[version] for version in (before, after)},
            {reader: self.reads[reader] for reader in self.readers[after]},
            {each: list(self._named[each]) for each in (old, name)},
            set(self._outputs) if after in self._outputs else None,
        )
        self.alive[position] = False
        for reader in self.readers[after]:
            self.reads[reader] = [before if v == after else v for v in self.reads[reader]]
        staying = [reader for reader in self.readers[before] if reader != position]
        self.readers[before] = sorted(staying + self.readers[after])
        self.readers[after] = []
        if after in self._outputs:
            self._outputs.discard(after)
            self._outputs.add(before)
        self._named[old].remove(before)
        self._named[name].append(before)
        self.name[before] = name
        return step

    def _undo(self, step: _Bypassed) -> None:
        before = self.reads[step.position][0]
        self.alive[step.position] = True
        self.name[before] = step.name
        for version, readers in step.readers.items():
            self.readers[version] = readers
        for reader, reads in step.reads.items():
            self.reads[reader] = reads
        self._named.update(step.named)
        if step.outputs is not None:
            self._outputs = step.outputs

    def _common_name(self, position: int) -> str | None:
        """A name for the layer's input and output together, or None when there is none.

        Names that are visible outside win; then the name later layers already read.
        """
        before, after = self.reads[position][0], self.writes[position][0]
        if self.is_output(after) and (self.is_input(before) or self.is_output(before)):
            same = self.name[before] == self.name[after]
            return self.name[after] if same and not self.is_output(before) else None
        shared = any(reader != position for reader in self.readers[before])
        if self.is_output(after) and shared:
            return None  # a blob that somebody reads is no output in Caffe
        if self.is_input(before) or self.is_output(before):
            wishes = [self.name[before]]
        elif self.is_output(after):
            wishes = [self.name[after]]
        else:
            wishes = [self.name[v] for v in ((before, after) if shared else (after, before))]
        free = (wish for wish in wishes if self._free_for(wish, before, after, position))
        return next(free, None)

    def _free_for(self, name: str, before: int, after: int, going: int) -> bool:
        """Whether the joined version can be called ``name``: its readers must find it, not another.

        Caffe lets a name be written again only in place, so the next writer of the name has to be
        an in-place layer on the joined version, behind all its other readers.
        """
        made = self.producer[before]
        readers = [r for r in self.readers[before] + self.readers[after] if r != going]
        others = [
            v
            for v in self._named[name]
            if v not in (before, after) and (self.source(v) is None or self.alive[self.producer[v]])
        ]
        if name != self.name[before] and any(self.producer[v] <= made for v in others):
            return False
        later = [v for v in others if self.producer[v] > made]
        if not later:
            return True
        following = min(later, key=lambda v: self.producer[v])
        visible = self.is_output(before) or self.is_output(after)
        return (
            not visible
            and self._in_place_on(following, before, after)
            and max(readers, default=made) <= self.producer[following]
        )

    def _in_place_on(self, version: int, before: int, after: int) -> bool:
        """Whether ``version`` is the joined version, written in place by its last reader."""
        position = self.producer[version]
        top = self.writes[position].index(version)
        reads = self.reads[position]
        return top < len(reads) and reads[top] in (before, after)

    # ------------------------------------------------------------------------------ result

    def to_net(self) -> Net:
        """The net as rewired; layers whose wiring did not change keep their text."""
        new: dict[int, tuple[Layer, ...]] = {}
        for position, original in enumerate(self._net.layers):
            if not self.alive[position]:
                new[position] = ()
                continue
            bottoms = tuple(self.name[v] for v in self.reads[position])
            tops = tuple(self.name[v] for v in self.writes[position])
            wired = self.layers[position].with_wiring(bottoms, tops)
            if wired is not original:
                new[position] = (wired,)
        return self._net.substitute(new) if new else self._net
