"""``--proto``: a fork's defaults reach the fold, and the proof is made by them too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold._proto import caffe_pb2
from caffefold.errors import InputError
from caffefold.formats.caffemodel.index import open_weights

pytest.importorskip("grpc_tools")

TEXT = """\
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "a"
  inner_product_param { num_output: 2 } }
layer { name: "bn" type: "BatchNorm" bottom: "a" top: "a" }
"""
VARIANCE = np.array([0.001, 0.25])


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    net = caffe_pb2.NetParameter()
    blobs = {
        "fc": [np.eye(2), np.zeros(2)],
        "bn": [np.zeros(2), VARIANCE, np.ones(1)],
    }
    for name, arrays in blobs.items():
        layer = net.layer.add(name=name)
        for array in arrays:
            layer.blobs.add(data=array.ravel().tolist()).shape.dim.extend(array.shape)
    prototxt, caffemodel = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    prototxt.write_text(TEXT)
    caffemodel.write_bytes(net.SerializeToString())
    return prototxt, caffemodel


def factors(path: Path) -> list[float]:
    with open_weights(path) as weights:
        return [float(x) for x in np.diag(np.asarray(weights.by_name()["fc"].blobs[0]))]


def test_the_forks_eps_is_folded(pair: tuple[Path, Path], fork_file: Path, tmp_path: Path) -> None:
    caffefold.convert(*pair, tmp_path / "ours")
    report = caffefold.convert(*pair, tmp_path / "fork", proto=fork_file)
    assert len(report.proof.folds) == 1
    assert factors(tmp_path / "ours.caffemodel") == pytest.approx(1 / np.sqrt(VARIANCE + 1e-5))
    assert factors(tmp_path / "fork.caffemodel") == pytest.approx(1 / np.sqrt(VARIANCE + 1e-3))


def test_load(pair: tuple[Path, Path], fork_file: Path) -> None:
    with caffefold.load(*pair, proto=fork_file) as net:
        edited = net.layers[2].with_wiring(("x",), ("y",))
        assert edited.params("batch_norm_param").number("eps") == pytest.approx(1e-3)
        assert net.layers[0].params("shiny_param").number("gloss") == 0.5
    with caffefold.load(*pair) as net:
        assert net.layers[2].params("batch_norm_param").number("eps") == pytest.approx(1e-5)


def test_a_broken_schema(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "bad.proto").write_text("message {")
    with pytest.raises(InputError, match=r"bad\.proto: 1:9: "):
        caffefold.convert(*pair, tmp_path / "out", proto=tmp_path / "bad.proto")
    assert not list(tmp_path.glob("out*"))


def test_command_line(pair: tuple[Path, Path], fork_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "caffefold", "convert", *map(str, pair)]
    subprocess.run(
        [*command, "-o", str(tmp_path / "out"), "--proto", str(fork_file)],
        check=True,
        capture_output=True,
    )
    assert factors(tmp_path / "out.caffemodel")[0] == pytest.approx(1 / np.sqrt(0.002))
