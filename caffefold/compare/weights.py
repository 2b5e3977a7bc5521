"""Numbers of two nets, blob by blob, streaming: bytes first, arithmetic only where they differ.

Two large models that are equal cost two reads and a compare; memory is two chunks, whatever the
size of the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from caffefold.compare.entries import BlobDiff
from caffefold.compare.match import same_shape
from caffefold.formats.blob import Blob, Floats, Piece, StoredBlob, size

_BYTES = 1 << 18  # a read: both sides stay in the second-level cache
_STEP = 1 << 15  # numbers of one step of arithmetic


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Numbers agree when ``|a - b| <= atol + rtol * max(|a|, |b|)``."""

    rtol: float = 0.0
    atol: float = 0.0


class Figures:
    """Running totals over the parts of two blobs that differ, and over those that do not."""

    def __init__(self, tolerance: Tolerance) -> None:
        self.tolerance = tolerance
        self.max_abs = self.max_rel = 0.0
        self.dot = self.square_a = self.square_b = 0.0
        self.identical = self.equal = True
        self.largest = 0.0

    def same(self, a: Floats) -> None:
        """Numbers that are the same on both sides."""
        for start in range(0, a.size, _STEP):
            numbers = a[start : start + _STEP].astype(np.float64)
            square = float(np.dot(numbers, numbers))
            self.dot += square
            self.square_a += square
            self.square_b += square

    def differ(self, a: Floats, b: Floats) -> None:
        """Numbers that may differ."""
        for start in range(0, a.size, _STEP):
            self._step(
                a[start : start + _STEP].astype(np.float64),
                b[start : start + _STEP].astype(np.float64),
            )

    def _step(self, a: Floats, b: Floats) -> None:
        self.dot += float(np.dot(a, b))
        self.square_a += float(np.dot(a, a))
        self.square_b += float(np.dot(b, b))
        gap = np.subtract(a, b)
        np.abs(gap, out=gap)
        largest = float(gap.max(initial=0.0))
        if largest == 0.0:
            return  # 0 and -0
        np.abs(a, out=a)
        np.abs(b, out=b)
        np.maximum(a, b, out=a)
        self.largest = max(self.largest, float(a.max()))
        if not math.isfinite(largest):
            self._not_finite()
            return
        self.identical = False
        self.max_abs = max(self.max_abs, largest)
        if self.equal and (self.tolerance.rtol or self.tolerance.atol):
            np.multiply(a, self.tolerance.rtol, out=b)
            b += self.tolerance.atol
            self.equal = bool((gap <= b).all())
        else:
            self.equal = False
        np.divide(gap, a, out=gap, where=a > 0)
        self.max_rel = max(self.max_rel, float(gap.max()))

    def _not_finite(self) -> None:
        """NaN or infinite on one side."""
        self.identical = self.equal = False
        self.max_abs = self.max_rel = math.inf

    @property
    def cosine(self) -> float | None:
        """The cosine of the angle between both, as vectors; None when one is zero or not finite."""
        length = math.sqrt(self.square_a) * math.sqrt(self.square_b)
        if not math.isfinite(length) or length == 0 or not math.isfinite(self.dot):
            return None
        return max(-1.0, min(1.0, self.dot / length))


def compare(index: int, a: Blob | None, b: Blob | None, tolerance: Tolerance) -> BlobDiff:
    """What differs between blob ``index`` of two layers; None is a blob that is not there."""
    if a is None or b is None or not same_shape(a.shape, b.shape):
        before, after = (None if x is None else x.shape for x in (a, b))
        return BlobDiff(index, before, after, identical=False, equal=False)
    if _same_bytes(a, b):
        return BlobDiff(index, a.shape, b.shape, True, True, 0.0, 0.0, 1.0)
    figures = Figures(tolerance)
    with np.errstate(all="ignore"):
        _walk(a, b, figures)
    return BlobDiff(
        index,
        a.shape,
        b.shape,
        figures.identical,
        figures.equal,
        figures.max_abs,
        figures.max_rel,
        figures.cosine,
    )


def _same_bytes(a: Blob, b: Blob) -> bool:
    """Whether both are stored alike and every byte agrees; stops at the first that does not."""
    if not isinstance(a, StoredBlob) or not isinstance(b, StoredBlob):
        return False
    if [p[1:] for p in a.pieces] != [p[1:] for p in b.pieces]:
        return False
    if any(p.stride != int(p.dtype[-1]) for p in a.pieces):
        return False  # tags lie between unpacked numbers
    return all(_same_run(a, b, p, q) for p, q in zip(a.pieces, b.pieces, strict=True))


def _same_run(a: StoredBlob, b: StoredBlob, p: Piece, q: Piece) -> bool:
    shift = q.start - p.start
    return all(
        a.source.read(at, min(at + _BYTES, p.end))
        == b.source.read(at + shift, min(at + _BYTES, p.end) + shift)
        for at in range(p.start, p.end, _BYTES)
    )


def _walk(a: Blob, b: Blob, figures: Figures) -> None:
    total, step = size(a), _BYTES // 4
    for start in range(0, total, step):
        stop = min(start + step, total)
        one, two = a.read(start, stop), b.read(start, stop)
        if one.dtype == two.dtype and one.tobytes() == two.tobytes():
            figures.same(one)
        else:
            nan = np.isnan(one) & np.isnan(two)
            if nan.any():
                one, two = one[~nan], two[~nan]
            figures.differ(one, two)
