"""Blobs that are computed: numbers in memory, and stored weights with factors not yet applied.

Nothing is rounded here. A fold keeps float64 until the writer rounds once to the stored type.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from caffefold.formats.caffemodel.blob import CHUNK, Blob, Floats, StoredBlob, size
from caffefold.frozen import dataclass

Doubles = NDArray[np.float64]
_BLOCK = 1 << 22  # elements


@dataclass(frozen=True, slots=True, eq=False)
class ArrayBlob(Blob):
    """Numbers in memory, such as a folded bias; float64 until they are written."""

    numbers: Doubles
    terms: Doubles | None = None
    """The sums of the sizes of what they were added up from; None: they were not."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self.numbers.shape

    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop``."""
        return self.numbers.reshape(-1)[start:stop]


@dataclass(frozen=True, slots=True, eq=False)
class ScaledBlob(Blob):
    """``source`` seen as ``view = (groups, rows, columns, inner)``, each entry times two factors.

    ``w'[g, r, c, i] = w[g, r, c, i] * row[g, r] * column[g, c]``: every fold into every linear
    layer has this form; which axis is output and which is input is the layer's business. Folding
    again multiplies the float64 factors, so there is still one rounding at the end.
    """

    source: Blob
    view: tuple[int, int, int, int]
    row: Doubles | None = None
    column: Doubles | None = None

    @classmethod
    def of(cls, blob: Blob, view: tuple[int, int, int, int]) -> ScaledBlob:
        """``blob`` with factors 1; an already scaled blob keeps its factors."""
        if isinstance(blob, ScaledBlob) and blob.view == view:
            return blob
        return cls(blob, view)

    @property
    def shape(self) -> tuple[int, ...]:
        """The source's shape."""
        return self.source.shape

    @property
    def stored(self) -> StoredBlob | None:
        """What the source is stored as: the shape is the same."""
        return self.source.stored

    @property
    def step(self) -> int:
        """Elements to read at a time: whole rows where they fit into the cache."""
        width = max(1, self.view[2] * self.view[3])
        return max(CHUNK // width * width, min(width, CHUNK))

    def times(self, *, row: Doubles | None = None, column: Doubles | None = None) -> ScaledBlob:
        """The same blob with further factors, shaped (groups, rows) and (groups, columns)."""
        return replace(self, row=_product(self.row, row), column=_product(self.column, column))

    def read(self, start: int, stop: int) -> Floats:
        """The scaled elements ``start:stop`` as float64."""
        if stop <= start:
            return np.empty(0)
        width = self.view[2] * self.view[3]
        first_whole, last_whole = -(-start // width) * width, stop // width * width
        if first_whole > last_whole:
            return self._rows(start, stop)  # a part of one row
        parts = ((start, first_whole), (first_whole, last_whole), (last_whole, stop))
        found = [self._rows(a, b) for a, b in parts if a < b]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _rows(self, start: int, stop: int) -> Floats:
        """Whole rows, or a part of one row."""
        _, rows, columns, inner = self.view
        width = columns * inner
        first, last = start // width, -(-stop // width)
        scaled = self.source.read(start, stop).reshape(last - first, -1).astype(np.float64)
        if self.row is not None:
            scaled *= self.row.reshape(-1)[first:last, None]
        if self.column is not None:
            factors = np.repeat(self.column[np.arange(first, last) // rows], inner, axis=1)
            begin = start - first * width
            scaled *= factors[:, begin : begin + scaled.shape[1]]
        flat: Floats = scaled.reshape(-1)
        return flat


@dataclass(frozen=True, slots=True, eq=False)
class TransposedBlob(Blob):
    """A matrix with rows and columns exchanged: ``rows`` rows of a ``source`` of as many columns.

    It is read a block of rows at a time, which takes one pass through the source each.
    """

    source: Blob
    rows: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns)."""
        return self.rows, size(self.source) // self.rows

    @property
    def step(self) -> int:
        """Elements to read at a time: whole rows, 16 MiB of float32."""
        columns = max(1, self.shape[1])
        return max(1, _BLOCK // columns) * columns

    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop``."""
        rows, columns = self.shape
        if stop <= start:
            return np.empty(0, np.float32)
        first, last = start // columns, -(-stop // columns)
        step = max(1, CHUNK // rows)
        parts = [
            self.source.read(row * rows, min(row + step, columns) * rows)
            .reshape(-1, rows)[:, first:last]
            .T
            for row in range(0, columns, step)
        ]
        block: Floats = np.concatenate(parts, axis=1).reshape(-1)
        return block[start - first * columns : stop - first * columns]


@dataclass(frozen=True, slots=True, eq=False)
class SpreadBlob(Blob):
    """Filters whose taps are set apart with zeros: ``steps`` elements along each of the last axes.

    ``steps`` (2, 1) makes 5x3 of 3x3, the rows 1 and 3 of which are 0.
    """

    source: Blob
    steps: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The source's first axes, then the wider filters."""
        wide = ((n - 1) * step + 1 for n, step in zip(self._taps, self.steps, strict=True))
        return (*self.source.shape[: -len(self.steps)], *wide)

    @property
    def _taps(self) -> tuple[int, ...]:
        return self.source.shape[-len(self.steps) :]

    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop``."""
        if stop <= start:
            return np.empty(0, np.float32)
        wide = self.shape[-len(self.steps) :]
        area, wide_area = prod(self._taps), prod(wide)
        first, last = start // wide_area, -(-stop // wide_area)
        taps = self.source.read(first * area, last * area).reshape(-1, *self._taps)
        made = np.zeros((last - first, *wide), taps.dtype)
        every = (slice(None, None, step) for step in (1, *self.steps))
        made[tuple(every)] = taps
        flat: Floats = made.reshape(-1)
        return flat[start - first * wide_area : stop - first * wide_area]


def _product(old: Doubles | None, new: Doubles | None) -> Doubles | None:
    return new if old is None else old if new is None else old * new
