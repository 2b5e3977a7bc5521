"""Which layer of A is which layer of B: by name, by wiring, then by place in the file.

1. Equal names are one layer (twins of one name in order).
2. What has no partner finds one by its wiring: the same type, fed by (or read by) matched layers,
   alike in settings and shapes of weights. One such step makes the next possible, so a net in
   which every name changed is matched from its inputs on.
3. Between neighbours that are matched, equal type, settings and shapes in the same order.

Every step is linear in the number of layers, or n log n. The answer does not depend on which net
is called A: an order of the two is chosen by content.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from caffefold.compare.entries import Dims, LayerInfo
from caffefold.compare.groups import grouped
from caffefold.compare.settings import is_training
from caffefold.frozen import dataclass
from caffefold.ir.graph import Graph
from caffefold.ops.base import Category
from caffefold.ops.table import op_of

_ALIKE = 0.5
"""Share of settings that must agree for two layers without a name in common."""
_FAR = 4
"""How many layers without a partner are looked through."""
_PARTNERS = 64
"""How many equal layers of one gap are tried."""

_Key = tuple[str, tuple[tuple[int, int], ...]]


@dataclass(frozen=True, slots=True)
class Matching:
    """Pairs of positions, both ways, and which of them stand in another order."""

    ab: dict[int, int]
    ba: dict[int, int]
    moved: frozenset[int]
    """Positions in A of pairs that are not part of the longest common order."""


def match(
    a: Sequence[LayerInfo], b: Sequence[LayerInfo], wired_a: Graph, wired_b: Graph
) -> Matching:
    """Pair the layers of two nets. Infos behind the graphs' layers are paired by name only."""
    if _key(b) < _key(a):
        found = match(b, a, wired_b, wired_a)
        return Matching(found.ba, found.ab, frozenset(found.ab[i] for i in found.moved))
    pairs = _Pairs(_Net(a, wired_a, {}), _Net(b, wired_b, {}))
    pairs.by_name()
    pairs.by_wiring()
    pairs.by_place()
    ab = dict(sorted(pairs.a.partner.items()))
    in_order = dict(_longest_increasing(list(ab.items())))
    return Matching(ab, pairs.b.partner, frozenset(i for i in ab if i not in in_order))


def _key(infos: Sequence[LayerInfo]) -> list[tuple[object, ...]]:
    return [(x.name, x.type, x.bottoms, x.tops, x.phase, repr(x.settings), x.shapes) for x in infos]


class _Net(NamedTuple):
    """One net, and the partners its layers have in the other one so far."""

    infos: Sequence[LayerInfo]
    wired: Graph
    partner: dict[int, int]

    def free(self, positions: Iterable[int]) -> list[int]:
        """Those without a partner."""
        return [at for at in positions if at not in self.partner]

    def named(self, *, phases: bool) -> list[tuple[Hashable, int]]:
        """Layers without a partner by name, and by their phase if asked."""
        free = ((self.infos[at], at) for at in self.free(range(len(self.infos))))
        return [((x.name, x.phase if phases else None), at) for x, at in free if x.name]

    def alike(self, positions: Iterable[int], *, strict: bool) -> list[tuple[Hashable, int]]:
        """Those without a partner by settings and shapes; not ``strict``: by shapes of weights."""
        free = ((self.infos[at], at) for at in self.free(positions))
        return [(_token(x, strict), at) for x, at in free if strict or x.shapes]

    def sources(self) -> list[tuple[Hashable, int]]:
        """Layers without a partner that read nothing, by their type and tops."""
        found = self.free(at for at, reads in enumerate(self.wired.reads) if not reads)
        return [((self.infos[at].type, self.infos[at].tops), at) for at in found]

    def below(self, at: int, *, past: bool) -> list[int]:
        """Layers without a partner that read a result of ``at``, or (``past``) what is made of it
        by layers without a partner."""
        found: dict[int, None] = {}
        level = [at]
        for _ in range(_FAR if past else 1):
            level = [
                reader
                for place in level
                for version in self.wired.writes[place]
                for reader in self.wired.versions[version].readers
                if reader not in self.partner and reader not in found
            ]
            found.update(dict.fromkeys(level))
        return list(found)

    def fed(self, at: int, *, past: bool) -> _Key | None:
        """A layer's type and the paired layers (with their top) that feed it; None if unknown.

        What a loss or a measure judges is what is in front of it, not what that is made of.
        """
        past = past and not _judges(self.infos[at])
        sources = [source_of(self.wired, v, self.partner, past=past) for v in self.wired.reads[at]]
        known = tuple(source for source in sources if source is not None)
        return (self.infos[at].type, known) if len(known) == len(sources) else None

    def read_by(self, at: int) -> _Key | None:
        """A layer's type and its readers (with their bottom), which all must have partners."""
        readers = [
            (reader, self.wired.reads[reader].index(version))
            for version in self.wired.writes[at]
            for reader in self.wired.versions[version].readers
        ]
        known = all(reader in self.partner for reader, _ in readers)
        return (self.infos[at].type, tuple(readers)) if readers and known else None

    def translated(self, key: _Key | None) -> _Key | None:
        """A key of this net's positions in those of the other."""
        return None if key is None else (key[0], tuple((self.partner[p], n) for p, n in key[1]))


class _Pairs:
    """The pairs as they grow."""

    def __init__(self, a: _Net, b: _Net) -> None:
        self.a, self.b = a, b
        self.fresh: deque[int] = deque()

    def join(self, i: int, j: int) -> None:
        self.a.partner[i] = j
        self.b.partner[j] = i
        self.fresh.append(i)

    def by_name(self) -> None:
        for phases in (True, False):  # twins first find the twin of their own phase
            self._in_order(self.a.named(phases=phases), self.b.named(phases=phases))

    def _in_order(
        self, keyed_a: Iterable[tuple[Hashable, int]], keyed_b: Iterable[tuple[Hashable, int]]
    ) -> None:
        """Pair what has one key on both sides, in order."""
        free = {key: deque(places) for key, places in grouped(keyed_b).items()}
        for key, i in keyed_a:
            if free.get(key):
                self.join(i, free[key].popleft())

    # ------------------------------------------------------------------------------- wiring

    def by_wiring(self) -> None:
        """From every pair to its neighbours, and on from those that are paired by it."""
        self._siblings(self.a.sources(), self.b.sources())
        self._inputs()
        for past in (False, True):
            self.fresh = deque(self.a.partner)
            while self.fresh:
                i = self.fresh.popleft()
                j = self.a.partner[i]
                if i >= len(self.a.wired.reads) or j >= len(self.b.wired.reads):
                    continue
                self._readers_of(i, j, past=False)
                self._sources_of(i, j)
                if past:
                    self._readers_of(i, j, past=True)

    def _inputs(self) -> None:
        """Pair an Input layer with the source of another type that makes the same blob."""
        makers = {top: j for _, j in self.b.sources() for top in self.b.infos[j].tops}
        for _, i in self.a.sources():
            for j in (makers[top] for top in self.a.infos[i].tops if top in makers):
                types = (self.a.infos[i].type, self.b.infos[j].type)
                if j not in self.b.partner and "Input" in types:
                    self.join(i, j)
                    break

    def _readers_of(self, i: int, j: int, *, past: bool) -> None:
        """Pair readers of one pair that are fed by the same, bottom for bottom."""
        a, b = self.a, self.b
        readers_a = a.below(i, past=past)
        readers_b = b.below(j, past=past) if readers_a else []
        if readers_b:
            fed_a = [(a.translated(a.fed(x, past=past)), x) for x in readers_a]
            self._siblings(fed_a, [(b.fed(x, past=past), x) for x in readers_b])

    def _sources_of(self, i: int, j: int) -> None:
        """Pair what feeds one pair at the same bottom, when the same layers read it."""
        a, b = self.a, self.b
        for one, two in zip(a.wired.reads[i], b.wired.reads[j], strict=False):
            if one < 0 or two < 0:
                continue
            x, y = a.wired.versions[one].producer, b.wired.versions[two].producer
            if x >= 0 and y >= 0 and x not in a.partner and y not in b.partner:
                self._siblings([(a.translated(a.read_by(x)), x)], [(b.read_by(y), y)])

    def _siblings(
        self,
        keyed_a: Iterable[tuple[Hashable, int]],
        keyed_b: Iterable[tuple[Hashable, int]],
    ) -> None:
        """Pair what has one key on both sides: equal ones, then equal shapes, then a last pair."""
        groups_b = grouped(keyed_b)
        for key, group in grouped(keyed_a).items():
            others = groups_b.get(key, []) if key is not None else []
            for strict in (True, False):
                a, b = self.a.alike(group, strict=strict), self.b.alike(others, strict=strict)
                self._in_order(a, b)
            left, right = self.a.free(group), self.b.free(others)
            if len(left) == len(right) == 1 and self._may_be(left[0], right[0]):
                self.join(left[0], right[0])

    def _may_be(self, i: int, j: int) -> bool:
        """Whether two layers of one type in one place are one: alike, or read by the same."""
        if _alike(self.a.infos[i], self.b.infos[j]):
            return True
        key = self.a.translated(self.a.read_by(i))
        return key is not None and key == self.b.read_by(j)

    # -------------------------------------------------------------------------------- place

    def by_place(self) -> None:
        """Between two neighbouring pairs that are in order: equal layers in the same order."""
        in_order = _longest_increasing(sorted(self.a.partner.items()))
        ends = (len(self.a.wired.reads), len(self.b.wired.reads))
        fixed = [(i, j) for i, j in in_order if i < ends[0] and j < ends[1]]
        last_i = last_j = -1
        for i, j in (*fixed, ends):
            left = self.a.free(range(last_i + 1, i))
            right = self.b.free(range(last_j + 1, j))
            if left and right:
                self._gap(left, right)
            last_i, last_j = i, j

    def _gap(self, left: list[int], right: list[int]) -> None:
        """Pair equal layers of one gap in order, each with the next that is equal.

        A loss or a measure is known by what it judges: another one in its place is another one.
        """
        left = [i for i in left if not _judges(self.a.infos[i])]
        places = grouped((_token(self.b.infos[j], True), at) for at, j in enumerate(right))
        # The longest common order: for every layer its possible partners, latest first.
        chain = [
            (i, at)
            for i in left
            for at in reversed(places.get(_token(self.a.infos[i], True), [])[:_PARTNERS])
        ]
        used: set[int] = set()
        for i, at in _longest_increasing(chain):
            if i not in self.a.partner and at not in used:
                used.add(at)
                self.join(i, right[at])


def source_of(
    wired: Graph, version: int, partner: dict[int, int], *, past: bool
) -> tuple[int, int] | None:
    """(layer, number of its top) that makes ``version``; None when that has no partner.

    ``past``: a layer without a partner that has one bottom is looked through.
    """
    while version >= 0:
        producer = wired.versions[version].producer
        if producer < 0:
            return None
        if producer in partner:
            return producer, wired.writes[producer].index(version)
        if not past or len(wired.reads[producer]) != 1:
            return None
        version = wired.reads[producer][0]
    return None


def same_shape(one: Dims, two: Dims) -> bool:
    """Whether shapes agree; ones in front of a legacy 4-D shape do not count (blob.cpp)."""
    return _squeezed(one) == _squeezed(two)


def _squeezed(shape: Dims) -> Dims:
    return tuple(itertools.dropwhile((1).__eq__, shape))


def _token(info: LayerInfo, strict: bool) -> Hashable:
    shapes = tuple(_squeezed(shape) for shape in info.shapes)
    return (info.type, shapes, info.settings) if strict else (info.type, shapes)


def _judges(info: LayerInfo) -> bool:
    """Whether a layer that reads something is a loss or a measure."""
    return bool(info.bottoms) and op_of(info.type).category in (Category.LOSS, Category.MEASURE)


def _alike(one: LayerInfo, two: LayerInfo) -> bool:
    """Whether two layers of one type agree in at least half of what is no training setting."""
    first, second = (
        {item for item in info.settings if not is_training(*item)} for info in (one, two)
    )
    every = len({path for path, _ in first | second})
    return len(first & second) >= _ALIKE * every


def _longest_increasing(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """A longest run of points in which the second members increase."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for index, (_, value) in enumerate(points):
        at = bisect_left(tails, value)
        before.append(ends[at - 1] if at else -1)
        tails[at : at + 1] = [value]
        ends[at : at + 1] = [index]
    index = ends[-1] if ends else -1
    found = []
    while index >= 0:
        found.append(points[index])
        index = before[index]
    return found[::-1]
