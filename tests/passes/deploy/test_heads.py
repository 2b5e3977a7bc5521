"""Losses become heads; what only measures or needs labels goes."""

from __future__ import annotations

import pytest

from caffefold.formats.prototxt.parse import parse
from caffefold.ir import graph
from caffefold.ir.net import Net
from caffefold.options import DeployOptions, DetectionOptions
from caffefold.passes.deploy.heads import ConvertHeads
from caffefold.testing import LayerSpec, net_text

BASE = net_text("data Data -> data label\nfc InnerProduct data -> fc", head="")


def convert(text: str, options: DetectionOptions | None = None) -> Net:
    result = ConvertHeads(DeployOptions(detection=options)).run(Net.of(parse(text))).net
    graph.validate(result)
    return result


def wires(net: Net) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    return [(x.name, x.type, x.bottoms, x.tops) for x in net.layers[2:]]


def loss(kind: str, more: str = "", name: str = "loss") -> str:
    return LayerSpec(name, kind, "fc label", params=more).prototxt()


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "SoftmaxLoss", "InfogainLoss"])
def test_softmax(kind: str) -> None:
    assert wires(convert(BASE + loss(kind))) == [("prob", "Softmax", ("fc",), ("prob",))]


def test_softmax_keeps_its_axis() -> None:
    net = convert(BASE + loss("SoftmaxWithLoss", "softmax_param { axis: 2 }"))
    assert net.layers[2].params("softmax_param").integer("axis") == 2


def test_sigmoid() -> None:
    net = convert(BASE + loss("SigmoidCrossEntropyLoss"))
    assert wires(net) == [("prob", "Sigmoid", ("fc",), ("prob",))]


@pytest.mark.parametrize(
    "kind", ["EuclideanLoss", "HingeLoss", "ContrastiveLoss", "SmoothL1Loss", "ForksOwnLoss"]
)
def test_a_loss_without_a_head_leaves_its_prediction(kind: str) -> None:
    net = convert(BASE + loss(kind))
    assert wires(net) == []
    assert "fc" in graph.build(net).outputs


def test_a_layer_with_a_loss_weight_is_a_loss() -> None:
    assert wires(convert(BASE + loss("Whatever", "loss_weight: 1"))) == []


def test_a_softmax_that_is_there_is_used() -> None:
    prob = 'layer { name: "p" type: "Softmax" bottom: "fc" top: "p" }\n'
    accuracy = 'layer { name: "a" type: "Accuracy" bottom: "p" bottom: "label" top: "a" }\n'
    net = convert(BASE + prob + accuracy + loss("SoftmaxWithLoss"))
    assert wires(net) == [("p", "Softmax", ("fc",), ("p",))]


def test_the_name_prob_may_be_taken() -> None:
    other = 'layer { name: "prob" type: "ReLU" bottom: "fc" top: "prob" }\n'
    net = convert(BASE + other + loss("SoftmaxWithLoss"))
    assert [x.name for x in net.layers[2:]] == ["prob", "prob2"]


def test_what_only_labels_needed_goes() -> None:
    chain = (
        'layer { name: "cut" type: "Slice" bottom: "label" top: "one" top: "two" }\n'
        'layer { name: "half" type: "Power" bottom: "one" top: "half" }\n'
        'layer { name: "quiet" type: "Silence" bottom: "two" }\n'
        'layer { name: "l" type: "EuclideanLoss" bottom: "fc" bottom: "half" top: "l" }\n'
    )
    assert wires(convert(BASE + chain)) == []


SSD = (
    'layer { name: "data" type: "AnnotatedData" top: "data" top: "label" }\n'
    'layer { name: "heads" type: "Fork" bottom: "data" top: "loc" top: "conf" top: "prior" }\n'
    'layer { name: "loss" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "prior" '
    'bottom: "label" top: "loss" multibox_loss_param { num_classes: 7 MORE } }\n'
)


def test_detection() -> None:
    net = convert(SSD.replace("MORE", ""))
    assert wires(net) == [
        ("conf_reshape", "Reshape", ("conf",), ("conf_reshape",)),
        ("conf_softmax", "Softmax", ("conf_reshape",), ("conf_softmax",)),
        ("conf_flatten", "Flatten", ("conf_softmax",), ("conf_flatten",)),
        ("detection_out", "DetectionOutput", ("loc", "conf_flatten", "prior"), ("detection_out",)),
    ]
    params = net.layers[-1].params("detection_output_param")
    nms = params.sub("nms_param")
    assert params.integer("num_classes") == 7
    assert params.flag("share_location")
    assert params.integer("background_label_id") == 0
    assert params.enum("code_type") == "CORNER"
    assert params.integer("keep_top_k") == 100
    assert params.number("confidence_threshold") == 0.25
    assert (round(nms.number("nms_threshold"), 6), nms.integer("top_k")) == (0.45, 100)
    assert not params.has("variance_encoded_in_target")


def test_detection_copies_what_the_loss_knows() -> None:
    more = (
        "share_location: false background_label_id: 3 code_type: CENTER_SIZE "
        "encode_variance_in_target: true conf_loss_type: LOGISTIC"
    )
    options = DetectionOptions(0.3, 400, 200, 0.01)
    net = convert(SSD.replace("MORE", more), options)
    assert [x.type for x in net.layers[2:]] == ["Reshape", "Sigmoid", "Flatten", "DetectionOutput"]
    params = net.layers[-1].params("detection_output_param")
    assert not params.flag("share_location")
    assert params.integer("background_label_id") == 3
    assert params.enum("code_type") == "CENTER_SIZE"
    assert params.flag("variance_encoded_in_target")
    assert params.integer("keep_top_k") == 200
    assert params.sub("nms_param").integer("top_k") == 400


def test_what_the_training_net_computes_already_is_used() -> None:
    own = 'layer { name: "conf_reshape" type: "Reshape" bottom: "conf" top: "conf_reshape" }\n'
    head, tail = SSD.replace("MORE", "").split('layer { name: "loss"')
    net = convert(head + own + 'layer { name: "loss"' + tail)
    assert [x.type for x in net.layers[2:]] == ["Reshape", "Softmax", "Flatten", "DetectionOutput"]
