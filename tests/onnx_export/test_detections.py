"""DetectionOutput with random settings and boxes: not one row differs from the reference."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from caffefold.check.forward.boxes import detection_output
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, input_layer, net_text
from tests.support.onnx_models import AnyArray, run

TRIALS = int(os.environ.get("CAFFEFOLD_EXAMPLES", "200"))
"""A thousand and more by ``CAFFEFOLD_EXAMPLES``."""


def trial(seed: int) -> tuple[Net, dict[str, AnyArray]]:
    """A layer and its inputs."""
    random = np.random.default_rng(seed)

    def one(*choices: Any) -> Any:
        return choices[random.integers(len(choices))]

    items, classes, count = one(1, 1, 2, 3), one(2, 3, 5), one(4, 20, 60)
    shared = one(True, True, False)
    params = [
        f"num_classes: {classes} share_location: {str(shared).lower()}",
        f"background_label_id: {one(0, 0, classes - 1, -1 if not shared else 0)}",
        f"code_type: {one('CORNER', 'CENTER_SIZE', 'CORNER_SIZE')}",
        f"variance_encoded_in_target: {one('true', 'false')}",
        f"nms_param {{ nms_threshold: {one(0.3, 0.45, 0.6)}",
        *one([], [f"top_k: {one(1, 3, 10, 200)}"]),
        "}",
        *one([], [f"keep_top_k: {one(1, 4, 20, 500)}"]),
        *one([], [f"confidence_threshold: {one(0.01, 0.3, 0.7, 0.98, 1.5)}"]),
    ]
    low = random.uniform(-0.1, 0.8, (count, 2))
    priors = np.concatenate([low, low + random.uniform(0.02, 0.5, (count, 2))], 1)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], (count, 1))
    moves = random.normal(size=(items, count * 4 * (1 if shared else classes)))
    inputs = {
        "loc": moves * one(0.1, 1, 2),
        # All different: where scores are equal at a cut, Caffe's sort decides.
        "conf": random.permutation(items * count * classes).reshape(items, -1)
        / (items * count * classes),
        "prior": np.stack([priors, variances]).reshape(1, 2, -1),
    }
    inputs = {name: value.astype(np.float32) for name, value in inputs.items()}
    layers = [input_layer(*value.shape, name=name) for name, value in inputs.items()]
    own = f"detection_output_param {{ {' '.join(params)} }}"
    layers.append(LayerSpec("out", "DetectionOutput", "loc conf prior", params=own))
    return Net.from_text(net_text(layers)), inputs


@pytest.mark.parametrize("part", range(10))
def test_no_row_differs(part: int, model_of: Callable[..., bytes]) -> None:
    for seed in range(part, TRIALS, 10):
        net, inputs = trial(seed)
        wanted = detection_output(net["out"], [inputs[x] for x in ("loc", "conf", "prior")])[0]
        found = run(model_of(net, dynamic=bool(seed % 3 == 0)), inputs)["out"]
        assert found.shape == wanted.shape, seed
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6, err_msg=str(seed))
