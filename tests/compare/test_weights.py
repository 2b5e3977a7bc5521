"""Numbers: figures as numpy computes them, tolerance, what is stored in other ways."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import caffefold
from caffefold._proto import caffe_pb2 as pb
from caffefold.compare.entries import BlobDiff
from caffefold.compare.render import text
from caffefold.compare.weights import Tolerance, compare
from caffefold.ir.blob import ArrayBlob
from caffefold.testing import LayerSpec, input_layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.compare.conftest import Compare


def _figures(a: NDArray[Any], b: NDArray[Any], **tolerance: float) -> BlobDiff:
    return compare(0, ArrayBlob(a), ArrayBlob(b), Tolerance(**tolerance))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 7, 32768, 100_003])
def test_figures_are_those_of_numpy(dtype: type, size: int) -> None:
    random = np.random.default_rng(size)
    a: NDArray[Any] = random.normal(size=size).astype(dtype)
    b: NDArray[Any] = (a + random.normal(size=size) * 1e-3).astype(dtype)
    found = _figures(a, b)
    x, y = a.astype(np.float64), b.astype(np.float64)
    gap = np.abs(x - y)
    assert found.max_abs == pytest.approx(gap.max(), rel=1e-6)
    assert found.max_rel == pytest.approx((gap / np.maximum(abs(x), abs(y))).max(), rel=1e-6)
    cosine = x @ y / np.sqrt((x @ x) * (y @ y))
    assert found.cosine == pytest.approx(cosine, abs=1e-6)
    assert not found.identical
    assert not found.equal


def test_equal_numbers() -> None:
    a = np.array([0.0, 1.0, -2.0])
    found = _figures(a, np.array([-0.0, 1.0, -2.0]))
    assert (found.identical, found.equal, found.max_abs, found.max_rel) == (True, True, 0, 0)


@pytest.mark.parametrize(
    ("tolerance", "equal"),
    [
        ({"atol": 0.11}, True),
        ({"atol": 0.09}, False),
        ({"rtol": 0.011}, True),
        ({"rtol": 0.009}, False),
        ({"rtol": 0.005, "atol": 0.06}, True),
        ({}, False),
    ],
)
def test_tolerance(tolerance: dict[str, float], equal: bool) -> None:
    found = _figures(np.array([10.0, 3.0]), np.array([10.1, 3.0]), **tolerance)
    assert found.equal is equal
    assert not found.identical


def test_zeros_on_both_sides() -> None:
    found = _figures(np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, 3.0]))
    assert found.max_rel == pytest.approx(2 / 3)


def test_nothing_but_zeros_has_no_direction() -> None:
    assert _figures(np.zeros(3), np.ones(3)).cosine is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none(value: float) -> None:
    a = np.array([1.0, 2.0], np.float32)
    b = np.array([1.0, value], np.float32)
    found = _figures(a, b, rtol=1, atol=1e9)
    assert found.max_abs == math.inf
    assert not found.equal
    same = _figures(b, b)
    assert same.identical or not math.isfinite(value)


def test_the_same_nan_is_no_difference() -> None:
    a = np.array([1.0, math.nan, 2.0], np.float32)
    assert _figures(a, a.copy()).identical


def test_squares_beyond_float32() -> None:
    a = np.array([3e30, 1.0], np.float32)
    found = _figures(a, -a)
    assert found.cosine == pytest.approx(-1)
    assert found.max_rel == pytest.approx(2)


def _stored(folder: Path, name: str, **blob: Any) -> Path:
    net = pb.NetParameter(name="net")
    record = net.layer.add(name="fc", type="InnerProduct", bottom=["data"], top=["fc"])
    record.blobs.add(**blob)
    path = folder / f"{name}.caffemodel"
    path.write_bytes(net.SerializeToString())
    return path


NUMBERS = [0.5, -1.25, 3.0, 0.0, 8.5, -2.0]


@pytest.mark.parametrize(
    "blob",
    [
        {"double_data": NUMBERS, "shape": pb.BlobShape(dim=[2, 3])},
        {"data": NUMBERS, "num": 1, "channels": 1, "height": 2, "width": 3},
        {
            "raw_data": np.array(NUMBERS, "<f2").tobytes(),
            "raw_data_type": 2,
            "shape": pb.BlobShape(dim=[2, 3]),
        },
    ],
    ids=["double", "legacy shape", "half"],
)
def test_the_same_numbers_stored_in_another_way(tmp_path: Path, blob: dict[str, Any]) -> None:
    plain = _stored(tmp_path, "a", data=NUMBERS, shape=pb.BlobShape(dim=[2, 3]))
    assert not caffefold.diff(plain, _stored(tmp_path, "b", **blob))


def test_unpacked_floats(shared: Path) -> None:
    """A tag before each number: the bytes differ from packed ones, the numbers do not."""
    folder = shared / "models" / "edge" / "unpacked_data"
    assert not caffefold.diff(folder / "weights.caffemodel", folder / "weights.caffemodel")


def test_another_shape(compare: Compare) -> None:
    def net(*shapes: tuple[int, ...]) -> list[LayerSpec]:
        blobs = [np.zeros(shape) for shape in shapes]
        return [input_layer(1, 3, 8, 8), LayerSpec("fc", "InnerProduct", "data", "fc", blobs=blobs)]

    (entry,) = compare(net((4, 3)), net((3, 4))).changed
    (blob,) = entry.blobs
    assert (blob.before, blob.after, blob.max_abs) == ((4, 3), (3, 4), None)
    (entry,) = compare(net((4, 3)), net((4, 3), (4,))).changed
    assert [(b.before, b.after, b.equal) for b in entry.blobs] == [
        ((4, 3), (4, 3), True),
        (None, (4,), False),
    ]


def test_within_the_tolerance_a_layer_is_the_same(compare: Compare) -> None:
    def net(value: float) -> list[LayerSpec]:
        return [
            input_layer(1, 3, 8, 8),
            LayerSpec("fc", "InnerProduct", "data", "fc", blobs=[[[1.0, value]]]),
        ]

    assert compare(net(2.0), net(2.001))
    found = compare(net(2.0), net(2.001), rtol=1e-3)
    assert not found
    (blob,) = next(row for row in found.same if row.before.name == "fc").blobs
    assert blob.equal
    assert not blob.identical


def test_statistics_with_another_factor(compare: Compare) -> None:
    """BVLC stores sums and a factor, forks store means and factor 1: other bytes, one layer."""
    mean, variance = np.array([0.5, -1.5, 3.0]), np.array([2.0, 8.0, 1.0])

    def net(factor: float, shift: float = 0.0) -> list[LayerSpec]:
        blobs = [(mean + shift) * factor, variance * factor, np.array([factor])]
        return [input_layer(1, 3, 8, 8), LayerSpec("bn", "BatchNorm", "data", "bn", blobs=blobs)]

    (entry,) = compare(net(1.0), net(999.98)).changed
    assert entry.reason == "statistics"
    (entry,) = compare(net(1.0), net(999.98, 0.1)).changed
    assert entry.reason == ""
    (entry,) = compare(net(1.0), net(1.0, 0.1)).changed
    assert entry.reason == ""
    shown = list(text.overview(compare(net(1.0), net(999.98)).summary))
    assert "            the same statistics, stored with a different factor: bn" in shown
