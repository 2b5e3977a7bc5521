"""A net being rewired: layers go, and what read their result reads what they read.

Works on versions (ir/graph.py), not on names, and knows which value each version holds. Net inputs
and outputs keep their names, no layer reads another value than it is meant to, and a name that
stays is the name of the value it had: what holds another one is called something new.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
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
    value: int
    """What its input held."""
    same: int | None
    """The value that was found to be that of its input; None: it was known, or is another."""


_NO_VALUE = -1  # of a version that holds what no version of the given net did


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
        # What a name promises is what it holds when the net has run.
        self._promised = {name: versions[-1] for name, versions in self._named.items()}
        self._value = list(range(len(self.name)))  # by version: whose numbers it holds now
        self._tried: dict[str, int] = {}  # by name, the last number behind it that was taken
        self._same: dict[int, int] = {}  # values that are one and the same

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

    def bypass(
        self, positions: Iterable[int], taker: int | None = None, mapped: Collection[int] = ()
    ) -> bool:
        """Take one-input, one-output layers out: what read their result reads their input.

        ``taker`` is a layer that computes from now on what they did: in front of them, so that
        what they read is what they made; or behind them. None: they changed nothing. ``mapped``
        are the versions between it and them, which then hold what no blob held before.

        All or none: False, and nothing changed, when a net input or output would lose its name, or
        its name be that of another value.
        """
        done: list[_Bypassed] = []
        held = {version: self._value[version] for version in mapped}
        for position in positions:
            step = self._bypass(position, taker)
            if step is None:
                break
            done.append(step)
        else:
            for version in mapped:
                self._value[version] = _NO_VALUE
            joined = (self.reads[step.position][0] for step in done)
            names = {step.name for step in done} | {self.name[v] for v in (*joined, *mapped)}
            if not any(self._is_fixed(name) and self._lies(name) for name in names):
                return True
        for version, value in held.items():
            self._value[version] = value
        for each in reversed(done):
            self._undo(each)
        return False

    def _bypass(self, position: int, taker: int | None) -> _Bypassed | None:
        name = self._common_name(position, taker)
        if name is None:
            return None
        before, after = self.reads[position][0], self.writes[position][0]
        old = self.name[before]
        value, made = self._found(self._value[before]), self._found(self._value[after])
        step = _Bypassed(
            position,
            old,
            {version: self.readers[version] for version in (before, after)},
            {reader: self.reads[reader] for reader in self.readers[after]},
            {each: list(self._named.get(each, ())) for each in (old, name)},
            set(self._outputs) if after in self._outputs else None,
            self._value[before],
            made if taker is None and _NO_VALUE < made != value else None,
        )
        if step.same is not None:
            self._same[made] = value
        elif taker is not None and taker < position:
            self._value[before] = made
        self.alive[position] = False
        for reader in self.readers[after]:
            self.reads[reader] = [before if v == after else v for v in self.reads[reader]]
        staying = [reader for reader in self.readers[before] if reader != position]
        self.readers[before] = sorted(staying + self.readers[after])
        self.readers[after] = []
        if after in self._outputs:
            self._outputs.discard(after)
            self._outputs.add(before)
        self._rename(before, name)
        return step

    def _undo(self, step: _Bypassed) -> None:
        before = self.reads[step.position][0]
        self.alive[step.position] = True
        self.name[before] = step.name
        self._value[before] = step.value
        if step.same is not None:
            del self._same[step.same]
        for version, readers in step.readers.items():
            self.readers[version] = readers
        for reader, reads in step.reads.items():
            self.reads[reader] = reads
        for name, versions in step.named.items():
            self._named[name] = versions
            if not versions:
                del self._named[name]
        if step.outputs is not None:
            self._outputs = step.outputs

    # ------------------------------------------------------------------------------- names

    def _found(self, value: int) -> int:
        """The one that stands for all values known to be the same."""
        while value in self._same:
            value = self._same[value]
        return value

    def _rename(self, version: int, name: str) -> None:
        self._named[self.name[version]].remove(version)
        self._named.setdefault(name, []).append(version)
        self.name[version] = name

    def _fresh(self, name: str) -> str:
        """A name that no blob has or had."""
        for n in itertools.count(self._tried.get(name, 1)):
            wish = f"{name}_folded{n if n > 1 else ''}"
            if wish not in self._named and wish not in self._promised:
                return wish
            self._tried[name] = n
        raise AssertionError

    def _made(self, name: str) -> list[int]:
        """The versions of this name that are still there: from outside, or their layer is."""
        return [version for version in self._named[name] if self._is_made(version)]

    def _is_made(self, version: int) -> bool:
        return self.producer[version] == OUTSIDE or self.alive[self.producer[version]]

    def _is_fixed(self, name: str) -> bool:
        """Whether a net input or output has this name."""
        return any(self.is_input(v) or self.is_output(v) for v in self._made(name))

    def _lies(self, name: str) -> bool:
        """Whether what a name holds when the net has run is not what it held in the given net."""
        made = self._made(name)
        if not made or name not in self._promised:
            return False
        last = max(made, key=lambda version: self.producer[version])
        return self._found(self._value[last]) != self._found(self._promised[name])

    def _common_name(self, position: int, taker: int | None) -> str | None:
        """A name for the layer's input and output together, or None when there is none.

        Names that are visible outside win; then that of the value that is left; where the layer
        changed nothing, the name later layers already read; then a new one.
        """
        before, after = self.reads[position][0], self.writes[position][0]
        if self.is_output(after) and (self.is_input(before) or self.is_output(before)):
            same = self.name[before] == self.name[after]
            return self.name[after] if same and not self.is_output(before) else None
        shared = any(reader != position for reader in self.readers[before])
        if self.is_output(after) and shared:
            return None  # a blob that somebody reads is no output in Caffe
        fixed = True
        if self.is_input(before) or self.is_output(before):
            wishes = [self.name[before]]
        elif self.is_output(after):
            wishes = [self.name[after]]
        else:
            fixed = False
            wishes = [self.name[v] for v in ((before, after) if shared else (after, before))]
            if taker is not None:
                wishes = [self.name[after if taker < position else before]]
        free = (wish for wish in wishes if self._free_for(wish, before, after, position))
        return next(free, None if fixed else self._fresh(wishes[0]))

    def _free_for(self, name: str, before: int, after: int, going: int) -> bool:
        """Whether the joined version can be called ``name``: its readers must find it, not another.

        Caffe lets a name be written again only in place, so the next writer of the name has to be
        an in-place layer on the joined version, behind all its other readers.
        """
        made = self.producer[before]
        readers = [r for r in self.readers[before] + self.readers[after] if r != going]
        others = [
            v for v in self._named.get(name, ()) if v not in (before, after) and self._is_made(v)
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
        """The net as rewired; layers whose wiring did not change keep their text.

        Names that would be those of other values than before are replaced.
        """
        for name in [name for name in self._named if self._lies(name)]:
            instead = self._fresh(name)
            for version in list(self._named[name]):
                self._rename(version, instead)
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
