"""Losses that only help training leave nothing; losses that are tasks stay."""

from __future__ import annotations

import pytest

from caffefold.options import DeployOptions
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


# ------------------------------------------------------------------- GoogLeNet's forks

FORK = """
data Data -> data label { transform_param { crop_size: 8 force_color: true } }
conv Convolution data -> conv
side1 Convolution conv -> side1
fc1 InnerProduct side1 -> fc1
loss1 SoftmaxWithLoss fc1 label -> loss1 SIDE
mid1 Convolution conv -> mid1
mid2 Convolution mid1 -> mid2
side2 Convolution mid2 -> side2
fc2 InnerProduct side2 -> fc2
loss2 SoftmaxWithLoss fc2 label -> loss2 SIDE
end1 Convolution mid2 -> end1
end2 Convolution end1 -> end2
fc3 InnerProduct end2 -> fc3
loss3 SoftmaxWithLoss fc3 label -> loss3 MAIN
"""
TRUNK = [
    "> data",
    "conv Convolution data -> conv",
    "mid1 Convolution conv -> mid1",
    "mid2 Convolution mid1 -> mid2",
    "end1 Convolution mid2 -> end1",
    "end2 Convolution end1 -> end2",
    "fc3 InnerProduct end2 -> fc3",
]
HEADS = """
p1 Softmax fc1 -> p1 PHASE
p2 Softmax fc2 -> p2 PHASE
p3 Softmax fc3 -> p3 PHASE
"""


def fork(side: str = "", main: str = "", more: str = "") -> str:
    return FORK.replace("SIDE", side).replace("MAIN", main) + more


def test_side_losses_of_equal_weight() -> None:
    assert outline(deploy(fork())) == [*TRUNK, "prob Softmax fc3 -> prob"]


def test_that_they_are_auxiliary_is_told_with_a_way_out() -> None:
    _, steps = passes(net(fork()))
    (first, _) = next(step.warnings for step in steps if step.name == "heads")
    assert first == (
        "layer 'loss1': auxiliary: branches off before 'loss3', same label; its branch is dropped "
        "(heads loss1=Softmax keeps it)"
    )
    kept = deploy(fork(), options=DeployOptions(heads={"loss1": "Softmax"}))
    assert outputs(kept) == ["prob", "prob2"]


@pytest.mark.parametrize("phase", ["", "{ include { phase: TEST } }"])
@pytest.mark.parametrize("side", ["", "{ loss_weight: 0.3 }"])
def test_side_branches_that_end_in_a_softmax_too(phase: str, side: str) -> None:
    text = fork(side, "", HEADS.replace("PHASE", phase))
    assert outline(deploy(text)) == [*TRUNK, "p3 Softmax fc3 -> p3"]


@pytest.mark.parametrize("weight", ["", "loss_weight: 0.3"])
def test_all_losses_are_for_train_and_the_softmaxes_for_test(weight: str) -> None:
    train = "include { phase: TRAIN }"
    text = fork(
        f"{{ {train} {weight} }}",
        f"{{ {train} }}",
        HEADS.replace("PHASE", "{ include { phase: TEST } }"),
    )
    assert outline(deploy(text)) == [*TRUNK, "p3 Softmax fc3 -> p3"]


@pytest.mark.parametrize("main", ["", "include { phase: TRAIN }"])
def test_one_side_branch_alone(main: str) -> None:
    """Inception v3 has one; its main loss may be in both phases, and have no Softmax."""
    train = "{ include { phase: TRAIN } }"
    heads = HEADS.replace("PHASE", "{ include { phase: TEST } }").splitlines()[1]
    text = fork(train, f"{{ {main} }}", heads)
    text = "\n".join(
        line for line in text.splitlines() if not line.startswith(("loss2", "side2", "fc2"))
    )
    assert outline(deploy(text)) == [*TRUNK, "prob Softmax fc3 -> prob"]


def test_what_is_measured_behind_a_side_softmax_goes_too() -> None:
    more = HEADS.replace("PHASE", "") + "best ArgMax p1 -> best\ntop Accuracy p2 label -> top"
    assert outline(deploy(fork(more=more))) == [*TRUNK, "p3 Softmax fc3 -> p3"]


# ------------------------------------------------------------------------- what is none


def test_branches_of_equal_depth_are_two_outputs() -> None:
    """Neither leaves the trunk before the other one."""
    for weight in ("1", "0.3"):
        text = GOOGLENET.replace("0.3", weight).replace("fc2 InnerProduct conv2", "fc2 Pool conv2")
        assert outputs(deploy(text)) == ["prob", "prob2"]


def test_the_deeper_branch_is_not_auxiliary() -> None:
    text = GOOGLENET.replace("0.3", "2")
    assert outputs(deploy(text)) == ["prob", "prob2"]


def test_results_on_the_trunk_of_equal_weight() -> None:
    """A later result is made of them; lighter ones are auxiliary."""
    text = """
    data Data -> data label { transform_param { crop_size: 8 force_color: true } }
    a Convolution data -> a
    one SoftmaxWithLoss a label -> one WEIGHT
    b Convolution a -> b
    two SoftmaxWithLoss b label -> two
    """
    assert outputs(deploy(text.replace("WEIGHT", ""))) == ["prob", "prob2"]
    assert outputs(deploy(text.replace("WEIGHT", "{ loss_weight: 0.5 }"))) == ["prob"]


@pytest.mark.parametrize("kind", ["Yolov3", "RegionLoss", "CenterGridLoss", "Yolov4", "BoxIOULoss"])
@pytest.mark.parametrize("rule", ["", "include { phase: TRAIN }"])
def test_scales_of_a_detector(kind: str, rule: str) -> None:
    """The weights balance the scales; each finds objects of other sizes."""
    text = f"""
    data AnnotatedData -> data label {{ transform_param {{ crop_size: 8 force_color: true }} }}
    c1 Convolution data -> c1
    c2 Convolution c1 -> c2
    h1 Convolution c1 -> h1
    h2 Convolution c2 -> h2
    one {kind} h1 label -> one {{ loss_weight: 0.5 {rule} }}
    two {kind} h2 label -> two {{ loss_weight: 1 {rule} }}
    """
    assert outputs(deploy(text)) == ["h1", "h2"]


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
