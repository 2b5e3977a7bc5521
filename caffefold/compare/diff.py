"""``caffefold.diff``: two nets in, one NetDiff out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property

from caffefold.compare import explain, load
from caffefold.compare.entries import (
    SYMBOLS,
    Aligned,
    BlobDiff,
    FieldChange,
    FoldMatch,
    LayerInfo,
    OneSided,
    Pair,
    Row,
    Wiring,
    mirrored,
)
from caffefold.compare.fold_check import Checker
from caffefold.compare.folds import Finder
from caffefold.compare.load import ComparedNet, NetLike, Scope
from caffefold.compare.match import match, source_of
from caffefold.compare.render import json, text
from caffefold.compare.settings import SettingMap
from caffefold.compare.summary import Summary
from caffefold.compare.weights import Tolerance, compare, same_statistics
from caffefold.errors import UsageError
from caffefold.frozen import dataclass
from caffefold.ops.affine import BATCH_NORM
from caffefold.ops.table import op_of
from caffefold.options import PathLike

LEVELS = ("full", "structure")
_HIDDEN = frozenset({"data", "loss", "training", "input", "head"})


@dataclass(frozen=True, repr=False)
class NetDiff(Aligned):
    """What changed from net ``a`` to net ``b``. True when they differ.

    ``str()`` is what ``caffefold diff`` prints; a notebook shows the HTML page.
    """

    @cached_property
    def summary(self) -> Summary:
        """The difference in groups by name, which all renderers lay out."""
        return Summary(self)

    def mirrored(self) -> NetDiff:
        """The difference from ``b`` to ``a``; rows keep their order."""
        found: NetDiff = mirrored(self)
        return found

    def to_json(self) -> str:
        """The difference as a JSON document; its keys are those of ``caffefold diff --json``."""
        return json.to_json(self, self.summary.weights)

    def __repr__(self) -> str:
        counts = [f"{n} {SYMBOLS[s]}" for s, n in self.totals.items() if n and s != "="]
        return f"<NetDiff {self.a.path} -> {self.b.path}: {', '.join(counts) or 'no difference'}>"

    def __str__(self) -> str:
        return "\n".join(text.overview(self.summary))

    def _repr_html_(self) -> str:
        from caffefold.compare.render import markup

        return markup.body(self.summary)


def diff(
    a: NetLike,
    b: NetLike,
    *,
    weights: tuple[PathLike | None, PathLike | None] = (None, None),
    level: str = "full",
    ignore_training: bool = False,
    phase: str | None = None,
    stages: Iterable[str] = (),
    only: Iterable[str] = (),
    rtol: float = 0.0,
    atol: float = 0.0,
) -> NetDiff:
    """What changed from net ``a`` to net ``b``.

    Both are brought to one form first: upgraded, one phase, Caffe's defaults left out. Spelling,
    layout and order of fields never count::

        found = caffefold.diff("train.prototxt", "deploy.prototxt")
        for entry in found.entries:
            print(entry.symbol, entry)

    Args:
        a: a net in memory, a (prototxt, caffemodel) pair, or a path: a prototxt of any age, a
            template, a solver, a caffemodel, or a folder with a pair;
        b: the same.
        weights: caffemodels of ``a`` and ``b``, where these are paths of prototxts.
        level: ``"full"``, or ``"structure"``: names, types and wiring only.
        ignore_training: leave out rates, fillers, rules, data layers, losses and their heads.
        phase: compare TEST or TRAIN alone; None: TEST, then the layers of other phases.
        stages: the stages that are on.
        only: glob patterns of layer names; other layers are ignored.
        rtol: numbers agree when ``|a - b| <= atol + rtol * max(|a|, |b|)``.
        atol: see ``rtol``.

    Returns:
        The answer; it is true when the nets differ.

    Raises:
        InputError: a file is missing, broken, or not what it should be.
        UsageError: an option is none of those above.
    """
    if level not in LEVELS:
        raise UsageError(f"level {level!r}: choose one of {', '.join(LEVELS)}")
    if phase not in (None, "TEST", "TRAIN"):
        raise UsageError(f"phase {phase!r}: choose TEST or TRAIN")
    if not (rtol >= 0 and atol >= 0):
        raise UsageError("rtol and atol must not be negative")
    given = [load.find(net, file) for net, file in zip((a, b), weights, strict=True)]
    if given[0].path == given[1].path:  # two states of one net: its file cannot tell them apart
        given = [
            one._replace(path=f"{one.path} ({side}, in memory)") if one.net is not None else one
            for side, one in zip("AB", given, strict=True)
        ]
    snapshots = [one.is_snapshot for one in given]
    scope = Scope(
        phase,
        tuple(stages),
        structure=level == "structure",
        ignore_training=ignore_training,
        parameters=not any(snapshots) or all(snapshots),
        numbers=level == "full" and all(one.has_weights for one in given),
    )
    with ExitStack() as files:
        nets = [files.enter_context(load.opened(one, scope)) for one in given]
        notes = [note for net in nets for note in net.info.notes]
        if not scope.parameters:
            notes.append("one side is only a caffemodel: layer parameters were not compared")
        lonely = [one.path for one in given if one.has_weights]
        if len(lonely) == 1 and not scope.structure:
            notes.append(f"only {lonely[0]} has weights: no weights were compared")
        work = _Comparer(nets[0], nets[1], scope, tuple(only), Tolerance(rtol, atol))
        return work.result(level, tuple(dict.fromkeys(notes)))


class _Comparer:
    """One comparison of two open nets."""

    def __init__(
        self,
        a: ComparedNet,
        b: ComparedNet,
        scope: Scope,
        only: tuple[str, ...],
        tolerance: Tolerance,
    ) -> None:
        self.a, self.b, self.scope, self.only, self.tolerance = a, b, scope, only, tolerance
        self.pairs = match(a.infos, b.infos, a.wiring, b.wiring)
        self.reasons = explain.explain(a, b, self.pairs.ab, self.pairs.ba)
        self.replaced = {
            pair
            for r in self.reasons.replacements
            for pair in itertools.product(r.removed, r.added)
        }
        self.folds = (*self.find_folds(inverse=False), *self.find_folds(inverse=True))
        exact = [fold for fold in self.folds if not fold.problem]
        self.inside_a = {name for fold in exact if fold.inverse for name in fold.into}
        self.inside_b = {name for fold in exact if not fold.inverse for name in fold.into}

    def find_folds(self, *, inverse: bool) -> tuple[FoldMatch, ...]:
        """Folds in one direction, checked where both nets have weights."""
        plain, folded, partner, codes = self.a, self.b, self.pairs.ab, self.reasons.a
        if inverse:
            plain, folded, partner, codes = self.b, self.a, self.pairs.ba, self.reasons.b
        found = tuple(Finder(plain, folded, partner, set(codes)).find())
        if self.only:
            found = tuple(f for f in found if any(map(self.wanted, (*f.layers, *f.into))))
        explained = {name for fold in found if fold.into for name in fold.layers}
        for i in range(plain.in_phase):
            if i not in partner and i not in codes and plain.layers[i].name in explained:
                codes[i] = "fold"
        if self.scope.numbers and found:
            found = Checker(plain, folded, partner, self.tolerance).check(found)
        return tuple(replace(fold, inverse=inverse) for fold in found)

    def wanted(self, *names: str) -> bool:
        """Whether a layer is compared."""
        if not self.only:
            return True
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.only)

    def result(self, level: str, notes: tuple[str, ...]) -> NetDiff:
        """The answer."""
        scope = self.scope
        return NetDiff(
            self.a.info,
            self.b.info,
            level,
            scope.phase or "all",
            scope.ignore_training,
            () if self.only else tuple(_changes(self.a.settings, self.b.settings)),
            tuple(self.rows()),
            self.folds,
            self.reasons.replacements if not scope.ignore_training else (),
            self.scope.numbers,
            notes,
        )

    def rows(self) -> Iterator[Row]:
        """All wanted layers of both nets in one order: that of B, with A's in their place."""
        a, b, pairs = self.a.infos, self.b.infos, self.pairs
        j = 0
        for i in range(len(a) + 1):
            if i < len(a) and i not in pairs.ab:
                reason = self.reasons.a.get(i, "")
                if self.wanted(a[i].name) and not self.hidden(reason):
                    yield OneSided("-", a[i], reason)
                continue
            if i in pairs.moved:
                continue  # it comes where B has it
            stop = pairs.ab.get(i, len(b))
            for place in range(j, min(stop + 1, len(b))):
                reason = self.reasons.b.get(place, "")
                if place in pairs.ba:
                    yield from self.pair(pairs.ba[place], place)
                elif self.wanted(b[place].name) and not self.hidden(reason):
                    yield OneSided("+", b[place], reason)
            j = stop + 1

    def hidden(self, reason: str) -> bool:
        """Whether layers of this kind are left out."""
        return self.scope.ignore_training and reason in _HIDDEN

    def pair(self, i: int, j: int) -> Iterator[Row]:
        """The row of one pair, if it is wanted."""
        one, two = self.a.infos[i], self.b.infos[j]
        if not self.wanted(one.name, two.name):
            return
        reason = self.pair_reason(one, two)
        if self.hidden(reason):
            yield Pair(one, two, reason=reason, ignored=True)
            return
        fields: tuple[FieldChange, ...] = ()
        if one.settings != two.settings:
            fields = tuple(_changes(dict(one.settings), dict(two.settings)))
        blobs: tuple[BlobDiff, ...] = ()
        if self.scope.numbers and reason != "fold":
            given = (self.a.layers[i].blobs, self.b.layers[j].blobs)
            pairs = enumerate(itertools.zip_longest(*given))
            blobs = tuple(compare(n, x, y, self.tolerance) for n, (x, y) in pairs)
            differ = any(not blob.equal for blob in blobs)
            normalized = one.type == two.type and op_of(one.type) is BATCH_NORM
            if differ and normalized and same_statistics(*given):
                reason = "statistics"
        yield Pair(one, two, fields, self.wiring(i, j), i in self.pairs.moved, blobs, reason)

    def pair_reason(self, one: LayerInfo, two: LayerInfo) -> str:
        """What a pair has to do with folds and replacements."""
        if one.name in self.inside_a or two.name in self.inside_b:
            return "fold"
        if one.type != two.type:
            for item in self.reasons.replacements:
                if one.name in item.removed and two.name in item.added:
                    return item.kind
        return ""

    def wiring(self, i: int, j: int) -> Wiring:
        """How the bottoms of a pair compare."""
        wired_a, wired_b = self.a.wiring, self.b.wiring
        one, two = self.a.infos[i], self.b.infos[j]
        if i >= self.a.in_phase or j >= self.b.in_phase:
            return Wiring("same" if one.bottoms == two.bottoms else "rewired")
        kind = "same" if one.bottoms == two.bottoms else "renamed"
        sources = []
        for u, v in itertools.zip_longest(wired_a.reads[i], wired_b.reads[j], fillvalue=-1):
            if self.alike(u, v, past=False):
                continue
            names = (self.a.maker_name(u), self.b.maker_name(v))
            if not self.alike(u, v, past=True) and names not in self.replaced:
                sources.append(names)
            kind = "rewired" if sources else "around"
        return Wiring(kind, tuple(sources))

    def alike(self, u: int, v: int, *, past: bool) -> bool:
        """Whether two versions come from one pair of layers."""
        wired_a, wired_b = self.a.wiring, self.b.wiring
        one = source_of(wired_a, u, self.pairs.ab, past=past)
        two = source_of(wired_b, v, self.pairs.ba, past=past)
        if one is None or two is None:
            # Both come from nowhere: the same blob name is all there is to compare.
            return one is two and u < 0 and v < 0
        return (self.pairs.ab[one[0]], one[1]) == two


def _changes(before: SettingMap, after: SettingMap) -> Iterator[FieldChange]:
    """Settings that differ, by path."""
    for path in sorted(before.keys() | after.keys()):
        one, two = before.get(path), after.get(path)
        if one != two:
            yield FieldChange(path, one, two)
