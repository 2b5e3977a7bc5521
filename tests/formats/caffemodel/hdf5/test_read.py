"""Reading ``.caffemodel.h5``: Caffe's own file against its binary twin, and every layout."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from caffefold.formats.caffemodel.blob import chunks, size
from caffefold.formats.caffemodel.hdf5 import open_hdf5
from caffefold.formats.caffemodel.index import WeightsFile, open_weights
from caffefold.formats.detect import is_hdf5
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net

Snapshot: TypeAlias = Callable[..., Path]

NET = parse("""\
name: "net"
layer { name: "ip" type: "InnerProduct" param { name: "w" } param { name: "b" } }
layer { name: "relu" type: "ReLU" }
layer { name: "a/b" type: "Scale" }
layer { name: "ip2" type: "InnerProduct" param { name: "w" } param { name: "b" } }
""")
W = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.array([1.5, -2.5], np.float32)


def numbers(weights: WeightsFile) -> dict[str, list[Any]]:
    return {
        record.name: [np.asarray(blob).tolist() for blob in record.blobs]
        for record in weights.layers
    }


def test_the_snapshot_of_caffe_equals_its_binary_twin(lenet: tuple[Path, Path]) -> None:
    binary, twin = lenet
    assert is_hdf5(twin)
    assert not is_hdf5(binary)
    document = parse((binary.parent / "train_val.prototxt").read_bytes())
    with open_weights(binary) as expected, open_hdf5(twin, document) as found:
        records = found.by_name()
        for record in expected.layers:
            if record.type != "Split":  # Caffe inserts those; a train_val net does not name them
                assert record.type == records[record.name].type
            twins = records[record.name].blobs
            assert [blob.shape for blob in record.blobs] == [blob.shape for blob in twins]
            for old, new in zip(record.blobs, twins, strict=True):
                assert np.asarray(old).tobytes() == np.asarray(new).tobytes()
        given = dict.fromkeys(layer.name for layer in Net.of(document).layers)
        assert [record.name for record in found.layers] == [n for n in given if n in records]


def test_order_types_and_name_come_from_the_prototxt(snapshot: Snapshot) -> None:
    path = snapshot({"a/b": [B], "ip": [W, B], "relu": [], "stranger": [B]})
    with open_hdf5(path, NET) as weights:
        assert weights.name == "net"
        assert [(record.name, record.type) for record in weights.layers] == [
            ("ip", "InnerProduct"),
            ("relu", "ReLU"),
            ("a/b", "Scale"),
            ("stranger", ""),
        ]
        assert weights.path == str(path)
    with open_hdf5(path) as weights:
        assert {record.type for record in weights.layers} == {""}
        assert numbers(weights)["ip"] == [W.tolist(), B.tolist()]


def test_a_layer_inside_the_name_of_another(snapshot: Snapshot) -> None:
    path = snapshot({"conv": [W], "conv/bn": [B], "conv/bn/scale": [B, B], "x/y/z": []})
    with open_hdf5(path) as weights:
        assert numbers(weights) == {
            "conv": [W.tolist()],
            "conv/bn": [B.tolist()],
            "conv/bn/scale": [B.tolist()] * 2,
            "x/y/z": [],
        }


def test_names_that_are_not_ascii(snapshot: Snapshot) -> None:
    with open_hdf5(snapshot({"größe 層": [B]})) as weights:
        assert weights.by_name()["größe 層"].blobs[0].shape == (2,)


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", "<i4", ">i8", "u1"])
@pytest.mark.parametrize("layout", [{}, {"chunks": (1, 2)}, {"compression": "gzip"}])
def test_every_type_of_number(snapshot: Snapshot, kind: str, layout: dict[str, Any]) -> None:
    with open_hdf5(snapshot({"ip": [W.astype(kind)]}, **layout)) as weights:
        blob = weights.layers[0].blobs[0]
        assert blob.read(0, 6).dtype == (np.float64 if kind == "<f8" else np.float32)
        assert np.array_equal(np.asarray(blob), W)


def test_doubles_keep_their_digits(snapshot: Snapshot) -> None:
    with open_hdf5(snapshot({"ip": [np.array([0.1])]})) as weights:
        assert weights.layers[0].blobs[0].read(0, 1)[0] == 0.1


@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (3, 4), (2, 3, 4), (1, 1, 5, 4), (2, 1, 3, 2, 2), (0, 3), (3, 0)]
)
def test_any_part_of_any_shape(snapshot: Snapshot, shape: tuple[int, ...]) -> None:
    given = np.arange(prod(shape), dtype=np.float32).reshape(shape)
    with open_hdf5(snapshot({"ip": [given]})) as file:
        blob = file.layers[0].blobs[0]
        assert blob.shape == shape
        for start in range(given.size + 1):
            for stop in range(start, given.size + 1):
                found = blob.read(start, stop)
                assert found.shape == (stop - start,)
                assert np.array_equal(found, given.reshape(-1)[start:stop])


def test_large_blobs_come_in_steps(snapshot: Snapshot) -> None:
    given = np.random.default_rng(3).normal(size=(3, 50_000)).astype(np.float32)
    with open_hdf5(snapshot({"ip": [given]})) as weights:
        blob = weights.layers[0].blobs[0]
        parts = list(chunks(blob))
        assert len(parts) == 3
        assert max(part.size for part in parts) <= blob.step
        assert np.array_equal(np.concatenate(parts), given.reshape(-1))
        assert size(blob) == given.size


# ------------------------------------------------------------------------------ shared weights


def test_shared_weights_are_stored_once(snapshot: Snapshot) -> None:
    """ToHDF5 writes a param only for the layer that owns it."""
    path = snapshot({"ip": [W, B], "ip2": []})
    with open_hdf5(path, NET) as weights:
        assert numbers(weights)["ip2"] == [W.tolist(), B.tolist()]
    with open_hdf5(path) as weights:
        assert numbers(weights)["ip2"] == []


def test_one_of_two_blobs_is_shared(snapshot: Snapshot) -> None:
    with open_hdf5(snapshot({"ip": [W, B], "ip2": [None, -B]}), NET) as weights:
        assert numbers(weights)["ip2"] == [W.tolist(), (-B).tolist()]
        assert numbers(weights)["ip"] == [W.tolist(), B.tolist()]


def test_a_stranger_that_lacks_a_blob_is_left_out(snapshot: Snapshot) -> None:
    """It shared weights in the training net; Caffe ignores a layer that the net does not name."""
    with open_hdf5(snapshot({"ip": [W, B], "stranger": [None, B]}), NET) as weights:
        assert [record.name for record in weights.layers] == ["ip"]


# -------------------------------------------------------------------------------- the document


def test_net_of(snapshot: Snapshot) -> None:
    """A net takes its weights from an HDF5 file as from any other."""
    path = snapshot({"ip": [W, B], "a/b": [B], "relu": []})
    with Net.of(NET, open_hdf5(path, NET)) as net:
        blobs = {layer.name: [blob.shape for blob in layer.blobs] for layer in net.layers}
    assert blobs == {"ip": [(2, 3), (2,)], "relu": [], "a/b": [(2,)], "ip2": []}


def test_of_twins_the_first_counts(snapshot: Snapshot) -> None:
    document = parse('layer { name: "x" type: "Data" } layer { name: "x" type: "Input" }')
    with open_hdf5(snapshot({"x": [B]}), document) as weights:
        assert [record.type for record in weights.layers] == ["Data"]


def test_an_unused_file_closes_without_a_word(snapshot: Snapshot) -> None:
    weights = open_hdf5(snapshot({"x": [B]}))
    weights.close()
    weights.close()
    del weights
    open_hdf5(snapshot({"y": [B]}))
