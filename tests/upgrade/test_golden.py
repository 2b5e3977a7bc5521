"""Upgraded V1 pairs compute what real Caffe computed from the originals."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffefold.upgrading import upgrade
from tests.support.goldens import SHARED, assert_close, golden

pytest.importorskip("torch")

from tests.reference.caffe_torch import run

CASES = [
    ("models/edge/v1_layers", "net.prototxt", "in_", ("out_",)),
    ("corpus/formats/everpeace-cifar10-quick-v1", "deploy.prototxt", "input:", ("output:", "mid:")),
]
LIMIT = 2e-6


@pytest.mark.parametrize(("folder", "net", "given", "wanted"), CASES)
def test_outputs(
    folder: str, net: str, given: str, wanted: tuple[str, ...], tmp_path: Path
) -> None:
    case = SHARED / folder
    if not case.is_dir():
        pytest.skip("CAFFEFOLD_SHARED is not there")
    upgrade(case / net, tmp_path / "net.prototxt")
    upgrade(case / "weights.caffemodel", tmp_path / "net.caffemodel")
    got = run(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", golden(case, given))
    assert_close(got, golden(case, *wanted), LIMIT)
