"""Where windows stand: Caffe's formulas against windows that are laid one by one."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from caffefold.ops.shape import Window, int_div

small = st.integers(1, 7)


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, Window]:
    """An input and a window that fits it."""
    kernel, stride = draw(small), draw(small)
    pad = draw(st.integers(0, kernel - 1))
    size = draw(st.integers(1, 40))
    assume(size + 2 * pad >= kernel)
    return size, Window(kernel, stride, pad)


def starts(size: int, window: Window) -> list[int]:
    """Where windows start until one reaches the padded end."""
    found = [-window.pad]
    while found[-1] + window.kernel < size + window.pad:
        found.append(found[-1] + window.stride)
    return found


@given(windows())
def test_pooling_rounds_up_and_starts_no_window_beyond_the_image(case: tuple[int, Window]) -> None:
    size, window = case
    laid = starts(size, window)
    assert window.pooled(size, floor=False, clip=False) == len(laid)
    inside = [start for start in laid if start < size]
    assert window.pooled(size, floor=False, clip=True) == max(len(inside), len(laid) - 1)


@given(windows())
def test_pooling_rounded_down_drops_the_window_that_hangs_over(case: tuple[int, Window]) -> None:
    size, window = case
    whole = [s for s in starts(size, window) if s + window.kernel <= size + window.pad]
    assert window.pooled(size, floor=True, clip=False) == len(whole)
    assert window.convolved(size) == len(whole)


@given(windows(), st.integers(1, 3))
def test_dilation_is_a_wider_window(case: tuple[int, Window], dilation: int) -> None:
    size, window = case
    wide = Window(window.kernel, window.stride, window.pad, dilation)
    extent = len(range(0, window.kernel * dilation, dilation)) * dilation - dilation + 1
    assume(size + 2 * window.pad >= extent)
    assert wide.convolved(size) == Window(extent, window.stride, window.pad).convolved(size)


@given(windows())
def test_a_deconvolution_undoes_an_exact_convolution(case: tuple[int, Window]) -> None:
    size, window = case
    made = window.convolved(size)
    lost = (size + 2 * window.pad - window.extent) % window.stride
    assert window.deconvolved(made) == size - lost


@pytest.mark.parametrize(
    ("number", "by", "result"), [(7, 2, 3), (-1, 2, 0), (-2, 2, -1), (-3, 2, -1), (0, 3, 0)]
)
def test_division_rounds_towards_zero(number: int, by: int, result: int) -> None:
    assert int_div(number, by) == result


def test_the_padded_pooling_of_resnets() -> None:
    """3x3, stride 2, pad 1 on 112: 57 windows, of which the last starts beyond the image."""
    window = Window(3, 2, 1)
    assert window.pooled(112, floor=False, clip=True) == 57
    assert window.pooled(113, floor=False, clip=True) == 57
    assert Window(2, 2, 1).pooled(5, floor=False, clip=True) == 3
    assert Window(2, 2, 1).pooled(5, floor=False, clip=False) == 4
