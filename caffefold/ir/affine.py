"""The algebra of per-channel affine maps ``y[c] = scale[c] * x[c] + shift[c]``, in float64."""

from __future__ import annotations

import numpy as np

from caffefold.frozen import dataclass
from caffefold.ir.blob import Doubles


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """``y = scale * x + shift`` per channel; length C, or length 1 for all channels alike."""

    scale: Doubles
    shift: Doubles

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
        return Affine(self.scale * after.scale, self.shift * after.scale + after.shift)

    def over(self, channels: int) -> Affine:
        """The same map written out for ``channels`` channels.

        Raises:
            ValueError: the map has another number of channels.
        """
        return Affine(
            np.broadcast_to(self.scale, (channels,)), np.broadcast_to(self.shift, (channels,))
        )

    def part(self, start: int, stop: int) -> Affine:
        """The map of the channels ``start:stop``."""
        if self.channels == 1:
            return self
        full = self.over(self.channels)
        return Affine(full.scale[start:stop], full.shift[start:stop])

    def equals(self, other: Affine) -> bool:
        """Whether both are the same map, to the last bit."""
        if self.channels != other.channels:
            return False
        one, two = self.over(self.channels), other.over(self.channels)
        return np.array_equal(one.scale, two.scale) and np.array_equal(one.shift, two.shift)
