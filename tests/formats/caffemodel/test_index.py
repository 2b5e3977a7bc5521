"""Indexed caffemodels say what protobuf says about them."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffefold._proto import caffe_pb2
from caffefold.formats.caffemodel.index import V1, V2, open_weights
from caffefold.formats.caffemodel.wire import (
    FIXED32,
    FIXED64,
    len_field,
    len_header,
    tag,
    varint_field,
)
from tests.support.formats_weights import Opened, layer_field, legacy_shape, shape_field

DOUBLE, FLOAT, FLOAT16 = 0, 1, 2
HALVES = st.floats(width=16)  # every encoding holds them exactly
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


class Stored(NamedTuple):
    """A blob as bytes, and what it holds."""

    data: bytes
    shape: tuple[int, ...]
    numbers: np.ndarray[Any, Any]


def encoded(numbers: np.ndarray[Any, Any], kind: str) -> bytes:
    singles, doubles = numbers.astype("<f4"), numbers.astype("<f8")
    if kind == "data":
        return len_field(5, singles.tobytes())
    if kind == "double_data":
        return len_field(8, doubles.tobytes())
    if kind == "unpacked":
        return b"".join(tag(5, FIXED32) + n.tobytes() for n in singles)
    if kind == "unpacked_double":
        return b"".join(tag(8, FIXED64) + n.tobytes() for n in doubles)
    if kind == "mixed":
        half = len(singles) // 2
        return encoded(singles[:half], "unpacked") + encoded(singles[half:], "data")
    raw_type, dtype = {
        "raw16": (FLOAT16, "<f2"),
        "raw32": (FLOAT, "<f4"),
        "raw64": (DOUBLE, "<f8"),
    }[kind]
    return varint_field(10, raw_type) + len_field(12, numbers.astype(dtype).tobytes())


KINDS = ["data", "double_data", "unpacked", "unpacked_double", "mixed", "raw16", "raw32", "raw64"]


@st.composite
def blobs(draw: st.DrawFn) -> Stored:
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    drawn = draw(st.lists(HALVES, min_size=prod(shape), max_size=prod(shape)))
    numbers = np.array(drawn, "f8")
    parts = [encoded(numbers, draw(st.sampled_from(KINDS)))]
    if len(shape) == 4 and draw(st.booleans()):
        parts.append(legacy_shape(*shape))
    elif draw(st.booleans()):
        parts.append(len_field(7, b"".join(varint_field(1, dim) for dim in shape)))
    else:
        parts.append(shape_field(*shape))
    parts += draw(st.sampled_from([[], [len_field(6, bytes(4))], [len_field(1000, b"fork")]]))
    return Stored(b"".join(draw(st.permutations(parts))), shape, numbers.reshape(shape))


@settings(deadline=None)
@given(st.lists(blobs(), max_size=3), NAMES, NAMES, st.booleans())
def test_every_encoding_of_a_blob(
    opened: Opened, wanted: list[Stored], name: str, kind: str, old: bool
) -> None:
    layout = V1 if old else V2
    fields = len_field(layout.name, name.encode())
    fields += varint_field(5, 4) if old else len_field(2, kind.encode())
    fields += b"".join(len_field(layout.blobs, blob.data) for blob in wanted)
    with opened(len_field(1, b"net") + len_field(layout.layer, fields)) as weights:
        record = weights.layers[0]
        assert (record.name, record.type) == (name, "V1:4" if old else kind)
        assert record.layout is layout
        assert [blob.shape for blob in record.blobs] == [blob.shape for blob in wanted]
        for found, blob in zip(record.blobs, wanted, strict=True):
            np.testing.assert_array_equal(np.asarray(found, dtype=np.float64), blob.numbers)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(NAMES, NAMES, st.lists(st.lists(st.floats(width=32), max_size=5), max_size=3)),
        min_size=1,
        max_size=5,
    ),
    NAMES,
)
def test_what_protobuf_writes(opened: Opened, layers: list[Any], name: str) -> None:
    net = caffe_pb2.NetParameter(name=name)
    for layer_name, kind, blobs in layers:
        layer = net.layer.add(name=layer_name, type=kind, bottom=["in"], top=["out"])
        for numbers in blobs:
            blob = layer.blobs.add(data=numbers)
            blob.shape.dim.append(len(numbers))
    with opened(net) as weights:
        assert weights.name == name
        assert [(r.name, r.type) for r in weights.layers] == [(n, k) for n, k, _ in layers]
        for record, (_, _, blobs) in zip(weights.layers, layers, strict=True):
            for found, numbers in zip(record.blobs, blobs, strict=True):
                np.testing.assert_array_equal(np.asarray(found), np.array(numbers, "f4"))


def test_a_blob_without_axes_has_no_shape_field(opened: Opened) -> None:
    """Caffe writes none for a scalar (blob.cpp, ToProto), such as a Scale with num_axes 0."""
    with opened(layer_field("ip", encoded(np.array([2.5]), "data"))) as weights:
        (blob,) = weights.layers[0].blobs
        assert (blob.shape, np.asarray(blob).tolist()) == ((), 2.5)


def test_legacy_dimensions_count_before_a_shape(opened: Opened) -> None:
    """As in Caffe: blob.cpp, FromProto asks has_num() and its like first."""
    both = shape_field(6) + legacy_shape(1, 1, 2, 3)
    with opened(layer_field("ip", encoded(np.arange(6), "data") + both)) as weights:
        assert weights.layers[0].blobs[0].shape == (1, 1, 2, 3)


def test_double_data_counts_before_data(opened: Opened) -> None:
    both = encoded(np.array([1.0]), "data") + encoded(np.array([0.1]), "double_data")
    with opened(layer_field("ip", both + shape_field(1))) as weights:
        assert np.asarray(weights.layers[0].blobs[0], dtype=np.float64).tolist() == [0.1]


def test_layers_of_both_formats_in_file_order(opened: Opened) -> None:
    net = caffe_pb2.NetParameter()
    net.layers.add(name="old", type=caffe_pb2.V1LayerParameter.INNER_PRODUCT)
    net.layer.add(name="new", type="InnerProduct")
    with opened(net) as weights:
        assert [(r.name, r.type) for r in weights.layers] == [
            ("old", "V1:14"),
            ("new", "InnerProduct"),
        ]


def test_of_several_records_of_one_name_the_first_counts(opened: Opened) -> None:
    net = caffe_pb2.NetParameter()
    for value, name in enumerate(["a", "b", "a"]):
        net.layer.add(name=name).blobs.add(data=[value]).shape.dim.append(1)
    with opened(net) as weights:
        assert [record.name for record in weights.layers] == ["a", "b", "a"]
        found = {k: np.asarray(r.blobs[0]).tolist() for k, r in weights.by_name().items()}
        assert found == {"a": [0.0], "b": [1.0]}


def test_all_other_fields_are_ranges_of_the_file(opened: Opened) -> None:
    fork = len_field(5001, b"fork") + varint_field(77, 5)
    layer = len_field(1, b"a") + fork + len_field(106, varint_field(1, 8))
    data = len_field(1, b"net") + fork + len_field(100, layer) + len_field(3, b"data")
    with opened(data) as weights:
        (record,) = weights.layers
        kept = b"".join(weights.source.read(a, b) for a, b in weights.other)
        assert kept == len_field(1, b"net") + fork + len_field(3, b"data")
        assert data[record.start : record.end] == len_field(100, layer)
        assert data[record.body : record.end] == layer


def test_names_that_are_no_utf8_come_back(opened: Opened) -> None:
    with opened(len_field(100, len_field(1, b"\xb2\xe3"))) as weights:
        assert weights.layers[0].name.encode("utf-8", "surrogateescape") == b"\xb2\xe3"


def test_beyond_two_gigabytes(tmp_path: Path) -> None:
    """protobuf stops at 2 GiB; the index reads next to nothing of such a file."""
    numbers = 600_000_000
    tail = shape_field(numbers // 2, 2)
    blob = len_header(5, numbers * 4)
    inner = len_field(1, b"fc") + len_header(7, len(blob) + numbers * 4 + len(tail)) + blob
    head = len_header(100, len(inner) + numbers * 4 + len(tail)) + inner
    path = tmp_path / "large.caffemodel"
    with path.open("wb") as file:
        file.write(head)
        file.seek(len(head) + numbers * 4 - 4)
        file.write(np.array([7], "<f4").tobytes() + tail)
    with open_weights(path) as weights:
        (blob_found,) = weights.layers[0].blobs
        assert blob_found.shape == (numbers // 2, 2)
        assert blob_found.read(numbers - 2, numbers).tolist() == [0.0, 7.0]
    os.truncate(path, 0)


def test_the_file_is_closed_at_the_end(opened: Opened) -> None:
    with opened(layer_field("ip", encoded(np.array([1.0]), "data") + shape_field(1))) as weights:
        blob = weights.layers[0].blobs[0]
    with pytest.raises(OSError, match="descriptor"):
        blob.read(0, 1)
