"""Every lowering against real Caffe: one tiny net per layer type and parameter."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.onnx_export.check import too_old
from tests.support.onnx_models import difference, run

onnx = pytest.importorskip("onnx")

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
FOLDERS = sorted(path.parent for path in SHARED.glob("layers/*/golden.npz"))
LIMIT = 1e-5
"""Of the largest value; what is measured is below 1e-6."""
REFUSED = {
    "accuracy": "Accuracy",
    "detection_evaluate": "DetectionEvaluate",
    "detout_eta": "shrinks by eta",
    "loss_contrastive__loss_multinomial": "ContrastiveLoss",
    "loss_euclidean__loss_hinge_l2": "EuclideanLoss",
    "loss_smooth_l1": "SmoothL1Loss",
    "loss_softmax__loss_softmax_ignore": "SoftmaxWithLoss",
    "loss_softmax_none__loss_sigmoid": "SigmoidCrossEntropyLoss",
}
"""Nets of layers that only train or report, or that ONNX cannot compute; with what says so."""

pytestmark = pytest.mark.skipif(not FOLDERS, reason="CAFFEFOLD_SHARED is not there")


@pytest.mark.parametrize("opset", [13, 18, 22])
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_as_in_caffe(folder: Path, opset: int, model_of: Callable[..., bytes]) -> None:
    weights = folder / "weights.caffemodel"
    net = caffefold.load(folder / "net.prototxt", weights if weights.exists() else None)
    if folder.name in REFUSED:
        with pytest.raises(caffefold.TextError, match=REFUSED[folder.name]):
            model_of(net, opset=opset)
        return
    content = model_of(net, opset=opset)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    if why := too_old(opset):
        pytest.skip(why)
    with np.load(folder / "golden.npz") as golden:
        wanted = {name.partition(":")[::2]: golden[name] for name in golden}
    inputs = {name: each for (kind, name), each in wanted.items() if kind == "input"}
    found = run(content, inputs)
    outputs = {name: each for (kind, name), each in wanted.items() if kind == "output"}
    for name, each in outputs.items():
        # What is written over an input cannot have its name: a model has both.
        made = name if name not in inputs else next(iter(found))
        assert difference(found[made], each) < LIMIT, name
    assert len(found) == len(outputs)


@pytest.mark.parametrize("folder", FOLDERS[::7], ids=lambda folder: folder.name)
def test_written_as_protobuf_would(folder: Path, model_of: Callable[..., bytes]) -> None:
    """Fields stand in the order in which protobuf's own writer puts them."""
    weights = folder / "weights.caffemodel"
    net = caffefold.load(folder / "net.prototxt", weights if weights.exists() else None)
    if folder.name in REFUSED:
        pytest.skip("refused")
    content = model_of(net)
    assert onnx.load_from_string(content).SerializeToString(deterministic=True) == content
    assert model_of(net) == content
