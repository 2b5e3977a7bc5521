"""Layers with what they should compute: real Caffe's answers, else the float64 reference's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import caffefold
from caffefold.check.forward.evaluate import evaluate
from caffefold.ir import graph
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, RandomLayers, input_layer, net_text
from tests.support.goldens import LAYERS, AnyArray, golden

FOLDERS = LAYERS
MAKE = RandomLayers(seed=11)
MAPS = (2, 4, 5, 6)
REGIONS = np.array([[0, 8, 8, 60, 50], [0, 0, 16, 90, 70], [0, 30, 2, 40, 90]], np.float32)


class Case(NamedTuple):
    """A net, its inputs and its outputs."""

    name: str
    net: Net
    inputs: dict[str, AnyArray]
    outputs: dict[str, AnyArray]
    by_caffe: bool
    """Whether real Caffe computed the outputs."""


def of_caffe(folder: Path) -> Case:
    """A tiny net of the shared material."""
    weights = folder / "weights.caffemodel"
    net = caffefold.load(folder / "net.prototxt", weights if weights.exists() else None)
    return Case(folder.name, net, golden(folder, "input:"), golden(folder, "output:"), True)


def _plain(
    kind: str, params: str = "", shape: Sequence[int] = MAPS
) -> tuple[LayerSpec, dict[str, AnyArray]]:
    return LayerSpec("y", kind, "x", params=params), {"x": MAKE.normal(*shape) * 3}


def _mixed(
    kind: str, params: str = "", tops: str | None = None, **inputs: AnyArray
) -> tuple[LayerSpec, dict[str, AnyArray]]:
    return LayerSpec("y", kind, " ".join(inputs), tops, params), inputs


def _learned(kind: str, params: str, *blobs: AnyArray) -> tuple[LayerSpec, dict[str, AnyArray]]:
    return LayerSpec("y", kind, "x", None, params, blobs), {"x": MAKE.normal(*MAPS)}


def _mask() -> AnyArray:
    """Places in maps of 5 x 7 for 2 x 3 maxima."""
    places = np.array([[0, 3, 12], [15, 25, 34]], np.float32)
    return np.tile(places, (2, 4, 1, 1))


V3 = (
    "yolov3_detection_output_param { num_classes: 2 confidence_threshold: 0.2 biases: 10 "
    "biases: 14 biases: 23 biases: 27 biases: 37 biases: 58 mask: 0 mask: 1 mask: 2 "
    "anchors_scale: 32 mask_group_num: 1 }"
)
V2 = (
    "yolo_detection_output_param { num_classes: 2 num_box: 2 confidence_threshold: 0.2 "
    "biases: 0.7 biases: 0.8 biases: 2.4 biases: 2.6 }"
)
ANCHORS = "proposal_param { ratio: 1 scale: 2 scale: 4 post_nms_topn: 10 }"
OTHERS: dict[str, tuple[LayerSpec, dict[str, AnyArray]]] = {
    "axpy": _mixed("Axpy", s=MAKE.normal(2, 4, 1, 1), x=MAKE.normal(*MAPS), y0=MAKE.normal(*MAPS)),
    "bn_pspnet": _learned("BN", "bn_param { eps: 0.001 }", *MAKE.normal(3, 4), MAKE.positive(4)),
    "bn_segnet": _learned("BN", "bn_param { bn_mode: INFERENCE }", *MAKE.normal(2, 4)),
    "hard_sigmoid": _plain("HardSigmoid"),
    "hard_swish": _plain("HSwish"),
    "interp_zoom": _plain("Interp", "interp_param { zoom_factor: 3 pad_beg: -1 }"),
    "interp_size": _plain("Interp", "interp_param { height: 9 width: 4 }"),
    "interp_one": _plain("Interp", "interp_param { height: 4 width: 5 }", (1, 3, 1, 1)),
    "local": _learned(
        "LOCAL", "local_param { num_output: 3 kernel_size: 2 stride: 2 pad: 1 }",
        MAKE.normal(3, 1, 16, 12), MAKE.normal(1, 1, 3, 12),
    ),
    "local_no_bias": _learned(
        "LOCAL", "local_param { num_output: 3 kernel_size: 4 bias_term: false }",
        MAKE.normal(3, 1, 64, 6),
    ),
    "lrn_fraction": _plain("LRN", "lrn_param { local_size: 7 k: 1.7 alpha: 0.3 beta: 0.6 }"),
    "mish": _plain("Mish"),
    "proposal": _mixed(
        "Proposal", ANCHORS,
        scores=MAKE.positive(1, 4, 3, 4), deltas=MAKE.normal(1, 8, 3, 4) * 0.2,
        im_info=np.array([[48, 64, 1]], np.float32),
    ),
    "psroi_pooling": _mixed(
        "PSROIPooling", "psroi_pooling_param { spatial_scale: 0.0625 output_dim: 2 group_size: 3 }",
        x=MAKE.normal(1, 18, 6, 7), rois=REGIONS,
    ),
    "reduction_all": _plain("Reduction", "reduction_param { axis: 0 coeff: 0.5 }"),
    "relu1": _plain("ReLU1"),
    "relu6": _plain("ReLU6"),
    "reorg": _plain("Reorg", "reorg_param { stride: 2 }", (2, 8, 4, 6)),
    "reorg_back": _plain("Reorg", "reorg_param { stride: 2 reverse: true }", (2, 8, 2, 3)),
    "roi_pooling": _mixed(
        "ROIPooling", "roi_pooling_param { spatial_scale: 0.0625 pooled_h: 3 pooled_w: 2 }",
        x=MAKE.normal(1, 3, 6, 7), rois=REGIONS,
    ),
    "selu": _plain("SeLu"),
    "shuffle_channel": _plain("ShuffleChannel", "shuffle_channel_param { group: 2 }"),
    "transpose": _plain("Transpose", "transpose_param { dim: 3 dim: 0 dim: 2 dim: 1 }"),
    "upsample": _plain("Upsample", "upsample_param { scale: 2 }"),
    "upsample_mask": _mixed(
        "Upsample", "upsample_param { upsample_h: 5 upsample_w: 7 }",
        x=MAKE.normal(2, 4, 2, 3), mask=_mask(),
    ),
    "yolo": _mixed("YoloDetectionOutput", V2, x=MAKE.normal(1, 14, 4, 4)),
    "yolov3": _mixed("Yolov3DetectionOutput", V3, x=MAKE.normal(1, 21, 4, 4)),
}  # fmt: skip


def of_reference(name: str) -> Case:
    """A layer that real Caffe's answers do not cover."""
    layer, inputs = OTHERS[name]
    heads = [input_layer(*value.shape, name=blob) for blob, value in inputs.items()]
    blobs = {"y": layer.blobs} if layer.blobs else None
    net = Net.from_text(net_text([*heads, layer]), blobs)
    versions = graph.build(net).versions
    outputs = {
        versions[made.version].blob: np.asarray(made.values)
        for made in evaluate(net, inputs)
        if made.layer is not None and made.layer.name == "y"
    }
    return Case(name, net, inputs, outputs, False)


def all_cases() -> Iterator[Case]:
    """Every case there is."""
    yield from map(of_caffe, FOLDERS)
    yield from map(of_reference, OTHERS)
