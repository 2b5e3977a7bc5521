"""Training nets of the known families, in short, and the deploy nets their authors publish."""

from __future__ import annotations

import pytest

from caffefold.options import DeployOptions
from tests.support.deploy import deploy, outline, outputs


def check(text: str, wanted: str) -> None:
    """The deploy net of ``text`` has exactly the layers of ``wanted``."""
    lines = [line.strip() for line in wanted.strip().splitlines()]
    assert outline(deploy(text)) == lines


CENTER = """
data Data -> data label { transform_param { crop_size: 96 } }
conv Convolution data -> conv
fc5 InnerProduct conv -> fc5
center CenterLoss fc5 label -> center { loss_weight: 0.008 }
fc6 InnerProduct fc5 -> fc6
loss SoftmaxWithLoss fc6 label -> loss
"""


def test_center_loss_shapes_a_feature() -> None:
    """The classes are those of the training set: the feature is what the net is for."""
    check(
        CENTER,
        """> data
        conv Convolution data -> conv
        fc5 InnerProduct conv -> fc5""",
    )


def test_the_classifier_behind_a_feature_can_be_asked_for() -> None:
    found = deploy(CENTER, options=DeployOptions(outputs=("fc6",)))
    assert outputs(found) == ["fc6"]


@pytest.mark.parametrize("kind", ["MarginInnerProduct", "LargeMarginInnerProduct"])
def test_a_margin_layer_reads_the_label(kind: str) -> None:
    check(
        f"""
        data ImageData -> data label {{ transform_param {{ crop_size: 96 }} }}
        conv Convolution data -> conv
        fc5 InnerProduct conv -> fc5
        fc6 {kind} fc5 label -> fc6 lambda
        loss SoftmaxWithLoss fc6 label -> loss
        accuracy Accuracy fc6 label -> accuracy {{ include {{ phase: TEST }} }}
        quiet Silence lambda
        """,
        """> data
        conv Convolution data -> conv
        fc5 InnerProduct conv -> fc5""",
    )


def test_class_scores_in_front_of_a_margin_go_too() -> None:
    check(
        """
        data ImageData -> data label000 { transform_param { crop_size: 112 } }
        labels Slice label000 -> label1 label2
        fc5 InnerProduct data -> fc5
        norm1 Normalize fc5 -> norm1
        fc6 InnerProduct norm1 -> fc6
        margin LabelSpecificAdd fc6 label1 -> margin
        scale Scale margin -> scale
        loss SoftmaxWithLoss scale label1 -> loss
        """,
        """> data
        fc5 InnerProduct data -> fc5
        norm1 Normalize fc5 -> norm1""",
    )


def test_pose_nets_weigh_predictions_with_masks() -> None:
    """openpose: masks and center map are cut from the label and the image."""
    check(
        """
        data CPMData -> data label
        cut Slice label -> weight target { slice_param { slice_point: 38 } }
        image Slice data -> image center { slice_param { slice_point: 3 } }
        quiet Silence center
        conv Convolution image -> conv
        one Convolution conv -> one
        w1 Eltwise one weight -> w1 { eltwise_param { operation: PROD } }
        loss1 EuclideanLoss w1 target -> loss1
        cat Concat one conv -> cat
        two Convolution cat -> two
        w2 Eltwise two weight -> w2 { eltwise_param { operation: PROD } }
        loss2 EuclideanLoss w2 target -> loss2
        """,
        """> image
        conv Convolution image -> conv
        one Convolution conv -> one
        cat Concat one conv -> cat
        two Convolution cat -> two""",
    )


def test_a_part_of_the_label_may_be_an_input() -> None:
    """MPIIGaze: the head's pose stands with the label and is joined with the features."""
    check(
        """
        data HDF5Data -> data label
        cut Slice label -> gaze pose { slice_param { slice_point: 2 } }
        fc1 InnerProduct data -> fc1
        cat Concat fc1 pose -> cat
        fc2 InnerProduct cat -> fc2
        loss EuclideanLoss fc2 gaze -> loss
        """,
        """> data pose
        fc1 InnerProduct data -> fc1
        cat Concat fc1 pose -> cat
        fc2 InnerProduct cat -> fc2""",
    )


def test_a_residual_over_the_input_is_no_mask() -> None:
    check(
        """
        data HDF5Data -> data label
        conv Convolution data -> conv
        sum Eltwise data conv -> sum
        loss EuclideanLoss sum label -> loss
        """,
        """> data
        conv Convolution data -> conv
        sum Eltwise data conv -> sum""",
    )


def test_the_prediction_may_be_the_second_bottom() -> None:
    found = deploy(
        """
        data HDF5Data -> data label
        fc InnerProduct data -> fc
        loss EuclideanLoss label fc -> loss
        """
    )
    assert (found.inputs, outputs(found)) == (("data",), ["fc"])


def test_an_autoencoder_compares_with_its_input() -> None:
    check(
        """
        data Data -> data
        flat Flatten data -> flat
        encode InnerProduct data -> encode
        decode InnerProduct encode -> decode
        loss SigmoidCrossEntropyLoss decode flat -> loss { loss_weight: 1 }
        neuron Sigmoid decode -> neuron
        euclid EuclideanLoss neuron flat -> euclid { loss_weight: 0 }
        """,
        """> data
        encode InnerProduct data -> encode
        decode InnerProduct encode -> decode
        neuron Sigmoid decode -> neuron""",
    )


def test_tasks_with_labels_of_their_own_stay() -> None:
    """Different weights, but not the same answers: no task is auxiliary."""
    check(
        """
        data ImageData -> data { transform_param { crop_size: 8 } }
        label HDF5Data -> label
        cut Slice label -> age sex
        conv Convolution data -> conv
        a InnerProduct conv -> a
        s InnerProduct conv -> s
        la SoftmaxWithLoss a age -> la { loss_weight: 1 }
        ls SoftmaxWithLoss s sex -> ls { loss_weight: 0.5 }
        """,
        """> data
        conv Convolution data -> conv
        a InnerProduct conv -> a
        s InnerProduct conv -> s
        prob Softmax a -> prob
        prob2 Softmax s -> prob2""",
    )


def test_fast_rcnn() -> None:
    found = deploy(
        """
        data Python -> data rois labels bbox_targets bbox_inside_weights bbox_outside_weights
        conv Convolution data -> conv
        pool ROIPooling conv rois -> pool
        cls_score InnerProduct pool -> cls_score
        bbox_pred InnerProduct pool -> bbox_pred
        l SoftmaxWithLoss cls_score labels -> l
        b SmoothL1Loss bbox_pred bbox_targets bbox_inside_weights bbox_outside_weights -> b
        """
    )
    assert outline(found)[0] == "> data rois"
    assert outline(found)[-1] == "cls_prob Softmax cls_score -> cls_prob"
    assert sorted(outputs(found)) == ["bbox_pred", "cls_prob"]


def test_faster_rcnn_end_to_end() -> None:
    check(
        """
        input Python -> data im_info gt_boxes
        conv Convolution data -> conv
        rpn_cls_score Convolution conv -> rpn_cls_score
        rpn_bbox_pred Convolution conv -> rpn_bbox_pred
        rpn-data Python rpn_cls_score gt_boxes im_info data -> rpn_labels rpn_targets
        rpn_loss SoftmaxWithLoss rpn_cls_score rpn_labels -> rpn_loss
        rpn_bbox SmoothL1Loss rpn_bbox_pred rpn_targets -> rpn_bbox
        rpn_cls_prob Softmax rpn_cls_score -> rpn_cls_prob
        proposal Python rpn_cls_prob rpn_bbox_pred im_info -> rpn_rois
        roi-data ProposalTarget rpn_rois gt_boxes -> rois labels targets
        pool ROIPooling conv rois -> pool
        cls_score InnerProduct pool -> cls_score
        bbox_pred InnerProduct pool -> bbox_pred
        loss_cls SoftmaxWithLoss cls_score labels -> loss_cls
        loss_bbox SmoothL1Loss bbox_pred targets -> loss_bbox
        """,
        """> data im_info
        conv Convolution data -> conv
        rpn_cls_score Convolution conv -> rpn_cls_score
        rpn_bbox_pred Convolution conv -> rpn_bbox_pred
        rpn_cls_prob Softmax rpn_cls_score -> rpn_cls_prob
        proposal Python rpn_cls_prob rpn_bbox_pred im_info -> rois
        pool ROIPooling conv rois -> pool
        cls_score InnerProduct pool -> cls_score
        bbox_pred InnerProduct pool -> bbox_pred
        cls_prob Softmax cls_score -> cls_prob""",
    )


def test_captioning_reads_words() -> None:
    """LRCN: cont and input sentences are inputs, target sentences are not."""
    found = deploy(
        """
        data Data -> data label { transform_param { crop_size: 227 } }
        quiet Silence label
        text HDF5Data -> cont_sentence input_sentence target_sentence
        fc8 InnerProduct data -> fc8
        embed Embed input_sentence -> embed
        lstm LSTM embed cont_sentence fc8 -> lstm
        predict InnerProduct lstm -> predict
        xent SoftmaxWithLoss predict target_sentence -> xent { softmax_param { axis: 2 } }
        accuracy Accuracy predict target_sentence -> accuracy
        """
    )
    assert found.inputs == ("data", "cont_sentence", "input_sentence")
    assert outputs(found) == ["prob"]
    assert found.layers[-1].params("softmax_param").integer("axis") == 2


def test_reinforcement_learning_filters_actions() -> None:
    check(
        """
        frames MemoryData -> frames d1 { memory_data_param { channels: 4 height: 84 width: 84 } }
        target MemoryData -> target d2 { memory_data_param { channels: 18 height: 1 width: 1 } }
        filter MemoryData -> filter d3 { memory_data_param { channels: 18 height: 1 width: 1 } }
        quiet Silence d1 d2 d3
        q InnerProduct frames -> q
        f Eltwise q filter -> f { eltwise_param { operation: PROD } }
        loss EuclideanLoss f target -> loss
        """,
        """> frames
        q InnerProduct frames -> q""",
    )


def test_yolo_predictions_are_outputs() -> None:
    found = deploy(
        """
        data AnnotatedData -> data label
        c1 Convolution data -> c1
        c2 Convolution c1 -> c2
        y1 Yolov3 c1 label -> y1 { loss_weight: 1 }
        y2 Yolov3 c2 label -> y2 { loss_weight: 1 }
        """
    )
    assert outline(found)[1:] == ["c1 Convolution data -> c1", "c2 Convolution c1 -> c2"]


def test_a_net_that_only_measures() -> None:
    check(
        """
        data Data -> data label
        fc InnerProduct data -> fc
        top1 Accuracy fc label -> top1
        top5 Accuracy fc label -> top5
        """,
        """> data
        fc InnerProduct data -> fc""",
    )


def test_training_fed_from_outside() -> None:
    """Input layers for data and label: the label's goes."""
    check(
        """
        data Input -> data { input_param { shape { dim: 8 dim: 3 dim: 4 dim: 4 } } }
        label Input -> label { input_param { shape { dim: 8 } } }
        fc InnerProduct data -> fc
        loss SoftmaxWithLoss fc label -> loss
        """,
        """> data
        fc InnerProduct data -> fc
        prob Softmax fc -> prob""",
    )


def test_a_loss_without_anything_learned_still_says_what_is_predicted() -> None:
    found = deploy(
        """
        data Data -> data label
        odd SomethingNew data -> odd
        loss SoftmaxWithLoss odd label -> loss
        """
    )
    assert outline(found)[1:] == ["odd SomethingNew data -> odd", "prob Softmax odd -> prob"]


DETECTNET = """
train_data Data -> data { include { phase: TRAIN } }
train_label Data -> label { include { phase: TRAIN } }
transform DetectNetTransformation data label -> images boxes { include { phase: TRAIN } }
conv Convolution images -> conv
cut Slice boxes -> foreground box
coverage Sigmoid conv -> coverage
bboxes Convolution conv -> bboxes
mask Eltwise bboxes foreground -> masked
l1 L1Loss masked box -> l1
l2 EuclideanLoss coverage foreground -> l2
"""


def test_augmentation_of_images_with_labels_goes() -> None:
    check(
        DETECTNET,
        """> images
        conv Convolution images -> conv
        coverage Sigmoid conv -> coverage
        bboxes Convolution conv -> bboxes""",
    )


def test_side_outputs_with_equal_weights_are_all_outputs() -> None:
    """HED: supervised at every depth, and published with every output."""
    found = deploy(
        """
        data ImageLabelmapData -> data label
        one Convolution data -> one
        two Convolution one -> two
        cat Concat one two -> cat
        fuse Convolution cat -> fuse
        l1 SigmoidCrossEntropyLoss one label -> l1 { loss_weight: 1 }
        l2 SigmoidCrossEntropyLoss two label -> l2 { loss_weight: 1 }
        l3 SigmoidCrossEntropyLoss fuse label -> l3 { loss_weight: 1 }
        """
    )
    assert outputs(found) == ["prob", "prob2", "prob3"]


def test_pairs_that_a_layer_chooses() -> None:
    """mtcnn: samples without a class, or without a box, are taken out before each loss."""
    found = deploy(
        """
        data Python -> data label roi
        conv Convolution data -> conv
        conv4-1 InnerProduct conv -> conv4-1
        conv4-2 InnerProduct conv -> conv4-2
        classes Python conv4-1 label -> conv4-1-valid label-valid
        boxes Python conv4-2 roi label -> conv4-2-valid roi-valid
        cls SoftmaxWithLoss conv4-1-valid label-valid -> cls
        box EuclideanLoss conv4-2-valid roi-valid -> box
        """
    )
    assert outputs(found) == ["conv4-2", "prob"]
    assert outline(found)[-1] == "prob Softmax conv4-1 -> prob"


def test_text_is_read_as_a_sequence() -> None:
    """OCR with WarpCTC: a loss whose name is none; where sequences go on is no input."""
    text = """
    data HDF5Data -> data label
    cont ContinuationIndicator -> cont
    lstm LSTM data cont -> lstm
    fc InnerProduct lstm -> fc
    ctc WarpCTC fc label -> ctc
    accuracy LabelsequenceAccuracy fc label -> accuracy
    """
    found = deploy(text)
    assert (found.inputs, outputs(found)) == (("data",), ["fc"])
    named = deploy(text, options=DeployOptions(heads={"ctc": "Softmax"}))
    assert outputs(named) == ["prob"]
