"""The answer: layers of two nets side by side, as typed values.

``rows`` are all layers of both nets in one aligned order: an unmatched layer of A is ``Removed``,
one of B ``Added``, a pair ``Changed`` or ``Same``. Nothing here computes; renderers only read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Union

from caffefold.compare.canonical import Value

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One layer as it is compared: normalised, without its numbers."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    settings: tuple[tuple[str, Value], ...]
    """(path, value), sorted by path; defaults are left out."""
    shapes: tuple[Shape, ...]
    """Shapes of its blobs; empty without weights."""
    position: int
    """Place in its net, from 0."""
    phase: str = ""
    """The rule that keeps it out of the compared phase, such as ``TRAIN``; else empty."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One setting with both values; None where it is not set (or set to Caffe's default)."""

    path: str
    before: Value | None
    after: Value | None

    def mirrored(self) -> FieldChange:
        """The same seen from B to A."""
        return FieldChange(self.path, self.after, self.before)


@dataclass(frozen=True, slots=True)
class Wiring:
    """How one pair of layers is fed. ``kind`` is the strongest of what happened:

    ``same``; ``renamed``: blobs have other names only; ``around``: reads past layers that went or
    through layers that came; ``rewired``: reads another layer's result.
    """

    kind: str = "same"
    sources: tuple[tuple[str, str], ...] = ()
    """For each rewired bottom, the layer it came from in A and in B; empty when there is none."""

    def mirrored(self) -> Wiring:
        """The same seen from B to A."""
        return Wiring(self.kind, tuple((b, a) for a, b in self.sources))


@dataclass(frozen=True, slots=True)
class BlobDiff:
    """One blob of both nets. Figures are over all numbers; None where shapes differ."""

    index: int
    before: Shape | None
    after: Shape | None
    identical: bool
    """Whether all bytes, or all numbers, are the same."""
    equal: bool
    """Whether every number agrees within rtol and atol."""
    max_abs: float | None = None
    """Largest ``|a - b|``."""
    max_rel: float | None = None
    """Largest ``|a - b| / max(|a|, |b|)``."""
    cosine: float | None = None
    """``a.b / (|a| |b|)``, to about 1e-7; None when one side is all zero."""

    def mirrored(self) -> BlobDiff:
        """The same seen from B to A."""
        return replace(self, before=self.after, after=self.before)


@dataclass(frozen=True, slots=True)
class Removed:
    """A layer of A that B does not have. ``reason`` is a code of compare/explain.py, or empty."""

    layer: LayerInfo
    reason: str = ""
    symbol = "-"


@dataclass(frozen=True, slots=True)
class Added:
    """A layer of B that A does not have."""

    layer: LayerInfo
    reason: str = ""
    symbol = "+"


@dataclass(frozen=True, slots=True)
class Changed:
    """A layer that both nets have, with what differs."""

    before: LayerInfo
    after: LayerInfo
    fields: tuple[FieldChange, ...] = ()
    wiring: Wiring = Wiring()
    moved: bool = False
    """Whether it stands at another place among the layers that stayed."""
    blobs: tuple[BlobDiff, ...] = ()
    reason: str = ""

    @property
    def symbol(self) -> str:
        """``~``, or ``>`` when its place is all that changed."""
        own = self.fields or self.renamed or self.retyped or self.reblobbed
        return ">" if self.moved and not own and self.wiring.kind != "rewired" else "~"

    @property
    def renamed(self) -> bool:
        """Whether the names differ."""
        return self.before.name != self.after.name

    @property
    def retyped(self) -> bool:
        """Whether the types differ."""
        return self.before.type != self.after.type

    @property
    def reblobbed(self) -> bool:
        """Whether numbers or shapes of blobs differ beyond the tolerance."""
        return any(not blob.equal for blob in self.blobs)

    @property
    def consequence(self) -> bool:
        """Whether only names of blobs differ, because of what happened to other layers."""
        return self.symbol == "~" and not (
            self.fields
            or self.renamed
            or self.retyped
            or self.reblobbed
            or self.wiring.kind == "rewired"
            or self.tops_differ
        )

    @property
    def tops_differ(self) -> bool:
        """Whether its results have other names, or another number of them."""
        return self.before.tops != self.after.tops


@dataclass(frozen=True, slots=True)
class Same:
    """A layer that is the same in both nets; its numbers may differ within the tolerance."""

    before: LayerInfo
    after: LayerInfo
    blobs: tuple[BlobDiff, ...] = ()
    reason: str = ""
    symbol = "="


Entry = Union[Removed, Added, Changed]  # noqa: UP007 - a runtime alias on Python 3.10
Row = Union[Removed, Added, Changed, Same]  # noqa: UP007


@dataclass(frozen=True, slots=True)
class FoldCheck:
    """Numbers of one layer that took others in, against what the fold of the other net gives."""

    layer: str
    verdict: str
    """``equal``, ``different``, or ``refused``: no exact fold exists (``message`` says why)."""
    max_abs: float | None = None
    relative: float | None = None
    """``max_abs`` over the largest number of the blob."""
    message: str = ""
    """Why it was refused, or where the difference comes from, if that is known."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Affine layers of one net that a layer of the other one computes too."""

    layers: tuple[str, ...]
    into: tuple[str, ...]
    way: str
    """``output`` or ``input`` of a linear layer, or ``scale``: one Scale layer stands for all."""
    bias_added: bool
    inverse: bool = False
    """Whether it is B that has the layers: the fold was undone from A to B."""
    problem: str = ""
    """Why this can be no exact fold, by structure alone."""
    checks: tuple[FoldCheck, ...] = ()

    def mirrored(self) -> Fold:
        """The same seen from B to A."""
        return replace(self, inverse=not self.inverse)


@dataclass(frozen=True, slots=True)
class Replacement:
    """Training parts of one net and what stands for them in the other: data layers, losses."""

    kind: str
    """``input`` or ``head``."""
    removed: tuple[str, ...]
    added: tuple[str, ...]

    def mirrored(self) -> Replacement:
        """The same seen from B to A."""
        return Replacement(self.kind, self.added, self.removed)


@dataclass(frozen=True, slots=True)
class Given:
    """One side: what was given and what was found there."""

    path: str
    kind: str
    """``prototxt``, ``solver``, ``caffemodel`` or ``folder``."""
    net: str
    layers: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: str = ""
    """The caffemodel, if there is one."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetDiff:
    """What changed from net ``a`` to net ``b``. True when they differ."""

    a: Given
    b: Given
    level: str
    """``full`` or ``structure``."""
    phase: str
    """The phase that was compared; ``all``: TEST, and then what other phases have."""
    ignore_training: bool
    net_fields: tuple[FieldChange, ...]
    rows: tuple[Row, ...]
    """All layers of both nets, aligned."""
    folds: tuple[Fold, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    weights_compared: bool = False
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.net_fields) or any(True for _ in self.entries)

    @property
    def entries(self) -> Iterator[Entry]:
        """What differs, in aligned order."""
        return (row for row in self.rows if not isinstance(row, Same))

    @property
    def removed(self) -> tuple[Removed, ...]:
        """Layers only A has."""
        return tuple(row for row in self.rows if isinstance(row, Removed))

    @property
    def added(self) -> tuple[Added, ...]:
        """Layers only B has."""
        return tuple(row for row in self.rows if isinstance(row, Added))

    @property
    def changed(self) -> tuple[Changed, ...]:
        """Layers both have, that differ."""
        return tuple(row for row in self.rows if isinstance(row, Changed))

    @property
    def same(self) -> tuple[Same, ...]:
        """Layers that are the same."""
        return tuple(row for row in self.rows if isinstance(row, Same))

    @property
    def totals(self) -> dict[str, int]:
        """How many rows there are of each symbol ``- + ~ > =``."""
        counts = Counter(row.symbol for row in self.rows)
        return {symbol: counts[symbol] for symbol in "-+~>="}

    def mirrored(self) -> NetDiff:
        """The difference from ``b`` to ``a``; rows keep their order."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            net_fields=tuple(change.mirrored() for change in self.net_fields),
            rows=tuple(_mirrored(row) for row in self.rows),
            folds=tuple(fold.mirrored() for fold in self.folds),
            replacements=tuple(item.mirrored() for item in self.replacements),
        )


def _mirrored(row: Row) -> Row:
    if isinstance(row, Removed):
        return Added(row.layer, row.reason)
    if isinstance(row, Added):
        return Removed(row.layer, row.reason)
    blobs = tuple(blob.mirrored() for blob in row.blobs)
    if isinstance(row, Same):
        return Same(row.after, row.before, blobs, row.reason)
    return replace(
        row,
        before=row.after,
        after=row.before,
        fields=tuple(change.mirrored() for change in row.fields),
        wiring=row.wiring.mirrored(),
        blobs=blobs,
    )


def apply(layers: tuple[LayerInfo, ...], diff: NetDiff) -> tuple[LayerInfo, ...]:
    """The layers of B, made from those of A and what ``diff`` says of them.

    ``layers`` are the compared layers of A, in order. Needs a diff of all layers: one without
    ``only`` and ``ignore_training``.
    """
    changed = {row.before.position: row.after for row in diff.changed}
    placed = {row.layer.position: row.layer for row in diff.added}
    placed |= {row.after.position: row.after for row in diff.changed if row.moved}
    gone = {row.layer.position for row in diff.removed}
    gone |= {row.before.position for row in diff.changed if row.moved}
    stay = [changed.get(x.position, x) for x in layers if x.position not in gone]
    rest = iter(stay)
    made = [placed.get(i) or next(rest) for i in range(len(stay) + len(placed))]
    return tuple(replace(layer, position=i) for i, layer in enumerate(made))
