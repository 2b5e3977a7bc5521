"""Numbers of two nets, blob by blob, streaming: bytes first, arithmetic only where they differ.

Two large models that are equal cost two reads and a compare; memory is two chunks, whatever the
size of the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from caffefold.compare.entries import BlobDiff
from caffefold.compare.match import same_shape
from caffefold.formats.caffemodel.blob import Blob, Floats, StoredBlob, array, size
from caffefold.frozen import dataclass

_BYTES = 1 << 16  # a read: small enough for malloc to use the same memory again
_STEP = 1 << 15  # numbers of one step of arithmetic
_ROUNDED = 1e-5  # relative to the largest: what dividing in float32 may change


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Numbers agree when ``|a - b| <= atol + rtol * max(|a|, |b|)``."""

    rtol: float = 0.0
    atol: float = 0.0


class Figures:
    """Running totals over two blobs, chunk by chunk.

    In the numbers' own type: the difference of two close float32 is exact, and what is rounded
    elsewhere is 1e-7 of a figure. A chunk whose squares are no float32 is done again in float64.
    """

    def __init__(self, tolerance: Tolerance) -> None:
        self.tolerance = tolerance
        self.max_abs = self.max_rel = 0.0
        self.dot = self.square_a = self.square_b = 0.0
        self.identical = self.equal = True
        self._room: dict[str, list[Floats]] = {}

    def _buffers(self, dtype: np.dtype[Any], count: int) -> list[Floats]:
        """Three arrays to work in: fresh ones for each chunk cost more than the arithmetic."""
        room = self._room.get(dtype.char)
        if room is None or room[0].size < count:
            room = [np.empty(max(count, _STEP), dtype) for _ in range(3)]
            self._room[dtype.char] = room
        return [array[:count] for array in room]

    def add(self, a: Floats, b: Floats) -> None:
        """One more chunk of both."""
        if a.dtype != b.dtype:
            a, b = a.astype(np.float64), b.astype(np.float64)
        dots = (float(np.dot(a, b)), float(np.dot(a, a)), float(np.dot(b, b)))
        if not math.isfinite(sum(dots)):
            if a.dtype != np.float64:
                self.add(a.astype(np.float64), b.astype(np.float64))
                return
            nan = np.isnan(a) & np.isnan(b)
            a, b = a[~nan], b[~nan]  # the same on both sides
        self.dot, self.square_a = self.dot + dots[0], self.square_a + dots[1]
        self.square_b += dots[2]
        gap, sizes, other = self._buffers(a.dtype, a.size)
        np.abs(np.subtract(a, b, out=gap), out=gap)
        largest = float(gap.max(initial=0.0))
        if largest == 0.0:
            return
        self.identical = False
        if not math.isfinite(largest):  # NaN or infinite on one side
            self.equal = False
            self.max_abs = self.max_rel = math.inf
            return
        self.max_abs = max(self.max_abs, largest)
        np.maximum(np.abs(a, out=sizes), np.abs(b, out=other), out=sizes)
        rtol, atol = self.tolerance.rtol, self.tolerance.atol
        self.equal = self.equal and bool(rtol or atol)
        if self.equal:
            self.equal = bool((gap <= sizes * rtol + atol).all())
        ratios = np.divide(gap, sizes, out=gap)  # NaN where both are 0
        self.max_rel = max(self.max_rel, float(np.fmax.reduce(ratios)))

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
    found = figures_of(a, b, tolerance)
    figures = (found.max_abs, found.max_rel, found.cosine)
    return BlobDiff(index, a.shape, b.shape, found.identical, found.equal, *figures)


def figures_of(a: Blob, b: Blob, tolerance: Tolerance, *, stored: bool = False) -> Figures:
    """Figures over two blobs of one size; ``stored``: the first is rounded as it would be stored,
    to float32."""
    figures = Figures(tolerance)
    total = size(a)
    step = max(a.step, _STEP) if stored else _STEP
    with np.errstate(all="ignore"):
        for start in range(0, total, step):
            stop = min(start + step, total)
            first = a.read(start, stop)
            figures.add(first.astype(np.float32) if stored else first, b.read(start, stop))
    return figures


def same_statistics(a: Sequence[Blob], b: Sequence[Blob]) -> bool:
    """Whether two BatchNorm layers hold the same mean and variance, each by its own factor.

    Caffe stores sums and the factor they are divided by (batch_norm_layer.cpp); snapshots of
    forks, and merged files, are stored with factor 1.
    """
    if len(a) != 3 or len(b) != 3:
        return False
    factors = [float(array(blobs[2]).reshape(-1)[:1].sum()) for blobs in (a, b)]
    if 0 in factors or factors[0] == factors[1] or not all(map(math.isfinite, factors)):
        return False
    for one, two in zip(a[:2], b[:2], strict=True):
        first = array(one).reshape(-1).astype(np.float64) / factors[0]
        second = array(two).reshape(-1).astype(np.float64) / factors[1]
        if first.shape != second.shape or not first.size:
            return False
        if not np.abs(first - second).max() <= _ROUNDED * np.abs(first).max():
            return False
    return True


def _same_bytes(a: Blob, b: Blob) -> bool:
    """Whether both are stored alike and every byte agrees; stops at the first that does not."""
    if not isinstance(a, StoredBlob) or not isinstance(b, StoredBlob):
        return False
    if [p[1:] for p in a.pieces] != [p[1:] for p in b.pieces]:
        return False
    if any(p.stride != int(p.dtype[-1]) for p in a.pieces):
        return False  # tags lie between unpacked numbers
    for p, q in zip(a.pieces, b.pieces, strict=True):
        shift = q.start - p.start
        for at in range(p.start, p.end, _BYTES):
            end = min(at + _BYTES, p.end)
            if a.source.read(at, end) != b.source.read(at + shift, end + shift):
                return False
    return True
