"""Is a net without some channels the same? Both run side by side in float64, layer by layer.

What it should be comes from ``check/forward``, which knows nothing of slimming. Of every blob the
channels that are left are compared, and the whole of those that lost none, outputs among them. A
layer that decides (NMS, ArgMax) is fed with what the first net made, in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from caffefold.check import feeds
from caffefold.check.forward.evaluate import evaluate
from caffefold.check.forward.layers import Array
from caffefold.errors import ProofError
from caffefold.frozen import dataclass
from caffefold.humanize import counted
from caffefold.ir import graph
from caffefold.ir.net import Net

SEED = 20_261_121
LIMIT = 2.0**-20
"""What a blob may be off by, relative to its largest number; taking out what is constant shows
1e-14, what is below float32's rounding 1e-8."""

Kept = tuple[int, Sequence[int]] | None
"""Which elements of a blob stay: an axis, and places along it; None: all."""


@dataclass(frozen=True, slots=True)
class BlobError:
    """How far a blob is off, relative to its largest number."""

    blob: str
    layer: str
    error: float


@dataclass(frozen=True, slots=True)
class SlimProof:
    """What was compared."""

    blobs: int
    """How many blobs were compared; 0 where nothing was cut."""
    worst: BlobError | None
    outputs: tuple[BlobError, ...]
    """The outputs of the net."""
    skipped: tuple[str, ...] = ()
    """Blobs that the reference could not compute, with the reason."""
    approximate: bool = False
    """Whether the nets are known to differ, and by how much was only measured."""
    seed: int = SEED

    def sentence(self) -> str:
        """``210 blobs side by side in float64; largest relative difference 2.4e-15``."""
        if not self.blobs:
            return "nothing was cut"
        if self.approximate:
            parts = (f"'{each.blob}' {each.error:.2g}" for each in self.outputs)
            return f"approximate; relative difference on seeded inputs: {', '.join(parts)}"
        least = self.worst.error if self.worst else 0.0
        skipped = f", {len(self.skipped)} not evaluated" if self.skipped else ""
        return (
            f"{counted(self.blobs, 'blob')} side by side in float64{skipped}; "
            f"largest relative difference {least:.1e}"
        )


def compare(
    before: Net,
    after: Net,
    kept: Sequence[Kept],
    shapes: Mapping[str, Sequence[int]],
    known: Sequence[Mapping[str, object]] = (),
    *,
    approximate: bool = False,
    given: Mapping[str, Array] | None = None,
) -> SlimProof:
    """Run both nets on the same numbers.

    Args:
        before: a deploy net.
        after: the same layers, some of them with fewer channels.
        kept: by version of a blob, what is left of it.
        shapes: those of the inputs.
        known: the preprocessing of inputs; random images go through it.
        approximate: the nets are known to differ: how far is measured, and how the blobs in between
            differ does not matter.
        given: numbers to feed instead of random ones, by input.

    Raises:
        ProofError: a blob is another one; the first layer that makes one is named.
    """
    fed = {**feeds.numbers(before, shapes, known, SEED), **(given or {})}
    found: list[BlobError] = []
    skipped: list[str] = []
    outputs: dict[str, BlobError] = {}
    # What a layer that decides reads, and where the reference does not know a layer.
    observed: dict[int, Array] = {-1: np.zeros(0)}
    names = set(after.outputs)
    versions = graph.build(before).versions
    pairs = zip(evaluate(before, fed), evaluate(after, fed, observed), strict=True)
    for one, other in pairs:  # both a layer at a time: ``observed`` is filled in between
        blob = versions[one.version].blob
        if one.values is None or other.values is None:
            skipped.append(f"{blob}: {one.why or other.why}")
            continue
        wanted, place = one.values, kept[one.version]
        if place is not None:
            wanted = np.take(wanted, np.asarray(place[1], np.int64), place[0])
        if not approximate:
            observed[one.version] = wanted
        error = BlobError(blob, one.layer.name if one.layer else "", _error(wanted, other.values))
        found.append(error)
        if blob in names:
            outputs[blob] = error
        if not approximate and not error.error <= LIMIT:
            raise ProofError(
                f"layer '{error.layer}': without the channels that were taken out, '{blob}' is "
                f"{error.error:.1e} off",
                layer=error.layer,
            )
    worst = max(found, key=lambda each: each.error, default=None)
    return SlimProof(len(found), worst, tuple(outputs.values()), tuple(skipped), approximate)


def _error(wanted: Array, found: Array) -> float:
    if wanted.shape != found.shape:
        return float("inf")
    if not wanted.size:
        return 0.0
    off = np.abs(wanted - found)
    off = np.where(wanted == found, 0.0, off)  # infinities
    largest = float(np.abs(wanted).max())
    return float(off.max()) / max(largest, float(np.finfo(np.float32).tiny))
