"""How long forward passes take before and after: in turn, so that both see the same machine."""

from __future__ import annotations

import os
import time
from math import prod

import numpy as np

from caffefold.analysis.shapes import infer
from caffefold.check.verdict import Timing
from caffefold.ir.net import Net
from caffefold.verification.runtimes.base import Batch, Session

RUNS = 21
_WARM = 3


def measure(first: Session, second: Session, batch: Batch, memory: tuple[int, int]) -> Timing:
    """Time both sessions on the same batch, alternating, after a few runs that do not count."""
    taken: list[tuple[float, float]] = []
    for i in range(_WARM + RUNS):
        # Whoever comes second finds a warmer machine: the order changes with each run.
        pair = (first, second) if i % 2 else (second, first)
        seconds = [_seconds(session, batch) for session in pair]
        if i >= _WARM:
            taken.append((seconds[0], seconds[1]) if i % 2 else (seconds[1], seconds[0]))
    times = np.array(taken)
    ratio = times[:, 0] / times[:, 1]
    before, after = (float(each) for each in np.median(times, axis=0))
    low, middle, high = (float(each) for each in np.quantile(ratio, (0.25, 0.5, 0.75)))
    return Timing(RUNS, os.cpu_count() or 1, before, after, middle, low, high, memory)


def _seconds(session: Session, batch: Batch) -> float:
    start = time.perf_counter()
    session.run(batch)
    return time.perf_counter() - start


def memory(net: Net) -> int:
    """Bytes of all blobs of a deploy net in float32, as Caffe keeps them; 0 where one is open."""
    shapes = infer(net)
    if any(shape is None or None in shape for shape in shapes.versions):
        return 0
    by_name: dict[str, int] = {}
    for version, shape in zip(shapes.graph.versions, shapes.versions, strict=True):
        by_name[version.blob] = 4 * prod(dim or 0 for dim in shape or ())
    return sum(by_name.values())
