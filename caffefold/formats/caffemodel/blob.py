"""What the numbers of a layer look like from outside, and the blobs that lie in a caffemodel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from caffefold.formats.caffemodel.wire import ByteSource
from caffefold.frozen import dataclass

Floats = NDArray[Any]
CHUNK = 1 << 16  # elements per step: 256 KiB of float32 stays in the processor's cache


class Blob(ABC):
    """Read-only numbers, read when asked for. Shapes are Caffe's, element order is C order."""

    __slots__ = ()

    if TYPE_CHECKING:  # a dataclass takes a property of its base for the default of its field

        @property
        def shape(self) -> tuple[int, ...]:
            """The dimensions as the file or the computation gives them."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop`` in C order, float32 or float64, 1-D."""

    @property
    def step(self) -> int:
        """How many elements are best read at a time."""
        return CHUNK

    @property
    def stored(self) -> StoredBlob | None:
        """The blob of a caffemodel that this one is, or was computed from number by number.

        What is written of this one keeps its other fields.
        """
        return None

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Floats:
        """``numpy.asarray(blob)``: all numbers in the blob's shape, always a copy.

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
class StoredBlob(Blob):
    """A blob inside a caffemodel: its numbers stay in the file until they are read."""

    source: ByteSource
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    extra: tuple[tuple[int, int], ...] = ()
    """Byte ranges of all fields but numbers and shape: a fork's own, which pass through."""
    legacy: bool = False
    """Whether its shape is stored as num, channels, height and width."""

    @property
    def stored(self) -> StoredBlob | None:
        """This blob."""
        return self

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
