"""Inputs as layers and as ``input:`` fields; constants that are none; names."""

from __future__ import annotations

from typing import Literal

import pytest

from caffefold.analysis.shapes import input_shapes
from caffefold.errors import UsageError
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.options import DeployOptions
from caffefold.passes.deploy.inputs import restyle
from tests.support.deploy import deploy, net, outline, passes

TRAIN = """name: "n"
layer {
  name: "mnist"
  type: "Data"
  top: "data"
  top: "label"
  transform_param { crop_size: 9 force_gray: true }
}
layer {
  name: "ip"
  type: "InnerProduct"
  bottom: "data"
  top: "ip"
}
"""
LAYER = """name: "n"
layer {
  name: "data"
  type: "Input"
  top: "data"
  input_param {
    shape {
      dim: 1
      dim: 1
      dim: 9
      dim: 9
    }
  }
}
"""
LEGACY = """name: "n"
input: "data"
input_shape {
  dim: 1
  dim: 1
  dim: 9
  dim: 9
}
"""


@pytest.mark.parametrize(("style", "head"), [("", LAYER), ("layer", LAYER), ("legacy", LEGACY)])
def test_a_data_layer_is_written_as(style: Literal["", "layer", "legacy"], head: str) -> None:
    found, _ = passes(TRAIN, DeployOptions(input_style=style))
    assert str(found.to_document()) == head + TRAIN[TRAIN.index('layer {\n  name: "ip"') :]


@pytest.mark.parametrize(
    ("given", "style", "wanted"), [(LEGACY, "layer", LAYER), (LAYER, "legacy", LEGACY)]
)
def test_there_and_back(given: str, style: str, wanted: str) -> None:
    tail = TRAIN[TRAIN.index('layer {\n  name: "ip"') :]
    assert str(restyle(Net.of(parse(given + tail)), style).to_document()) == wanted + tail


def test_input_dims_are_one_shape_each() -> None:
    text = 'input: "a" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 input: "b" '
    text += "input_dim: 5 input_dim: 6 input_dim: 7 input_dim: 8\n"
    text += 'layer { name: "e" type: "Concat" bottom: "a" bottom: "b" top: "e" }\n'
    found = restyle(Net.of(parse(text)), "layer")
    assert input_shapes(found) == {"a": (1, 2, 3, 4), "b": (5, 6, 7, 8)}
    assert found.legacy_inputs == ()


def test_labels_given_from_outside_go() -> None:
    text = 'input: "data" input_shape { dim: 1 dim: 4 } input: "label" input_shape { dim: 1 }\n'
    text += net("ip InnerProduct data -> ip\nloss SoftmaxWithLoss ip label -> loss")
    found, _ = passes(text)
    assert input_shapes(found) == {"data": (1, 4)}


def test_an_input_layer_with_a_label() -> None:
    text = net(
        """
        in Input -> data label { input_param { shape { dim: 2 dim: 4 } shape { dim: 2 } } }
        ip InnerProduct data -> ip
        loss SoftmaxWithLoss ip label -> loss
        """
    )
    found, _ = passes(text)
    assert found.layers[0].tops == ("data",)
    assert input_shapes(found) == {"data": (2, 4)}


def test_inputs_of_a_deploy_net_stay_even_unread() -> None:
    text = net(
        """
        in Input -> data im_info { input_param { shape { dim: 2 dim: 4 } } }
        ip InnerProduct data -> ip
        """
    )
    assert passes(text)[0].inputs == ("data", "im_info")


def test_the_input_is_called_like_its_blob() -> None:
    assert passes(TRAIN)[0].layers[0].name == "data"


def test_unless_a_layer_has_the_name() -> None:
    text = TRAIN.replace('name: "ip"', 'name: "data"')
    assert [layer.name for layer in passes(text)[0].layers] == ["mnist", "data"]


def test_a_shape_for_a_label_is_for_no_input() -> None:
    options = DeployOptions(input_shapes={"label": (1, 1)})
    with pytest.raises(
        UsageError, match="'label' is not an input of this net; its inputs are data"
    ):
        passes(TRAIN, options)


CONSTANT = '{ dummy_data_param { data_filler { type: "constant" value: 1 } shape { dim: 4 } } }'


def test_a_constant_beside_an_input_stays() -> None:
    text = f"""
    data Data -> data label
    ones DummyData -> ones {CONSTANT}
    fc InnerProduct data -> fc
    sum Eltwise fc ones -> sum
    loss EuclideanLoss sum label -> loss
    """
    found = deploy(text)
    assert found.inputs == ("data",)
    assert "ones DummyData -> ones" in [line.replace("  ", " ") for line in outline(found)]


RANDOM = CONSTANT.replace('"constant" value: 1', '"gaussian"')


def test_random_numbers_stand_for_data() -> None:
    text = f"""
    data DummyData -> data {RANDOM}
    more DummyData -> more {CONSTANT}
    fc InnerProduct data -> fc
    sum Eltwise fc more -> sum
    """
    assert deploy(text).inputs == ("data",)


def test_several_blobs_of_random_numbers() -> None:
    text = f"""
    data DummyData -> data {RANDOM}
    cont DummyData -> cont {RANDOM}
    lstm LSTM data cont -> lstm
    """
    assert deploy(text).inputs == ("data", "cont")


def test_noise_beside_the_input_of_a_deploy_net_stays() -> None:
    text = f"""
    data Input -> data {{ input_param {{ shape {{ dim: 1 dim: 4 }} }} }}
    noise DummyData -> noise {RANDOM}
    fc InnerProduct data -> fc
    sum Eltwise fc noise -> sum
    """
    assert deploy(text).inputs == ("data",)


def test_an_evaluation_fed_from_outside() -> None:
    text = net(
        """
        in Input -> data label { input_param { shape { dim: 2 dim: 4 } shape { dim: 2 } } }
        ip InnerProduct data -> ip
        top1 Accuracy ip label -> top1
        """
    )
    assert passes(text)[0].inputs == ("data",)
