"""Layers that handle predictions together with labels give way."""

from __future__ import annotations

from caffefold.ops.table import op
from tests.support.deploy import deploy, net, outline, passes


def test_gather_passes_on_what_it_reads() -> None:
    text = """
    data VideoData -> data label_local { transform_param { crop_size: 8 } }
    pool Convolution data -> pool_local
    gather Gather pool_local label_local -> pool label
    fc InnerProduct pool -> fc
    loss SoftmaxWithLoss fc label -> loss
    """
    assert outline(deploy(text)) == [
        "> data",
        "pool Convolution data -> pool",
        "fc InnerProduct pool -> fc",
        "prob Softmax fc -> prob",
    ]


def test_every_reader_of_the_proposals_is_renamed() -> None:
    text = """
    input Python -> data gt_boxes
    conv Convolution data -> conv
    proposal Python conv -> rpn_rois
    sample Python rpn_rois gt_boxes -> rois labels { python_param { layer: "ProposalTargetLayer" } }
    more Python rpn_rois -> more
    pool ROIPooling conv rois -> pool
    fc InnerProduct pool more -> fc
    loss SoftmaxWithLoss fc labels -> loss
    """
    assert outline(deploy(text))[2:5] == [
        "proposal Python conv -> rois",
        "more Python rois -> more",
        "pool ROIPooling conv rois -> pool",
    ]


def test_it_is_reported() -> None:
    text = """
    data Data -> data label_local { transform_param { crop_size: 8 force_color: true } }
    gather Gather data label_local -> x label
    fc InnerProduct x -> fc
    loss SoftmaxWithLoss fc label -> loss
    """
    found, steps = passes(net(text))
    assert not any(op(layer).is_data(layer) for layer in found.layers)
    (change,) = next(step.changes for step in steps if step.name == "unpair")
    assert change.detail == "Gather -> nothing, 'data', 'label_local' is 'x', 'label'"


def test_another_forks_gather_picks_rows() -> None:
    text = """
    data Data -> data { transform_param { crop_size: 8 force_color: true } }
    index Parameter -> index
    pick Gather data index -> pick
    fc InnerProduct pick -> fc
    """
    assert "pick Gather data index -> pick" in outline(deploy(text))
