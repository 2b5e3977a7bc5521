"""Types of forks are their upstream type, and what is known of a type is known everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.errors import ModelError
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair

DEPTHWISE = ("DepthwiseConvolution", "ConvolutionDepthwise", "DepthwiseConv")
FORKS = (*DEPTHWISE, "ConvolutionRistretto")


def convolution(
    kind: str, random: RandomLayers, *, outputs: int = 4, group: bool = False
) -> LayerSpec:
    """A convolution of a fork's type on 4 channels; depthwise types leave ``group`` out."""
    per_group = 1 if kind in DEPTHWISE else 4
    text = f"num_output: {outputs} kernel_size: 3 bias_term: false"
    text += " group: 4" if group else ""
    weights = random.normal(outputs, per_group, 3, 3)
    return LayerSpec("c", kind, "data", params=f"convolution_param {{ {text} }}", blobs=[weights])


@pytest.mark.parametrize("kind", FORKS)
def test_a_convolution_of_a_fork_absorbs(tmp_path: Path, kind: str) -> None:
    """conv + BatchNorm + Scale -> conv with a bias."""
    random = RandomLayers(1)
    chain = [random.batch_norm("bn", "c", 4), random.scale("sc", "bn", 4)]
    pair = write_pair(tmp_path, [input_layer(1, 4, 8, 8), convolution(kind, random), *chain])
    report = caffefold.convert(*pair, tmp_path / "out")
    assert [(fold.layer, fold.folded) for fold in report.proof.folds] == [("c", ("bn", "sc"))]
    assert report.skips == ()


@pytest.mark.parametrize("kind", FORKS)
def test_a_convolution_of_a_fork_needs_weights(tmp_path: Path, kind: str) -> None:
    bare = convolution(kind, RandomLayers(1))._replace(blobs=())
    behind = RandomLayers(2).inner_product("fc", "c", 4 * 36, 2)
    pair = write_pair(tmp_path, [input_layer(1, 4, 8, 8), bare, behind])
    with pytest.raises(ModelError, match=r"no weights for 1 layers? \('c'\)"):
        caffefold.convert(*pair, tmp_path / "out")


@pytest.mark.parametrize("kind", DEPTHWISE)
@pytest.mark.parametrize("group", [True, False])
def test_two_filters_for_each_channel(tmp_path: Path, kind: str, group: bool) -> None:
    """A map in front of 8 depthwise filters on 4 channels: each takes its own channel's factor."""
    random = RandomLayers(3)
    last = convolution(kind, random, outputs=8, group=group)._replace(bottoms="bn")
    pair = write_pair(tmp_path, [input_layer(1, 4, 8, 8), random.batch_norm("bn", "data", 4), last])
    before = caffefold.load(*pair)["c"]
    caffefold.convert(*pair, tmp_path / "out")
    after = caffefold.load(tmp_path / "out.prototxt", tmp_path / "out.caffemodel")["c"]
    ratio = np.asarray(after.blobs[0]) / np.asarray(before.blobs[0])
    factors = ratio.reshape(4, 2, -1)
    np.testing.assert_allclose(
        factors, np.broadcast_to(factors[:, :1, :1], factors.shape), rtol=1e-5
    )
    assert len({float(f) for f in factors[:, 0, 0].round(4)}) == 4


@pytest.mark.parametrize("kind", ["ReLU", "HardSwish", "Mish", "SeLu", "GELU", "HardSigmoid"])
def test_a_map_passes_a_concat_beside_any_activation(tmp_path: Path, kind: str) -> None:
    """BN -> Concat -> conv: the sibling's channels are known whatever activation it ends in."""
    random = RandomLayers(4)
    layers = [
        input_layer(1, 4, 8, 8),
        relu("r", "data", "r"),
        random.batch_norm("bn", "r", 4),
        LayerSpec("act", kind, "r"),
        LayerSpec("cat", "Concat", "bn act"),
        random.conv("c", "cat", 8, 4),
    ]
    report = caffefold.convert(*write_pair(tmp_path, layers), tmp_path / "out")
    assert [(fold.layer, fold.folded) for fold in report.proof.folds] == [("c", ("bn",))]


def test_a_convolution_along_another_axis(tmp_path: Path) -> None:
    """axis 2: the weights take the extent of axis 2, not the channels (base_conv_layer.cpp)."""
    blobs = [np.ones((2, 4, 3), np.float32), np.zeros(2, np.float32)]
    text = "convolution_param { num_output: 2 kernel_size: 3 axis: 2 }"
    layer = LayerSpec("c", "Convolution", "data", params=text, blobs=blobs)
    report = caffefold.convert(
        *write_pair(tmp_path, [input_layer(1, 3, 4, 5), layer]), tmp_path / "out"
    )
    assert report.warnings == ()


DEPTHWISE_WITHOUT_GROUP = """
input: "data" input_shape { dim: 1 dim: 4 dim: 8 dim: 8 }
layer { name: "b0" type: "BatchNorm" bottom: "data" top: "b0" }
layer { name: "c" type: "DepthwiseConvolution" bottom: "b0" top: "c"
  convolution_param { num_output: 8 kernel_size: 1 bias_term: false } }
layer { name: "b" type: "BatchNorm" bottom: "c" top: "c" }
"""


def test_the_structure_of_depthwise_filters_without_weights(tmp_path: Path) -> None:
    given = tmp_path / "net.prototxt"
    given.write_text(DEPTHWISE_WITHOUT_GROUP)
    report = caffefold.convert(given, None, tmp_path / "out")
    assert [layer.name for layer in caffefold.load(tmp_path / "out.prototxt")] == ["c"]
    assert report.skips == ()


@pytest.mark.parametrize("kind", DEPTHWISE)
def test_a_depthwise_multiplier(kind: str, tmp_path: Path) -> None:
    """4 channels in 4 groups, 2 outputs for each: maps on both sides go into it."""
    numbers = RandomLayers(1)
    layers = [
        numbers.batch_norm("b0", "data", 4),
        numbers.conv("c", "b0", 4, 8, group=4, kind=kind),
        numbers.batch_norm("b", "c", 8),
    ]
    caffefold.convert(*write_pair(tmp_path, [input_layer(1, 4, 8, 8), *layers]), tmp_path / "out")
    with caffefold.load(tmp_path / "out.prototxt", tmp_path / "out.caffemodel") as net:
        assert [layer.name for layer in net if layer.name != "data"] == ["c"]
        found = np.asarray(net["c"].blobs[0]), np.asarray(net["c"].blobs[1])
    weights = np.asarray(layers[1].blobs[0], np.float64)
    mean, variance, factor = (np.asarray(blob, np.float64) for blob in layers[0].blobs)
    before = 1 / np.sqrt(variance / factor + 1e-5), mean / factor
    mean, variance, factor = (np.asarray(blob, np.float64) for blob in layers[2].blobs)
    after = 1 / np.sqrt(variance / factor + 1e-5), mean / factor
    scale = before[0].repeat(2) * after[0]  # output 2 i and 2 i + 1 read channel i
    assert np.allclose(found[0], weights * scale[:, None, None, None], rtol=1e-6)
    bias = np.asarray(layers[1].blobs[1], np.float64)
    bias = bias - (weights.sum(axis=(1, 2, 3)) * (before[0] * before[1]).repeat(2))
    assert np.allclose(found[1], (bias - after[1]) * after[0], rtol=1e-5, atol=1e-6)
