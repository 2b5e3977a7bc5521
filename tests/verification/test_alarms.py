"""No right fold is called different: every shared model with weights, converted, on three seeds.

pytest -m slow tests/verification/test_alarms.py    (CAFFEFOLD_SHARED names the models)
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import caffefold
from caffefold.analysis.shapes import input_shapes
from caffefold.verification.verifying import Verifier

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
SEEDS = (1, 2, 3)
NETS = ("net", "deploy", "deploy_bn", "train_val", "train", "test", "train_template")
OPTIONS: dict[str, Any] = {
    "runtime": "onnxruntime" if find_spec("onnxruntime") else "reference",
}


def _pairs() -> list[tuple[Path, Path]]:
    """Each prototxt of a model with its weights: the training nets of a model count, too."""
    folders = sorted(
        {path.parent for path in SHARED.glob("models/*/*.caffemodel")}
        | {path.parent for path in SHARED.glob("models/edge/*/*.caffemodel")}
        | {path.parent for path in SHARED.glob("corpus/*/*/weights.caffemodel")}
    )
    return [
        (prototxt, weights)
        for folder in folders
        for weights in sorted(folder.glob("*.caffemodel"))
        if weights.stem != "merged"
        for name in NETS
        if (prototxt := folder / f"{name}.prototxt").exists()
    ]


PAIRS = _pairs()


def _shapes(prototxt: Path, caffemodel: Path) -> dict[str, tuple[int, ...]]:
    """Those of the deploy net, where a training net states none."""
    try:
        caffefold.to_deploy(caffefold.load(prototxt, caffemodel))
    except caffefold.MissingShape as error:
        deploy = caffefold.load(prototxt.with_name("deploy.prototxt"))
        return {error.blob: next(iter(input_shapes(deploy).values()))}
    return {}


@pytest.mark.slow
@pytest.mark.skipif(not PAIRS, reason="CAFFEFOLD_SHARED is not there")
@pytest.mark.parametrize(
    "pair", PAIRS, ids=[f"{pair[0].parent.name}-{pair[0].stem}" for pair in PAIRS]
)
def test_a_right_fold_raises_no_alarm(pair: tuple[Path, Path], tmp_path: Path) -> None:
    options: dict[str, Any] = {"input_shapes": _shapes(*pair)}
    caffefold.convert(*pair, tmp_path / "out", **options)
    files = tmp_path / "out.prototxt", tmp_path / "out.caffemodel"
    for seed in SEEDS:
        verifier = Verifier(caffefold.load(*pair), seed=seed, **options, **OPTIONS)
        found = verifier.of(caffefold.load(*files))
        assert found.verdict == "equal", str(found)
