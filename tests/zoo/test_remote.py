"""Zoos behind URLs: fsspec's memory:// stands for all of them; a real store is in test_cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from caffefold import zoo
from caffefold.errors import InputError, OutputError, UsageError
from caffefold.testing import net_weights
from caffefold.zoo.running import lock
from caffefold.zoo.storage import open_storage
from tests.support.zoo import body, deploy, model, put

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory() -> Iterator[str]:
    """An empty store of this process."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield "memory://box"
    system.store.clear()


def upload(source: Path, url: str) -> None:
    system = fsspec.filesystem("memory")
    for path in source.rglob("*"):
        if path.is_file():
            system.pipe_file(f"{url}/{path.relative_to(source).as_posix()}", path.read_bytes())


def content(url: str) -> dict[str, bytes]:
    system = fsspec.filesystem("memory")
    root = url.removeprefix("memory://")
    return {p.removeprefix(f"/{root}/"): system.cat_file(p) for p in system.find(url)}


def test_from_store_to_store(source: Path, memory: str) -> None:
    model(source / "a", seed=1)
    model(source / "b", seed=2)
    put(source / "a/readme.md", "---\ncaffemodel: net.caffemodel\nname: A\n---\n")
    upload(source, f"{memory}/in")
    plan = zoo.plan(f"{memory}/in", f"{memory}/out", jobs=1)
    result = zoo.run(plan)
    assert (result.ok, result.worked) == (True, 2)
    there = content(f"{memory}/out")
    assert {"a/net.prototxt", "a/net.caffemodel", "a/net.html", "a/net.report.json"} <= set(there)
    report = json.loads(there["a/net.report.json"])
    assert [file["path"] for file in report["inputs"]] == [
        f"{memory}/in/a/net.prototxt", f"{memory}/in/a/net.caffemodel",
    ]  # fmt: skip
    local = zoo.run(zoo.plan(source, source.parent / "out", jobs=1), jobs=1)
    assert local.ok
    assert there["b/net.caffemodel"] == (source.parent / "out/b/net.caffemodel").read_bytes()
    assert there["zoo.csv"] == (source.parent / "out/zoo.csv").read_bytes()
    again = zoo.run(zoo.plan(f"{memory}/in", f"{memory}/out", jobs=1))
    assert (again.ok, again.worked) == (True, 0)


def test_what_changed_in_a_store(source: Path, memory: str) -> None:
    model(source / "a", seed=1)
    model(source / "b", seed=2)
    upload(source, f"{memory}/in")
    zoo.run(zoo.plan(f"{memory}/in", f"{memory}/out", jobs=1))
    system = fsspec.filesystem("memory")
    system.pipe_file(f"{memory}/in/a/net.caffemodel", net_weights(body(9)))
    system.rm_file(f"{memory}/out/b/net.prototxt")
    result = zoo.run(zoo.plan(f"{memory}/in", f"{memory}/out", jobs=1))
    assert (result.ok, result.worked) == (True, 2)
    assert content(f"{memory}/out").keys() >= {"b/net.prototxt"}


def test_errors_name_the_path_in_the_zoo_and_not_the_copy(source: Path, memory: str) -> None:
    put(source / "net.prototxt", deploy(body(channels=4)))
    put(source / "net.caffemodel", net_weights(body(channels=6)))
    upload(source, memory)
    (outcome,) = zoo.run(zoo.plan(memory, source.parent / "out", jobs=1)).outcomes
    assert outcome.status == "refused"
    assert outcome.reason.startswith("net.caffemodel: does not belong to net.prototxt: ")


def test_errors_of_planning_name_the_path_too(source: Path, memory: str) -> None:
    put(source / "net.caffemodel", b"PK\x03\x04")
    put(source / "net.prototxt", "layer {")
    upload(source, memory)
    plan = zoo.plan(memory, jobs=1)
    assert plan.models[0].problem.startswith("net.caffemodel: this is a ZIP archive")
    assert plan.orphans[0].reason.startswith("net.prototxt:1:7: ")


def test_the_journal_of_a_killed_run_is_put_together(source: Path, memory: str) -> None:
    """Entries are objects of their own until the next run."""
    model(source / "a", seed=1)
    model(source / "b", seed=2)

    class StopError(Exception):
        pass

    def stop(event: zoo.Event) -> None:
        if event.kind == "finished":
            raise StopError

    with pytest.raises(StopError):
        zoo.run(zoo.plan(source, memory, jobs=1), stop, jobs=1)
    result = zoo.run(zoo.plan(source, memory, jobs=1))
    assert result.ok
    assert result.worked <= 1
    assert [name for name in content(memory) if name.startswith(".caffefold-zoo/journal/")] == []


@pytest.mark.parametrize("lost", ["", "net.prototxt", "net.report.json", "changed"])
def test_an_upload_that_was_cut_short(source: Path, memory: str, lost: str) -> None:
    """Complete: it is taken as it is. In part, or an older version: it is converted again."""
    model(source)
    assert zoo.run(zoo.plan(source, memory, jobs=1)).ok
    storage = open_storage(memory)
    whole = content(memory)
    line = whole[".caffefold-zoo/journal.jsonl"]
    storage.remove(".caffefold-zoo/journal.jsonl")
    storage.write(".caffefold-zoo/work/1-2.json", line)
    if lost == "changed":
        storage.write("net.caffemodel", whole["net.caffemodel"][:-1] + b"x")
    elif lost:
        storage.remove(lost)
    result = zoo.run(zoo.plan(source, memory, jobs=1))
    assert (result.ok, result.worked) == (True, int(bool(lost)))
    assert content(memory)["net.caffemodel"] == whole["net.caffemodel"]
    assert not [path for path in content(memory) if "/work/" in path]


def test_one_run_at_a_time(memory: str) -> None:
    first, second = open_storage(memory), open_storage(memory)
    with (
        lock.held(first),
        pytest.raises(OutputError, match=r"in use by process .*delete memory://box/.caffefold-zoo"),
        lock.held(second),
    ):
        pass
    with lock.held(second):
        pass
    assert first.read(lock.LOCK) is None


def test_the_lock_of_a_dead_process_is_taken_over(memory: str) -> None:
    storage = open_storage(memory)
    gone = {**lock.holder(), "pid": 2**22 + 1}
    storage.write(lock.LOCK, json.dumps(gone).encode())
    with lock.held(storage):
        pass
    elsewhere = {**lock.holder(), "host": "elsewhere"}
    storage.write(lock.LOCK, json.dumps(elsewhere).encode())
    with pytest.raises(OutputError, match="on elsewhere since"), lock.held(storage):
        pass


def test_file_urls_are_plain_paths(source: Path, target: Path) -> None:
    model(source)
    result = zoo.run(zoo.plan(f"file://{source}", f"file://{target}", jobs=1), jobs=1)
    assert result.ok
    assert (target / "net.caffemodel").exists()


def test_a_store_that_is_not_there(memory: str) -> None:
    with pytest.raises(InputError, match="no such folder"):
        zoo.plan(f"{memory}/gone")


def test_without_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UsageError, match=r"needs fsspec .* install 'fsspec"):
        zoo.plan("s3://bucket/zoo")


def test_a_store_that_only_this_process_sees_has_no_cluster(memory: str, source: Path) -> None:
    model(source)
    with pytest.raises(UsageError, match="a cluster cannot use it"):
        zoo.run(zoo.plan(source, memory), engine="dask", scheduler="tcp://x:1")
