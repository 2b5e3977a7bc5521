"""Is what the second net made what the first one should have made?

The measure is the first net itself: how far it is off, in float32 and with its inputs moved in the
last bits, from its evaluation in float64. A right fold is rounded once per weight, so that it is
off by as much; ``FACTOR`` times that is allowed, and never less than ``FLOOR`` of the largest
value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from caffefold.check.verdict import Compared, Matched, Word
from caffefold.verification import detections
from caffefold.verification.runtimes.base import Array, as_float

FACTOR = 10.0
FLOOR = 2.0**-20
MOST, MOST_COARSE = 1e-2, 1e-1
"""A budget of more than that, relative to the largest value, would let anything pass."""
_SATURATED = 1e-6
_CLASSES = 5


class Case(NamedTuple):
    """One blob on all batches."""

    blob: str
    layer: str
    kind: str
    """The canonical type of that layer."""
    expected: Sequence[Array]
    """Of the first net in float64."""
    noisy: Sequence[Sequence[Array]]
    """Of the first net in float32; several runs, each of all batches."""
    found: Sequence[Array]
    """Of the second net."""
    coarse: Sequence[Array] = ()
    """Of the first net with its weights in half precision, where those of the second are."""
    fixed: bool = False
    """Whether it is the same for every input by its nature: prior boxes, parameters."""
    spread: float | None = None
    """How far another item is off, where the batch has one item."""


def judge(case: Case) -> Compared:
    """Compare one blob."""
    if case.kind in detections.KINDS:
        return _detections(case)
    if any(a.shape != b.shape for a, b in zip(case.expected, case.found, strict=True)):
        shapes = (detections.shown(each[0].shape) for each in (case.expected, case.found))
        return _said(case, "different", "shape {} instead of {}".format(*reversed([*shapes])))
    expected = np.concatenate([as_float(each).reshape(-1) for each in case.expected])
    found = np.concatenate([as_float(each).reshape(-1) for each in case.found])
    usable = np.isfinite(expected)
    if not np.isfinite(found[usable]).all():
        return _said(case, "different", "NaN or infinite where the first net is not")
    if not usable.all() or not expected.size:
        what = "NaN or infinite in the first net" if expected.size else "it is empty"
        return _said(case, "inconclusive", what)
    if case.kind in detections.DECIDING:
        return _decisions(case, expected, found)
    runs = [np.concatenate([as_float(x).reshape(-1) for x in run]) for run in case.noisy]
    largest = float(np.abs(expected).max())
    noise = max((_apart(expected, run) for run in runs), default=0.0)
    error = _apart(expected, found)
    budget = FACTOR * noise + FLOOR * largest
    if case.coarse:
        values = np.concatenate([as_float(each).reshape(-1) for each in case.coarse])
        noise = max(noise, _apart(expected, values))
        budget = max(budget, FACTOR * noise)
    word: Word = "equal"
    reason = ""
    if error > budget:
        word, reason = "different", "beyond the noise"
    else:
        reason = _says_nothing(case, expected, budget)
        word = "inconclusive" if reason else "equal"
    top1, top5 = _tops(case, budget)
    return Compared(
        case.blob, case.layer, word, reason, error, largest, _cosine(expected, found), noise,
        budget, top1, top5,
    )  # fmt: skip


def _said(case: Case, word: Word, reason: str) -> Compared:
    return Compared(case.blob, case.layer, word, reason)


def _apart(expected: Array, found: Array) -> float:
    """The largest difference; infinite where a run is not finite."""
    apart = np.abs(expected - found)
    return float(apart.max(initial=0.0)) if np.isfinite(apart).all() else float("inf")


def _cosine(expected: Array, found: Array) -> float | None:
    lengths = float(np.linalg.norm(expected)) * float(np.linalg.norm(found))
    return float(expected @ found) / lengths if lengths else None


def _says_nothing(case: Case, expected: Array, budget: float) -> str:
    """Why equal numbers would say nothing of the net; "" where they do."""
    if not expected.any():
        return "all zero"
    if budget > (MOST_COARSE if case.coarse else MOST) * np.abs(expected).max():
        return "the first net itself is too far off float64 there to tell"
    if expected.size > 1 and np.ptp(expected) <= budget:
        return "constant"
    if case.kind in ("Softmax", "Sigmoid", "SoftmaxWithLoss"):
        near = np.minimum(np.abs(expected), np.abs(1 - expected))
        if (near <= _SATURATED).all():
            return "saturated"
    if not case.fixed:
        if case.spread is not None and case.spread <= budget:
            return "the same for every input"
        items = np.concatenate([as_float(x).reshape(len(x) or 1, -1) for x in case.expected])
        if len(items) > 1 and np.ptp(items, axis=0).max(initial=0.0) <= budget:
            return "the same for every input"
    return ""


def _decisions(case: Case, expected: Array, found: Array) -> Compared:
    """Indices and switches: they jump where numbers are nearly equal, in the first net too."""
    jumps = 0
    for run in (*case.noisy, *([case.coarse] if case.coarse else ())):
        values = np.concatenate([as_float(x).reshape(-1) for x in run])
        jumps = max(jumps, int((values != expected).sum()) if values.size == expected.size else 0)
    apart = int((expected != found).sum())
    allowed = int(FACTOR * jumps)
    if apart > allowed:
        return _said(case, "different", f"{apart} of {expected.size} decisions are others")
    if np.ptp(expected) == 0:
        return _said(case, "inconclusive", "constant")
    largest = float(np.abs(expected).max())
    reason = f"{apart} of {expected.size} decisions are others, as many are in the first net"
    return Compared(
        case.blob, case.layer, "equal", reason if apart else "", 0.0, largest,
        _cosine(expected, found),
    )  # fmt: skip


def _tops(case: Case, budget: float) -> tuple[float | None, float | None]:
    """Agreement of the first class, and of the first five, where the blob looks like classes.

    Classes that are no further apart than the budget are in no order.
    """
    shape = case.expected[0].shape
    if case.kind not in ("Softmax", "InnerProduct", "Sigmoid", "Pooling", "Convolution", "Flatten"):
        return None, None
    if len(shape) < 2 or shape[1] < 2 or any(extent != 1 for extent in shape[2:]):
        return None, None
    a = np.concatenate([as_float(x).reshape(len(x), -1) for x in case.expected])
    b = np.concatenate([as_float(x).reshape(len(x), -1) for x in case.found])
    ranked = -np.sort(-a, 1)
    chosen = np.take_along_axis(a, np.argsort(-b, 1, kind="stable")[:, :_CLASSES], 1)
    top1 = float((chosen[:, 0] >= ranked[:, 0] - budget).mean())
    if a.shape[1] <= _CLASSES:
        return top1, None
    return top1, float((chosen.min(1) >= ranked[:, _CLASSES - 1] - budget).mean())


def _detections(case: Case) -> Compared:
    """Detections, matched: what all runs of the first net find, the second one has to find."""
    expected = [detections.rows(each) for each in case.expected]
    found = [detections.rows(each) for each in case.found]
    noise, largest, wobbling = 0.0, 0.0, 0
    for rows in expected:
        largest = max(largest, float(np.abs(rows[:, 2:]).max(initial=0.0)))
    for run in case.noisy:
        made = detections.match(expected, [detections.rows(each) for each in run])
        noise = max(noise, made.apart)
        wobbling = max(wobbling, made.missed + made.extra)
    budget = FACTOR * noise + FLOOR * largest
    if case.coarse:
        made = detections.match(expected, [detections.rows(each) for each in case.coarse])
        noise = max(noise, made.apart)
        wobbling = max(wobbling, made.missed + made.extra)
        budget = max(budget, FACTOR * noise)
    made = detections.match(expected, found)
    total = sum(map(len, expected))
    matched = Matched(total, sum(map(len, found)), made.matched, made.overlap, made.score)
    word: Word = "equal"
    reason = ""
    if made.missed + made.extra > FACTOR * wobbling:
        word = "different"
        reason = f"{made.missed} detections are missing, {made.extra} are new"
    elif made.apart > budget:
        word, reason = "different", "scores or boxes are beyond the noise"
    elif not total:
        word, reason = "inconclusive", "nothing is detected"
    return Compared(
        case.blob, case.layer, word, reason, made.apart, largest, None, noise, budget,
        detections=matched,
    )  # fmt: skip
