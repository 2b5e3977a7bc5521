"""Every lowering against real Caffe: one tiny net per layer type and parameter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

import caffefold
from caffefold.onnx_export.check import too_old
from tests.onnx_export.cases import FOLDERS, Case, of_caffe
from tests.support.onnx_models import difference, run

onnx = pytest.importorskip("onnx")

Form: TypeAlias = tuple[object, ...]
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

SWITCHES = {"ceil_mode", "count_include_pad", "keepdims"}
"""Attributes whose number is a form of its own."""

pytestmark = pytest.mark.skipif(not FOLDERS, reason="CAFFEFOLD_SHARED is not there")

NEWER = {
    "absval__bnll", "argmax_default__argmax_topk", "clip__swish", "concat_channels__concat_axis0",
    "conv_basic__conv_nobias_pad", "crop_axis_neg1", "deconv_group__deconv_depthwise_nobias",
    "detout_batch2", "detout_no_threshold", "eltwise_max3__eltwise_sum_sub",
    "eltwise_sum3_coeff__eltwise_prod3", "elu__elu_alpha", "filter", "fold_bn_batch_stats",
    "fold_conv_gate", "fold_conv_prelu_bn", "log_default__log_base10",
    "lrn_across__lrn_across_default", "lrn_within__lrn_within_k", "lstm",
    "normalize_default__normalize_ssd", "pool_ave_empty_nan__pool_max_global",
    "pool_max_negative_pad__pool_max_mask", "reduction_asum__reduction_sumsq",
    "reduction_mean__reduction_mean_neg1", "relu__relu_slope", "slice_even__slice_points",
    "ssd_head", "tile_default__tile_axis2",
}  # fmt: skip
"""Nets for the newer opsets. An opset changes what is written for an operator and what a runtime
makes of it, whatever layer it comes from: these nets have every operator in every form."""


def _forms(case: Case, model_of: Callable[..., bytes]) -> set[Form]:
    """The operators of the model of a net: their attributes, and how many blobs they have."""
    return {
        (
            node.op_type,
            *((a.name, a.s or (a.i if a.name in SWITCHES else 0)) for a in node.attribute),
            sum(map(bool, node.input)),
            sum(map(bool, node.output)),
        )
        for node in onnx.load_from_string(model_of(case.net)).graph.node
    }


def test_the_nets_for_newer_opsets_have_every_operator(model_of: Callable[..., bytes]) -> None:
    forms = {f.name: _forms(of_caffe(f), model_of) for f in FOLDERS if f.name not in REFUSED}
    missing = set().union(*forms.values()).difference(*(forms[name] for name in NEWER))
    assert missing == set()


def _compare(folder: Path, opset: int, model_of: Callable[..., bytes]) -> None:
    case = of_caffe(folder)
    if folder.name in REFUSED:
        with pytest.raises(caffefold.TextError, match=REFUSED[folder.name]):
            model_of(case.net, opset=opset)
        return
    content = model_of(case.net, opset=opset)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    if why := too_old(opset):
        pytest.skip(why)
    found = run(content, case.inputs)
    for name, each in case.outputs.items():
        # What is written over an input cannot have its name: a model has both.
        made = name if name not in case.inputs else next(iter(found))
        assert difference(found[made], each) < LIMIT, name
    assert len(found) == len(case.outputs)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_as_in_caffe(folder: Path, model_of: Callable[..., bytes]) -> None:
    _compare(folder, 13, model_of)


@pytest.mark.parametrize("opset", [18, 22])
@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(folder, id=folder.name, marks=() if folder.name in NEWER else pytest.mark.slow)
        for folder in FOLDERS
    ],
)
def test_as_in_caffe_in_newer_opsets(
    folder: Path, opset: int, model_of: Callable[..., bytes]
) -> None:
    _compare(folder, opset, model_of)


@pytest.mark.parametrize("folder", FOLDERS[::7], ids=lambda folder: folder.name)
def test_written_as_protobuf_would(folder: Path, model_of: Callable[..., bytes]) -> None:
    """Fields stand in the order in which protobuf's own writer puts them."""
    if folder.name in REFUSED:
        pytest.skip("refused")
    net = of_caffe(folder).net
    content = model_of(net)
    assert onnx.load_from_string(content).SerializeToString(deterministic=True) == content
    assert model_of(net) == content
