"""A whole model zoo: find its models, convert them in parallel, resume after an interruption.

    plan = caffefold.zoo.plan("zoo/", "out/")
    result = caffefold.zoo.run(plan, on_event=print)

``import caffefold`` alone does not load it.
"""

from __future__ import annotations

from caffefold.zoo.planning.plan import plan
from caffefold.zoo.records import (
    Event,
    Facts,
    Model,
    Orphan,
    Outcome,
    Plan,
    Result,
    Verified,
)
from caffefold.zoo.running.run import run

__all__ = [
    "Event",
    "Facts",
    "Model",
    "Orphan",
    "Outcome",
    "Plan",
    "Result",
    "Verified",
    "plan",
    "run",
]
