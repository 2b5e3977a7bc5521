"""Numbers of twice the precision of float64: each is the exact sum of two float64 numbers.

Sums, products, quotients and roots to about 2^-100 of their size, element by element (Dekker 1971;
Ogita, Rump and Oishi 2005). They decide which float32 is the nearest where float64 is too coarse.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from caffefold.ir.blob import Doubles

Places = NDArray[np.intp]
_HALVES = 134217729.0  # 2^27 + 1 parts a float64 into two of 26 bits (Veltkamp)


class Twofold(NamedTuple):
    """``high + low``; ``high`` is the float64 nearest to it."""

    high: Doubles
    low: Doubles

    @classmethod
    def of(cls, numbers: Doubles | float) -> Twofold:
        """These numbers."""
        high = np.asarray(numbers, np.float64)
        return cls(high, np.zeros_like(high))

    def plus(self, other: Twofold) -> Twofold:
        """The sum."""
        high, rest = _sum(self.high, other.high)
        low, last = _sum(self.low, other.low)
        high, rest = _ordered(high, rest + low)
        return Twofold(*_ordered(high, rest + last))

    def minus(self, other: Twofold) -> Twofold:
        """The difference."""
        return self.plus(Twofold(-other.high, -other.low))

    def times(self, other: Twofold) -> Twofold:
        """The product."""
        high, rest = _product(self.high, other.high)
        return Twofold(*_ordered(high, rest + (self.high * other.low + self.low * other.high)))

    def over(self, other: Twofold) -> Twofold:
        """The quotient: a quotient of float64 numbers, and those of what it leaves."""
        found = Twofold.of(self.high / other.high)
        for _ in range(2):
            left = self.minus(found.times(other))
            found = found.plus(Twofold.of(left.high / other.high))
        return found

    def root(self) -> Twofold:
        """The square root: one step of Newton's from the one in float64."""
        near = Twofold.of(np.sqrt(self.high))
        left = self.minus(near.times(near))
        return near.plus(Twofold.of(left.high / (2 * near.high)))

    def part(self, wanted: slice | Places) -> Twofold:
        """Some of them, along the first axis."""
        return Twofold(self.high[wanted], self.low[wanted])

    def spread(self, count: int) -> Twofold:
        """So many, of one for all or of as many."""
        return Twofold(*(np.broadcast_to(each, (count,)) for each in self))

    def repeat(self, times: int) -> Twofold:
        """Each so many times in a row."""
        return Twofold(*(each.repeat(times) for each in self))

    def total(self) -> Twofold:
        """The sums along the last axis."""
        found = self
        while (count := found.high.shape[-1]) > 1:
            half = count // 2
            first, second, last = (
                Twofold(found.high[..., cut], found.low[..., cut])
                for cut in (slice(half), slice(half, 2 * half), slice(2 * half, None))
            )
            found = first.plus(second)
            if count % 2:
                found = Twofold(*map(np.append, found, last, (-1, -1)))
        return Twofold(found.high.sum(axis=-1), found.low.sum(axis=-1))

    def to_odd(self) -> Doubles:
        """A float64 number that any coarser type rounds to what it would round this to.

        Of the two float64 numbers around, the one whose last bit is 1; itself, where it is one.
        """
        bits = np.array(self.high).view(np.int64)
        outside = (self.low < 0) != (self.high < 0)
        bits -= outside & (self.low != 0)
        bits |= self.low != 0
        found: Doubles = bits.view(np.float64)
        return found


def _sum(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """A sum in float64, and what it lacks (Knuth)."""
    high = a + b
    other = high - a
    return high, (a - (high - other)) + (b - other)


def _ordered(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """The same, where ``a`` is the larger one."""
    high = a + b
    return high, b - (high - a)


def _product(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """A product in float64, and what it lacks (Dekker)."""
    high = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return high, ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2


def _halves(a: Doubles) -> tuple[Doubles, Doubles]:
    far = _HALVES * a
    high = far - (far - a)
    return high, a - high
