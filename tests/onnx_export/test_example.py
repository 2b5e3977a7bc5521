"""The example of docs/export.md runs, finds what real Caffe finds, and draws the picture shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.onnx_export.draw import PICTURE, ROOT, STEP, detections, picture
from tests.support.onnx_models import difference

pytest.importorskip("onnxruntime")

WHITE = 255 // STEP * STEP + STEP // 2


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = detections(tmp_path)
    with np.load(ROOT / "sample_models/mobilenet_ssd_shapes/golden.npz") as golden:
        rows = golden["detection_out"]
    assert difference(found, rows[rows[:, 0] == 0]) < 2e-5
    for image in map(picture, (tmp_path / "detections.png", PICTURE)):
        for left, top, right, bottom in np.rint(found[:, 3:] * len(image)).astype(int):
            frame = image[[top, bottom], left:right], image[top:bottom, [left, right]]
            assert all((edge == WHITE).all() for edge in frame)


def test_the_picture_is_small() -> None:
    assert PICTURE.stat().st_size < 60_000
