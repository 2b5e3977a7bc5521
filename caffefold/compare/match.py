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

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from caffefold.compare.entries import Dims, LayerInfo
from caffefold.compare.settings import is_training
from caffefold.ir.graph import Graph

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
    pairs = _Pairs(a, b, wired_a, wired_b)
    pairs.by_name()
    pairs.by_wiring()
    pairs.by_place()
    ab = dict(sorted(pairs.ab.items()))
    in_order = dict(_longest_increasing(list(ab.items())))
    return Matching(ab, pairs.ba, frozenset(i for i in ab if i not in in_order))


def _key(infos: Sequence[LayerInfo]) -> list[tuple[object, ...]]:
    return [(x.name, x.type, x.bottoms, x.tops, x.phase, repr(x.settings), x.shapes) for x in infos]


class _Pairs:
    """The pairs as they grow."""

    def __init__(
        self, a: Sequence[LayerInfo], b: Sequence[LayerInfo], wired_a: Graph, wired_b: Graph
    ) -> None:
        self.a, self.b = a, b
        self.wired_a, self.wired_b = wired_a, wired_b
        self.ab: dict[int, int] = {}
        self.ba: dict[int, int] = {}
        self.fresh: deque[int] = deque()

    def join(self, i: int, j: int) -> None:
        self.ab[i] = j
        self.ba[j] = i
        self.fresh.append(i)

    # -------------------------------------------------------------------------------- names

    def by_name(self) -> None:
        for phases in (True, False):  # twins first find the twin of their own phase
            places: dict[Hashable, list[int]] = defaultdict(list)
            for j, info in enumerate(self.b):
                if j not in self.ba:
                    places[info.name, info.phase if phases else None].append(j)
            taken: dict[Hashable, int] = defaultdict(int)
            for i, info in enumerate(self.a):
                key = (info.name, info.phase if phases else None)
                if i in self.ab or not info.name or taken[key] >= len(places[key]):
                    continue
                self.join(i, places[key][taken[key]])
                taken[key] += 1

    # ------------------------------------------------------------------------------- wiring

    def by_wiring(self) -> None:
        """From every pair to its neighbours, and on from those that are paired by it."""
        loose_a = [
            i for i, reads in enumerate(self.wired_a.reads) if not reads and i not in self.ab
        ]
        loose_b = [
            j for j, reads in enumerate(self.wired_b.reads) if not reads and j not in self.ba
        ]
        self._siblings(
            [(i, (self.a[i].type, self.a[i].tops)) for i in loose_a],
            [(j, (self.b[j].type, self.b[j].tops)) for j in loose_b],
        )
        self._inputs(loose_a, loose_b)
        for past in (False, True):
            self.fresh = deque(self.ab)
            while self.fresh:
                i = self.fresh.popleft()
                if i >= len(self.wired_a.reads) or self.ab[i] >= len(self.wired_b.reads):
                    continue
                self._readers_of(i, self.ab[i], past=False)
                self._sources_of(i, self.ab[i])
                if past:
                    self._readers_of(i, self.ab[i], past=True)

    def _inputs(self, loose_a: list[int], loose_b: list[int]) -> None:
        """Pair an Input layer with the source of another type that makes the same blob."""
        makers = {top: j for j in loose_b if j not in self.ba for top in self.b[j].tops}
        for i in (i for i in loose_a if i not in self.ab):
            found = (makers[top] for top in self.a[i].tops if top in makers)
            for j in found:
                types = (self.a[i].type, self.b[j].type)
                if j not in self.ba and "Input" in types:
                    self.join(i, j)
                    break

    def _readers_of(self, i: int, j: int, *, past: bool) -> None:
        """Pair readers of one pair that are fed by the same, bottom for bottom."""
        readers_a = self._below(self.wired_a, i, self.ab, past)
        readers_b = self._below(self.wired_b, j, self.ba, past) if readers_a else []
        if not readers_b:
            return
        fed_a = [(x, self._fed(self.a, self.wired_a, x, self.ab, past)) for x in readers_a]
        fed_b = [(x, self._fed(self.b, self.wired_b, x, self.ba, past)) for x in readers_b]
        self._siblings([(x, self._translated(key)) for x, key in fed_a], fed_b)

    def _below(self, wired: Graph, at: int, partner: dict[int, int], past: bool) -> list[int]:
        """Layers without a partner that read a result of ``at``, or (``past``) what is made of it
        by layers without a partner."""
        found: dict[int, None] = {}
        level = [at]
        for _ in range(_FAR if past else 1):
            level = [
                reader
                for place in level
                for version in wired.writes[place]
                for reader in wired.versions[version].readers
                if reader not in partner and reader not in found
            ]
            found.update(dict.fromkeys(level))
        return list(found)

    def _fed(
        self, infos: Sequence[LayerInfo], wired: Graph, at: int, partner: dict[int, int], past: bool
    ) -> _Key | None:
        """A layer's type and the paired layers (with their top) that feed it; None if unknown."""
        sources = [source_of(wired, v, partner, past=past) for v in wired.reads[at]]
        known = tuple(source for source in sources if source is not None)
        return (infos[at].type, known) if len(known) == len(sources) else None

    def _sources_of(self, i: int, j: int) -> None:
        """Pair what feeds one pair at the same bottom, when the same layers read it."""
        for one, two in zip(self.wired_a.reads[i], self.wired_b.reads[j], strict=False):
            if one < 0 or two < 0:
                continue
            x, y = self.wired_a.versions[one].producer, self.wired_b.versions[two].producer
            if x < 0 or y < 0 or x in self.ab or y in self.ba:
                continue
            key_a = self._read_by(self.a, self.wired_a, x, self.ab)
            key_b = self._read_by(self.b, self.wired_b, y, self.ba)
            self._siblings([(x, self._translated(key_a))], [(y, key_b)])

    def _read_by(
        self, infos: Sequence[LayerInfo], wired: Graph, at: int, partner: dict[int, int]
    ) -> _Key | None:
        """A layer's type and its readers (with their bottom), which all must have partners."""
        readers = [
            (reader, wired.reads[reader].index(version))
            for version in wired.writes[at]
            for reader in wired.versions[version].readers
        ]
        known = all(reader in partner for reader, _ in readers)
        return (infos[at].type, tuple(readers)) if readers and known else None

    def _translated(self, key: _Key | None) -> _Key | None:
        """A key of A's positions in those of B."""
        return None if key is None else (key[0], tuple((self.ab[p], n) for p, n in key[1]))

    def _siblings(
        self,
        keyed_a: Iterable[tuple[int, Hashable]],
        keyed_b: Iterable[tuple[int, Hashable]],
    ) -> None:
        """Pair what has one key on both sides: equal ones, then equal shapes, then a last pair."""
        groups_a, groups_b = _grouped(keyed_a), _grouped(keyed_b)
        for key, group in groups_a.items():
            others = groups_b.get(key, [])
            for strict in (True, False):
                self._in_order(group, others, strict=strict)
            left = [i for i in group if i not in self.ab]
            right = [j for j in others if j not in self.ba]
            if len(left) == len(right) == 1 and self._may_be(left[0], right[0]):
                self.join(left[0], right[0])

    def _may_be(self, i: int, j: int) -> bool:
        """Whether two layers of one type in one place are one: alike, or read by the same."""
        if _alike(self.a[i], self.b[j]):
            return True
        key_a = self._translated(self._read_by(self.a, self.wired_a, i, self.ab))
        return key_a is not None and key_a == self._read_by(self.b, self.wired_b, j, self.ba)

    def _in_order(self, group: list[int], others: list[int], *, strict: bool) -> None:
        """Pair equal members in order; ``strict``: settings and shapes, else shapes of weights."""
        free: dict[Hashable, list[int]] = defaultdict(list)
        for j in reversed(others):
            if j not in self.ba:
                free[_token(self.b[j], strict)].append(j)
        for i in group:
            token = _token(self.a[i], strict)
            if i not in self.ab and (strict or self.a[i].shapes) and free.get(token):
                self.join(i, free[token].pop())

    # -------------------------------------------------------------------------------- place

    def by_place(self) -> None:
        """Between two neighbouring pairs that are in order: equal layers in the same order."""
        in_order = _longest_increasing(sorted(self.ab.items()))
        ends = (len(self.wired_a.reads), len(self.wired_b.reads))
        fixed = [(i, j) for i, j in in_order if i < ends[0] and j < ends[1]]
        last_i = last_j = -1
        for i, j in (*fixed, ends):
            left = [x for x in range(last_i + 1, i) if x not in self.ab]
            right = [x for x in range(last_j + 1, j) if x not in self.ba]
            if left and right:
                self._gap(left, right)
            last_i, last_j = i, j

    def _gap(self, left: list[int], right: list[int]) -> None:
        """Pair equal layers of one gap in order, each with the next that is equal."""
        places: dict[Hashable, list[int]] = defaultdict(list)
        for at, j in enumerate(right):
            places[_token(self.b[j], True)].append(at)
        # The longest common order: for every layer its possible partners, latest first.
        chain = [
            (i, at)
            for i in left
            for at in reversed(places.get(_token(self.a[i], True), [])[:_PARTNERS])
        ]
        used: set[int] = set()
        for i, at in _longest_increasing(chain):
            if i not in self.ab and at not in used:
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
    return one == two or _squeezed(one) == _squeezed(two)


def _squeezed(shape: Dims) -> Dims:
    at = 0
    while at < len(shape) and shape[at] == 1:
        at += 1
    return shape[at:]


def _token(info: LayerInfo, strict: bool) -> Hashable:
    shapes = tuple(_squeezed(shape) for shape in info.shapes)
    return (info.type, shapes, info.settings) if strict else (info.type, shapes)


def _alike(one: LayerInfo, two: LayerInfo) -> bool:
    """Whether two layers of one type agree in at least half of what is no training setting."""
    first, second = (
        {item for item in info.settings if not is_training(*item)} for info in (one, two)
    )
    every = len({path for path, _ in first | second})
    return len(first & second) >= _ALIKE * every


def _grouped(keyed: Iterable[tuple[int, Hashable]]) -> dict[Hashable, list[int]]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in keyed:
        if key is not None:
            groups[key].append(place)
    return groups


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
