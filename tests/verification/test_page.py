"""The page of a verification: what is on it, and that names in it are text."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.check.verdict import Picture
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, input_layer, write_pair
from caffefold.verification.page import page

REFERENCE: dict[str, Any] = {"runtime": "reference"}


def test_errors_and_values_are_drawn(net: Net, folded: Net) -> None:
    found = caffefold.verify(net, folded, layers=True, **REFERENCE)
    text = page(found)
    assert len(re.findall(r'<circle class="equal"', text)) == len(found.layers) == 6
    assert len(re.findall(r'<circle class="point"', text)) == 2 * 2 * 7  # batches, items, classes
    assert 'class="verdict-equal">equal' in text
    assert "http" not in text.replace("http-equiv", "")


def test_names_are_text(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    made = [input_layer(1, 3, 5, 5), LayerSpec("relu", "ReLU", "data", name)]
    net = caffefold.load(*write_pair(tmp_path, made))
    text = page(caffefold.verify(net, net, layers=True, **REFERENCE))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_detections_are_drawn_on_the_image(net: Net, folded: Net) -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = np.random.default_rng(1).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    found = caffefold.verify(net, folded, **REFERENCE)
    picture = Picture(6, 4, pixels.tobytes(), ((1, 0.9, 0, 0, 0.5, 0.5),), ())
    object.__setattr__(found, "picture", picture)
    text = page(found)
    data = re.search(r"data:image/png;base64,([^\"]+)", text)
    assert data is not None
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data[1]), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(image[..., ::-1], pixels)
    assert '<rect class="before" x="0" y="0" width="3.0" height="2.0"/>' in text
    assert '<rect class="after"' not in text
