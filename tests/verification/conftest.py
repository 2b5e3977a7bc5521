"""Small nets, and what was made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import caffefold
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair

Make = Callable[..., Net]
MAKE = RandomLayers(seed=5)
LAYERS = (
    input_layer(2, 3, 9, 9),
    MAKE.conv("conv1", "data", 3, 6, bias=False),
    MAKE.batch_norm("bn1", "conv1", 6, top="conv1"),
    MAKE.scale("scale1", "conv1", 6, top="conv1"),
    relu("relu1", "conv1"),
    MAKE.conv("conv2", "conv1", 6, 8),
    MAKE.batch_norm("bn2", "conv2", 8, top="bn2"),
    relu("relu2", "bn2"),
    MAKE.inner_product("fc", "bn2", 200, 7),
    LayerSpec("small", "Power", "fc", params="power_param { scale: 0.02 }"),
    LayerSpec("prob", "Softmax", "small"),
)
"""A classifier of seven classes that is not sure of anything."""


@pytest.fixture
def net_of(tmp_path: Path) -> Make:
    """A net from its layers."""
    count = 0

    def make(layers: tuple[LayerSpec, ...] | list[LayerSpec]) -> Net:
        nonlocal count
        count += 1
        return caffefold.load(*write_pair(tmp_path, layers, f"net{count}"))

    return make


@pytest.fixture
def net(net_of: Make) -> Net:
    return net_of(LAYERS)


@pytest.fixture
def folded(net: Net, tmp_path: Path) -> Net:
    """The net folded, written and read back."""
    return caffefold.load(*caffefold.save(caffefold.fold(net).net, tmp_path / "folded"))
