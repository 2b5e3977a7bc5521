"""How often each net is right, where somebody says what is in the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from caffefold.check.verdict import Accuracy
from caffefold.errors import InputError, Option, UsageError
from caffefold.formats.dataset import Truth
from caffefold.verification import detections
from caffefold.verification.runtimes.base import Array, as_float

_LEAST = 0.5  # overlap of a detection that is right (PASCAL VOC)
_RECALLS = np.linspace(0, 1, 11)
Values = Mapping[str, Array]


class Found(NamedTuple):
    """A detection: its image, class, score and box."""

    image: int
    row: Array


class Score:
    """How good both nets are, batch by batch.

    Args:
        kinds: the types of the layers that make the outputs, by output.
        option: what named the items.
    """

    def __init__(self, kinds: Mapping[str, str], option: Option) -> None:
        self._kinds = kinds
        self._option = option
        self._items = 0
        self._right = [0, 0]
        self._boxes: list[Array] = []
        self._found: tuple[list[Found], list[Found]] = ([], [])

    def add(self, truths: Sequence[Truth | None], before: Values, after: Values) -> None:
        """What both made of the next batch, of which ``truths`` are in the first items.

        Raises:
            InputError: of some items nobody says what is in them.
            UsageError: no output is of classes, or of detections.
        """
        for i, truth in enumerate(truths, self._items):
            if truth is None:
                raise InputError(f"nobody says what is in item {i + 1}, and it is said of others")
            if self._boxes if isinstance(truth, float) else len(self._boxes) < i:
                raise InputError(f"item {i + 1} has a class, and others have boxes, or vice versa")
            if not isinstance(truth, float):
                self._boxes.append(truth)
        if self._boxes:
            self._add_boxes(len(truths), before, after)
        else:
            labels = np.array(truths, np.float64)
            blob = self._classes(before)
            for side, run in enumerate((before, after)):
                rows = as_float(run[blob]).reshape(len(run[blob]), -1)[: len(labels)]
                self._right[side] += int((rows.argmax(1) == labels).sum())
        self._items += len(truths)

    def result(self) -> Accuracy:
        """The accuracy, or the mAP."""
        if self._boxes:
            before, after = (average_precision(self._boxes, each) for each in self._found)
            return Accuracy("mAP", self._items, before, after)
        before, after = (each / self._items for each in self._right)
        return Accuracy("accuracy", self._items, before, after)

    def _classes(self, values: Values) -> str:
        for blob in self._kinds:
            shape = values[blob].shape
            if len(shape) > 1 and shape[1] > 1 and all(extent == 1 for extent in shape[2:]):
                return blob
        raise UsageError(self._option, ": classes are given, but no output is N x classes")

    def _add_boxes(self, count: int, before: Values, after: Values) -> None:
        blob = next((blob for blob, kind in self._kinds.items() if kind in detections.KINDS), None)
        if blob is None:
            raise UsageError(self._option, ": boxes are given, but no output detects any")
        for side, run in enumerate((before, after)):
            self._found[side].extend(
                Found(self._items + int(row[0]), row[1:])
                for row in detections.rows(run[blob])
                if row[0] < count
            )


def average_precision(truth: Sequence[Array], found: Sequence[Found]) -> float:
    """The mean over classes of PASCAL VOC's average precision at eleven recalls."""
    aps = []
    for kind in sorted({row[0] for rows in truth for row in rows}):
        wanted = [rows[rows[:, 0] == kind, 1:] for rows in truth]
        taken = [np.zeros(len(boxes), bool) for boxes in wanted]
        hits = []
        own = (each for each in found if each.row[0] == kind)
        for image, row in sorted(own, key=lambda each: -each.row[1]):
            overlaps = detections.overlaps(row[2:], wanted[image])
            best = int(overlaps.argmax()) if overlaps.size else -1
            right = best >= 0 and overlaps[best] >= _LEAST and not taken[image][best]
            if right:
                taken[image][best] = True
            hits.append(right)
        positive = np.cumsum(hits) if hits else np.zeros(0)
        recall = positive / sum(map(len, wanted))
        precision = positive / np.arange(1, len(hits) + 1)
        aps.append(np.mean([precision[recall >= at].max(initial=0.0) for at in _RECALLS]))
    return float(np.mean(aps)) if aps else 0.0
