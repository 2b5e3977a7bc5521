"""The layers of two nets side by side, as typed values.

``rows`` are all layers of both nets in one aligned order: ``OneSided`` or a ``Pair``. Nothing here
computes; renderers only read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Union

from caffefold.compare.settings import SettingValue
from caffefold.frozen import dataclass

Dims = tuple[int, ...]
SYMBOLS = {"-": "removed", "+": "added", "~": "changed", ">": "moved", "=": "same"}
"""What stands in front of a row, and what it means."""


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One layer as it is compared: normalised, without its numbers."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    settings: tuple[tuple[str, SettingValue], ...]
    """(path, value), sorted by path; defaults are left out."""
    shapes: tuple[Dims, ...]
    """Shapes of its blobs; empty without weights."""
    position: int
    """Place in its net, from 0."""
    phase: str = ""
    """The rule that keeps it out of the compared phase, such as ``TRAIN``; else empty."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One setting with both values; None where it is not set (or set to Caffe's default)."""

    path: str
    before: SettingValue | None
    after: SettingValue | None

    @property
    def given(self) -> SettingValue | None:
        """The value of B, or that of A where B has none."""
        return self.before if self.after is None else self.after

    @property
    def verb(self) -> str:
        """What happened to the setting."""
        return "dropped" if self.after is None else "added" if self.before is None else "changed"


@dataclass(frozen=True, slots=True)
class Wiring:
    """How one pair of layers is fed. ``kind`` is the strongest of what happened:

    ``same``; ``renamed``: blobs have other names only; ``around``: reads past layers that went or
    through layers that came; ``rewired``: reads another layer's result.
    """

    kind: str = "same"
    sources: tuple[tuple[str, str], ...] = ()
    """For each rewired bottom, the layer it came from in A and in B; empty when there is none."""


@dataclass(frozen=True, slots=True)
class BlobDiff:
    """One blob of both nets. Figures are over all numbers; None where shapes differ."""

    index: int
    before: Dims | None
    after: Dims | None
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


@dataclass(frozen=True, slots=True)
class OneSided:
    """A layer that only one net has."""

    symbol: str
    """``-``: A has it; ``+``: B has it."""
    layer: LayerInfo
    reason: str = ""
    """A code of compare/explain.py, or empty."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A layer that both nets have, with what differs."""

    before: LayerInfo
    after: LayerInfo
    fields: tuple[FieldChange, ...] = ()
    wiring: Wiring = Wiring()
    moved: bool = False
    """Whether it stands at another place among the layers that stayed."""
    blobs: tuple[BlobDiff, ...] = ()
    reason: str = ""
    ignored: bool = False
    """Whether it counts as the same whatever differs: it only trains, and that was left out."""

    @property
    def symbol(self) -> str:
        """``=``; ``~``; or ``>`` when its place is all that changed."""
        if self.ignored or (self.consequence and self.before.bottoms == self.after.bottoms):
            return "="
        return ">" if self.moved and not self._itself else "~"

    @property
    def name(self) -> str:
        """Its name; both names when they differ."""
        one, two = self.before.name, self.after.name
        return f"{one} -> {two}" if self.renamed else one

    @property
    def renamed(self) -> bool:
        """Whether the names differ."""
        return self.before.name != self.after.name

    @property
    def retyped(self) -> bool:
        """Whether the types differ."""
        return self.before.type != self.after.type

    @property
    def tops_differ(self) -> bool:
        """Whether its results have other names, or another number of them."""
        return self.before.tops != self.after.tops

    @property
    def consequence(self) -> bool:
        """Whether only names of blobs differ, because of what happened to other layers."""
        return not (self.moved or self._itself or self.tops_differ)

    @property
    def _itself(self) -> bool:
        """Whether more than its place or the names of its blobs differ."""
        numbers = any(not blob.equal for blob in self.blobs)
        own = self.fields or self.renamed or self.retyped or numbers
        return bool(own) or self.wiring.kind == "rewired"


Row = Union[OneSided, Pair]  # noqa: UP007 - a runtime alias on Python 3.10


@dataclass(frozen=True, slots=True)
class FoldCheck:
    """Numbers of one layer that absorbed others, against what the fold of the other net gives."""

    layer: str
    verdict: str
    """``equal``, ``different``, or ``refused``: no exact fold exists (``message`` says why)."""
    max_abs: float | None = None
    relative: float | None = None
    """``max_abs`` over the largest number of the blob."""
    message: str = ""
    """Why it was refused, or where the difference comes from, if that is known."""


@dataclass(frozen=True, slots=True)
class FoldMatch:
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


@dataclass(frozen=True, slots=True)
class Replacement:
    """Training parts of one net and what stands for them in the other: data layers, losses."""

    kind: str
    """``input`` or ``head``."""
    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NetInfo:
    """One of the two nets: what was given and what was found there."""

    path: str
    kind: str
    """``prototxt``, ``solver``, ``caffemodel``, ``folder``, or ``net``: one in memory."""
    net: str
    layers: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: str = ""
    """The caffemodel, if there is one."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Aligned:
    """Two nets ``a`` and ``b``, layer beside layer. True when they differ."""

    a: NetInfo
    b: NetInfo
    level: str
    """``full`` or ``structure``."""
    phase: str
    """The phase that was compared; ``all``: TEST, and then what other phases have."""
    ignore_training: bool
    net_fields: tuple[FieldChange, ...]
    rows: tuple[Row, ...]
    """All layers of both nets, aligned."""
    folds: tuple[FoldMatch, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    weights_compared: bool = False
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.net_fields or self.entries)

    @property
    def entries(self) -> tuple[Row, ...]:
        """What differs, in aligned order."""
        return tuple(row for row in self.rows if row.symbol != "=")

    @property
    def removed(self) -> tuple[OneSided, ...]:
        """Layers only A has."""
        return tuple(row for row in self.rows if isinstance(row, OneSided) and row.symbol == "-")

    @property
    def added(self) -> tuple[OneSided, ...]:
        """Layers only B has."""
        return tuple(row for row in self.rows if isinstance(row, OneSided) and row.symbol == "+")

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Layers both have."""
        return tuple(row for row in self.rows if isinstance(row, Pair))

    @property
    def changed(self) -> tuple[Pair, ...]:
        """Layers both have, that differ."""
        return tuple(row for row in self.pairs if row.symbol != "=")

    @property
    def same(self) -> tuple[Pair, ...]:
        """Layers that are the same; numbers may differ within the tolerance."""
        return tuple(row for row in self.pairs if row.symbol == "=")

    @property
    def totals(self) -> dict[str, int]:
        """How many rows there are of each symbol ``- + ~ > =``."""
        counts = Counter(row.symbol for row in self.rows)
        return {symbol: counts[symbol] for symbol in SYMBOLS}


def mirrored(seen: Any) -> Any:
    """The same seen from B to A, all the way down; rows keep their order."""
    if isinstance(seen, tuple):
        return tuple(map(mirrored, seen))
    if isinstance(seen, OneSided):
        return replace(seen, symbol="+" if seen.symbol == "-" else "-")
    if isinstance(seen, Wiring):
        return replace(seen, sources=tuple((b, a) for a, b in seen.sources))
    if isinstance(seen, FoldMatch):
        return replace(seen, inverse=not seen.inverse)
    if isinstance(seen, Replacement):
        return replace(seen, removed=seen.added, added=seen.removed)
    parts = ("net_fields", "rows", "folds", "replacements", "fields", "wiring", "blobs")
    below = {part: mirrored(getattr(seen, part)) for part in parts if hasattr(seen, part)}
    if isinstance(seen, Aligned):
        return replace(seen, a=seen.b, b=seen.a, **below)
    return replace(seen, before=seen.after, after=seen.before, **below)
