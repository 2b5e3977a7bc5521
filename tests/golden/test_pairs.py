"""Training nets of public repositories against the deploy nets their authors wrote by hand.

Both are compared without weights and without folding. What remains different is the author's taste;
each remaining difference is listed here with the reason.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.golden.pairs import differences

SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or Path(__file__).resolve().parents[3] / "shared")
PAIRS = SHARED / "corpus/pairs"

# Folder -> what may differ, as patterns.
TASTE = {
    "erfnet": [],
    # The author's detector reads confidences without Softmax, and has its own threshold.
    "faceboxes": [r"extra mbox_conf_\w+ ", r"detection_out: (bottoms|has .*confidence_threshold)"],
    "googlenet-bvlc": [],
    "jdetnet": [r"detection_out: has .*confidence_threshold"],
    # The author calls it probs, and dropped Dropout, which --fold none keeps.
    "lrcn-lstm": [r"(missing|extra) probs? ", r"extra [\w-]*drop", r"fc8-final: bottoms"],
    "mobilenet-ssd-template": [],
    # The author's net has BatchNorm and Scale merged, which takes weights.
    "mobilenet-ssd-voc-merged": [r"extra [\w/]+/(bn|scale) ", r"\S+: has .*bias_term"],
    "mobilenet-v1-shicai": [],
    # Ten of its layers are called slice; ours have a name each.
    "mobilenetv2-ssdlite-voc": [r"missing slice#\d ", r"extra slice_slice\d? "],
    "resnet50-cvgj": [],
    "resnet50-kaiming": [],
    # YoloSeg's output needs a Sigmoid, which only its author knows (--head Sigmoid).
    "tusimple": [r"missing sigmoid "],
}

pytestmark = pytest.mark.skipif(not PAIRS.exists(), reason="CAFFEFOLD_SHARED is not there")


@pytest.mark.parametrize("name", TASTE)
def test_pair(name: str) -> None:
    told, _ = differences(PAIRS / name)
    left = [line for line in told if not any(re.match(p, line) for p in TASTE[name])]
    assert left == []


@pytest.mark.parametrize("name", [name for name, taste in TASTE.items() if taste])
def test_taste_is_not_listed_in_vain(name: str) -> None:
    told, _ = differences(PAIRS / name)
    assert all(any(re.match(p, line) for line in told) for p in TASTE[name])
