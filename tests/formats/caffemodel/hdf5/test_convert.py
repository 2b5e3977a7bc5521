"""Converting from an HDF5 snapshot: the same deploy pair as from the binary one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

import caffefold
from caffefold.errors import InputError, ModelError
from caffefold.formats.caffemodel.index import open_weights

Snapshot: TypeAlias = Callable[..., Path]

TEXT = """\
name: "net"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "fc/1" type: "InnerProduct" bottom: "data" top: "a"
  inner_product_param { num_output: 2 bias_term: false } }
layer { name: "bn/1" type: "BatchNorm" bottom: "a" top: "a" }
layer { name: "scale" type: "Scale" bottom: "a" top: "a" }
"""
BLOBS = {
    "fc/1": [np.arange(6.0).reshape(2, 3)],
    "bn/1": [np.array([1.0, 2.0]), np.array([3.0, 8.0]), np.array([2.0])],
    "scale": [np.array([2.0, -1.0])],
}


def numbers(path: Path) -> dict[str, tuple[str, list[bytes]]]:
    with open_weights(path) as weights:
        return {
            record.name: (record.type, [np.asarray(blob).tobytes() for blob in record.blobs])
            for record in weights.layers
            if record.blobs
        }


def test_as_from_the_binary_twin(lenet: tuple[Path, Path], tmp_path: Path) -> None:
    for given, out in zip(lenet, ("binary", "hdf5"), strict=True):
        report = caffefold.convert(lenet[0].parent / "deploy_bn.prototxt", given, tmp_path / out)
        assert not report.warnings
        assert len(report.proof.folds) == 4
    texts = [(tmp_path / f"{out}.prototxt").read_bytes() for out in ("binary", "hdf5")]
    assert texts[0] == texts[1]
    expected = numbers(tmp_path / "binary.caffemodel")
    assert numbers(tmp_path / "hdf5.caffemodel") == expected
    assert len(expected) == 5


def test_the_written_caffemodel_is_whole(snapshot: Snapshot, tmp_path: Path) -> None:
    """Names, types, wiring and order as the prototxt has them; strangers come along."""
    pb = pytest.importorskip("caffefold._proto.caffe_pb2")
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(TEXT)
    path = snapshot({**BLOBS, "stranger": [np.ones(3)]})
    report = caffefold.convert(prototxt, path, tmp_path / "out", keep_records=True)
    (warning,) = report.warnings
    assert "'stranger'" in warning
    net = pb.NetParameter.FromString((tmp_path / "out.caffemodel").read_bytes())
    assert net.name == "net"
    found = [(n.name, n.type, list(n.bottom), list(n.top), len(n.blobs)) for n in net.layer]
    assert found == [
        ("data", "Input", [], ["data"], 0),
        ("fc/1", "InnerProduct", ["data"], ["a"], 2),
        ("stranger", "", [], [], 1),
    ]
    assert list(net.layer[1].blobs[0].shape.dim) == [2, 3]
    factor = np.array([2.0, -1.0]) / np.sqrt(np.array([3.0, 8.0]) / 2 + 1e-5)
    want = BLOBS["fc/1"][0] * factor[:, None]
    assert np.allclose(np.reshape(net.layer[1].blobs[0].data, (2, 3)), want, rtol=1e-6)
    assert list(net.layer[2].blobs[0].data) == [1, 1, 1]


def test_a_snapshot_of_another_net(snapshot: Snapshot, tmp_path: Path) -> None:
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(TEXT)
    with pytest.raises(ModelError, match="no layer name matches"):
        caffefold.convert(prototxt, snapshot({"other": [np.ones(2)]}), tmp_path / "out")


def test_an_hdf5_file_is_no_prototxt(snapshot: Snapshot, tmp_path: Path) -> None:
    path = snapshot(BLOBS)
    with pytest.raises(InputError, match="this is an HDF5 file, not a prototxt"):
        caffefold.convert(path, path, tmp_path / "out")
