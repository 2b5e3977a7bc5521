"""When an average commutes with a map: the fold's rule and the proof's, against pooling_layer.cpp.

The arithmetic is written out here once more, window by window, as Reshape and Forward_cpp have it;
each rule is asked on its own, so that a belief they share is seen as well.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from caffefold.check.signals import IDENTITY, Base, Signal
from caffefold.check.wiring import hands_on
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op
from caffefold.testing import net_text

Sides = tuple[int, int, int, int]
"""Of one axis: size, kernel, stride, pad."""


def outputs(sides: Sides, *, padded: bool, ceil: bool) -> int:
    """PoolingLayer::Reshape."""
    size, kernel, stride, pad = sides
    whole = (size + 2 * pad - kernel) / stride
    count = (math.ceil(whole) if ceil else math.floor(whole)) + 1
    if padded and (count - 1) * stride >= size + pad:
        count -= 1
    return count


def averages(x: np.ndarray, axes: tuple[Sides, Sides], *, ceil: bool) -> np.ndarray:
    """PoolingLayer::Forward_cpu, AVE."""
    padded = any(pad for *_, pad in axes)
    shape = [outputs(sides, padded=padded, ceil=ceil) for sides in axes]
    found = np.zeros(shape)
    for place in np.ndindex(*shape):
        count, window = 1, []
        for at, (size, kernel, stride, pad) in zip(place, axes, strict=True):
            start = at * stride - pad
            stop = min(start + kernel, size + pad)
            count *= stop - start
            window.append(slice(max(start, 0), min(stop, size)))
        total = x[tuple(window)].sum()
        found[place] = total / count if count else math.nan
    return found


def layer_of(axes: tuple[Sides, Sides], *, ceil: bool) -> Layer:
    (_, kernel_h, stride_h, pad_h), (_, kernel_w, stride_w, pad_w) = axes
    fields = f"kernel_h: {kernel_h} kernel_w: {kernel_w} stride_h: {stride_h} stride_w: {stride_w}"
    fields += f" pad_h: {pad_h} pad_w: {pad_w}" if pad_h or pad_w else ""
    fields += "" if ceil else " round_mode: FLOOR"
    line = f"p Pooling x -> p {{ pooling_param {{ pool: AVE {fields} }} }}"
    return Net.from_text(net_text(line)).layers[0]


def axis() -> st.SearchStrategy[Sides]:
    return st.tuples(
        st.integers(1, 8), st.integers(1, 4), st.integers(1, 6), st.integers(0, 1)
    ).filter(lambda s: s[3] < s[1] <= s[0])


@given(axis(), axis(), st.booleans())
@example((5, 1, 3, 0), (5, 1, 3, 0), True)
@example((5, 1, 3, 0), (5, 5, 1, 0), True)
@example((6, 2, 3, 0), (6, 2, 3, 0), True)
@example((4, 1, 4, 0), (4, 1, 4, 0), True)
@example((4, 1, 4, 0), (4, 1, 4, 0), False)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_both_rules_are_right(height: Sides, width: Sides, ceil: bool) -> None:
    """Each says that a map may pass exactly where it may; padding stops it in any case."""
    axes = height, width
    layer, shape = layer_of(axes, ceil=ceil), (1, 3, height[0], width[0])
    x = np.random.default_rng(5).normal(size=shape[2:])
    mapped, plain = (averages(v, axes, ceil=ceil) for v in (2 * x + 3, x))
    commutes = mapped.shape == plain.shape and np.allclose(mapped, 2 * plain + 3, atol=1e-12)
    fold = op(layer).commutes(layer, [shape])
    proof = hands_on(layer, (Signal(Base(shape, 3), IDENTITY),)) is not None
    if height[3] or width[3]:
        assert not fold
        assert not proof
    else:
        assert fold == commutes
        assert proof == commutes
