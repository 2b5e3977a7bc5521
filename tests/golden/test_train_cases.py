"""Training net and snapshot of public models -> deploy pairs that OpenCV runs, against Caffe.

``golden.npz`` holds what Caffe (or a full-precision reference of it) computes with the author's own
deploy net; a blob that folding or another head took away is not compared.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.options import Directions
from tests.golden.conftest import Workbench, rows

SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or Path(__file__).resolve().parents[3] / "shared")
CORPUS = SHARED / "corpus"
LIMIT = 5e-5  # of the largest value

# Case -> options, and outputs of golden.npz that the deploy net must have.
CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "classification/holmesshuan-cifar10": ({"heads": {"*": "none"}}, {"ip2_scale"}),
    "formats/everpeace-cifar10-quick-v1": ({}, {"prob"}),
    "lane/caffe-adas-mobilenetv1-lane": (
        {"outputs": ["conv5_1/lane_loc"]},
        {"conv5_1/lane_loc"},
    ),
    "mobilenetv2/sfd-mod11e-imagenet": ({}, {"prob"}),
    "segmentation/eric612-tusimple": (
        {"heads": {"YoloSegLoss": "Sigmoid"}, "prob_name": "sigmoid"},
        {"sigmoid"},
    ),
    "shufflenet/caffe-adas-shufflenetv1-l20": ({}, {"prob"}),
    "ssd/sfd-mod11-face": (
        {
            "detection": caffefold.DetectionOptions(
                nms_threshold=0.3, top_k=5000, keep_top_k=750, confidence_threshold=0.05
            )
        },
        {"detection_out"},
    ),
}

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="CAFFEFOLD_SHARED is not there")


@pytest.mark.parametrize("fold", ["none", "all"])
@pytest.mark.parametrize("case", CASES)
def test_case(bench: Workbench, case: str, fold: Directions) -> None:
    cv2 = pytest.importorskip("cv2")
    folder = CORPUS / case
    options, outputs = CASES[case]
    with np.load(folder / "golden.npz") as golden:
        arrays = {k: golden[k] for k in golden if ":" in k}
    inputs = {k[6:]: v for k, v in arrays.items() if k.startswith("input:")}
    train = next(p for n in ("train", "train_val") if (p := folder / f"{n}.prototxt").exists())
    prefix = bench.folder / f"{folder.name}_{fold}"
    shapes = {blob: value.shape for blob, value in inputs.items()}
    caffefold.convert(
        train, folder / "weights.caffemodel", prefix, input_shapes=shapes, fold=fold, **options
    )
    layers = caffefold.load(f"{prefix}.prototxt").layers
    writers = {top: layer.name for layer in layers for top in layer.tops}
    wanted = {k.partition(":")[2]: v for k, v in arrays.items() if not k.startswith("input:")}
    wanted = {k: v for k, v in wanted.items() if k in writers}
    assert outputs <= set(wanted)
    # A fork's name for a Convolution with one channel a group, which OpenCV does not know.
    text = Path(f"{prefix}.prototxt").read_text(encoding="utf-8")
    plain = bench.folder / "for_opencv.prototxt"
    plain.write_text(text.replace('"DepthwiseConvolution"', '"Convolution"'), encoding="utf-8")
    net = cv2.dnn.readNetFromCaffe(str(plain), f"{prefix}.caffemodel")
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.enableFusion(False)
    for blob, value in inputs.items():
        net.setInput(value, blob)
    found = dict(zip(wanted, net.forward([writers[blob] for blob in wanted]), strict=True))
    for blob, value in wanted.items():
        ours, theirs = found[blob], value
        if blob == "detection_out":
            ours, theirs = rows(ours), rows(theirs)
        assert bench.difference(ours, theirs) < LIMIT, blob
