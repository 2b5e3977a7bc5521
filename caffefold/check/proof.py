"""The proof: what was written computes what was read.

Three checks, on the files read back from disk:

1. wiring (check/wiring.py): both nets are the same expression, once every fold is written out;
2. each fold: the folded layer against linear layer + BatchNorm + Scale ... on random patches, in
   float64. The error may be what rounding each weight once to float32 can cause, and no more:
   ``|y' - y| <= 2^-24 * (sum |W'| |x| + |b'|)``, plus float64's own noise;
3. every other blob equals the original, number for number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from caffefold.check import reference, wiring
from caffefold.errors import ProofError
from caffefold.formats.blob import Blob, chunks, size
from caffefold.model.net import Layer, Net
from caffefold.rewrite.base import Change

FLOAT32_ROUNDING = 2.0**-24  # half a unit in the last place, relative
FLOAT32_TINY = 2.0**-149  # below this nothing can be told apart
FLOAT64_NOISE = 2.0**-46  # long sums and cancellation in the float64 reference itself
SEED = 20_261_121
_PATCHES = 4
_LARGE = 1 << 24  # weights; larger layers get one patch: it meets every weight too


@dataclass(frozen=True, slots=True)
class FoldProof:
    """One fold checked. Both figures are relative to the largest output of the layer."""

    layer: str
    folded: tuple[str, ...]
    error: float
    """Largest difference that was found."""
    allowed: float
    """Largest difference that float32 rounding may cause there."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was checked."""

    seed: int
    folds: tuple[FoldProof, ...]
    unchanged_blobs: int
    outputs: tuple[str, ...]

    @property
    def largest_error(self) -> float:
        """The largest error of all folds; 0 when nothing was folded."""
        return max((fold.error for fold in self.folds), default=0.0)


def prove(original: Net, written: Net, folds: Iterable[Change]) -> Proof:
    """Check ``written`` (read back from disk) against ``original`` (deploy net, not folded).

    Raises:
        ProofError: they differ; the layer and the size of the difference are named.
    """
    folds = tuple(folds)
    outputs = wiring.check(original, written, folds)
    before = {layer.name: layer for layer in original.layers}
    after = {layer.name: layer for layer in written.layers}
    proofs = tuple(
        _prove_fold(before, after[change.modified[0]], change.removed) for change in folds
    )
    folded = {change.modified[0] for change in folds}
    unchanged = 0
    for layer in written.layers:
        if layer.name not in folded:
            unchanged += _prove_unchanged(before[layer.name], layer)
    return Proof(SEED, proofs, unchanged, outputs)


def _prove_fold(before: dict[str, Layer], after: Layer, chain: tuple[str, ...]) -> FoldProof:
    source = before[after.name]
    count = 1 if size(source.blobs[0]) > _LARGE else _PATCHES
    x = reference.patches(SEED, reference.patch_size(source), count)
    with np.errstate(all="ignore"):
        wanted = reference.linear(source, x)
        for name in chain:
            wanted = reference.pointwise(before[name], wanted)
        found = reference.linear(after, x)
        allowed = (
            found.magnitude * FLOAT32_ROUNDING * 1.01
            + wanted.magnitude * FLOAT64_NOISE
            + FLOAT32_TINY * x.shape[0]
        )
        error = np.abs(found.values - wanted.values)
        wrong = ~(error <= allowed)
    largest = float(np.abs(wanted.values).max()) or 1.0
    if wrong.any():
        channel = int(np.flatnonzero(wrong.any(axis=1))[0])
        raise ProofError(
            f"layer '{after.name}': the fold of {', '.join(chain)} is wrong in channel {channel}: "
            f"off by {float(error[channel].max()):.3g}, rounding explains "
            f"{float(allowed[channel].max()):.3g}; nothing was put in place"
        )
    return FoldProof(
        after.name, chain, float(error.max()) / largest, float(allowed.max()) / largest
    )


def _prove_unchanged(before: Layer, after: Layer) -> int:
    if len(before.blobs) != len(after.blobs):
        raise ProofError(
            f"layer '{after.name}': {len(after.blobs)} blobs were written, "
            f"{len(before.blobs)} were read; nothing was put in place"
        )
    for index, (old, new) in enumerate(zip(before.blobs, after.blobs, strict=True)):
        if not _same(old, new):
            raise ProofError(
                f"layer '{after.name}': blob {index} was not to change, but did; "
                "nothing was put in place"
            )
    return len(after.blobs)


def _same(old: Blob, new: Blob) -> bool:
    return old.shape == new.shape and all(
        np.array_equal(a.astype("<f4", copy=False), b)
        for a, b in zip(chunks(old), chunks(new), strict=True)
    )
