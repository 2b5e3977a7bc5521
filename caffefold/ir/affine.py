"""The algebra of per-channel affine maps ``y[c] = scale[c] * x[c] + shift[c]``, in float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from caffefold.frozen import dataclass
from caffefold.ir.blob import Doubles


class Statistics(NamedTuple):
    """What a normalization is made of: ``gamma * (x - unscale * mean) / sqrt(unscale * variance +
    eps) + beta``, where ``unscale`` is 1 / ``factor``."""

    mean: Doubles
    variance: Doubles
    factor: float
    """0: mean and variance are taken as 0."""
    eps: float
    gamma: Doubles | None = None
    beta: Doubles | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """``y = scale * x + shift`` per channel; length C, or length 1 for all channels alike."""

    scale: Doubles
    shift: Doubles
    terms: Doubles | None = None
    """The sum of the sizes of what the shift was added up from; None: it was not."""
    source: Statistics | None = None
    """What it was computed from; None: its numbers are exact, or were composed."""

    @classmethod
    def identity(cls, channels: int = 1) -> Affine:
        """The map that changes nothing."""
        return cls(np.ones(channels), np.zeros(channels))

    @property
    def channels(self) -> int:
        """Number of channels; 1 fits any."""
        return max(self.scale.size, self.shift.size)

    @property
    def is_identity(self) -> bool:
        """Whether the map changes nothing at all."""
        return bool((self.scale == 1).all() and not self.shift.any())

    @property
    def shifts(self) -> bool:
        """Whether the map adds anything; one that does not maps 0 to 0."""
        return bool(self.shift.any())

    def then(self, after: Affine) -> Affine:
        """This map followed by ``after``."""
        moved = self.shift * after.scale
        terms = np.abs(moved) if self.terms is None else self.terms * np.abs(after.scale)
        return Affine(self.scale * after.scale, moved + after.shift, terms + after.sizes)

    @property
    def sizes(self) -> Doubles:
        """``terms``, of a shift that was not added up its own size."""
        return np.abs(self.shift) if self.terms is None else self.terms

    def over(self, channels: int) -> Affine:
        """The same map written out for ``channels`` channels.

        Raises:
            ValueError: the map has another number of channels.
        """
        terms = None if self.terms is None else np.broadcast_to(self.terms, (channels,))
        scale, shift = (np.broadcast_to(each, (channels,)) for each in (self.scale, self.shift))
        return Affine(scale, shift, terms)

    def part(self, start: int, stop: int) -> Affine:
        """The map of the channels ``start:stop``."""
        if self.channels == 1:
            return self
        full = self.over(self.channels)
        terms = None if full.terms is None else full.terms[start:stop]
        return Affine(full.scale[start:stop], full.shift[start:stop], terms)

    def equals(self, other: Affine) -> bool:
        """Whether both are the same map, to the last bit."""
        if self.channels != other.channels:
            return False
        one, two = self.over(self.channels), other.over(self.channels)
        return np.array_equal(one.scale, two.scale) and np.array_equal(one.shift, two.shift)
