"""Layers without a name, and several of one name: each gets a name of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold._proto import caffe_pb2
from caffefold.errors import InputError
from caffefold.ir.net import Net
from caffefold.passes.view.names import NameLayers, SeparateNames
from caffefold.testing import RandomLayers, input_layer, net_weights, write_pair

N = RandomLayers(3)
NAMELESS = """\
layer { type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 1 } }
layer { type: "ReLU" bottom: "c" top: "c" }
layer { type: "ReLU" bottom: "c" top: "c" }
"""  # noqa: E501 - a layer a line
WEIGHTS = {"c": [np.ones((4, 3, 1, 1)), np.ones(4)]}


def names(net: Net) -> list[str]:
    return [layer.name for layer in net]


def test_layers_without_a_name_are_called_what_they_make(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NAMELESS, encoding="utf-8")
    (tmp_path / "net.caffemodel").write_bytes(net_weights(WEIGHTS))
    report = caffefold.convert(
        tmp_path / "net.prototxt", tmp_path / "net.caffemodel", tmp_path / "out"
    )
    assert ("named", "data, c_relu, c_relu2: had no name") in list(report.rows())
    with caffefold.load(tmp_path / "out.prototxt", tmp_path / "out.caffemodel") as net:
        assert names(net) == ["data", "c", "c_relu", "c_relu2"]
        assert [len(layer.blobs) for layer in net] == [0, 2, 0, 0]


def test_a_layer_that_needs_weights_needs_a_name(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NAMELESS.replace('name: "c"', ""), encoding="utf-8")
    (tmp_path / "net.caffemodel").write_bytes(net_weights(WEIGHTS))
    with pytest.raises(InputError, match=r"net\.prototxt:2:1: layer '': the layer has no name, by"):
        caffefold.convert(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", tmp_path / "out")


def test_the_layer_with_weights_keeps_the_name(tmp_path: Path) -> None:
    text, weights = write_pair(tmp_path, [input_layer(1, 16), N.inner_product("fc", "data", 16, 4)])
    softmax = 'layer { name: "fc" type: "Softmax" bottom: "fc" top: "fc" }\n'
    absolute = 'layer { name: "fc" type: "AbsVal" bottom: "data" top: "data" }\n'
    layers = text.read_text(encoding="utf-8")
    at = layers.index("layer {", layers.index('type: "Input"'))
    text.write_text(layers[:at] + absolute + layers[at:] + softmax, encoding="utf-8")
    report = caffefold.convert(text, weights, tmp_path / "out")
    assert ("named", "fc_absval, fc_softmax: another layer is called 'fc'") in list(report.rows())
    written = caffe_pb2.NetParameter.FromString((tmp_path / "out.caffemodel").read_bytes())
    assert [(x.name, len(x.blobs)) for x in written.layer] == [
        ("data", 0),
        ("fc_absval", 0),
        ("fc", 2),
        ("fc_softmax", 0),
    ]


def test_two_layers_of_one_name_with_weights_are_refused(tmp_path: Path) -> None:
    layers = [input_layer(1, 16), N.inner_product("fc", "data", 16, 16)]
    text, weights = write_pair(tmp_path, layers)
    product = "inner_product_param { num_output: 16 }"
    with text.open("a", encoding="utf-8") as out:
        out.write(f'layer {{ name: "fc" type: "InnerProduct" bottom: "fc" top: "b" {product} }}\n')
    with pytest.raises(InputError, match="layer 'fc': an earlier layer with weights has the same"):
        caffefold.convert(text, weights, tmp_path / "out")


def test_nets_with_names_are_left_alone(tmp_path: Path) -> None:
    text, weights = write_pair(tmp_path, [input_layer(1, 16), N.inner_product("fc", "data", 16, 4)])
    with caffefold.load(text, weights) as net:
        for step in (NameLayers(), SeparateNames()):
            assert step.run(net).net is net


CASES = {
    "noname": ["data", "c", "c_relu"],
    "dup": ["data", "fc", "fc_softmax"],
}


@pytest.mark.parametrize("case", CASES)
def test_cases(tmp_path: Path, shared: Path, case: str) -> None:
    shutil.copy(shared / "cases" / f"{case}.prototxt", tmp_path)
    caffefold.convert(tmp_path / f"{case}.prototxt", None, tmp_path / "out")
    assert names(caffefold.load(tmp_path / "out.prototxt")) == CASES[case]
