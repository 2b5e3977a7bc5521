"""Computed blobs: any part of a scaled blob is what the formula says, bit for bit."""

from __future__ import annotations

import sys
from math import prod
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caffefold.formats.caffemodel.blob import CHUNK, array, chunks, size
from caffefold.ir.blob import ArrayBlob, Doubles, ScaledBlob
from tests.support.formats_model import Loaded

View = tuple[int, int, int, int]


class Case(NamedTuple):
    numbers: Doubles
    view: View
    row: Doubles | None
    column: Doubles | None


def factors(shape: tuple[int, int], seed: int) -> Doubles:
    return np.random.default_rng(seed).normal(size=shape)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    view = draw(st.tuples(*[st.integers(1, 5)] * 4))
    seed = draw(st.integers(0, 1000))
    numbers = np.random.default_rng(seed).normal(size=prod(view))
    row = factors(view[:2], seed + 1) if draw(st.booleans()) else None
    column = factors((view[0], view[2]), seed + 2) if draw(st.booleans()) else None
    return Case(numbers, view, row, column)


def formula(case: Case) -> Doubles:
    """w'[g, r, c, i] = w[g, r, c, i] * row[g, r] * column[g, c]"""
    wanted = case.numbers.reshape(case.view)
    if case.row is not None:
        wanted = wanted * case.row[:, :, None, None]
    if case.column is not None:
        wanted = wanted * case.column[:, None, :, None]
    return wanted.reshape(-1)


def scaled(case: Case) -> ScaledBlob:
    return ScaledBlob(ArrayBlob(case.numbers), case.view, case.row, case.column)


@settings(deadline=None, max_examples=300)
@given(cases(), st.data())
def test_any_part_of_a_scaled_blob(case: Case, data: st.DataObject) -> None:
    total = len(case.numbers)
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    found = scaled(case).read(start, stop)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, formula(case)[start:stop])


@given(cases())
def test_every_empty_part_is_empty(case: Case) -> None:
    for at in range(len(case.numbers) + 1):
        assert scaled(case).read(at, at).shape == (0,)


@pytest.mark.parametrize("view", [(1, 0, 3, 1), (1, 3, 0, 1), (0, 2, 2, 2)])
def test_a_blob_without_numbers(view: View) -> None:
    blob = ScaledBlob(ArrayBlob(np.zeros(0)), view, np.ones(view[:2]), np.ones((view[0], view[2])))
    assert list(chunks(blob)) == []
    assert array(blob).shape == (0,)


@settings(deadline=None)
@given(cases(), st.integers(0, 1000))
def test_further_factors_multiply(case: Case, seed: int) -> None:
    row, column = factors(case.view[:2], seed), factors((case.view[0], case.view[2]), seed + 1)
    twice = scaled(case).times(row=row).times(column=column)
    wanted = Case(
        case.numbers,
        case.view,
        row if case.row is None else case.row * row,
        column if case.column is None else case.column * column,
    )
    np.testing.assert_array_equal(twice.read(0, len(case.numbers)), formula(wanted))
    np.testing.assert_array_equal(scaled(case).read(0, len(case.numbers)), formula(case))


@settings(deadline=None)
@given(cases(), st.data())
def test_a_scaled_blob_seen_otherwise_and_scaled_again(case: Case, data: st.DataObject) -> None:
    """Rows of the inner blob are not rows of the outer one."""
    total = len(case.numbers)
    groups, rows, columns, inner = data.draw(st.permutations(case.view))
    view = (groups, rows, columns, inner)
    row = factors((groups, rows), 7)
    outer = ScaledBlob.of(scaled(case), view).times(row=row)
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    if view == case.view:
        wanted = formula(case._replace(row=row if case.row is None else case.row * row))
    else:
        wanted = formula(Case(formula(case), view, row, None))
    np.testing.assert_array_equal(outer.read(start, stop), wanted[start:stop])


def test_many_rows_that_end_in_the_middle_of_one() -> None:
    rows = sys.getrecursionlimit() * 3
    case = Case(np.arange(rows * 2.0), (1, rows, 2, 1), factors((1, rows), 1), factors((1, 2), 2))
    for start, stop in [(0, rows * 2 - 1), (1, rows * 2), (1, rows * 2 - 1)]:
        np.testing.assert_array_equal(scaled(case).read(start, stop), formula(case)[start:stop])


def test_rows_longer_than_a_chunk() -> None:
    width = CHUNK + 5
    numbers = np.arange(2.0 * width)
    case = Case(numbers, (1, 2, width, 1), factors((1, 2), 1), factors((1, width), 2))
    blob = scaled(case)
    assert blob.step <= CHUNK
    np.testing.assert_array_equal(np.concatenate(list(chunks(blob))), formula(case))


@pytest.mark.parametrize("view", [(1, 8, 3, 9), (2, 4, 27, 1), (1, 1, 300, 300), (1, 1, 1, 70_000)])
def test_steps_are_whole_rows_that_fit_the_cache(view: View) -> None:
    blob = ScaledBlob(ArrayBlob(np.zeros(view)), view)
    width = view[2] * view[3]
    assert 0 < blob.step <= CHUNK
    assert blob.step % width == 0 or width > CHUNK


def test_of_keeps_the_factors_of_the_same_view() -> None:
    blob = ArrayBlob(np.ones((2, 3)))
    first = ScaledBlob.of(blob, (1, 2, 3, 1)).times(row=np.array([[2.0, 3.0]]))
    assert ScaledBlob.of(first, (1, 2, 3, 1)) is first
    other = ScaledBlob.of(first, (1, 3, 2, 1))
    assert (other.source, other.view, other.row) == (first, (1, 3, 2, 1), None)


def test_shapes_are_those_of_the_source() -> None:
    blob = ArrayBlob(np.zeros((4, 3, 2, 2)))
    seen = ScaledBlob(blob, (2, 2, 3, 4))
    assert blob.shape == seen.shape == (4, 3, 2, 2)
    assert size(seen) == 48
    assert np.asarray(seen).shape == array(seen).shape == (4, 3, 2, 2)
    assert np.asarray(seen).dtype == np.float32
    assert array(seen).dtype == np.float64


def test_nothing_is_rounded_before_it_is_written(loaded: Loaded) -> None:
    """float32 weights times a float64 factor, in float64."""
    weights = np.array([0.1, 0.2], np.float32)
    net = loaded('layer { name: "a" }', {"a": [weights]})
    blob = ScaledBlob.of(net.layers[0].blobs[0], (1, 2, 1, 1)).times(row=np.array([[1 / 3, 1 / 7]]))
    wanted = weights.astype(np.float64) * np.array([1 / 3, 1 / 7])
    np.testing.assert_array_equal(np.asarray(blob, dtype=np.float64), wanted)


@given(st.integers(0, 12), st.integers(0, 12))
def test_any_part_of_an_array(start: int, stop: int) -> None:
    start, stop = sorted((start, stop))
    numbers = np.arange(24.0).reshape(4, 6)[:, ::2]  # not contiguous
    np.testing.assert_array_equal(ArrayBlob(numbers).read(start, stop), numbers.ravel()[start:stop])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_of_a_blob_is_a_copy(dtype: Any) -> None:
    numbers = np.arange(3.0)
    made: NDArray[Any] = np.array(ArrayBlob(numbers), dtype=dtype, copy=True)
    made[0] = 7
    assert numbers[0] == 0
