"""How often each net is right, where somebody says what is in the images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffefold.check.verdict import Accuracy
from caffefold.errors import InputError, Option, UsageError
from caffefold.verification import detections
from caffefold.verification.runtimes.base import Array, as_float

_LEAST = 0.5  # overlap of a detection that is right (PASCAL VOC)
_RECALLS = np.linspace(0, 1, 11)


class Truth(NamedTuple):
    """What is in each item."""

    classes: Array | None
    """(N,) the class of each."""
    boxes: tuple[Array, ...] = ()
    """Or its objects: rows of class, x1, y1, x2, y2, relative to the image."""


def read_truth(given: str | os.PathLike[str], names: Sequence[str]) -> Truth:
    """What a list of images says of those of these ``names``.

    A line is an image and its class, as in an ImageData layer's list; or an image, a class and a
    box, a line for each object.

    Raises:
        InputError: the file cannot be read, a line is something else, or an image has no line.
    """
    path = Path(given)
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    found: dict[str, list[list[float]]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *words = line.split()
        try:
            row = [float(word) for word in words]
        except ValueError:
            row = []
        if len(row) not in (1, 5):
            raise InputError(f"{path}:{number}: expected IMAGE CLASS, or IMAGE CLASS X1 Y1 X2 Y2")
        found.setdefault(Path(name).name, []).append(row)
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{path}: there is no line for {missing[0]}")
    rows = [found[name] for name in names]
    if all(len(each) == 1 and len(each[0]) == 1 for each in rows):
        return Truth(np.array([each[0][0] for each in rows]))
    if any(len(row) != 5 for each in rows for row in each):
        raise InputError(f"{path}: some lines have a box and some have none")
    return Truth(None, tuple(np.array(each) for each in rows))


def accuracy(
    truth: Truth, kinds: Mapping[str, str], before: Sequence[Mapping[str, Array]],
    after: Sequence[Mapping[str, Array]], size: int,
) -> Accuracy:  # fmt: skip
    """How good both nets are, by what they made of all batches.

    ``kinds`` are the types of the layers that make the outputs; ``size`` is that of a batch.

    Raises:
        UsageError: no output is of classes, or of detections.
    """
    if truth.classes is None:
        blob = next((blob for blob, kind in kinds.items() if kind in detections.KINDS), None)
        if blob is None:
            raise UsageError(Option("labels"), ": boxes are given, but no output detects any")
        values = [
            _average_precision(truth.boxes, [x[blob] for x in run], size) for run in (before, after)
        ]
        return Accuracy("mAP", len(truth.boxes), values[0], values[1])
    labels = truth.classes
    for blob in kinds:
        shape = before[0][blob].shape
        if len(shape) > 1 and shape[1] > 1 and all(extent == 1 for extent in shape[2:]):
            rates = []
            for run in (before, after):
                rows = np.concatenate([as_float(x[blob]).reshape(len(x[blob]), -1) for x in run])
                rates.append(float((rows[: len(labels)].argmax(1) == labels).mean()))
            return Accuracy("accuracy", len(labels), rates[0], rates[1])
    raise UsageError(Option("labels"), ": classes are given, but no output is N x classes")


def _average_precision(truth: Sequence[Array], values: Sequence[Array], size: int) -> float:
    """The mean over classes of PASCAL VOC's average precision at eleven recalls."""
    found = _by_image(values, size)
    aps = []
    for kind in sorted({row[0] for rows in truth for row in rows}):
        wanted = [rows[rows[:, 0] == kind, 1:] for rows in truth]
        taken = [np.zeros(len(boxes), bool) for boxes in wanted]
        hits = []
        for image, row in _ranked(found, kind, len(truth)):
            overlaps = detections.overlaps(row[3:], wanted[image])
            best = int(overlaps.argmax()) if overlaps.size else -1
            right = best >= 0 and overlaps[best] >= _LEAST and not taken[image][best]
            if right:
                taken[image][best] = True
            hits.append(right)
        positive = np.cumsum(hits) if hits else np.zeros(0)
        recall = positive / sum(map(len, wanted))
        precision = positive / np.arange(1, len(hits) + 1)
        aps.append(np.mean([precision[recall >= at].max(initial=0.0) for at in _RECALLS]))
    return float(np.mean(aps))


def _by_image(values: Sequence[Array], size: int) -> list[tuple[int, Array]]:
    """(number of the image, detection); the first column counts within a batch of ``size``."""
    found = []
    for batch, each in enumerate(values):
        found += [(batch, row) for row in detections.rows(each)]
    return [(batch * size + int(row[0]), row) for batch, row in found]


def _ranked(
    found: Sequence[tuple[int, Array]], kind: float, images: int
) -> list[tuple[int, Array]]:
    """The detections of a class, the most certain first."""
    own = [(image, row) for image, row in found if row[1] == kind and image < images]
    return sorted(own, key=lambda each: -each[1][2])
