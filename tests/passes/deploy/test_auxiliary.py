"""Losses that only help training leave nothing; losses that are tasks stay."""

from __future__ import annotations

from tests.support.deploy import deploy, net, outline, outputs, passes

GOOGLENET = """
data Data -> data label { transform_param { crop_size: 8 force_color: true } }
conv Convolution data -> conv
fc1 InnerProduct conv -> fc1
loss1 SoftmaxWithLoss fc1 label -> loss1 { loss_weight: 0.3 }
top1 Accuracy fc1 label -> top1 { include { phase: TEST } }
conv2 Convolution conv -> conv2
fc2 InnerProduct conv2 -> fc2
loss2 SoftmaxWithLoss fc2 label -> loss2 { loss_weight: 1 }
top2 Accuracy fc2 label -> top2 { include { phase: TEST } }
"""


def test_a_lighter_loss_on_the_same_label() -> None:
    assert outline(deploy(GOOGLENET)) == [
        "> data",
        "conv Convolution data -> conv",
        "conv2 Convolution conv -> conv2",
        "fc2 InnerProduct conv2 -> fc2",
        "prob Softmax fc2 -> prob",
    ]


def test_it_is_reported() -> None:
    _, steps = passes(net(GOOGLENET))
    warning = [c.detail for step in steps for c in step.changes if "loss1" in c.removed]
    assert warning == ["SoftmaxWithLoss -> nothing (auxiliary: weighs 0.3, 'loss2' 1)"]


def test_another_form_of_the_same_label() -> None:
    """PSPNet shrinks the label map for its auxiliary loss."""
    text = GOOGLENET.replace(
        "loss1 SoftmaxWithLoss fc1 label",
        "half Interp label -> half\nloss1 SoftmaxWithLoss fc1 half",
    )
    assert outputs(deploy(text)) == ["prob"]


def test_equal_weights_are_two_outputs() -> None:
    assert outputs(deploy(GOOGLENET.replace("0.3", "1"))) == ["prob", "prob2"]


def test_another_kind_of_loss_is_another_task() -> None:
    text = GOOGLENET.replace("loss1 SoftmaxWithLoss", "loss1 EuclideanLoss")
    assert sorted(outputs(deploy(text))) == ["fc1", "prob"]


def test_two_losses_on_one_prediction_are_one_head() -> None:
    text = """
    data Data -> data label
    fc InnerProduct data -> fc
    a SoftmaxWithLoss fc label -> a { loss_weight: 1 }
    b SoftmaxWithLoss fc label -> b { loss_weight: 0.1 }
    """
    assert outline(deploy(text))[1:] == ["fc InnerProduct data -> fc", "prob Softmax fc -> prob"]


def test_a_loss_for_train_only_beside_one_of_both_phases() -> None:
    """ERFNet's encoder loss has no smaller weight."""
    text = GOOGLENET.replace("loss_weight: 0.3", "include { phase: TRAIN }")
    assert outputs(deploy(text)) == ["prob"]


def test_a_branch_for_train_only_goes_with_its_loss() -> None:
    train = "{ include { phase: TRAIN } }"
    text = f"""
    data Data -> data label {{ transform_param {{ crop_size: 8 force_color: true }} }}
    aux InnerProduct data -> aux {train}
    loss1 SoftmaxWithLoss aux label -> loss1 {train}
    fc InnerProduct data -> fc
    loss2 SoftmaxWithLoss fc label -> loss2 {train}
    """
    assert outline(deploy(text))[1:] == ["fc InnerProduct data -> fc", "prob Softmax fc -> prob"]


def test_boxes_that_are_refined() -> None:
    """RefineDet detects in two steps; only the second one's result counts."""
    box = "multibox_loss_param { num_classes: 2 }"
    text = f"""
    data AnnotatedData -> data label {{ transform_param {{ crop_size: 8 force_color: true }} }}
    arm_loc Convolution data -> arm_loc
    arm_conf Convolution data -> arm_conf
    prior PriorBox arm_loc data -> prior
    flat Flatten arm_conf -> flat
    odm_loc Convolution arm_loc -> odm_loc
    odm_conf Convolution arm_loc -> odm_conf
    arm_loss MultiBoxLoss arm_loc arm_conf prior label -> arm_loss {{ {box} }}
    odm_loss MultiBoxLoss odm_loc odm_conf prior label flat arm_loc -> odm_loss {{ {box} }}
    """
    found = outline(deploy(text))
    assert found[-1] == (
        "detection_out DetectionOutput odm_loc odm_conf_flatten prior flat arm_loc -> detection_out"
    )
    assert [line for line in found if line.startswith("arm_conf_")] == []


def test_two_detectors_are_two_outputs() -> None:
    box = "multibox_loss_param { num_classes: 2 }"
    text = f"""
    data AnnotatedData -> data label {{ transform_param {{ crop_size: 8 force_color: true }} }}
    loc Convolution data -> loc
    conf Convolution data -> conf
    prior PriorBox loc data -> prior
    loc2 Convolution data -> loc2
    conf2 Convolution data -> conf2
    one MultiBoxLoss loc conf prior label -> one {{ {box} }}
    two MultiBoxLoss loc2 conf2 prior label -> two {{ {box} }}
    """
    assert outputs(deploy(text)) == ["detection_out", "detection_out2"]
