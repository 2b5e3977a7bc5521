"""--head, --prob-name, --output: what a user decides about heads."""

from __future__ import annotations

import pytest

from caffefold.errors import UsageError
from caffefold.formats.prototxt.tree import Message
from caffefold.ops.base import own_message
from caffefold.options import DeployOptions, DetectionOptions
from tests.support.deploy import deploy, net, outline, outputs, passes

ONE = """
data Data -> data label { transform_param { crop_size: 8 force_color: true } }
fc InnerProduct data -> fc
loss SoftmaxWithLoss fc label -> loss
"""
TWO = """
data Data -> data label seg { transform_param { crop_size: 8 force_color: true } }
fc InnerProduct data -> fc
conv Convolution data -> conv
loss SoftmaxWithLoss fc label -> loss
seg YoloSeg conv seg -> segloss { loss_weight: 1 }
"""


def warned(text: str, heads: DeployOptions) -> list[str]:
    _, steps = passes(net(text), heads)
    return [warning for step in steps for warning in step.warnings]


def test_prob_name() -> None:
    found = deploy(ONE, options=DeployOptions(prob_name="scores"))
    assert outline(found)[-1] == "scores Softmax fc -> scores"


def test_prob_names_are_numbered() -> None:
    text = ONE.replace(
        "loss Softmax",
        "fd InnerProduct data -> fd\nl2 SigmoidCrossEntropyLoss fd x -> l2\nloss Softmax",
    )
    text = text.replace("data label", "data label x")
    assert outputs(deploy(text, options=DeployOptions(prob_name="p"))) == ["p", "p2"]


def test_none_leaves_the_prediction() -> None:
    assert outputs(deploy(ONE, options=DeployOptions(heads={"*": "none"}))) == ["fc"]


def test_a_head_for_one_loss() -> None:
    found = deploy(TWO, options=DeployOptions(heads={"seg": "Sigmoid"}))
    assert outline(found)[-2:] == ["prob Softmax fc -> prob", "prob2 Sigmoid conv -> prob2"]


def test_argmax_along_the_axis_of_the_loss() -> None:
    text = ONE.replace("-> loss", "-> loss { softmax_param { axis: 2 } }")
    found = deploy(text, options=DeployOptions(heads={"*": "ArgMax"}))
    assert outline(found)[-1] == "argmax ArgMax fc -> argmax"
    assert found.layers[-1].params("argmax_param").integer("axis") == 2


def test_an_unknown_head() -> None:
    with pytest.raises(
        UsageError, match="heads loss=Magic: 'Magic' is not a head; choose from Softmax"
    ):
        deploy(ONE, options=DeployOptions(heads={"loss": "Magic"}))


def test_a_head_for_no_loss() -> None:
    with pytest.raises(
        UsageError, match=r"heads fc=none: 'fc' is not a loss of this net; .* loss$"
    ):
        deploy(ONE, options=DeployOptions(heads={"fc": "none"}))


def test_a_detector_for_a_classifier() -> None:
    with pytest.raises(UsageError, match="heads loss=DetectionOutput: it cannot replace Soft"):
        deploy(ONE, options=DeployOptions(heads={"loss": "DetectionOutput"}))


def test_options_without_effect_are_reported() -> None:
    assert warned(ONE, DeployOptions(detection=DetectionOptions())) == [
        "thresholds for a DetectionOutput: no effect; this net has no loss that becomes one"
    ]
    assert warned(ONE, DeployOptions(heads={"*": "YoloDetectionOutput"})) == [
        "heads YoloDetectionOutput: no effect; no loss becomes that"
    ]
    plain = ONE.replace("SoftmaxWithLoss", "EuclideanLoss")
    assert warned(plain, DeployOptions(prob_name="p")) == [
        "prob_name p: no effect; no probability layer is made"
    ]


def test_a_loss_nobody_knows_is_reported() -> None:
    (warning,) = warned(TWO, DeployOptions())
    assert warning.startswith(
        "layer 'seg': no inference layer is known for YoloSeg; its prediction "
    )
    assert warning.endswith("is the output: 'conv' (heads seg=TYPE adds one)")
    assert warned(TWO, DeployOptions(heads={"seg": "none"})) == []


SCALES = """
data AnnotatedData -> data label { transform_param { crop_size: 8 force_color: true } }
c1 Convolution data -> c1
c2 Convolution c1 -> c2
one Yolov3 c1 label -> one { loss_weight: 0.5 yolov3_param { num_class: 2 biases: 1 mask: 0 } }
two Yolov3 c2 label -> two { yolov3_param { num_class: 2 biases: 1 mask: 1 } }
"""


def test_what_would_detect_is_told_once_for_all_losses() -> None:
    assert warned(SCALES, DeployOptions()) == [
        (
            "layers 'one', 'two': their predictions are the outputs: 'c1', 'c2' "
            "(heads Yolov3DetectionOutput makes one detection layer of them, "
            "with their num_class, biases, mask and anchors_scale)"
        )
    ]
    single = SCALES.replace("one Yolov3", "one RegionLoss").replace(
        "two Yolov3", "two EuclideanLoss"
    )
    assert warned(single, DeployOptions()) == [
        (
            "layer 'one': its prediction is the output: 'c1' "
            "(heads YoloDetectionOutput makes a detection layer of it, "
            "with its num_class, coords and biases)"
        )
    ]


def test_what_is_told_is_what_is_made() -> None:
    options = DeployOptions(heads={"*": "Yolov3DetectionOutput"})
    assert warned(SCALES, options) == []
    found = deploy(SCALES, options=options)
    (head,) = (x for x in found.layers if x.type == "Yolov3DetectionOutput")
    params = own_message(head, "yolov3_detection_output_param")
    assert [str(params.last(name)) for name in ("num_classes", "biases")] == ["2", "1"]
    assert [str(value) for value in params.all("mask")] == ["0", "1"]
    assert outputs(found) == ["detection_out"]


def test_of_losses_that_get_heads_nothing_is_told() -> None:
    (warning,) = warned(SCALES, DeployOptions(heads={"two": "none"}))
    assert warning.startswith("layer 'one': its prediction is the output: 'c1' (")


def test_chosen_outputs() -> None:
    found = deploy(TWO, options=DeployOptions(outputs=("conv",)))
    assert outline(found) == ["> data", "conv Convolution data -> conv"]
    assert outputs(deploy(TWO, options=DeployOptions(outputs=("prob",)))) == ["prob"]


def test_a_chosen_output_in_the_middle() -> None:
    """With what is written in place on it, as Caffe's own name for the blob means it."""
    text = ONE.replace("loss Soft", "relu ReLU fc -> fc\nfd InnerProduct fc -> fd\nloss Soft", 1)
    text = text.replace("SoftmaxWithLoss fc", "SoftmaxWithLoss fd")
    found = deploy(text, options=DeployOptions(outputs=("fc",)))
    assert outline(found)[1:] == ["fc InnerProduct data -> fc", "relu ReLU fc -> fc"]


def test_an_output_that_is_no_blob() -> None:
    with pytest.raises(UsageError, match=r"outputs fd: the deploy net has no blob .* are prob$"):
        deploy(ONE, options=DeployOptions(outputs=("fd",)))


YOLO = """
data AnnotatedData -> data label { transform_param { crop_size: 8 force_color: true } }
c1 Convolution data -> c1
c2 Convolution data -> c2
y1 Yolov3 c1 label -> y1 { loss_weight: 1 yolov3_param { BOTH mask: 1 anchors_scale: 32 } }
y2 Yolov3 c2 label -> y2 { loss_weight: 1 yolov3_param { BOTH mask: 0 anchors_scale: 16 } }
""".replace("BOTH", "num_class: 7 biases: 4 biases: 7")


def values(message: Message, name: str) -> list[str]:
    return [str(value) for value in message.all(name)]


def test_yolo_detector_of_all_losses() -> None:
    options = DetectionOptions(0.4, 100, 100, 0.2)
    found = deploy(
        YOLO, options=DeployOptions(detection=options, heads={"*": "Yolov3DetectionOutput"})
    )
    assert outline(found)[-1] == "detection_out Yolov3DetectionOutput c1 c2 -> detection_out"
    params = found.layers[-1].body.message("yolov3_detection_output_param")
    assert params is not None
    assert values(params, "num_classes") == ["7"]
    assert values(params, "biases") == ["4", "7"]
    assert values(params, "mask") == ["1", "0"]
    assert values(params, "anchors_scale") == ["32", "16"]
    assert values(params, "mask_group_num") == ["2"]
    assert values(params, "nms_threshold") == ["0.4"]
    assert values(params, "confidence_threshold") == ["0.2"]


def test_yolo_without_anchors() -> None:
    text = YOLO.replace("biases: 4 biases: 7", "")
    with pytest.raises(Exception, match="layer 'y1': it has no anchors"):
        deploy(text, options=DeployOptions(heads={"*": "Yolov3DetectionOutput"}))


def test_region_loss() -> None:
    text = """
    data AnnotatedData -> data label { transform_param { crop_size: 8 force_color: true } }
    c Convolution data -> c
    y RegionLoss c label -> y { region_loss_param { num_class: 20 coords: 4 biases: 1.08 } }
    """
    found = deploy(text, options=DeployOptions(heads={"y": "YoloDetectionOutput"}))
    assert outline(found)[-1] == "detection_out YoloDetectionOutput c -> detection_out"
    params = found.layers[-1].body.message("yolo_detection_output_param")
    assert params is not None
    assert (values(params, "coords"), values(params, "num_classes")) == (["4"], ["20"])


def test_infogain_axis() -> None:
    text = ONE.replace("SoftmaxWithLoss", "InfogainLoss").replace(
        "-> loss", "-> loss { infogain_loss_param { axis: 2 } }"
    )
    assert deploy(text).layers[-1].params("softmax_param").integer("axis") == 2


def test_a_softmax_in_front_of_its_loss_is_the_head() -> None:
    text = ONE.replace("loss Softmax", "p Softmax fc -> p\nloss Softmax").replace(
        "SoftmaxWithLoss fc", "MultinomialLogisticLoss p"
    )
    assert outline(deploy(text))[-1] == "p Softmax fc -> p"


def test_score_becomes_prob() -> None:
    text = ONE.replace("fc", "cls_score")
    assert outline(deploy(text))[-1] == "cls_prob Softmax cls_score -> cls_prob"


@pytest.mark.parametrize("kind", ["SoftmaxWithLossOHEM", "WeightedSoftmaxWithLoss", "FocalLoss"])
def test_forks_of_softmax_losses(kind: str) -> None:
    assert outline(deploy(ONE.replace("SoftmaxWithLoss", kind)))[-1] == "prob Softmax fc -> prob"


def test_a_python_loss() -> None:
    text = ONE.replace("SoftmaxWithLoss", "Python").replace(
        "-> loss", '-> loss { python_param { module: "m" layer: "DiceLoss" } }'
    )
    assert outputs(deploy(text)) == ["fc"]


def test_an_auxiliary_loss_that_is_asked_for() -> None:
    text = ONE.replace(
        "fc InnerProduct data", "conv Convolution data -> conv\nfc InnerProduct conv"
    )
    text += "aux InnerProduct data -> aux\nl SoftmaxWithLoss aux label -> l { loss_weight: 0.3 }"
    assert outputs(deploy(text)) == ["prob"]
    assert outputs(deploy(text, options=DeployOptions(heads={"l": "none"}))) == ["prob", "aux"]


SEGMENTATION = """
data Python -> data label
conv Convolution data -> conv
up KIND conv data -> up
drop Dropout up -> up
loss SoftmaxWithLoss up label -> loss
"""


@pytest.mark.parametrize("kind", ["Deconvolution", "Interp", "Crop"])
def test_a_map_of_classes_is_published_as_scores(kind: str) -> None:
    text = SEGMENTATION.replace("KIND", kind)
    assert outputs(deploy(text)) == ["up"]
    for asked in (DeployOptions(heads={"loss": "Softmax"}), DeployOptions(prob_name="prob")):
        assert outputs(deploy(text, options=asked)) == ["prob"]
    named = deploy(text, options=DeployOptions(heads={"*": "ArgMax"}))
    assert outputs(named) == ["argmax"]


def test_a_map_that_a_convolution_made_becomes_probabilities() -> None:
    """SegNet, whose author has the Softmax."""
    assert outputs(deploy(SEGMENTATION.replace("KIND", "Convolution"))) == ["prob"]


def test_scores_are_reported() -> None:
    text = (
        SEGMENTATION.replace("KIND", "Interp")
        .replace("data label", "data label { transform_param { crop_size: 8 } }")
        .replace("Python", "ImageData")
    )
    (warning,) = warned(text, DeployOptions())
    assert warning.startswith(
        "layer 'loss': class scores of a map are the output: 'up' (heads loss="
    )
