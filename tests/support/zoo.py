"""Small zoos for tests: nets of a few layers, written in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from caffefold.testing import LayerSpec, RandomLayers, input_layer, net_text, net_weights, relu

LABELLED = LayerSpec(
    "data",
    "Data",
    tops="data label",
    params='transform_param { crop_size: 8 } data_param { source: "x" batch_size: 2 }',
)


def body(seed: int = 0, *, channels: int = 4, prefix: str = "") -> list[LayerSpec]:
    """conv, BatchNorm, Scale, ReLU, fc; different numbers for each seed."""
    make = RandomLayers(seed)
    conv = f"{prefix}conv"
    return [
        make.conv(conv, "data", 3, channels),
        make.batch_norm(f"{prefix}bn", conv, channels, top=conv),
        make.scale(f"{prefix}scale", conv, channels, top=conv),
        relu(f"{prefix}relu", conv),
        make.inner_product(f"{prefix}fc", conv, channels * 36, 5),
    ]


def deploy(layers: Sequence[LayerSpec]) -> str:
    """The deploy net."""
    return net_text([input_layer(1, 3, 8, 8), *layers])


def train(layers: Sequence[LayerSpec]) -> str:
    """The train net: a data layer with labels, and a loss."""
    loss = LayerSpec("loss", "SoftmaxWithLoss", f"{layers[-1].name} label")
    return net_text([LABELLED, *layers, loss])


def put(path: Path, content: str | bytes) -> Path:
    """Write a file, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def model(
    folder: Path, stem: str = "net", seed: int = 0, *, prefix: str = "", channels: int = 4
) -> list[LayerSpec]:
    """A deploy net and its weights in ``folder``."""
    layers = body(seed, prefix=prefix, channels=channels)
    put(folder / f"{stem}.prototxt", deploy(layers))
    put(folder / f"{stem}.caffemodel", net_weights(layers))
    return layers


def many(folder: Path, count: int) -> None:
    """``count`` models in folders of their own."""
    for number in range(count):
        model(folder / f"m{number:03d}", seed=number)
