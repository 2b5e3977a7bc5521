"""What blobs hold, as the walk through a net writes it: per channel, ``scale * base + shift``.

A base is whatever is no affine map of something else: an input of the net, the output of a
convolution or a ReLU, the average pooling of another base. Two nets compute the same where equal
bases meet equal maps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from caffefold.check.reference import AffineMap, Doubles
from caffefold.errors import ProofError
from caffefold.formats.caffemodel.precision import Precision

NOISE = 2.0**-44  # of float64 arithmetic in another order


class Composition(NamedTuple):
    """Affine layers one after another: their map, and what rounding may have done to it."""

    numbers: Doubles
    """(4, channels): scale and shift of the map; the sum of the sizes of all that was added up to
    the shift; and what storing next to nothing as zero may have moved scale and shift by, in the
    smallest numbers there are."""
    layers: int

    def then(self, after: AffineMap) -> Composition:
        """One more affine layer."""
        scale, shift, magnitude, slack = self.numbers
        factor = np.abs(after.scale)
        rows = (
            scale * after.scale,
            shift * after.scale + after.shift,
            magnitude * factor + np.abs(after.shift),
            slack * factor + np.abs(scale) + magnitude + 1,
        )
        return Composition(np.stack(np.broadcast_arrays(*rows)), self.layers + 1)

    def over(self, channels: int | None) -> Composition:
        """Written out for all channels, where it is known how many these are."""
        count = channels or self.numbers.shape[1]
        return Composition(np.broadcast_to(self.numbers, (4, count)), self.layers)

    def part(self, start: int, stop: int) -> Composition:
        """The channels ``start:stop`` of a composition that is written out."""
        return Composition(self.numbers[:, start:stop], self.layers)


IDENTITY = Composition(np.array([[1.0], [0.0], [0.0], [0.0]]), 0)


def joined(parts: list[Composition]) -> Composition:
    """The map of concatenated channels, from those of the parts, written out."""
    numbers = np.concatenate([part.numbers for part in parts], axis=1)
    return Composition(numbers, max(part.layers for part in parts))


class Signal(NamedTuple):
    """What a blob holds: a base, by its number, and its map; no map is the identity."""

    base: int
    map: Composition | None = None


class Bases:
    """The bases that the walks through both nets have met. The same key is the same base.

    Extents belong to the base, so what the original net tells of them holds in the written net.
    """

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._rank: list[int | None] = []
        self._channels: list[int | None] = []

    def number(self, key: object, rank: int | None, channels: int | None) -> int:
        """The base of this key; rank and channels count for a new one, None where unknown."""
        found = self._numbers.setdefault(key, len(self._rank))
        if found == len(self._rank):
            self._rank.append(rank)
            self._channels.append(channels)
        return found

    def rank(self, signal: Signal) -> int | None:
        """The number of axes."""
        return self._rank[signal.base]

    def channels(self, signal: Signal) -> int | None:
        """The size of axis 1."""
        return self._channels[signal.base]

    def mapped(self, signal: Signal, after: AffineMap, layer: str) -> Signal:
        """The signal behind one more affine layer; its map may tell how many channels there are.

        Raises:
            ProofError: the map has another number of channels; ``layer`` is named.
        """
        length, channels = after.channels, self.channels(signal)
        if channels is None and length > 1:
            self._channels[signal.base] = length
        elif length not in (1, channels):
            raise ProofError(f"layer '{layer}': maps {length} channels, its input has {channels}")
        return Signal(signal.base, (signal.map or IDENTITY).then(after))

    def composition(self, signal: Signal) -> Composition:
        """The map written out for all channels (length 1 when these are unknown)."""
        return (signal.map or IDENTITY).over(self.channels(signal))

    def agree(self, wanted: Signal, found: Signal, precision: Precision) -> bool:
        """Whether both are the same up to rounding: in the written net, a Scale layer may have
        taken the place of others, and its numbers are stored in ``precision``."""
        if wanted.base != found.base:
            return False
        if wanted.map is None and found.map is None:
            return True
        scale, shift, magnitude, _ = self.composition(wanted).numbers
        other_scale, other_shift, _, slack = self.composition(found).numbers
        allowed, tiny = rounding(found, precision), precision.tiny * (1 + slack)
        return bool(
            (np.abs(scale - other_scale) <= np.abs(scale) * allowed + tiny).all()
            and (np.abs(shift - other_shift) <= magnitude * allowed + tiny).all()
        )


def rounding(signal: Signal, precision: Precision) -> float:
    """How far, relatively, rounding may have moved a map: each affine layer holds rounded
    numbers."""
    return (signal.map.layers if signal.map else 0) * precision.unit * 1.1 + NOISE
