"""What blobs hold, as the walk through a net writes it: per channel, ``scale * base + shift``.

A base is whatever is no affine map of something else: an input of the net, the output of a
convolution or a ReLU, the average pooling of another base. Two nets compute the same where equal
bases meet equal maps.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from caffefold.check.reference import AffineMap, Doubles
from caffefold.errors import ProofError
from caffefold.formats.caffemodel.precision import Precision
from caffefold.ops.shape import Shape

NOISE = 2.0**-44  # of float64 arithmetic in another order
_LARGEST = 1 << 20  # numbers of one map along two axes
_DEEPEST = 16  # maps along changing axes, one behind the other


class Base:
    """One base of both nets, compared by identity; extents are None where they are unknown."""

    __slots__ = ("channels", "depth", "product", "shape", "whole")

    def __init__(
        self,
        shape: Shape,
        channels: int | None,
        *,
        product: bool = False,
        whole: Signal | None = None,
    ) -> None:
        self.shape = shape
        """In the original net, which is walked first."""
        self.channels = (shape[1] if shape is not None and len(shape) > 1 else None) or channels
        """The size of axis 1; weights may be what decides it."""
        self.product = product
        """Whether an InnerProduct made it: its outputs are the last axis, whichever that is."""
        self.whole = whole
        """The signal that it is, where a map along another axis follows on that one's map."""
        self.depth: int = 0 if whole is None else whole.base.depth + 1

    @property
    def rank(self) -> int | None:
        """The number of axes."""
        return None if self.shape is None else len(self.shape)


class Composition(NamedTuple):
    """Affine layers one after another: their map, and what rounding may have done to it."""

    numbers: Doubles
    """(4, channels): scale and shift of the map; the sum of the sizes of all that was added up to
    the shift; and what storing next to nothing as zero may have moved scale and shift by, in the
    smallest numbers there are. One column stands for all channels."""
    roundings: int
    """How many stored numbers are in it, each of which may have been rounded; 0: the identity, in
    one column."""
    axis: int = 1
    """The axis that several columns lie along: that of the channels, or of a product's outputs."""

    @property
    def channels(self) -> int:
        """How many columns there are."""
        return int(self.numbers.shape[1])

    def takes(self, after: AffineMap | Composition) -> bool:
        """Whether one more map lies along the same axis, or along none."""
        return self.axis == after.axis or 1 in (after.channels, self.channels)

    def then(self, after: AffineMap) -> Composition:
        """One more affine layer."""
        scale, shift, magnitude, slack = self.numbers
        factor = np.abs(after.scale)
        sizes = np.abs(after.shift) if after.sizes is None else after.sizes
        rows = (
            scale * after.scale,
            shift * after.scale + after.shift,
            magnitude * factor + sizes,
            slack * factor + np.abs(scale) + magnitude + 1,
        )
        axis = after.axis if after.channels > 1 else self.axis
        numbers = np.stack(np.broadcast_arrays(*rows))
        return Composition(numbers, self.roundings + after.roundings, axis)

    def over(self, channels: int | None) -> Doubles:
        """The numbers with a column for each channel, where it is known how many these are."""
        return np.broadcast_to(self.numbers, (4, channels or self.channels))

    def rounding(self, precision: Precision) -> float:
        """How far, relatively, rounding may have moved the map."""
        return _rounding(self.roundings, precision)


def _rounding(count: int, precision: Precision) -> float:
    """How far, relatively, rounding so many numbers may have moved a map."""
    return count * precision.unit * 1.1 + NOISE


IDENTITY = Composition(np.array([[1.0], [0.0], [0.0], [0.0]]), 0)


class Signal(NamedTuple):
    """What a blob holds."""

    base: Base
    map: Composition = IDENTITY

    @property
    def numbers(self) -> Doubles:
        """The numbers of the map for all channels (for one, when their count is unknown)."""
        return self.map.numbers if self.map.axis != 1 else self.map.over(self.base.channels)

    def mapped(self, after: AffineMap, layer: str) -> Signal:
        """The signal behind one more affine layer; its map may decide how many channels there are.

        Raises:
            ProofError: the map has another number of channels; ``layer`` is named.
        """
        length, channels = after.channels, self.base.channels
        if after.axis != 1:  # only where the shape is known
            assert self.base.shape is not None
            channels = self.base.shape[after.axis] or length
        if channels is None and length > 1:
            self.base.channels = length
        elif length not in (1, channels):
            raise ProofError(f"layer '{layer}': maps {length} channels, its input has {channels}")
        return Signal(self.base, self.map.then(after))

    def agrees(self, found: Signal, precision: Precision) -> bool:
        """Whether ``found`` in the written net is this signal up to rounding: a Scale layer may
        have replaced others, and its numbers are stored in ``precision``."""
        if self.base is found.base and not self.map.roundings and not found.map.roundings:
            return True
        if self.base is found.base and self.map.takes(found.map):
            numbers, others, roundings = self.map.numbers, found.map.numbers, found.map.roundings
        else:
            before, after = self._spread(), found._spread()
            if before is None or after is None or before.root is not after.root:
                return False
            if not _fit(before.numbers, after.numbers):
                return False
            numbers, others, roundings = before.numbers, after.numbers, after.roundings
        scale, shift, magnitude, _ = numbers
        other_scale, other_shift, _, slack = others
        allowed, tiny = _rounding(roundings, precision), precision.tiny * (1 + slack)
        return bool(
            (np.abs(scale - other_scale) <= np.abs(scale) * allowed + tiny).all()
            and (np.abs(shift - other_shift) <= magnitude * allowed + tiny).all()
        )

    def _spread(self) -> _Spread | None:
        """The map of what no other signal stands behind, along both axes; None: it is too large."""
        if self.base.depth > _DEEPEST:
            return None
        own = self.map.numbers[:, :, None] if self.map.axis == 1 else self.map.numbers[:, None]
        if self.base.whole is None:
            return _Spread(self.base, own, self.map.roundings)
        inner = self.base.whole._spread()
        if inner is None:
            return None
        root, numbers, roundings = inner
        if not _fit(numbers, own):
            return None
        scale, shift, magnitude, slack = numbers
        times, plus, added, moved = own
        factor = np.abs(times)
        rows = (
            scale * times,
            shift * times + plus,
            magnitude * factor + added,
            slack * factor + moved * (np.abs(scale) + magnitude + 1),
        )
        both = np.stack(np.broadcast_arrays(*rows))
        return _Spread(root, both, roundings + self.map.roundings)


def _fit(one: Doubles, other: Doubles) -> bool:
    """Whether two maps along two axes go together, and are not too large for that."""
    pairs = tuple(zip(one.shape, other.shape, strict=True))
    return all(a == b or 1 in (a, b) for a, b in pairs) and prod(map(max, pairs)) <= _LARGEST


class _Spread(NamedTuple):
    """A map along two axes."""

    root: Base
    numbers: Doubles
    """As those of a composition, (4, channels, outputs)."""
    roundings: int
