"""What the reference evaluator's layers have in common: their blobs, fillers and axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch

from caffefold._proto import caffe_pb2 as pb
from tests.reference.caffe_read import Array, InvalidNetError, Learned

Tensor: TypeAlias = torch.Tensor
FiveBlobs: TypeAlias = Literal["nvcaffe", "intel"]


@dataclass(frozen=True)
class Layer:
    """A layer of the net with its learned blobs."""

    spec: pb.LayerParameter
    learned: Learned
    dtype: torch.dtype
    five_blobs: FiveBlobs

    def fail(self, why: str) -> InvalidNetError:
        return InvalidNetError(f"{self.spec.name} ({self.spec.type}): {why}")

    def expect(self, *counts: int) -> int:
        """How many blobs the file gives; Caffe wants exactly the number that the net says."""
        count = self.learned.count
        if count is None:
            return counts[0]
        if count not in counts:
            raise self.fail(f"Incompatible number of blobs ({counts} vs. {count})")
        return count

    def weight(
        self, index: int, shape: Sequence[int], filler: pb.FillerParameter | None = None
    ) -> Tensor:
        """Learned blob `index`; where the file has none, its filler's values if not random."""
        blob = self.learned.blobs.get(index)
        if blob is None:
            return self._tensor(fill(filler, shape))
        values = blob.shaped(shape)
        if values is None:
            raise self.fail(f"blob {index} has shape {blob.dims}, the net says {tuple(shape)}")
        return self._tensor(values)

    def flat(self, index: int, size: int) -> Tensor:
        """Learned blob `index` of a fork's layer, whose shape varies: C, 1xC, 1xCx1x1."""
        blob = self.learned.blobs.get(index)
        if blob is None or blob.values.size != size:
            raise self.fail(f"blob {index} should hold {size} values")
        return self._tensor(blob.values)

    def _tensor(self, values: Array) -> Tensor:
        # A copy: numpy views of bytes are read-only, which torch warns about.
        return torch.tensor(values, dtype=self.dtype)


Tops: TypeAlias = list[Tensor]
Function: TypeAlias = Callable[[Layer, list[Tensor]], Tops]


def fill(filler: pb.FillerParameter | None, shape: Sequence[int]) -> Array:
    """What Caffe leaves in a blob without trained values, where that is not random."""
    filler = filler or pb.FillerParameter()
    if filler.type == "constant":
        return np.full(tuple(shape), filler.value, dtype=np.float64)
    if filler.type == "bilinear":
        size = shape[-1]
        factor = math.ceil(size / 2)
        centre = (2 * factor - 1 - factor % 2) / (2 * factor)
        line = 1 - np.abs(np.arange(size) / factor - centre)
        return np.broadcast_to(np.outer(line, line), tuple(shape)).astype(np.float64)
    raise InvalidNetError(f"no trained values, and the filler {filler.type!r} is random")


def canonical(axis: int, dims: int) -> int:
    """An axis counted from the end as one counted from the front."""
    if not -dims <= axis < dims:
        raise InvalidNetError(f"axis {axis} of a blob with {dims} axes")
    return axis % dims


def along(values: Tensor, axis: int, dims: int) -> Tensor:
    """`values` laid along the axes from `axis` on, ready to broadcast over `dims` axes."""
    after = dims - axis - values.dim()
    return values.reshape((1,) * axis + tuple(values.shape) + (1,) * after)
