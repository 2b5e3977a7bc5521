"""The generators of the sample models: the same bytes as ever, and the records of real Caffe."""

from __future__ import annotations

import hashlib
import runpy
import sys
from pathlib import Path

import pytest

from caffefold._proto import caffe_pb2


def generate(script: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a generator as its users do, in this process."""
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(script), run_name="__main__")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def records(path: Path) -> bytes:
    """A caffemodel without the numbers of its blobs."""
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    for layer in net.layer:
        for blob in layer.blobs:
            blob.ClearField("data")
    return net.SerializeToString(deterministic=True)


def test_small_mobilenet_ssd(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, made = samples / "mobilenet_ssd_shapes", tmp_path / "made.caffemodel"
    template = str(shapes / "train_template.prototxt")
    generate(
        samples / "mobilenet_ssd/make_weights.py",
        *(str(made), "--classes", "4", "--seed", "3", "--template", template),
        monkeypatch=monkeypatch,
    )
    assert digest(made) == "c0fa2838f3a35b59c785c1ebc2a9a8d86816b98f1e78d9a65f5ff5f62742537b"
    real = shapes / "shapes_iter_9000.caffemodel"
    assert records(made) == records(real)
    assert made.stat().st_size == real.stat().st_size


def test_narrow_vgg(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = samples / "vgg16_bn/make_model.py"
    generate(script, str(tmp_path / "vgg"), "--scale", "0.05", monkeypatch=monkeypatch)
    assert (
        digest(tmp_path / "vgg.prototxt")
        == "382f850a5deeba050100abc6f3c629477f3f947ffb386e630b8f87b2dd6f2151"
    )
    assert (
        digest(tmp_path / "vgg.caffemodel")
        == "6de5dbeb65847aa67312b2892e406e6966095364b921916c8967d3a81c429e1c"
    )
