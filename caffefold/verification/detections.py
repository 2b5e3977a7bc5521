"""Detections of two runs, paired by class and overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from caffefold.verification.runtimes.base import Array, as_float

KINDS = frozenset({"DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput"})
"""Types whose tops are rows of image, class, score, x1, y1, x2, y2."""
DECIDING = frozenset({"ArgMax", "Threshold"})
"""Types whose tops are decisions: they jump with the last bit."""
_LEAST = 0.5  # overlap of a pair


class Match(NamedTuple):
    """What pairs the detections of two runs make."""

    matched: int
    missed: int
    extra: int
    overlap: float
    """The smallest of all pairs; 1 for none."""
    score: float
    apart: float
    """The largest difference of a score or a coordinate in a pair."""


def shown(shape: Sequence[int]) -> str:
    """``1x3x8x8``."""
    return "x".join(map(str, shape)) or "a number"


def rows(values: Array) -> Array:
    """The detections among the rows of a blob; Caffe fills in one of -1, or 0, for none."""
    if not values.size or values.shape[-1] != 7:
        return np.zeros((0, 7))
    found = as_float(values).reshape(-1, 7)
    return found[(found[:, 1] >= 0) & found[:, 2:].any(axis=1)]


def match(expected: Sequence[Array], found: Sequence[Array]) -> Match:
    """Pair the detections of each batch, the most certain first, each with what overlaps most."""
    matched = missed = extra = 0
    overlap, score, apart = 1.0, 0.0, 0.0
    for a, b in zip(expected, found, strict=True):
        free = np.ones(len(b), bool)
        for row in a[np.argsort(-a[:, 2], kind="stable")]:
            fits = free & (b[:, 0] == row[0]) & (b[:, 1] == row[1])
            ious = np.where(fits, overlaps(row[3:], b[:, 3:]), -1.0)
            # Of boxes that overlap alike, the one with the nearest score.
            best = int(np.lexsort((np.abs(b[:, 2] - row[2]), -ious))[0]) if len(b) else -1
            if best < 0 or ious[best] < _LEAST:
                missed += 1
                continue
            free[best] = False
            matched += 1
            overlap = min(overlap, float(ious[best]))
            score = max(score, float(abs(b[best, 2] - row[2])))
            apart = max(apart, float(np.abs(b[best, 2:] - row[2:]).max()))
        extra += int(free.sum())
    return Match(matched, missed, extra, overlap, score, apart)


def overlaps(box: Array, boxes: Array) -> Array:
    """Intersection over union with each of ``boxes``; a box without area overlaps its equal."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)
    own = float(np.prod(np.clip(box[2:] - box[:2], 0, None)))
    union = areas + own - common
    same = (boxes == box).all(axis=1)
    shared: Array = np.where(union > 0, common / np.where(union > 0, union, 1), same * 1.0)
    return shared
