"""Detectors that real Caffe's answers do not cover: against loops from the forks' sources."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import caffefold
from caffefold.check.forward.evaluate import evaluate
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, input_layer, net_text
from tests.support.onnx_models import AnyArray, difference, run

ORIGINAL = "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' param_str: %s }"
PVANET = (
    "proposal_param { ratio: 0.5 ratio: 0.667 ratio: 2 scale: 3 scale: 6 feat_stride: 16 "
    "pre_nms_topn: 200 post_nms_topn: 40 nms_thresh: 0.6 min_size: %d }"
)


def net_of(layer: LayerSpec, **inputs: AnyArray) -> Net:
    heads = [input_layer(*value.shape, name=name) for name, value in inputs.items()]
    return Net.from_text(net_text([*heads, layer]))


def both(net: Net, inputs: dict[str, AnyArray], content: bytes) -> list[tuple[AnyArray, AnyArray]]:
    """What onnxruntime computes, and the reference, for each output."""
    found = run(content, inputs)
    versions = [each for each in evaluate(net, inputs) if each.layer is net.layers[-1]]
    wanted = dict(zip(net.layers[-1].tops, versions, strict=True))
    return [(values, np.asarray(wanted[name].values)) for name, values in found.items()]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("kind", "params", "anchors", "info"),
    [
        ("Python", ORIGINAL % "\"'feat_stride': 16\"", 9, 3),
        ("Python", ORIGINAL % "\"{'feat_stride': 8, 'scales': [2, 4]}\"", 6, 3),
        ("Proposal", PVANET % 16, 6, 4),
        ("Proposal", PVANET % 60, 6, 3),
    ],
)
def test_proposals(
    kind: str, params: str, anchors: int, info: int, seed: int, model_of: Callable[..., bytes]
) -> None:
    random = np.random.default_rng(seed)
    inputs = {
        "scores": random.permutation(2 * anchors * 63).reshape(1, -1, 7, 9) / (2 * anchors * 63),
        "deltas": random.normal(size=(1, 4 * anchors, 7, 9)) * 0.4,
        "im_info": np.array([[112.0, 144.0, 1.5, 1.25]])[:, :info],
    }
    inputs = {name: value.astype(np.float32) for name, value in inputs.items()}
    layer = LayerSpec("rois", kind, "scores deltas im_info", "rois probabilities", params)
    net = net_of(layer, **inputs)
    for found, wanted in both(net, inputs, model_of(net)):
        assert len(found) > 10
        assert difference(found, wanted) < 1e-5


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("kind", "params", "channels"),
    [
        ("ROIPooling", "roi_pooling_param { pooled_h: 3 pooled_w: 4 %s }", 5),
        ("PSROIPooling", "psroi_pooling_param { output_dim: 3 group_size: 4 %s }", 48),
    ],
)
def test_pooling_of_regions(
    kind: str, params: str, channels: int, seed: int, model_of: Callable[..., bytes]
) -> None:
    """Some reach beyond the map, some have no size."""
    random = np.random.default_rng(seed)
    corners = np.sort(random.uniform(0, 330, size=(20, 2, 2)), 1)
    rois = np.concatenate([np.zeros((20, 1)), corners.reshape(20, 4)], 1)
    rois[3, 3:] = rois[3, 1:3]
    inputs = {"maps": random.normal(size=(1, channels, 17, 19)), "rois": rois}
    inputs = {name: value.astype(np.float32) for name, value in inputs.items()}
    scaled = params % "spatial_scale: 0.0625"
    net = net_of(LayerSpec("y", kind, "maps rois", params=scaled), **inputs)
    ((found, wanted),) = both(net, inputs, model_of(net))
    assert difference(found, wanted) < 1e-5


V3 = (
    "yolov3_detection_output_param {{ num_classes: 4 confidence_threshold: {0} nms_threshold: 0.4 "
    "biases: 10 biases: 14 biases: 23 biases: 27 biases: 37 biases: 58 biases: 81 biases: 82 "
    "biases: 135 biases: 169 biases: 344 biases: 319 mask: 3 mask: 4 mask: 5 mask: 0 mask: 1 "
    "mask: 2 anchors_scale: 32 anchors_scale: 16 mask_group_num: 2 }}"
)
V2 = (
    "yolo_detection_output_param {{ num_classes: 4 num_box: 3 confidence_threshold: {0} "
    "nms_threshold: 0.4 biases: 0.7 biases: 0.8 biases: 2.4 biases: 2.6 biases: 4.3 biases: 7 }}"
)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.15, 0.9999])
@pytest.mark.parametrize(
    ("kind", "params"), [("Yolov3DetectionOutput", V3), ("YoloDetectionOutput", V2)]
)
def test_yolo(
    kind: str, params: str, threshold: float, seed: int, model_of: Callable[..., bytes]
) -> None:
    """With something found, and with nothing."""
    random = np.random.default_rng(seed)
    inputs = {
        name: random.normal(size=(2, 27, side, side)).astype(np.float32)
        for name, side in (("coarse", 5), ("fine", 10))
    }
    layer = LayerSpec("found", kind, "coarse fine", params=params.format(threshold))
    net = net_of(layer, **inputs)
    ((found, wanted),) = both(net, inputs, model_of(net))
    assert (found.shape[2] > 20) == (threshold < 0.5)
    assert difference(found, wanted) < 1e-5


def test_what_is_refused(model_of: Callable[..., bytes]) -> None:
    rois = np.zeros((3, 5), np.float32)
    maps = np.zeros((1, 4, 8, 8), np.float32)
    align = "roi_align_param { pooled_h: 2 pooled_w: 2 }"
    net = net_of(LayerSpec("y", "ROIAlign", "maps rois", params=align), maps=maps, rois=rois)
    with pytest.raises(caffefold.TextError, match="layer 'y': ROIAlign differs between forks"):
        model_of(net)
    python = "python_param { module: 'mine' layer: 'Mine' }"
    net = net_of(LayerSpec("y", "Python", "maps rois", params=python), maps=maps, rois=rois)
    with pytest.raises(caffefold.TextError, match=r"without an ONNX lowering: Python \('y'\); use"):
        model_of(net)
