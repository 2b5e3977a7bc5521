"""The float64 reference against real Caffe: one tiny net per layer type and parameter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.check.forward.evaluate import FUNCTIONS, evaluate
from caffefold.ir import graph
from caffefold.ops.table import TABLE
from caffefold.testing import RandomLayers, input_layer, write_pair
from tests.support.goldens import LAYERS, golden

LIMIT = 8 * 2.0**-24
"""Of the largest value: Caffe rounds to float32 a few dozen times on the way."""
NOT_COVERED = {
    "accuracy", "detection_evaluate", "loss_contrastive__loss_multinomial",
    "loss_euclidean__loss_hinge_l2", "loss_smooth_l1", "loss_softmax__loss_softmax_ignore",
    "loss_softmax_none__loss_sigmoid",
}  # fmt: skip
"""What only trains or reports."""


@pytest.mark.skipif(not LAYERS, reason="CAFFEFOLD_SHARED is not there")
@pytest.mark.parametrize("folder", LAYERS, ids=lambda folder: folder.name)
def test_as_in_caffe(folder: Path) -> None:
    weights = folder / "weights.caffemodel"
    net = caffefold.load(folder / "net.prototxt", weights if weights.exists() else None)
    versions = graph.build(net).versions
    made = {versions[each.version].blob: each for each in evaluate(net, golden(folder, "input:"))}
    for name, wanted in golden(folder, "output:").items():
        found = made[name]
        if folder.name in NOT_COVERED:
            assert "does not know" in found.why
            continue
        assert found.values is not None, found.why
        assert found.values.shape == wanted.shape
        largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)
        np.testing.assert_allclose(found.values, wanted, rtol=1e-7, atol=LIMIT * largest)


def test_functions_are_of_known_types() -> None:
    assert set(FUNCTIONS) <= {op.name for op in TABLE.values()}


def test_a_deconvolution_to_one_channel_has_one_group(tmp_path: Path) -> None:
    """Its filters have one channel, as depthwise ones do."""
    make = RandomLayers(seed=1)
    layers = [
        input_layer(1, 3, 2, 2, name="x"),
        make.conv("y", "x", 3, 1, kernel=2, kind="Deconvolution", params="stride: 2"),
    ]
    net = caffefold.load(*write_pair(tmp_path, layers))
    x = make.normal(1, 3, 2, 2)
    *_, made = evaluate(net, {"x": x})
    weights, bias = (np.asarray(blob) for blob in net["y"].blobs)
    assert made.values is not None
    wanted = np.einsum("nchw,cij->nhiwj", x, weights[:, 0]).reshape(1, 1, 4, 4) + bias
    np.testing.assert_allclose(made.values, wanted, rtol=1e-6)
