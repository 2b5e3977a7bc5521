"""Running again: only what is new, changed or failed; changes to the results are noticed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caffefold import zoo
from caffefold.testing import net_weights
from caffefold.zoo import Outcome, Result
from tests.support.zoo import body, deploy, model, put

Go = Callable[..., tuple[Result, list[str]]]


@pytest.fixture
def go(source: Path, target: Path) -> Go:
    """Plan and run; the result, and what was worked on."""

    def run(options: dict[str, Any] | None = None, **how: Any) -> tuple[Result, list[str]]:
        worked: list[str] = []

        def watch(event: zoo.Event) -> None:
            if event.kind == "finished":
                worked.append(event.model.name)

        fresh = bool(how.get("force") or how.get("retry_failed"))
        plan = zoo.plan(source, target, options=options, jobs=1, fresh=fresh)
        result = zoo.run(plan, watch, engine="threads", **how)
        return result, sorted(worked)

    return run


def of(result: Result, name: str) -> Outcome:
    return next(outcome for outcome in result.outcomes if outcome.name == name)


@pytest.fixture
def two(source: Path) -> None:
    model(source, "a", 1, prefix="a_")
    model(source, "b", 2, prefix="b_")


@pytest.mark.usefixtures("two")
def test_nothing_to_do(go: Go, target: Path) -> None:
    first, worked = go()
    assert (first.ok, worked) == (True, ["a", "b"])
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*") if path.is_file()}
    again, worked = go()
    assert (again.ok, worked, again.worked) == (True, [], 0)
    assert again.outcomes == first.outcomes
    after = {path: path.stat().st_mtime_ns for path in target.rglob("*") if path.is_file()}
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed <= {"lock"}


@pytest.mark.usefixtures("two")
def test_what_is_new(go: Go, source: Path) -> None:
    go()
    model(source, "c", 3, prefix="c_")
    assert go()[1] == ["c"]


@pytest.mark.usefixtures("two")
def test_what_changed(go: Go, source: Path, target: Path) -> None:
    go()
    old = (target / "a.caffemodel").read_bytes()
    put(source / "a.caffemodel", net_weights(body(9, prefix="a_")))
    assert go()[1] == ["a"]
    assert (target / "a.caffemodel").read_bytes() != old
    put(source / "b.prototxt", "# new\n" + deploy(body(2, prefix="b_")))
    assert go()[1] == ["b"]


@pytest.mark.usefixtures("two")
def test_a_new_date_alone_is_no_change(go: Go, source: Path) -> None:
    go()
    for path in source.iterdir():
        os.utime(path, (1, 1))
    assert go()[1] == []
    assert go()[1] == []


@pytest.mark.usefixtures("two")
def test_other_options(go: Go, target: Path) -> None:
    go()
    assert go({"fold": "none"})[1] == ["a", "b"]
    assert "BatchNorm" in (target / "a.prototxt").read_text()
    assert go({"fold": "none"})[1] == []


@pytest.mark.usefixtures("two")
def test_results_that_were_changed(go: Go, target: Path) -> None:
    """Also with the old size and date."""
    go()
    path = target / "a.caffemodel"
    good, stat = path.read_bytes(), path.stat()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    result, worked = go()
    assert worked == ["a"]
    assert path.read_bytes() == good
    (note,) = of(result, "a").notes
    assert note.startswith("was changed since: a.caffemodel (kept in ")
    kept = list((target / ".caffefold-zoo/changed").rglob("a.caffemodel"))
    assert [p.read_bytes()[:-1] for p in kept] == [good[:-1]]


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("suffix", [".prototxt", ".caffemodel", ".report.json", ".html"])
def test_results_that_were_removed(go: Go, target: Path, suffix: str) -> None:
    go()
    (target / f"b{suffix}").unlink()
    result, worked = go()
    assert worked == ["b"]
    assert of(result, "b").notes == (f"was removed: b{suffix}; converted again",)
    assert (target / f"b{suffix}").exists()


@pytest.mark.usefixtures("two")
def test_what_was_refused_stays_refused(go: Go, source: Path) -> None:
    put(source / "c.prototxt", deploy(body(prefix="c_", channels=6)))
    put(source / "c.caffemodel", net_weights(body(prefix="c_")))
    result, worked = go()
    assert worked == ["a", "b", "c"]
    assert of(result, "c").status == "refused"
    assert not result.ok
    again, worked = go()
    assert worked == []
    assert of(again, "c").reason == of(result, "c").reason
    assert go(retry_failed=True)[1] == ["c"]
    put(source / "c.prototxt", deploy(body(prefix="c_")))
    assert go()[1] == ["c"]


@pytest.mark.usefixtures("two")
def test_what_failed_is_tried_again(go: Go, target: Path) -> None:
    put(target / "a.prototxt", "mine")
    result, _ = go()
    assert of(result, "a").status == "failed"
    assert (
        "already exists, and is not from an earlier run; use force to replace it"
        in of(result, "a").reason
    )
    assert (target / "a.prototxt").read_text() == "mine"
    (target / "a.prototxt").unlink()
    assert go()[1] == ["a"]


@pytest.mark.usefixtures("two")
def test_force(go: Go, target: Path) -> None:
    put(target / "a.prototxt", "mine")
    result, worked = go(force=True)
    assert (result.ok, worked) == (True, ["a", "b"])
    assert go(force=True)[1] == ["a", "b"]


def test_fail_fast(go: Go, source: Path) -> None:
    layers = body(prefix="c_")
    put(source / "c.prototxt", deploy(body(prefix="c_", channels=6)))
    put(
        source / "c.caffemodel", net_weights(layers) + net_weights(layers)
    )  # the largest: goes first
    model(source, "d", 1)
    result, worked = go(fail_fast=True, jobs=1)
    assert (result.stopped, worked) == (True, ["c"])
    assert [outcome.name for outcome in result.outcomes] == ["c"]
    assert go()[1] == ["d"]


@pytest.mark.usefixtures("two")
def test_a_model_that_is_gone(go: Go, source: Path, target: Path) -> None:
    go()
    (source / "a.caffemodel").unlink()
    result, worked = go()
    assert (worked, result.stale) == ([], ("a",))
    assert (target / "a.caffemodel").exists()


@pytest.mark.usefixtures("two")
def test_a_torn_journal(go: Go, target: Path) -> None:
    """The last line was being written when the power went."""
    go()
    path = target / ".caffefold-zoo/journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:100])
    torn = json.loads(lines[1])["name"]
    result, worked = go()
    assert (result.ok, worked) == (True, [torn])
    assert len(path.read_bytes().splitlines()) == 3  # the torn one has its line to itself
    assert go()[1] == []


@pytest.mark.usefixtures("two")
def test_a_target_that_moved(go: Go, source: Path, target: Path, tmp_path: Path) -> None:
    """Digests are read once, and nothing is converted again."""
    go()
    shutil.copytree(target, tmp_path / "copy")
    plan = zoo.plan(source, tmp_path / "copy", jobs=1)
    assert zoo.run(plan, engine="threads").worked == 0


@pytest.mark.usefixtures("two")
def test_the_same_zoo_gives_the_same_bytes(go: Go, source: Path, target: Path) -> None:
    go()
    files = ("zoo.csv", "a.prototxt", "a.caffemodel", "a.html")
    first = {name: (target / name).read_bytes() for name in files}
    shutil.rmtree(target)
    go()
    assert {name: (target / name).read_bytes() for name in files} == first


def test_a_model_that_is_finished_twice_counts_once(source: Path, target: Path) -> None:
    """A worker of a cluster that nobody could end committed its results, too."""
    model(source)
    state = target / ".caffefold-zoo"

    def commit_again(event: zoo.Event) -> None:
        if event.kind == "finished":
            shutil.copy(state / "journal.jsonl", state / "work/late.json")

    result = zoo.run(zoo.plan(source, target, jobs=1), commit_again, engine="threads")
    assert (result.ok, result.worked) == (True, 1)
