"""How long forward passes take before and after: in turn, so that both see the same machine."""

from __future__ import annotations

import os
import time

import numpy as np

from caffefold.analysis.cost import totals
from caffefold.check.verdict import Timing
from caffefold.ir.net import Net
from caffefold.verification.runtimes.base import Batch, Session

RUNS = 21
_WARM = 3


def measure(
    first: Session, second: Session, batch: Batch, nets: tuple[Net | None, Net | None]
) -> Timing:
    """Time both sessions on the same batch, alternating, after a few runs that do not count.

    ``nets`` are the nets they run, whose blobs are counted; None for a model.
    """
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
    costs = [None if net is None else totals(net) for net in nets]
    memory = [0 if cost is None else cost.memory for cost in costs]
    unknown = max(0 if cost is None else cost.unknown_memory for cost in costs)
    how = "; then ".join(dict.fromkeys((first.how, second.how)))
    return Timing(
        RUNS, how, os.cpu_count() or 1, before, after, middle, low, high,
        (memory[0], memory[1]), unknown,
    )  # fmt: skip


def _seconds(session: Session, batch: Batch) -> float:
    start = time.perf_counter()
    session.run(batch)
    took = time.perf_counter() - start
    return took if session.took is None else session.took
