"""Each dialect of BatchNorm and its relatives as the map its own Caffe computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import caffefold
from caffefold.check import reference
from caffefold.ir.affine import Affine
from caffefold.ir.net import Layer
from caffefold.ops.affine import affine_map
from caffefold.ops.base import AffineOp, Refusal, SkipCode
from caffefold.ops.table import op
from caffefold.testing import LayerSpec, RandomLayers, input_layer, write_pair

N = RandomLayers(11)
M, V, G, B = N.normal(4), N.positive(4), N.normal(4), N.normal(4)
ONE = np.ones(1, np.float32)
X = np.array([0.5, -1.0, 2.0, 3.0])


def norm(mean: object, variance: object, eps: float) -> NDArray[Any]:
    wide = np.float64
    deviation = np.sqrt(np.asarray(variance, wide) + np.float32(eps))
    found: NDArray[Any] = (X - np.asarray(mean, wide)) / deviation
    return found


CASES: dict[str, tuple[LayerSpec, NDArray[Any]]] = {
    "BatchNorm": (
        LayerSpec("s", "BatchNorm", "data", blobs=[M * 8, V * 8, ONE * 8]),
        norm(M, V, 1e-5),
    ),
    "BatchNorm, eps of the net": (
        LayerSpec(
            "s", "BatchNorm", "data", params="batch_norm_param { eps: 0.01 }", blobs=[M, V, ONE]
        ),
        norm(M, V, 0.01),
    ),
    "BatchNorm, factor 0": (
        LayerSpec("s", "BatchNorm", "data", blobs=[M, V, ONE * 0]),
        norm(np.zeros(4), np.zeros(4), 1e-5),
    ),
    "BatchNorm, use_global_stats": (
        LayerSpec(
            "s",
            "BatchNorm",
            "data",
            params="batch_norm_param { use_global_stats: true }",
            blobs=[M, V, ONE],
        ),
        norm(M, V, 1e-5),
    ),
    "BatchNorm, variance a little below 0": (
        LayerSpec("s", "BatchNorm", "data", blobs=[M, np.array([0, -7e-44, 1e-40, 1]), ONE]),
        norm(M, [0, np.float32(-7e-44), np.float32(1e-40), 1], 1e-5),
    ),
    "Intel": (
        LayerSpec("s", "BatchNorm", "data", blobs=[M * 8, V * 8, ONE * 8, G, B]),
        norm(M, V, 1e-5) * G + B,
    ),
    "Intel without use of gamma": (
        LayerSpec(
            "s",
            "BatchNorm",
            "data",
            params="batch_norm_param { use_weight_bias: false }",
            blobs=[M, V, ONE, G, B],
        ),
        norm(M, V, 1e-5),
    ),
    "NVCaffe, factor applied already": (
        LayerSpec(
            "s",
            "BatchNorm",
            "data",
            params="batch_norm_param { scale_bias: true }",
            blobs=[M, V, ONE * 8, G, B],
        ),
        norm(M, V, 1e-5) * G + B,
    ),
    "NVCaffe, eps at least 1e-5": (
        LayerSpec(
            "s",
            "BatchNorm",
            "data",
            params="batch_norm_param { scale_bias: true eps: 1e-9 }",
            blobs=[M, V * 1e-5, ONE, G, B],
        ),
        norm(M, np.float32(1e-5) * V, 1e-5) * G + B,
    ),
    "NVCaffe 0.15": (
        LayerSpec("s", "BatchNorm", "data", blobs=[G, B, M, V, ONE]),
        norm(M, V, 1e-5) * G + B,
    ),
    "PSPNet": (
        LayerSpec(
            "s", "BN", "data", params="bn_param { eps: 0.01 frozen: true }", blobs=[G, B, M, V]
        ),
        norm(M, V, 0.01) * G + B,
    ),
    "SegNet": (
        LayerSpec("s", "BN", "data", params="bn_param { bn_mode: INFERENCE }", blobs=[G, B]),
        X * G + B,
    ),
    "Scale": (LayerSpec("s", "Scale", "data", blobs=[G]), X * G),
    "Scale with bias": (
        LayerSpec("s", "Scale", "data", params="scale_param { bias_term: true }", blobs=[G, B]),
        X * G + B,
    ),
    "Scale, axis from the end": (
        LayerSpec("s", "Scale", "data", params="scale_param { axis: -3 }", blobs=[G]),
        X * G,
    ),
    "Scale of one number": (
        LayerSpec(
            "s", "Scale", "data", params="scale_param { num_axes: 0 }", blobs=[np.array(3.0)]
        ),
        X * 3,
    ),
    "Bias": (LayerSpec("s", "Bias", "data", blobs=[B]), X + B),
    "Power": (
        LayerSpec("s", "Power", "data", params="power_param { scale: 0.5 shift: -2 }"),
        X * 0.5 - 2,
    ),
}


def only(folder: Path, layer: LayerSpec) -> Layer:
    pair = write_pair(folder, [input_layer(1, 4, 2, 2), layer])
    return caffefold.load(*pair).layers[1]


def mapped(layer: Layer) -> Affine | Refusal:
    own = op(layer)
    assert isinstance(own, AffineOp)
    return affine_map(own, layer, 4)


@pytest.mark.parametrize("case", CASES)
def test_map(tmp_path: Path, case: str) -> None:
    made, wanted = CASES[case]
    layer = only(tmp_path, made)
    found = mapped(layer)
    assert isinstance(found, Affine)
    np.testing.assert_allclose(found.scale * X + found.shift, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_the_proof_knows_it_too(tmp_path: Path, case: str) -> None:
    """check/reference.py repeats the formulas on purpose; both must say the same."""
    made, wanted = CASES[case]
    found = reference.affine(only(tmp_path, made), 4)
    assert found is not None
    np.testing.assert_allclose(found.scale * X + found.shift, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_it_folds(tmp_path: Path, case: str) -> None:
    made, _ = CASES[case]
    conv = N.conv("c", "data", 4, 4)
    folded = LayerSpec(made.name, made.type, "c", "s", made.params, made.blobs)
    report = caffefold.convert(
        *write_pair(tmp_path, [input_layer(1, 4, 6, 6), conv, folded]), tmp_path / "out"
    )
    assert [fold.layer for fold in report.proof.folds] == ["c"]


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("axis: 0", (1,)),
        ("axis: 2", (2,)),
        ("axis: 1 num_axes: 3", (4, 2, 2)),
        ("num_axes: -1", (4, 2, 2)),
        ("axis: -1", (2,)),
    ],
)
def test_other_axes_are_no_map(tmp_path: Path, text: str, shape: tuple[int, ...]) -> None:
    made = LayerSpec(
        "s", "Scale", "data", params=f"scale_param {{ {text} }}", blobs=[N.normal(*shape)]
    )
    found = mapped(only(tmp_path, made))
    assert isinstance(found, Refusal)
    assert found.code == SkipCode.NOT_CHANNEL_AXIS
