"""The example of docs/export.md, run as it stands there, and the picture that it draws.

``python -m tests.onnx_export.draw`` draws docs/detections.png anew: in OpenCV 5 where that is
installed, else with onnxruntime in its place.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import cv2
import numpy as np

if TYPE_CHECKING:
    from tests.support.onnx_models import AnyArray

ROOT = Path(__file__).resolve().parents[2]
PAGE, PICTURE = ROOT / "docs/export.md", ROOT / "docs/detections.png"
STEP = 8
"""Colours of the picture are rounded to this: noise makes a PNG large."""


class _Runtime:
    """What the example asks of a net of ``cv2.dnn``, by onnxruntime."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def setInput(self, blob: AnyArray) -> None:  # noqa: N802 (OpenCV's name)
        self._blob = blob

    def forward(self) -> AnyArray:
        from tests.support.onnx_models import run  # needs pytest and onnxruntime

        (found,) = run(self._path, {"data": self._blob}).values()
        result: AnyArray = found
        return result


def example() -> str:
    """The code on the page."""
    found = re.search(r"```python\n(import caffefold, cv2\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def detections(folder: Path) -> AnyArray:
    """Run the example in ``folder``; rows as Caffe's DetectionOutput has them."""
    (folder / "sample_models").symlink_to(ROOT / "sample_models")
    names: dict[str, object] = {}
    runtime = patch.object(cv2.dnn, "readNetFromONNX", _Runtime)
    with _inside(folder):
        if int(cv2.__version__.split(".")[0]) >= 5:
            exec(example(), names)
        else:
            with runtime:
                exec(example(), names)
    found: AnyArray = names["model"].forward().reshape(-1, 7)  # type: ignore[attr-defined]
    return found


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def picture(path: Path) -> AnyArray:
    """A picture, with fewer colours."""
    image = cv2.imread(str(path))
    assert image is not None
    return (image // STEP * STEP + STEP // 2).astype(np.uint8)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(detections(Path(name)))
        drawn = picture(Path(name, "detections.png"))
    cv2.imwrite(str(PICTURE), drawn, [cv2.IMWRITE_PNG_COMPRESSION, 9])
