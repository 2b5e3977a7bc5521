"""Pooling: every window of kernel 1 to 5, stride 1 to 4, pad 0 to 2, against the reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from caffefold.check.forward.evaluate import evaluate
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, input_layer, net_text
from tests.support.onnx_models import run

SIZES = ((5, 8), (7, 6), (9, 10), (11, 12))
WINDOWS = [
    (kernel, stride, pad)
    for kernel in range(1, 6)
    for stride in range(1, 5)
    for pad in range(3)
    if pad < kernel
]
KINDS = ("MAX", "AVE")


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: "k{}_s{}_p{}".format(*window))
def test_every_window(window: tuple[int, int, int], model_of: Callable[..., bytes]) -> None:
    """Of all sizes at once: both kinds of all sizes are layers of one net."""
    kernel, stride, pad = window
    layers, inputs = [], {}
    random = np.random.default_rng(kernel)
    for height, width in SIZES:
        name = f"x{height}"
        layers.append(input_layer(1, 2, height, width, name=name))
        inputs[name] = random.normal(size=(1, 2, height, width)).astype(np.float32)
        for kind in KINDS:
            params = f"pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad}"
            own = f"pooling_param {{ {params} }}"
            layers.append(LayerSpec(f"{kind}{height}", "Pooling", name, params=own))
    net = Net.from_text(net_text(layers))
    found = run(model_of(net), inputs)
    for made in evaluate(net, inputs):
        if made.layer is None or made.layer.is_input:
            continue
        assert made.values is not None
        exact = made.layer.name.startswith("MAX")
        wanted = made.values.astype(np.float32)
        np.testing.assert_allclose(
            found[made.layer.name], wanted, rtol=0 if exact else 2e-6, atol=2e-7
        )


def test_as_many_as_measured() -> None:
    assert len(WINDOWS) * len(SIZES) * len(KINDS) >= 276
