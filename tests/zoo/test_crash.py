"""Each file operation of a zoo of three models fails, or the run ends there.

After each of them every pair is old, new, not there, or refused as torn; what failed is one model's
result; and the next run converts the rest and leaves nothing but results.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from caffefold import zoo
from caffefold.errors import TornGroup
from caffefold.formats import detect
from tests.support.crash import DEATHS, ERRORS, everywhere
from tests.support.zoo import model

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lost if it was not synced, ``power`` decides: nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def convert(source: Path, target: Path) -> zoo.Result:
    """One thread, so that the operations come in one order."""
    plan = zoo.plan(source, target, jobs=1, fresh=True)
    return zoo.run(plan, engine="threads", jobs=1)


def results(target: Path, name: str) -> Files | None:
    """Pair and report of a model as a command sees them; None: refused, as torn."""
    found = {}
    for suffix in (".prototxt", ".caffemodel", ".report.json"):
        path = target / f"{name}{suffix}"
        if path.exists():
            try:
                detect.head_of(path, "file")
            except TornGroup:
                return None
            found[suffix] = path.read_bytes()
    return found


def left_over(target: Path) -> list[Path]:
    """Hidden files, other than the state of the zoo."""
    state = target / ".caffefold-zoo"
    known = {state / name for name in ("journal.jsonl", "lock", "plan.json", "workers.lock")}
    hidden = {path for path in target.rglob("*") if path.name.startswith(".")}
    return sorted((hidden | set(state.glob("*"))) - known - {state})


@pytest.mark.parametrize(
    ("how", "again"),
    [
        ("EIO", False),
        *(
            pytest.param(how, again, marks=pytest.mark.slow)
            for how, again in (
                *(
                    ("EIO", True),
                    ("kill", True),
                    ("kill", False),
                    ("power", True),
                    ("power", False),
                ),
                *(("ENOSPC", False), ("EINTR", False)),
            )
        ),
    ],
)
def test_every_operation(how: str, again: bool, tmp_path: Path) -> None:
    source, target, before = tmp_path / "zoo", tmp_path / "out", tmp_path / "before"
    for number in range(3):
        model(source / f"m{number:03d}", seed=number, prefix=f"m{number}")
    names = [f"m{number:03d}/net" for number in range(3)]
    old: dict[str, Files | None] = {name: {} for name in names}
    if again:
        convert(source, target)
        old = {name: results(target, name) for name in names}
        shutil.copytree(target, before)
        for number in range(3):
            model(source / f"m{number:03d}", seed=number + 10, prefix=f"m{number}")
        shutil.rmtree(target)
    else:
        before.mkdir()

    def prepare() -> Callable[[], object]:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(before, target)
        return lambda: convert(source, target)

    prepare()()
    new = {name: results(target, name) for name in names}
    torn = 0
    for number, done in everywhere(how, prepare):
        seen = {name: results(target, name) for name in names}
        torn += None in seen.values()
        for name in names:
            assert seen[name] in (None, old[name], new[name]), (how, number, name)
        if how in ERRORS and done:
            assert sum(seen[name] == new[name] for name in names) >= 2, (how, number)
        result = convert(source, target)
        assert result.ok, (how, number, result.outcomes)
        assert {name: results(target, name) for name in names} == new
        assert left_over(target) == [], (how, number)
    assert (torn > 0) == (how in DEATHS)
