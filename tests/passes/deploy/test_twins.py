"""Siamese nets and triplets: one tower is the net."""

from __future__ import annotations

from caffefold.options import DeployOptions
from tests.support.deploy import deploy, outline, outputs

SIAMESE = """
pair Data -> pair sim
cut Slice pair -> data data_p { slice_param { slice_dim: 1 slice_point: 1 } }
conv Convolution data -> conv { param { name: "w" } param { name: "b" } }
feat InnerProduct conv -> feat { param { name: "fw" } param { name: "fb" } }
conv_p Convolution data_p -> conv_p { param { name: "w" } param { name: "b" } }
feat_p InnerProduct conv_p -> feat_p { param { name: "fw" } param { name: "fb" } }
loss ContrastiveLoss feat feat_p sim -> loss
"""


def test_one_tower_and_its_part_of_the_pair() -> None:
    found = deploy(SIAMESE, shape=(1, 1, 28, 28))
    assert outline(found) == [
        "> data",
        "conv Convolution data -> conv",
        "feat InnerProduct conv -> feat",
    ]


def test_the_part_has_the_channels_that_were_cut() -> None:
    text = SIAMESE.replace("pair sim", "pair sim { transform_param { crop_size: 28 } }")
    found = deploy(text, shape=(9, 9))
    assert found.layers[0].params("input_param").sub("shape").integers("dim") == (1, 1, 28, 28)


def test_towers_with_weights_of_their_own_are_two_functions() -> None:
    text = SIAMESE.replace(' { param { name: "fw" } param { name: "fb" } }', "")
    found = deploy(text)
    assert sorted(outputs(found)) == ["feat", "feat_p"]
    assert "cut Slice pair -> data data_p" in outline(found)


def test_one_head_shared_by_levels_of_a_pyramid_is_no_twin() -> None:
    text = """
    data Data -> data l1 l2
    conv Convolution data -> conv
    half Pooling conv -> half
    h1 Convolution conv -> h1 { param { name: "h" } }
    h2 Convolution half -> h2 { param { name: "h" } }
    a SoftmaxWithLoss h1 l1 -> a
    b SoftmaxWithLoss h2 l2 -> b
    """
    assert outputs(deploy(text)) == ["prob", "prob2"]


def test_twins_with_losses_of_their_own() -> None:
    text = """
    data ImageData -> data label
    other ImageData -> data_p label_p
    fc InnerProduct data -> fc { param { name: "f" } }
    fc_p InnerProduct data_p -> fc_p { param { name: "f" } }
    l SoftmaxWithLoss fc label -> l
    l_p SoftmaxWithLoss fc_p label_p -> l_p
    """
    assert outline(deploy(text)) == [
        "> data",
        "fc InnerProduct data -> fc",
        "prob Softmax fc -> prob",
    ]


def test_a_batch_cut_into_triplets() -> None:
    text = """
    data Data -> data
    conv Convolution data -> conv
    cut Slice conv -> anchor positive negative { slice_param { axis: 0 } }
    loss TripletLoss anchor positive negative -> loss
    """
    assert outline(deploy(text)) == ["> data", "conv Convolution data -> conv"]


def test_a_shape_for_the_part() -> None:
    found = deploy(SIAMESE, options=DeployOptions(input_shapes={"data": (4, 1, 9, 9)}))
    assert found.layers[0].params("input_param").sub("shape").integers("dim") == (4, 1, 9, 9)
