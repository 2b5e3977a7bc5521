"""Every tiny net of `layers/`, converted: real Caffe's outputs, or a refusal that the docs name.

The nets hold one layer type each, with every parameter that changes arithmetic or shape. What is
left is run by the float64 reference (tests/reference), which shares nothing with this package.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.errors import ModelError
from tests.golden.test_layers import LIMIT
from tests.support.goldens import LAYERS, ROOT, AnyArray, golden

pytestmark = pytest.mark.skipif(not LAYERS, reason="CAFFEFOLD_SHARED is not there")

REFUSED = {
    "accuracy": "nothing is left",
    "detection_evaluate": "nothing is left",
    "loss_contrastive__loss_multinomial": "nothing is left",
    "loss_euclidean__loss_hinge_l2": "nothing is left",
    "loss_smooth_l1": "nothing is left",
}
"""Nets that only train or measure: a loss or a measure, fed by inputs. docs/layers.md."""

HEADS: dict[str, dict[str, tuple[str, int | None]]] = {
    "loss_softmax__loss_softmax_ignore": {"prob": ("x1", 1), "prob2": ("x2", 1)},
    "loss_softmax_none__loss_sigmoid": {"prob": ("x1", 2), "prob2": ("x2", None)},
}
"""Nets of losses that predict: by output, what it is the probability of and along which axis, None
for a Sigmoid. The number that the loss computes needs an answer, which nobody has at test time."""


@pytest.mark.parametrize("folder", LAYERS, ids=lambda folder: folder.name)
def test_converted(tmp_path: Path, folder: Path) -> None:
    pytest.importorskip("torch")
    from tests.reference.caffe_torch import run

    text, weights = folder / "net.prototxt", folder / "weights.caffemodel"
    given = text, weights if weights.exists() else None
    if folder.name in REFUSED:
        with pytest.raises(ModelError, match=REFUSED[folder.name]):
            caffefold.convert(*given, tmp_path / "out")
        return
    report = caffefold.convert(*given, tmp_path / "out")
    written = tmp_path / "out.caffemodel"
    learned = written if written.exists() else b""
    inputs, wanted = golden(folder, "input:"), golden(folder, "output:")
    net = caffefold.load(tmp_path / "out.prototxt")
    if folder.name in HEADS:
        inputs = {name: inputs[name] for name in net.inputs}
        wanted = {
            blob: probability(inputs[of].astype(np.float64), axis)
            for blob, (of, axis) in HEADS[folder.name].items()
        }
    assert sorted(net.outputs) == sorted(wanted)
    assert sorted(net.inputs) == sorted(inputs)
    found = run(tmp_path / "out.prototxt", learned, inputs)
    for blob, values in wanted.items():
        assert found[blob].shape == values.shape
        np.testing.assert_array_equal(np.isnan(found[blob]), np.isnan(values), blob)
        extreme = ~np.isfinite(values) | (np.abs(values) == np.finfo(np.float32).max)
        np.testing.assert_array_equal(found[blob][extreme], values[extreme], blob)
        plain = values[~extreme]
        if plain.size:
            # Folded weights are rounded once more.
            apart = np.abs(found[blob][~extreme] - plain).max()
            assert apart <= 2 * LIMIT * np.abs(plain).max(), blob
    assert report.proof.outputs


def probability(values: AnyArray, axis: int | None) -> AnyArray:
    """Softmax along an axis, or the logistic function."""
    if axis is None:
        return np.asarray(1 / (1 + np.exp(-values)))
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def test_refusals_are_documented() -> None:
    text = (ROOT / "docs/layers.md").read_text(encoding="utf-8")
    missing = [name for name in REFUSED if f"`{name}`" not in text]
    assert missing == []
