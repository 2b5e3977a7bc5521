"""Slimmed nets: real Caffe's outputs stay; a ResNet cut to size runs with the MACs reported."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair
from tests.support.goldens import SHARED, assert_close, golden

# With channels that do nothing: gammas of 1e-8 over weights of 1e-20, rows of zeros.
DEAD = {"retinaface/clancylian-mnet-deconv": 18, "segmentation/eric612-tusimple": 28}
LIMIT = 5e-5  # of the largest value


@pytest.mark.parametrize("name", DEAD)
def test_real_models_get_smaller_and_compute_the_same(tmp_path: Path, name: str) -> None:
    pytest.importorskip("torch")
    from tests.reference.caffe_torch import run

    folder = SHARED / "corpus" / name
    if not (folder / "golden.npz").exists():
        pytest.skip("CAFFEFOLD_SHARED is not there")
    pair = folder / "deploy.prototxt", folder / "weights.caffemodel"
    report = caffefold.convert(*pair, tmp_path / "out", slim=True)
    assert report.slimmed is not None
    assert report.slimmed.channels[1] == DEAD[name]
    before, after = report.slimmed.costs
    assert after.parameters < before.parameters
    assert after.macs < before.macs
    wanted = golden(folder, "output:")
    given = golden(folder, "input:")
    found = run(tmp_path / "out.prototxt", tmp_path / "out.caffemodel", given, list(wanted))
    assert_close(found, wanted, LIMIT)


def resnet20() -> list[LayerSpec]:
    """ResNet-20 for CIFAR: three stages of three blocks; a 1x1 convolution where maps shrink."""
    made = RandomLayers(20)
    layers = [input_layer(1, 3, 32, 32)]

    def conv(name: str, bottom: str, sizes: tuple[int, int], kernel: int, stride: int) -> None:
        params = f"pad: {kernel // 2} stride: {stride}"
        layer = made.conv(name, bottom, *sizes, kernel=kernel, bias=False, params=params)
        layer.blobs[0][:] /= np.sqrt(sizes[0] * kernel**2)  # type: ignore[index]
        scale = made.scale(f"{name}/scale", name, sizes[1], top=name)
        layers.extend([layer, made.batch_norm(f"{name}/bn", name, sizes[1], top=name), scale])

    conv("conv1", "data", (3, 16), 3, 1)
    layers.append(relu("conv1/relu", "conv1"))
    bottom, inputs = "conv1", 16
    for stage, outputs in enumerate((16, 32, 64)):
        for block in range(3):
            name = f"s{stage}b{block}"
            stride = 2 if stage and not block else 1
            conv(f"{name}a", bottom, (inputs, outputs), 3, stride)
            layers.append(relu(f"{name}a/relu", f"{name}a"))
            conv(f"{name}b", f"{name}a", (outputs, outputs), 3, 1)
            if stride > 1:
                conv(f"{name}c", bottom, (inputs, outputs), 1, stride)
                bottom = f"{name}c"
            layers.append(LayerSpec(name, "Eltwise", f"{bottom} {name}b", name))
            layers.append(relu(f"{name}/relu", name))
            bottom, inputs = name, outputs
    pool = "pooling_param { pool: AVE global_pooling: true }"
    layers.append(LayerSpec("pool", "Pooling", bottom, "pool", pool))
    layers.append(made.inner_product("fc", "pool", 64, 10))
    return [*layers, LayerSpec("prob", "Softmax", "fc")]


def test_a_resnet_by_ratio_runs_in_opencv_with_the_macs_reported(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pair = write_pair(tmp_path, resnet20())
    net = caffefold.load(*pair)
    result = caffefold.slim(net, ratio=0.3)
    every, gone = result.channels
    assert 0.25 * every <= gone <= 0.3 * every
    caffefold.save(result.net, tmp_path / "cut")
    folded = caffefold.fold(result.net).net
    caffefold.prove(result.net, folded)
    text, weights = caffefold.save(folded, tmp_path / "out")

    runs = cv2.dnn.readNetFromCaffe(str(text), str(weights))
    runs.setInput(np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32))
    assert runs.forward().shape == (1, 10)
    learned = [runs.getLayer(runs.getLayerId(name)) for name in runs.getLayerNames()]
    learned = [layer for layer in learned if layer.type in ("Convolution", "InnerProduct")]
    made = runs.forward([layer.name for layer in learned])
    macs = sum(
        prod(top.shape[2:]) * layer.blobs[0].size for layer, top in zip(learned, made, strict=True)
    )
    assert len(learned) == 22
    assert macs == caffefold.inspect(folded).totals.macs
    assert result.costs[1].macs < 0.75 * result.costs[0].macs
