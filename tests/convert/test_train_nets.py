"""Training nets with weights: what the deploy net lost is not in its caffemodel either."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import caffefold
from caffefold.testing import LayerSpec, RandomLayers, relu, write_pair

CROP = "transform_param { crop_size: 6 }"


def converted(tmp_path: Path, layers: list[LayerSpec]) -> tuple[list[str], dict[str, int]]:
    """Names of the layers, and how many blobs each has in the written caffemodel."""
    report = caffefold.convert(*write_pair(tmp_path, layers), tmp_path / "out")
    assert report.proof.outputs
    with caffefold.load(tmp_path / "out.prototxt", tmp_path / "out.caffemodel") as net:
        assert net.weights is not None
        stored = {record.name: len(record.blobs) for record in net.weights.layers if record.blobs}
        return [layer.name for layer in net.layers], stored


def test_auxiliary_head(tmp_path: Path) -> None:
    n = RandomLayers()
    layers = [
        LayerSpec("data", "Data", "", "data label", CROP),
        n.conv("conv", "data", 3, 4),
        n.batch_norm("bn", "conv", 4, top="conv"),
        n.scale("scale", "conv", 4, top="conv"),
        relu("relu", "conv"),
        n.inner_product("fc1", "conv", 64, 2),
        LayerSpec("loss1", "SoftmaxWithLoss", "fc1 label", "loss1", "loss_weight: 0.3"),
        n.inner_product("ip", "conv", 64, 8),
        n.inner_product("fc2", "ip", 8, 2),
        LayerSpec("loss2", "SoftmaxWithLoss", "fc2 label", "loss2", "loss_weight: 1"),
    ]
    names, stored = converted(tmp_path, layers)
    assert names == ["data", "conv", "relu", "ip", "fc2", "prob"]
    assert stored == {"conv": 2, "ip": 2, "fc2": 2}


def test_siamese_twin(tmp_path: Path) -> None:
    n = RandomLayers()
    shared = 'param { name: "w" } param { name: "b" }'
    one = n.conv("conv", "data", 2, 4)
    twin = LayerSpec("conv_p", one.type, "data_p", "conv_p", f"{one.params} {shared}", one.blobs)
    cut = "slice_param { slice_dim: 1 slice_point: 2 }"
    layers = [
        LayerSpec("pair", "Data", "", "pair sim", CROP),
        LayerSpec("cut", "Slice", "pair", "data data_p", cut),
        LayerSpec("conv", one.type, "data", "conv", f"{one.params} {shared}", one.blobs),
        twin,
        LayerSpec("loss", "ContrastiveLoss", "conv conv_p sim", "loss"),
    ]
    names, stored = converted(tmp_path, layers)
    assert names == ["data", "conv"]
    assert stored == {"conv": 2}
    shape = caffefold.load(tmp_path / "out.prototxt").layers[0].params("input_param").sub("shape")
    assert shape.integers("dim") == (1, 2, 6, 6)


def test_margin(tmp_path: Path) -> None:
    n = RandomLayers()
    layers = [
        LayerSpec("data", "ImageData", "", "data label", CROP),
        n.conv("conv", "data", 3, 4),
        n.inner_product("fc5", "conv", 64, 8),
        LayerSpec("fc6", "MarginInnerProduct", "fc5 label", "fc6 lambda", blobs=[n.normal(9, 8)]),
        LayerSpec("loss", "SoftmaxWithLoss", "fc6 label", "loss"),
    ]
    names, stored = converted(tmp_path, layers)
    assert names == ["data", "conv", "fc5"]
    assert stored == {"conv": 2, "fc5": 2}


def test_channels_come_from_the_weights(tmp_path: Path) -> None:
    layers = [
        LayerSpec("data", "Data", "", "data label", CROP),
        RandomLayers().conv("conv", "data", 5, 4),
        LayerSpec("loss", "EuclideanLoss", "conv label", "loss"),
    ]
    report = caffefold.convert(*write_pair(tmp_path, layers), tmp_path / "out")
    assert report.warnings == ()
    net = caffefold.load(tmp_path / "out.prototxt")
    assert net.layers[0].params("input_param").sub("shape").integers("dim") == (1, 5, 6, 6)


def test_a_folded_gather(tmp_path: Path) -> None:
    """The value is renamed where it is made: its layer still folds what follows."""
    n = RandomLayers()
    layers = [
        LayerSpec("data", "Data", "", "data label_local", CROP),
        n.conv("conv", "data", 3, 4),
        LayerSpec("gather", "Gather", "conv label_local", "all label"),
        n.batch_norm("bn", "all", 4, top="all"),
        LayerSpec("loss", "EuclideanLoss", "all label", "loss"),
    ]
    names, stored = converted(tmp_path, layers)
    assert (names, stored) == (["data", "conv"], {"conv": 2})
    with caffefold.load(tmp_path / "out.prototxt", tmp_path / "out.caffemodel") as net:
        assert net.layers[1].tops == ("all",)
        assert not np.array_equal(np.asarray(net.layers[1].blobs[0]), layers[1].blobs[0])
