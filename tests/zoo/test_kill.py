"""kill -9 at any moment: what is there is complete, the next run ends it, nothing is done twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from caffefold import zoo
from caffefold.zoo.running import commit
from caffefold.zoo.storage import LocalStorage
from tests.support.zoo import many

SUFFIXES = (".prototxt", ".caffemodel", ".html", ".report.json")
pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups of POSIX")


def start(source: Path, target: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "caffefold", "-q", "zoo", str(source), str(target), "-j", "2"]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(
        # Elsewhere than in a checkout, which Python would take for the package.
        command, cwd=source.parent, start_new_session=True, stdout=nowhere, stderr=nowhere
    )  # fmt: skip


def results(folder: Path) -> dict[str, bytes]:
    """Contents of all results by path. A report names its place, which differs here."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and path.name.endswith(SUFFIXES) and inside.parts[0][0] != ".":
            content = path.read_bytes().replace(str(folder).encode(), b"")
            found[inside.as_posix()] = content
    found.pop("index.html", None)
    return found


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and date of the results of the models that are complete."""
    names = Counter(
        name.removesuffix(suffix)
        for name in results(folder)
        for suffix in SUFFIXES
        if name.endswith(suffix)
    )
    whole = [name for name, count in names.items() if count == len(SUFFIXES)]
    stats = {name + s: (folder / (name + s)).stat() for name in whole for s in SUFFIXES}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def journalled(target: Path) -> Counter[str]:
    lines = (target / ".caffefold-zoo/journal.jsonl").read_bytes().splitlines()
    return Counter(json.loads(line)["name"] for line in lines)


def check(tmp_path: Path, moments: int, models: int, seed: int) -> None:
    source = tmp_path / "zoo"
    many(source, models)
    reference = tmp_path / "reference"
    began = time.monotonic()
    assert start(source, reference).wait(120) == 0
    whole = time.monotonic() - began
    wanted = results(reference)
    assert len(wanted) == models * len(SUFFIXES)
    chance = random.Random(seed)
    killed = round_number = 0
    while killed < moments:
        round_number += 1
        target = tmp_path / f"out{round_number}"
        for _ in range(3):
            process = start(source, target)
            try:
                process.wait(chance.uniform(0.05, whole))
            except subprocess.TimeoutExpired:
                # The whole family, or the head of it alone: its workers then end by themselves.
                kill = os.killpg if chance.random() < 0.5 else os.kill
                kill(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
            found = results(target) if target.exists() else {}
            assert {name: wanted[name] for name in found} == found
        process = start(source, target)
        before = identities(target) if target.exists() else {}
        assert process.wait(120) == 0
        assert results(target) == wanted
        after = identities(target)
        assert {name: after[name] for name in before} == before
        assert set(journalled(target).values()) == {1}
        assert set(journalled(target)) == {f"m{number:03d}/net" for number in range(models)}
        assert not list((target / ".caffefold-zoo").glob("work/*"))


def test_killed_at_five_moments(tmp_path: Path) -> None:
    check(tmp_path, 5, 16, 7)


@pytest.mark.slow
def test_killed_at_fifty_moments(tmp_path: Path) -> None:
    check(tmp_path, 50, 30, 11)


@pytest.mark.parametrize("renamed", range(5))
def test_a_landing_that_was_cut_short_is_finished(tmp_path: Path, renamed: int) -> None:
    """After each of the renames, as the next run finds it."""
    source, target = tmp_path / "zoo", tmp_path / "out"
    many(source, 1)
    assert zoo.run(zoo.plan(source, target, jobs=1), engine="threads").ok
    state = target / ".caffefold-zoo"
    wanted = results(target)
    outcome = json.loads((state / "journal.jsonl").read_text())
    work = state / "work"
    work.mkdir(parents=True)
    for suffix in commit.SUFFIXES[renamed:]:
        (target / f"m000/net{suffix}").rename(work / f"1-2-3{suffix}")
    (work / "1-2-3.json").write_text(json.dumps(outcome))
    (state / "journal.jsonl").unlink()
    (work / "torn.prototxt").write_text("half")
    result = zoo.run(zoo.plan(source, target, jobs=1), engine="threads")
    assert (result.ok, result.worked) == (True, 0)
    assert results(target) == wanted
    assert not list(state.glob("work/*"))


def test_what_is_journalled_is_not_journalled_again(tmp_path: Path) -> None:
    """Killed between the journal's line and the end of the record."""
    source, target = tmp_path / "zoo", tmp_path / "out"
    many(source, 1)
    zoo.run(zoo.plan(source, target, jobs=1), engine="threads")
    line = (target / ".caffefold-zoo/journal.jsonl").read_bytes()
    (target / ".caffefold-zoo/work").mkdir()
    (target / ".caffefold-zoo/work/1.json").write_bytes(line)
    assert zoo.run(zoo.plan(source, target, jobs=1), engine="threads").worked == 0
    assert (target / ".caffefold-zoo/journal.jsonl").read_bytes() == line


def test_a_landing_that_lost_a_file_is_done_again(tmp_path: Path) -> None:
    source, target = tmp_path / "zoo", tmp_path / "out"
    many(source, 1)
    zoo.run(zoo.plan(source, target, jobs=1), engine="threads")
    wanted = results(target)
    work = target / ".caffefold-zoo/work"
    work.mkdir()
    (target / ".caffefold-zoo/journal.jsonl").rename(work / "1.json")
    (target / "m000/net.caffemodel").unlink()
    result = zoo.run(zoo.plan(source, target, jobs=1), engine="threads")
    assert (result.ok, result.worked) == (True, 1)
    assert results(target) == wanted


def test_work_without_a_record_is_thrown_away(tmp_path: Path) -> None:
    work = tmp_path / ".caffefold-zoo/work"
    work.mkdir(parents=True)
    (work / "1.caffemodel").write_bytes(b"half")
    (work / "1.report.json").write_text('{"schema": 1}')
    (work / "1.json").write_text('{"name": "a", "status"')
    storage = LocalStorage(str(tmp_path))
    assert commit.recover(storage) == []
    commit.clear(storage)
    assert not work.exists()
