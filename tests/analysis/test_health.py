"""Statistics of BatchNorm layers as Caffe uses them, and the channels that gamma leaves alive."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import ArrayLike

from caffefold.analysis.health import Health, norms
from caffefold.ops.affine import BlobRoles, Normalization
from caffefold.ops.table import op
from tests.support.formats_model import Loaded

HEAD = 'input: "data" input_shape { dim: 1 dim: 4 dim: 5 dim: 5 }\n'
BN = 'layer { name: "bn" type: "%s" bottom: "data" top: "bn" %s }\n'
SCALE = 'layer { name: "scale" type: "Scale" bottom: "bn" top: "%s" }\n'
MEAN, VARIANCE = [1.0, 2, 3, 4], [8.0, 4, 2, 16]
GAMMA = [1.0, -1e-7, 5e-4, -2.0]


def health(
    loaded: Loaded,
    blobs: Sequence[ArrayLike],
    *,
    behind: str = SCALE % "bn",
    kind: str = "BatchNorm",
    text: str = "",
    threshold: float = 1e-3,
) -> Health:
    given = {"bn": blobs, "scale": [GAMMA]} if "scale" in behind else {"bn": blobs}
    (found,) = norms(loaded(HEAD + BN % (kind, text) + behind, given), threshold)
    return found


def test_a_batch_norm_and_its_scale(loaded: Loaded) -> None:
    found = health(loaded, [MEAN, VARIANCE, [4.0]])
    assert found == Health("bn", 4, 4.0, 0.5, "scale", 1, 2)
    assert found.share == 0.5
    assert health(loaded, [MEAN, VARIANCE, [4.0]], threshold=1.5).small == 3
    assert health(loaded, [MEAN, VARIANCE, [4.0]], behind=SCALE % "other").gamma == "scale"


def test_a_batch_norm_alone(loaded: Loaded) -> None:
    found = health(loaded, [MEAN, VARIANCE, [4.0]], behind="")
    assert found == Health("bn", 4, 4.0, 0.5, None, None, None)
    assert found.share is None


def test_factor_zero_means_variance_zero(loaded: Loaded) -> None:
    assert health(loaded, [MEAN, VARIANCE, [0.0]]).smallest_variance == 0.0


def test_variances_that_are_not_numbers_are_shown(loaded: Loaded) -> None:
    found = health(loaded, [MEAN, [1.0, math.nan, 1.0, 1.0], [1.0]])
    assert math.isnan(found.smallest_variance)
    assert health(loaded, [MEAN, [1.0, -2.0, 1.0, 1.0], [1.0]]).smallest_variance == -2.0


@pytest.mark.parametrize(
    ("kind", "text", "blobs", "wanted"),
    [
        ("BN", "", [GAMMA, MEAN, MEAN, VARIANCE], (None, 2.0, "bn", 1)),
        ("BatchNorm", "", [GAMMA, MEAN, MEAN, VARIANCE, [1.0]], (None, 2.0, "bn", 1)),
        ("BatchNorm", "", [MEAN, VARIANCE, [2.0], GAMMA, MEAN], (2.0, 1.0, "bn", 1)),
        (
            "BatchNorm",
            "batch_norm_param { scale_bias: true }",
            [MEAN, VARIANCE, [2.0], GAMMA, MEAN],
            (None, 2.0, "bn", 1),
        ),
    ],
)
def test_dialects_with_a_gamma_of_their_own(
    loaded: Loaded, kind: str, text: str, blobs: list[list[float]], wanted: tuple[object, ...]
) -> None:
    found = health(loaded, blobs, kind=kind, text=text, behind="")
    assert (found.factor, found.smallest_variance, found.gamma, found.dead) == wanted


def test_layers_without_statistics_are_left_out(loaded: Loaded) -> None:
    text = HEAD + BN % ("BN", "") + (BN % ("BatchNorm", "")).replace('"bn"', '"empty"')
    assert norms(loaded(text, {"bn": [GAMMA, MEAN]})) == ()


def test_a_gate_is_no_gamma(loaded: Loaded) -> None:
    gate = 'layer { name: "scale" type: "Scale" bottom: "bn" bottom: "data" top: "s" }\n'
    assert health(loaded, [MEAN, VARIANCE, [1.0]], behind=gate).gamma is None


def test_roles(loaded: Loaded) -> None:
    def of(count: int, kind: str = "BatchNorm") -> BlobRoles | None:
        blobs: list[ArrayLike] = [np.ones(4)] * count
        layer = loaded(HEAD + BN % (kind, ""), {"bn": blobs}).layers[0]
        own = op(layer)
        assert isinstance(own, Normalization)
        return own.blob_roles(layer)

    assert of(4, "BN") == BlobRoles(2, 3, None, 0, 1)
    assert of(2, "BN") is None
    assert of(3) == BlobRoles(0, 1, 2)
    assert of(4) is None
    assert of(5) is None  # five blobs of one size: no dialect that we know
