"""What Caffe fills a layer's blobs with before it loads any weights (filler.hpp, FillerParameter).

A layer that the caffemodel does not have keeps what it was filled with. For random fillers that is
a net nobody trained; ``constant`` and ``bilinear`` are numbers, which published nets rely on for
the Deconvolutions that enlarge their maps:

    bilinear   w[y, x] = (1 - |y / f - c|) (1 - |x / f - c|), f = ceil(k / 2), c = (k - 1) / (2 f)

That is BVLC Caffe's c; the SSD branch has (2 f - 1 - f mod 2) / (2 f), another number where k mod 4
is 2 or 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from typing import NamedTuple

import numpy as np

from caffefold.formats.caffemodel.blob import Blob, Floats
from caffefold.frozen import dataclass
from caffefold.ir.net import Layer
from caffefold.ops.base import Op, WeightSpec

MOST = 1 << 26
"""Numbers that are filled at most: the text alone says how many they are."""
_BILINEAR, _CONSTANT = "bilinear", "constant"


class Filler(NamedTuple):
    """How one blob is filled."""

    kind: str
    value: float = 0.0
    """Of a constant."""

    @property
    def known(self) -> bool:
        """Whether it is the same each time."""
        return self.kind in (_CONSTANT, _BILINEAR)

    def __str__(self) -> str:
        return f"{self.kind} {self.value:g}" if self.kind == _CONSTANT else self.kind


@dataclass(frozen=True, slots=True)
class FilledBlob(Blob):
    """The numbers of a constant or bilinear filler, worked out when they are read."""

    shape: tuple[int, ...]
    filler: Filler

    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop`` as float32, in which Caffe computes them."""
        if self.filler.kind == _CONSTANT:
            return np.full(stop - start, self.filler.value, np.float32)
        side = self.shape[-1]
        half = ceil(side / 2)
        center = np.float32((side - 1) / (2 * half))
        at = np.arange(side, dtype=np.float32) / np.float32(half)
        line = np.float32(1) - np.abs(at - center)
        kernel = np.outer(line, line).reshape(-1)
        return kernel[np.arange(start, stop) % kernel.size]


def fillers(own: Op, layer: Layer, roles: Sequence[str]) -> tuple[Filler, ...]:
    """How the blobs of these roles are filled; () where the text does not say it of the first."""
    params = own.params(layer)
    found: list[Filler] = []
    for role in roles:
        field = own.fillers.get(role, "")
        if not field or (not found and not params.has(field)):
            return ()
        said = params.sub(field)
        found.append(Filler(said.string("type"), said.number("value")))
    return tuple(found)


def filled(
    own: Op, layer: Layer, specs: Sequence[WeightSpec], how: Sequence[Filler]
) -> tuple[FilledBlob, ...]:
    """The blobs of ``specs`` as Caffe fills them; () where that is random, unknown or too much."""
    made = []
    for spec, filler in zip(specs, how, strict=True):
        shape = tuple(dim for dim in spec.shape if dim is not None)
        square = len(shape) == 4 and shape[2] == shape[3]
        fits = square or filler.kind != _BILINEAR
        if len(shape) < len(spec.shape) or not (filler.known and fits) or prod(shape) > MOST:
            return ()
        made.append(FilledBlob(shape, filler))
    return tuple(made)


def differs_in_forks(blob: FilledBlob) -> bool:
    """Whether the SSD branch fills it with other numbers than BVLC Caffe."""
    return blob.filler.kind == _BILINEAR and blob.shape[-1] % 4 in (2, 3)
