"""Spoiled inputs: only our exceptions escape, in bounded time and memory, and nothing is lost.

A finding names its case: ``python -m tests.fuzz.cases FAMILY NUMBER FILE`` replays it.
``CAFFEFOLD_EXAMPLES`` is the number of inputs of the slow run, ``CAFFEFOLD_FUZZ_SEED`` gives other
ones. Each of the parts of a run can be run alone, on any core: a case depends on its number only.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import pytest

from tests.fuzz.cases import SHARES, make, target
from tests.fuzz.harness import Finding, examine, settle, shrunk

QUICK = 2_000
SLOW = int(os.environ.get("CAFFEFOLD_EXAMPLES") or 200_000)
PARTS = 10
SHOWN = 8


def hunt(family: str, numbers: Iterable[int], folder: Path) -> list[Finding]:
    """Run the cases; one finding, made small, for each place that something escapes from.

    The input itself is kept in ``folder``.
    """
    found: dict[str, Finding] = {}
    work = folder / "work"
    work.mkdir(exist_ok=True)
    settle()
    # Nobody waits for the disk: what is lost with the power is made again from its number.
    with warnings.catch_warnings(), mock.patch("os.fsync"):
        warnings.simplefilter("error")
        for number in numbers:
            run, case = target(family, number, work), f"{family} {number}"
            finding = examine(run, make(family, number), case)
            if finding is not None:
                (folder / case.replace(" ", "-")).write_bytes(finding.data)
                place = f"{finding.kind} {finding.detail.rsplit('(', 1)[-1]}"
                if place not in found and len(found) < SHOWN:
                    found[place] = shrunk(run, finding)
                settle()
    return list(found.values())


def report(found: list[Finding], folder: Path) -> str:
    """What to show of the findings."""
    return "\n".join([*map(str, found), f"inputs are in {folder}"])


@pytest.mark.parametrize("family", SHARES)
def test_nothing_else_escapes(family: str, tmp_path: Path) -> None:
    found = hunt(family, range(round(QUICK * SHARES[family])), tmp_path)
    assert not found, report(found, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("family", SHARES)
def test_nothing_else_escapes_from_many(family: str, part: int, tmp_path: Path) -> None:
    found = hunt(family, range(part, round(SLOW * SHARES[family]), PARTS), tmp_path)
    assert not found, report(found, tmp_path)
