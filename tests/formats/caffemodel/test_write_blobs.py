"""The numbers that are written: rounded once, float32, finite, in the shape they had."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffefold._proto import caffe_pb2
from caffefold.errors import ModelError
from caffefold.formats.caffemodel.blob import CHUNK, Blob, Floats, StoredBlob
from caffefold.formats.caffemodel.index import WeightsFile
from caffefold.formats.caffemodel.wire import len_field, varint_field
from caffefold.formats.caffemodel.write import NewLayer, write_weights
from caffefold.ir.blob import ArrayBlob, ScaledBlob
from tests.support.formats_weights import Opened, layer_field, legacy_shape, shape_field

FLOAT_MAX = float(np.finfo(np.float32).max)


def rewritten(source: WeightsFile, *blobs: Blob) -> list[caffe_pb2.BlobProto]:
    out = io.BytesIO()
    write_weights(out, source, [NewLayer("conv", "", (), (), (), blobs)])
    return list(caffe_pb2.NetParameter.FromString(out.getvalue()).layer[0].blobs)


def numbers(*values: float) -> ArrayBlob:
    return ArrayBlob(np.array(values, np.float64))


@settings(deadline=None)
@given(st.lists(st.floats(-FLOAT_MAX, FLOAT_MAX, allow_subnormal=True)))
def test_each_number_is_rounded_once(opened: Opened, values: list[float]) -> None:
    with opened(layer_field("conv")) as source:
        (blob,) = rewritten(source, numbers(*values))
    wanted = np.array(values, np.float64).astype("<f4")
    assert np.array(blob.data, "<f4").tobytes() == wanted.tobytes()


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK - 1])
def test_blobs_of_many_chunks(opened: Opened, count: int) -> None:
    data = np.arange(count, dtype="<f4")
    with opened(layer_field("conv", len_field(5, data.tobytes()) + shape_field(count))) as source:
        (stored,) = source.layers[0].blobs
        scaled = ScaledBlob(stored, (1, count, 1, 1), row=np.full((1, count), 0.5))
        same, half = rewritten(source, stored, scaled)
    np.testing.assert_array_equal(np.array(same.data), data)
    np.testing.assert_array_equal(np.array(half.data), data / 2)
    assert list(half.shape.dim) == [count]


@dataclass(frozen=True)
class FirstRows(Blob):
    """The first rows of a stored blob, which keeps the blob it was cut from."""

    source: StoredBlob
    rows: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, *self.source.shape[1:])

    @property
    def stored(self) -> StoredBlob | None:
        return self.source

    def read(self, start: int, stop: int) -> Floats:
        return self.source.read(start, stop)


@pytest.mark.parametrize("shape", [shape_field(8, 9), legacy_shape(1, 1, 8, 9)])
def test_a_blob_cut_to_fewer_channels_has_its_own_shape(opened: Opened, shape: bytes) -> None:
    data = np.arange(72, dtype="<f4")
    with opened(layer_field("conv", len_field(5, data.tobytes()) + shape)) as source:
        (stored,) = source.layers[0].blobs
        assert isinstance(stored, StoredBlob)
        cut = FirstRows(replace(stored, shape=(8, 9)), 4)
        (blob,) = rewritten(source, cut)
    assert list(blob.shape.dim) == [4, 9]
    assert not blob.HasField("num")
    np.testing.assert_array_equal(np.array(blob.data), data[:36])


@pytest.mark.parametrize(
    "payload",
    [
        len_field(8, np.array([0.1, 2], "<f8").tobytes()),
        varint_field(10, 2) + len_field(12, np.array([0.1, 2], "<f2").tobytes()),
        varint_field(10, 0) + len_field(12, np.array([0.1, 2], "<f8").tobytes()),
        b"".join(b"\x2d" + n.tobytes() for n in np.array([0.1, 2], "<f4")),
    ],
    ids=["double_data", "raw16", "raw64", "unpacked"],
)
def test_every_encoding_is_written_as_float32(opened: Opened, payload: bytes) -> None:
    with opened(layer_field("conv", payload + shape_field(2, 1))) as source:
        (stored,) = source.layers[0].blobs
        wanted = np.asarray(stored)
        (blob,) = rewritten(source, stored)
    assert np.array(blob.data, "f4").tolist() == wanted.ravel().tolist()
    assert list(blob.shape.dim) == [2, 1]
    assert not blob.double_data
    assert not blob.HasField("raw_data")
    assert not blob.HasField("raw_data_type")


def test_differences_of_the_training_are_left_out(opened: Opened) -> None:
    diffs = len_field(6, bytes(8)) + len_field(9, bytes(16)) + varint_field(11, 1)
    data = len_field(5, bytes(8)) + shape_field(2)
    with opened(layer_field("conv", data + diffs + len_field(13, bytes(4)))) as source:
        (blob,) = rewritten(source, *source.layers[0].blobs)
    assert blob == caffe_pb2.BlobProto.FromString(data)


def test_legacy_dimensions_stay_beside_a_shape(opened: Opened) -> None:
    """Caffe compares a 4-D shape by other rules than a modern one (blob.cpp, ShapeEquals)."""
    legacy = legacy_shape(1, 1, 2, 3)
    with opened(
        layer_field("conv", legacy + len_field(5, np.arange(6, dtype="<f4").tobytes()))
    ) as source:
        (stored,) = source.layers[0].blobs
        once = ScaledBlob(stored, (1, 2, 3, 1), row=np.array([[1.0, 2.0]]))
        found = rewritten(source, stored, once, ScaledBlob(once, (1, 1, 6, 1)))
    for blob in found:
        assert (blob.num, blob.channels, blob.height, blob.width) == (1, 1, 2, 3)
        assert list(blob.shape.dim) == [1, 1, 2, 3]
    assert list(found[2].data) == [0, 1, 2, 6, 8, 10]


def test_the_shape_that_caffe_holds_stands_alone(opened: Opened) -> None:
    data = len_field(5, np.arange(6, dtype="<f4").tobytes())
    out = io.BytesIO()
    with opened(layer_field("ip", legacy_shape(1, 1, 2, 3) + data)) as source:
        layer = NewLayer("ip", "", (), (), (), source.layers[0].blobs, ((2, 3),))
        write_weights(out, source, [layer])
    (blob,) = caffe_pb2.NetParameter.FromString(out.getvalue()).layer[0].blobs
    assert list(blob.shape.dim) == [2, 3]
    assert not blob.HasField("num")


def test_computed_numbers_of_a_new_blob_have_its_shape(opened: Opened) -> None:
    with opened(layer_field("conv")) as source:
        matrix, scalar = rewritten(source, ArrayBlob(np.ones((2, 300))), ArrayBlob(np.array(2.0)))
    assert list(matrix.shape.dim) == [2, 300]
    assert (list(scalar.shape.dim), scalar.HasField("shape"), list(scalar.data)) == (
        [],
        True,
        [2.0],
    )


# ------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("bad", "shown"),
    [
        (np.nan, "nan"),
        (np.inf, "inf"),
        (-np.inf, "-inf"),
        (1e39, "inf"),
        (-1e300, "-inf"),
        (FLOAT_MAX * (1 + 2**-24), "inf"),
    ],
)
@pytest.mark.parametrize("at", [0, CHUNK - 1, CHUNK, CHUNK + 5])
def test_numbers_that_are_not_finite_are_refused(
    opened: Opened, bad: float, shown: str, at: int
) -> None:
    values = np.ones(CHUNK + 6)
    values[at] = bad
    with opened(layer_field("conv")) as source, pytest.raises(ModelError) as caught:
        rewritten(source, numbers(1.0), ArrayBlob(values))
    assert f"layer 'conv': blob 1 would hold {shown};" in str(caught.value)


def test_infinities_of_both_signs_are_refused(opened: Opened) -> None:
    with (
        opened(layer_field("conv")) as source,
        pytest.raises(ModelError, match="blob 0 would hold inf"),
    ):
        rewritten(source, numbers(np.inf, -np.inf))


def test_stored_numbers_are_refused_too(opened: Opened) -> None:
    payload = len_field(5, np.array([1, np.nan], "<f4").tobytes()) + shape_field(2)
    with (
        opened(layer_field("conv", payload)) as source,
        pytest.raises(ModelError, match="blob 0 would hold nan"),
    ):
        rewritten(source, *source.layers[0].blobs)


def test_large_but_finite_numbers_are_written(opened: Opened) -> None:
    """Their sum is infinite: a quick look at the sum alone would refuse them."""
    with opened(layer_field("conv")) as source:
        (blob,) = rewritten(source, numbers(*[FLOAT_MAX] * 4, 1e-45))
    assert list(blob.data)[:4] == [FLOAT_MAX] * 4
