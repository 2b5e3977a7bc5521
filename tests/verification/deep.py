"""Deep nets to plant faults in: some that were trained, the others random, but well behaved."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

import caffefold
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_models"


class _Tame(RandomLayers):
    """Weights that keep activations of order one."""

    def conv(self, *args: object, **kwargs: object) -> LayerSpec:
        made = super().conv(*args, **kwargs)  # type: ignore[arg-type]
        weights = np.asarray(made.blobs[0])
        scaled = weights / np.sqrt(np.prod(weights.shape[1:]))
        return made._replace(blobs=[scaled, *made.blobs[1:]])

    def inner_product(self, *args: object, **kwargs: object) -> LayerSpec:
        made = super().inner_product(*args, **kwargs)  # type: ignore[arg-type]
        weights = np.asarray(made.blobs[0])
        scaled = weights / np.sqrt(weights.shape[1])
        return made._replace(blobs=[scaled, *made.blobs[1:]])

    def block(self, name: str, bottom: str, inputs: int, outputs: int, params: str = "pad: 1",
              kernel: int = 3) -> Iterator[LayerSpec]:  # fmt: skip
        """Convolution, BatchNorm, Scale, ReLU; all but the first in place."""
        yield self.conv(name, bottom, inputs, outputs, bias=False, params=params, kernel=kernel)
        yield self.batch_norm(f"{name}/bn", name, outputs, top=name)
        yield self.scale(f"{name}/scale", name, outputs, top=name)
        yield relu(f"{name}/relu", name)


def plain(seed: int) -> list[LayerSpec]:
    """Sixteen convolutions one behind the other, like VGG."""
    make, layers, bottom, width = _Tame(seed), [input_layer(1, 3, 32, 32)], "data", 3
    for i in range(16):
        wide = 8 * 2 ** (i // 5)
        layers += make.block(f"conv{i}", bottom, width, wide)
        bottom, width = f"conv{i}", wide
        if i % 5 == 4:
            pool = "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
            layers.append(LayerSpec(f"pool{i}", "Pooling", bottom, params=pool))
            bottom = f"pool{i}"
    return [*layers, *_head(make, bottom, width)]


def residual(seed: int) -> list[LayerSpec]:
    """Twelve residual blocks of two convolutions, like ResNet."""
    make = _Tame(seed)
    layers = [input_layer(1, 3, 24, 24), *make.block("stem", "data", 3, 16, "pad: 1 stride: 2")]
    bottom = "stem"
    for i in range(12):
        a, b, total = f"res{i}a", f"res{i}b", f"sum{i}"
        layers += make.block(a, bottom, 16, 16)
        layers += list(make.block(b, a, 16, 16))[:-1]
        layers += [LayerSpec(total, "Eltwise", f"{bottom} {b}"), relu(f"{total}/relu", total)]
        bottom = total
    return [*layers, *_head(make, bottom, 16)]


def dense(seed: int) -> list[LayerSpec]:
    """Ten layers that each read all before them, BatchNorm in front of some convolutions."""
    make = _Tame(seed)
    layers = [input_layer(1, 3, 16, 16), *make.block("stem", "data", 3, 12)]
    bottom, width = "stem", 12
    for i in range(10):
        layers += make.block(f"dense{i}", bottom, width, 8, "", 1)
        layers += make.block(f"grow{i}", f"dense{i}", 8, 6)
        layers.append(LayerSpec(f"all{i}", "Concat", f"{bottom} grow{i}"))
        bottom, width = f"all{i}", width + 6
    return [*layers, *_head(make, bottom, width)]


def _head(make: RandomLayers, bottom: str, width: int) -> list[LayerSpec]:
    pool = "pooling_param { pool: AVE global_pooling: true }"
    return [
        LayerSpec("pool", "Pooling", bottom, params=pool),
        make.inner_product("fc", "pool", width, 10),
        LayerSpec("prob", "Softmax", "fc"),
    ]


def _written(layers: Callable[[int], list[LayerSpec]]) -> Callable[[Path, int], Net]:
    return lambda folder, seed: caffefold.load(*write_pair(folder, layers(seed)))


def _shapes(folder: Path, seed: int) -> Net:
    del folder, seed
    sample = SAMPLES / "mobilenet_ssd_shapes"
    return caffefold.load(sample / "deploy_bn.prototxt", sample / "shapes_iter_9000.caffemodel")


def _mobilenet(folder: Path, seed: int) -> Net:
    """MobileNet-SSD with random weights, as for timing."""
    sys.path.insert(0, str(SAMPLES))
    try:
        from _snapshot import write_snapshot  # type: ignore[import-not-found, unused-ignore]
    finally:
        sys.path.remove(str(SAMPLES))
    text = (SAMPLES / "mobilenet_ssd" / "train_template.prototxt").read_text()
    for times in (1, 3, 6):
        text = text.replace(f"cls{times}x", str(times * 4))
    (folder / "train.prototxt").write_text(text)
    write_snapshot(folder / "net.caffemodel", text, seed + 1)
    net = caffefold.load(folder / "train.prototxt", folder / "net.caffemodel")
    shape = {"data": (1, 3, 300, 300)}
    return caffefold.to_deploy(net, input_shapes=shape).net


DEEP: Mapping[str, Callable[[Path, int], Net]] = MappingProxyType(
    {
        "plain": _written(plain),
        "residual": _written(residual),
        "dense": _written(dense),
        "MobileNet-SSD, trained": _shapes,
        "MobileNet-SSD, random": _mobilenet,
    }
)
