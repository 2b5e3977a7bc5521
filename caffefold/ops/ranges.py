"""Between which numbers the channels of a blob lie, as far as the net alone tells.

Interval arithmetic, a pair of numbers for each channel: exact for a channel that is the same number
everywhere, and never too narrow for another. Formulas: the Forward function of the layer in Caffe.
What comes from outside may be assumed to be of a plain size, ``INPUT``, or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from caffefold.formats.caffemodel.blob import array, size
from caffefold.ir.blob import Doubles
from caffefold.ir.net import Layer
from caffefold.ops.pooling import Pooling
from caffefold.ops.shape import ShapeList
from caffefold.ops.table import op

INPUT = 65536.0
"""The largest size of a number that comes from outside: pixels of 16 bits are smaller."""


class Range(NamedTuple):
    """The least and the largest number, arrays of one shape."""

    low: Doubles
    high: Doubles

    def hull(self, other: float) -> Range:
        """The same with ``other`` inside."""
        return Range(np.minimum(self.low, other), np.maximum(self.high, other))

    def mapped(self, scale: Doubles, shift: Doubles) -> Range:
        """What ``scale * x + shift`` makes of it."""
        ends = times(scale, self.low) + shift, times(scale, self.high) + shift
        return Range(np.minimum(*ends), np.maximum(*ends))

    def plus(self, other: Range) -> Range:
        """Sums of two numbers."""
        return Range(self.low + other.low, self.high + other.high)

    def product(self, other: Range) -> Range:
        """Products of two numbers."""
        ends = [times(a, b) for a in self for b in other]
        return Range(np.minimum.reduce(ends), np.maximum.reduce(ends))


def times(a: Doubles, b: Doubles) -> Doubles:
    """The product, where 0 times anything is 0."""
    with np.errstate(invalid="ignore"):
        made: Doubles = np.where((a == 0) | (b == 0), 0.0, a * b)
    return made


def anything(like: Range) -> Range:
    """What is known of nothing."""
    return Range(np.full_like(like.low, -np.inf), np.full_like(like.high, np.inf))


def pointwise(layer: Layer, given: Range) -> Range:
    """What a layer with one bottom that works on each element alone makes of numbers; of a type
    that is not listed, anything."""
    curve = CURVES.get(op(layer).name)
    if op(layer).is_identity(layer):
        return given
    if curve is None:
        return anything(given)
    ends = [curve(layer, given.low), curve(layer, given.high)]
    inside = (given.low < 0) & (given.high > 0)  # where a curve may turn
    turn = np.where(inside, curve(layer, np.zeros_like(given.low)), ends[0])
    return Range(np.minimum.reduce([*ends, turn]), np.maximum.reduce([*ends, turn]))


def pooled(layer: Layer, given: Range, bottoms: ShapeList) -> Range:
    """What a Pooling makes of numbers: averages near a padded border have zeros in them."""
    own = op(layer)
    assert isinstance(own, Pooling)
    params = own.params(layer)
    if params.flag("global_pooling") or own.commutes(layer, bottoms):
        return given
    rank = len(bottoms[0] or (1,) * 4) - 2
    if any(window.stride > window.kernel for window in own.windows(layer, rank)):
        return anything(given)  # windows without anything inside
    return given if params.word("pool") == "MAX" else given.hull(0.0)


def joined(layer: Layer, given: Sequence[Range]) -> Range:
    """What an Eltwise makes of its bottoms (eltwise_layer.cpp)."""
    params = op(layer).params(layer)
    word, found = params.word("operation"), given[0]
    if word == "MAX":
        for other in given[1:]:
            found = Range(np.maximum(found.low, other.low), np.maximum(found.high, other.high))
        return found
    if word == "PROD":
        for other in given[1:]:
            found = found.product(other)
        return found
    factors = params.numbers("coeff") or (1.0,) * len(given)
    if len(factors) != len(given) or word != "SUM":
        return anything(found)
    zero = np.zeros(1)
    terms = [one.mapped(np.array([a]), zero) for one, a in zip(given, factors, strict=True)]
    found = terms[0]
    for term in terms[1:]:
        found = found.plus(term)
    return found


Curve = Callable[[Layer, Doubles], Doubles]


def _relu(layer: Layer, x: Doubles) -> Doubles:
    slope = np.array(layer.params("relu_param").number("negative_slope"))
    return np.where(x > 0, x, times(slope, x))


def _prelu(layer: Layer, x: Doubles) -> Doubles:
    slope = array(layer.blobs[0]).reshape(-1).astype(np.float64)
    if size(layer.blobs[0]) > 1:
        slope = slope.reshape(-1, *(1,) * (x.ndim - 1))
    return np.where(x > 0, x, times(slope, x))


def _elu(layer: Layer, x: Doubles) -> Doubles:
    alpha = layer.params("elu_param").number("alpha")
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _sigmoid(layer: Layer, x: Doubles) -> Doubles:
    del layer
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _tanh(layer: Layer, x: Doubles) -> Doubles:
    del layer
    return np.tanh(x)


def _bnll(layer: Layer, x: Doubles) -> Doubles:
    del layer
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _absolute(layer: Layer, x: Doubles) -> Doubles:
    del layer
    return np.abs(x)


def _clip(layer: Layer, x: Doubles) -> Doubles:
    own = layer.params("clip_param")
    return np.clip(x, own.number("min"), own.number("max"))


def _relu6(layer: Layer, x: Doubles) -> Doubles:
    del layer
    return np.clip(x, 0, 6)


CURVES: Mapping[str, Curve] = MappingProxyType(
    {"ReLU": _relu, "PReLU": _prelu, "ELU": _elu, "Sigmoid": _sigmoid, "TanH": _tanh}
    | {"BNLL": _bnll, "AbsVal": _absolute, "Clip": _clip, "ReLU6": _relu6}
)
"""Functions of one element that rise or fall on either side of 0."""
