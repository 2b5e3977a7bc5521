"""Blobs in a caffemodel: any part reads as the slice of the whole."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffefold.errors import WeightsError
from caffefold.formats.caffemodel.blob import CHUNK, Piece, StoredBlob, array, chunks, size
from caffefold.formats.caffemodel.index import open_weights
from caffefold.formats.caffemodel.wire import FIXED32, FIXED64, len_field, tag, varint_field
from tests.support.formats_weights import Opened, layer_field, legacy_shape, shape_field


def stored(opened: Opened, blob: bytes, *shape: int) -> StoredBlob:
    found = opened(layer_field("ip", blob + shape_field(*shape))).layers[0].blobs[0]
    assert isinstance(found, StoredBlob)
    return found


@st.composite
def runs(draw: st.DrawFn) -> tuple[bytes, np.ndarray[Any, Any]]:
    """Numbers stored in several runs, packed or one by one, and what they are."""
    dtype, number, fixed = draw(st.sampled_from([("<f4", 5, FIXED32), ("<f8", 8, FIXED64)]))
    numbers = np.arange(draw(st.integers(0, 40)), dtype=dtype) / 7
    cuts = sorted(draw(st.lists(st.integers(0, len(numbers)), max_size=4)))
    data = b""
    for lo, hi in pairwise([0, *cuts, len(numbers)]):
        if draw(st.booleans()):
            data += len_field(number, numbers[lo:hi].tobytes())
        else:
            data += b"".join(tag(number, fixed) + n.tobytes() for n in numbers[lo:hi])
        if draw(st.booleans()):
            data += len_field(5000, b"between")
    return data, numbers


@settings(deadline=None)
@given(runs(), st.integers(0, 40), st.integers(0, 40))
def test_any_part_is_the_slice_of_the_whole(
    opened: Opened, run: tuple[bytes, np.ndarray[Any, Any]], lo: int, hi: int
) -> None:
    data, numbers = run
    blob = stored(opened, data, len(numbers))
    lo, hi = sorted((min(lo, len(numbers)), min(hi, len(numbers))))
    part = blob.read(lo, hi)
    np.testing.assert_array_equal(part, numbers[lo:hi])
    assert part.ndim == 1
    assert part.dtype in (np.dtype("<f4"), np.dtype("<f8"))


def test_half_floats_are_read_as_float32(opened: Opened) -> None:
    numbers = np.array([0.1, -65504, 6e-8], "<f2")
    blob = stored(opened, varint_field(10, 2) + len_field(12, numbers.tobytes()), 3)
    part = blob.read(1, 3)
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part, numbers[1:].astype("f4"))


def test_as_array_gives_shape_and_type(opened: Opened) -> None:
    numbers = np.arange(6, dtype="<f8") / 7
    blob = stored(opened, len_field(8, numbers.tobytes()), 2, 3)
    np.testing.assert_array_equal(np.asarray(blob, dtype=np.float64), numbers.reshape(2, 3))
    assert np.asarray(blob).dtype == np.float32
    assert np.asarray(blob).shape == (2, 3)
    assert size(blob) == 6
    assert array(blob).dtype == np.float64


def test_numbers_are_read_only(opened: Opened) -> None:
    blob = stored(opened, len_field(5, bytes(8)), 2)
    with pytest.raises(ValueError, match="read-only"):
        blob.read(0, 2)[0] = 1


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_chunks_are_the_whole_in_steps(opened: Opened, count: int) -> None:
    numbers = np.arange(count, dtype="<f4")
    blob = stored(opened, len_field(5, numbers.tobytes()), count)
    found = list(chunks(blob))
    assert [len(chunk) for chunk in found[:-1]] == [CHUNK] * (len(found) - 1)
    np.testing.assert_array_equal(np.concatenate([*found, np.empty(0)]), numbers)


def test_unpacked_runs_longer_than_one_look(opened: Opened) -> None:
    """The index walks runs of 4096 numbers at a time."""
    for count in (4095, 4096, 4097, 8193):
        numbers = np.arange(count, dtype="<f4")
        data = b"".join(tag(5, FIXED32) + n.tobytes() for n in numbers)
        blob = stored(opened, data, count)
        assert len(blob.pieces) == 1
        np.testing.assert_array_equal(np.asarray(blob), numbers)


def test_end_of_a_piece() -> None:
    assert Piece(10, 3, "<f4", 5).end == 25


def test_extra_holds_all_that_is_neither_number_nor_shape(opened: Opened) -> None:
    fork, legacy = len_field(5000, b"fork"), legacy_shape(1, 1, 1, 2)
    data = fork + len_field(5, bytes(8)) + legacy + len_field(6, bytes(8))
    weights = opened(layer_field("ip", data))
    blob = weights.layers[0].blobs[0]
    assert isinstance(blob, StoredBlob)
    kept = b"".join(weights.source.read(a, b) for a, b in blob.extra)
    assert kept == fork
    assert blob.legacy


def test_a_file_that_shrank_while_it_was_open(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(layer_field("ip", len_field(5, bytes(4000)) + shape_field(1000)))
    with open_weights(path) as weights:
        (blob,) = weights.layers[0].blobs
        path.write_bytes(path.read_bytes()[:1000])
        assert len(blob.read(0, 100)) == 100
        with pytest.raises(WeightsError, match="the file ends") as caught:
            blob.read(0, 1000)
    assert caught.value.offset == 1000


@pytest.mark.filterwarnings("error")
def test_a_double_beyond_float32_is_infinite_without_a_warning(opened: Opened) -> None:
    huge = np.array([1e300, -1e300, 1e-300], "<f8").tobytes()
    with opened(layer_field("a", len_field(8, huge) + shape_field(3))) as weights:
        assert np.asarray(weights.layers[0].blobs[0]).tolist() == [np.inf, -np.inf, 0]
        assert np.asarray(weights.layers[0].blobs[0], np.float64)[0] == 1e300
