"""Each runtime on the same small net, and what it says of nets that it does not run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import caffefold
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, input_layer, relu
from tests.verification.conftest import LAYERS, MAKE, Make

HAS_ONNX = find_spec("onnxruntime") is not None
onnx = pytest.mark.skipif(not HAS_ONNX, reason="needs onnxruntime")
# What a pycaffe is to us: a module of that name. It answers with sums, and stops as Caffe does.
FAKE = """
import os, re, sys, numpy
__version__ = "1.0.0"
TEST = 1
class Blob:
    def __init__(self): self.data = numpy.zeros((1,))
    def reshape(self, *shape): self.data = numpy.zeros(shape, "f")
class Net:
    def __init__(self, prototxt, phase, weights):
        assert os.path.getsize(weights)
        text = open(prototxt).read()
        if "Sigmoid" in text:
            complaint = "Check failed: no Sigmoid\\n*** stack\\n"
            sys.stderr.write("F1121 20:00:00.0 1 net.cpp:1] " + complaint)
            sys.stderr.flush()
            os.abort()
        self.blobs = {name: Blob() for name in re.findall('top: "(.*?)"', text)}
    def forward(self):
        data = self.blobs["data"].data
        for name, blob in self.blobs.items():
            if name != "data":
                blob.data = data.sum(axis=(2, 3)) * len(name)
def set_mode_cpu(): pass
"""


@pytest.mark.parametrize("name", ["reference", "opencv", pytest.param("onnxruntime", marks=onnx)])
def test_a_fold_is_equal_everywhere(name: str, net: Net, folded: Net) -> None:
    if name == "opencv":
        pytest.importorskip("cv2")
    found = caffefold.verify(net, folded, runtime={"*": name}, layers=True)
    assert found.verdict == "equal"
    names = ["conv1@relu1", "conv1", "bn2@relu2", "bn2", "small", "prob"]
    assert [each.blob for each in found.layers] == names


def test_each_side_has_its_runtime(net: Net, folded: Net) -> None:
    pytest.importorskip("cv2")
    chosen = {"before": "reference", "after": "opencv"}
    found = caffefold.verify(net, folded, runtime=chosen)
    assert found.verdict == "equal"
    assert found.a.runtime == "float64 reference"
    assert found.b.runtime.startswith("OpenCV 4")


@pytest.mark.skipif(HAS_ONNX, reason="it is installed")
def test_what_is_not_installed_is_told(net: Net, folded: Net) -> None:
    with pytest.raises(caffefold.UsageError, match=r"onnxruntime is not installed; pip install"):
        caffefold.verify(net, folded)


def test_another_opencv_is_told(net: Net, folded: Net) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(caffefold.UsageError, match=r"OpenCV 4\.\S+ is installed, not 5"):
        caffefold.verify(net, folded, runtime={"*": "opencv5"})


# ---------------------------------------------------------------------------------- cut nets


def with_stranger(*, folded: bool) -> Sequence[LayerSpec]:
    """A net with a layer that nobody knows between two convolutions."""
    return (
        input_layer(1, 3, 9, 9),
        LAYERS[1],
        *([] if folded else [LAYERS[2], LAYERS[3]]),
        LayerSpec("odd", "Frobnicate", "conv1"),
        relu("relu", "odd"),
    )


@pytest.mark.parametrize("name", ["reference", "opencv", pytest.param("onnxruntime", marks=onnx)])
def test_a_net_is_verified_up_to_a_strange_layer(name: str, net_of: Make, tmp_path: Path) -> None:
    """The stranger is alike in both nets, so what it reads decides."""
    if name == "opencv":
        pytest.importorskip("cv2")
    net = net_of(with_stranger(folded=False))
    right = caffefold.load(*caffefold.save(caffefold.fold(net).net, tmp_path / "folded"))
    found = caffefold.verify(net, right, runtime={"*": name})
    assert [each.layer for each in found.a.cut] == ["odd"]
    assert "Frobnicate" in found.a.cut[0].reason
    assert [(each.blob, each.verdict, each.by) for each in found.outputs] == [
        ("odd", "inconclusive", ("conv1",)),
        ("conv1", "equal", ()),
    ]
    assert found.verdict == "equal"
    wrong = net_of(with_stranger(folded=True))
    found = caffefold.verify(net, wrong, runtime={"*": name})
    assert [each.verdict for each in found.outputs] == ["different", "different"]
    assert "'conv1' in front of it differs" in found.outputs[0].reason


def test_a_net_that_is_all_strange_is_told(net_of: Make) -> None:
    net = net_of([input_layer(1, 3, 9, 9), LayerSpec("odd", "Frobnicate", "data")])
    with pytest.raises(caffefold.UsageError, match=r"does not run 'net': layer 'odd'"):
        caffefold.verify(net, net, runtime={"*": "reference"})


# ----------------------------------------------------------------------------------- pycaffe


@pytest.fixture
def pycaffe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "python"
    folder.mkdir()
    (folder / "caffe.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.usefixtures("pycaffe")
def test_pycaffe_is_fed_and_read(net: Net, folded: Net) -> None:
    """The same process twice is equal to itself, and far from what the net computes."""
    found = caffefold.verify(net, folded, runtime={"before": "reference", "after": "pycaffe"})
    assert found.b.runtime == "pycaffe 1.0.0"
    assert found.verdict == "different"
    assert found.outputs[0].reason == "shape 2x3 instead of 2x7"


@pytest.mark.usefixtures("pycaffe")
def test_a_caffe_that_ends_its_process_ends_nothing_else(net_of: Make) -> None:
    layers = [input_layer(1, 3, 9, 9), MAKE.conv("conv", "data", 3, 4)]
    net = net_of([*layers, LayerSpec("end", "Sigmoid", "conv")])
    found = caffefold.verify(net, net, runtime={"before": "reference", "after": "pycaffe"})
    assert [each.layer for each in found.b.cut] == ["end"]
    assert found.b.cut[0].reason == "Caffe stopped: Check failed: no Sigmoid"


def test_a_missing_pycaffe_is_told(
    net: Net, folded: Net, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "caffe.py").write_text("raise RuntimeError('never imported')")
    monkeypatch.chdir(tmp_path)
    if find_spec("caffe") is not None and "caffe" not in sys.modules:
        pytest.skip("pycaffe is installed")
    with pytest.raises(caffefold.UsageError, match="cannot import caffe"):
        caffefold.verify(net, folded, runtime={"*": "pycaffe"})


# ------------------------------------------------------------------------------------ models


@onnx
@pytest.mark.parametrize("options", [{}, {"batch": "dynamic"}, {"weights_in": "data"}])
def test_a_model_is_held_against_its_net(options: dict[str, Any], net: Net, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    caffefold.export(net, path, **options)
    found = caffefold.verify(net, path)
    assert found.verdict == "equal"
    assert found.b.net == "net.onnx"
    assert found.warnings == ()


@onnx
def test_a_model_of_another_net_is_different(net: Net, net_of: Make, tmp_path: Path) -> None:
    layers = [*LAYERS[:1], MAKE.conv("conv1", "data", 3, 6, bias=False), *LAYERS[2:]]
    caffefold.export(net_of(layers), tmp_path / "net.onnx")
    assert caffefold.verify(net, tmp_path / "net.onnx").verdict == "different"


@onnx
def test_names_of_a_model_are_taken_in_order(net: Net, net_of: Make, tmp_path: Path) -> None:
    renamed = [input_layer(2, 3, 9, 9, name="image")]
    renamed += [x._replace(bottoms="image") if x.bottoms == "data" else x for x in LAYERS[1:]]
    renamed[-1] = renamed[-1]._replace(tops="classes")
    caffefold.export(net_of(renamed), tmp_path / "net.onnx")
    found = caffefold.verify(net, tmp_path / "net.onnx")
    assert found.verdict == "equal"
    assert found.warnings == ("inputs taken in order: image is data",
                              "outputs taken in order: classes is prob")  # fmt: skip


@onnx
@pytest.mark.parametrize("content", [b"", b"no model"])
def test_a_file_that_is_no_model_is_told(content: bytes, net: Net, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(caffefold.InputError, match=r"net.onnx: onnxruntime refuses it"):
        caffefold.verify(net, tmp_path / "net.onnx")
    with pytest.raises(caffefold.InputError, match="no such file; give an ONNX model"):
        caffefold.verify(net, tmp_path / "none.onnx")
