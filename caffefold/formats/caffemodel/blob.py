"""What the numbers of a layer look like from outside, and the blobs that lie in a caffemodel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from caffefold.formats.caffemodel.wire import ByteSource

Floats = NDArray[Any]
CHUNK = 1 << 16  # elements per step: 256 KiB of float32 stays in the processor's cache


class Blob(Protocol):
    """Read-only numbers, read when asked for. Shapes are Caffe's, element order is C order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions as the file or the computation gives them."""
        ...

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Floats:
        """``numpy.asarray(blob)``: all numbers in the blob's shape."""
        ...

    @property
    def step(self) -> int:
        """How many elements are best read at a time."""
        ...

    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop`` in C order, float32 or float64, 1-D."""
        ...

    @property
    def stored(self) -> StoredBlob | None:
        """The blob of a caffemodel that this one is, or was computed from number by number.

        What is written of this one keeps its other fields, the shape record among them, as long as
        the shapes are equal.
        """
        ...


class AsArray:
    """Gives a blob ``numpy.asarray(blob)``; it was computed, not stored, unless it says so."""

    __slots__ = ()

    @property
    def stored(self) -> StoredBlob | None:
        """No blob of a caffemodel."""
        return None

    def __array__(self: Blob, dtype: DTypeLike | None = None, copy: bool | None = None) -> Floats:
        """All numbers in the blob's shape, freshly read (so ``copy`` is always satisfied).

        A double beyond float32 becomes infinite, as in Caffe.
        """
        del copy
        with quiet():
            return np.array(array(self), dtype or np.float32)


def quiet() -> np.errstate:
    """A context without numpy's warnings about numbers that are not finite.

    Files hold such numbers: they are refused by name, or a reason to leave a layer as it is.
    """
    return np.errstate(all="ignore")


def size(blob: Blob) -> int:
    """Number of elements."""
    return prod(blob.shape)


def array(blob: Blob) -> Floats:
    """All numbers in the blob's shape."""
    return blob.read(0, size(blob)).reshape(blob.shape)


def chunks(blob: Blob) -> Iterator[Floats]:
    """All numbers in order, ``blob.step`` at a time."""
    total, step = size(blob), blob.step
    for start in range(0, total, step):
        yield blob.read(start, min(start + step, total))


class Piece(NamedTuple):
    """A run of numbers in a file: ``length`` items of ``dtype``, one every ``stride`` bytes."""

    start: int
    length: int
    dtype: str
    stride: int

    @property
    def end(self) -> int:
        """Offset after the run."""
        return self.start + self.length * self.stride


@dataclass(frozen=True, slots=True)
class StoredBlob(AsArray):
    """A blob inside a caffemodel: its numbers stay in the file until they are read."""

    source: ByteSource
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    extra: tuple[tuple[int, int], ...] = ()
    """Byte ranges of all other fields, the shape among them, which pass through as they are:
    Caffe compares a legacy 4-D shape by other rules than a modern one (blob.cpp, ShapeEquals)."""

    @property
    def step(self) -> int:
        """Elements to read at a time."""
        return CHUNK

    @property
    def stored(self) -> StoredBlob | None:
        """This blob."""
        return self

    @property
    def packed(self) -> Piece | None:
        """The one contiguous float32 run, when that is how the numbers are stored."""
        if len(self.pieces) == 1 and self.pieces[0][2:] == ("<f4", 4):
            return self.pieces[0]
        return None

    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop``; raises WeightsError when the file has shrunk."""
        found: list[Floats] = []
        first = 0
        for piece in self.pieces:
            lo, hi = max(start - first, 0), min(stop - first, piece.length)
            if lo < hi:
                found.append(self._run(piece, lo, hi))
            first += piece.length
        if len(found) == 1:
            return found[0]
        return np.concatenate(found) if found else np.empty(0, "<f4")

    def _run(self, piece: Piece, lo: int, hi: int) -> Floats:
        itemsize = np.dtype(piece.dtype).itemsize
        begin = piece.start + lo * piece.stride
        raw = self.source.read(begin, begin + (hi - lo - 1) * piece.stride + itemsize)
        if piece.stride == itemsize:
            numbers = np.frombuffer(raw, piece.dtype)
        else:
            numbers = np.ndarray((hi - lo,), piece.dtype, raw, strides=(piece.stride,)).copy()
        return numbers.astype(np.float32) if itemsize < 4 else numbers
