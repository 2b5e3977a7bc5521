"""Engines: a crash, a hang, greed or a bug costs one model, and is called by its name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from caffefold import zoo
from caffefold.errors import UsageError
from caffefold.zoo import processes
from caffefold.zoo.records import Outcome
from caffefold.zoo.running import engines
from caffefold.zoo.running.engines import Engine, ProcessEngine, ThreadEngine
from caffefold.zoo.running.worker import Task, Work, work
from tests.support.zoo import model
from tests.zoo import faults

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
Tasks = Callable[..., list[Task]]


@pytest.fixture
def tasks(source: Path, target: Path) -> Tasks:
    """Tasks for models of these names."""

    def make(*names: str) -> list[Task]:
        target.mkdir()
        for number, name in enumerate(names):
            model(source / name, seed=number)
        found = {m.name: m for m in zoo.plan(source, jobs=1).models}
        models = [found[f"{name}/net"] for name in names]
        return [Task(m, str(source), str(target), f"t{i}") for i, m in enumerate(models)]

    return make


def run(engine: Engine, tasks: list[Task], how: Work = faults.by_name) -> dict[str, Outcome]:
    outcomes = {}
    for task, outcome in engine.run(tasks, lambda task: None, how):
        outcomes[task.model.name.split("/")[0]] = outcome
    return outcomes


def test_one_bad_model_costs_one_model(tasks: Tasks) -> None:
    """Two processes, six models: the four good ones are converted, with workers that are new."""
    found = run(ProcessEngine(2), tasks("crash1", "a", "bug", "b", "crash2", "c"))
    assert {name: (o.status, o.code) for name, o in found.items()} == {
        "crash1": ("failed", "Crashed"),
        "crash2": ("failed", "Crashed"),
        "bug": ("failed", "Bug"),
        "a": ("converted", ""),
        "b": ("converted", ""),
        "c": ("converted", ""),
    }
    assert "worker process died" in found["crash1"].reason
    assert "bug in caffefold, not in your files: KeyError: 'a bug'" in found["bug"].reason


def _patience(given: list[Task]) -> float:
    """Seconds that a model is sure to be converted in, on a busy machine too."""
    start = time.monotonic()
    work(given[0])
    return max(0.5, 6 * (time.monotonic() - start))


def test_a_timeout_costs_one_model(tasks: Tasks, target: Path) -> None:
    given = tasks("a", "hang", "b")
    found = run(ProcessEngine(1, timeout=(patience := _patience(given))), given[1:])
    assert found["hang"].code == "TimedOut"
    assert f"the timeout of {patience:g} seconds" in found["hang"].reason
    assert found["b"].status == "converted"
    assert not (target / "woke").exists()  # nobody waited for it to end


def test_who_does_not_listen_is_killed(tasks: Tasks, target: Path) -> None:
    given = tasks("a", "stubborn", "b")
    found = run(ProcessEngine(1, timeout=_patience(given)), given[1:])
    assert found["stubborn"].code == "TimedOut"
    assert found["b"].status == "converted"
    assert not (target / "woke").exists()


@pytest.mark.skipif("linux" not in os.sys.platform, reason="limits as Linux has them")  # type: ignore[attr-defined]
def test_a_memory_limit_costs_one_model(tasks: Tasks) -> None:
    found = run(ProcessEngine(1, memory=1_000_000_000), tasks("greedy", "a"))
    assert found["greedy"].code == "OutOfMemory"
    assert "memory limit" in found["greedy"].reason
    assert found["a"].status == "converted"


def test_a_worker_that_dies_idle_is_replaced(tasks: Tasks, target: Path) -> None:
    """Between two tasks: no model is lost."""
    found = {}
    for task, outcome in ProcessEngine(1).run(
        tasks("a", "b", "c"), lambda task: None, faults.signed
    ):
        found[task.model.name] = outcome.status
        pid = int((target / f"{task.model.name.replace('/', '_')}.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():  # the fork server reaps it when its threads are gone
            time.sleep(0.005)
    assert found == {"a/net": "converted", "b/net": "converted", "c/net": "converted"}


def test_workers_that_can_not_start(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_serve", faults.never_ready)
    with pytest.raises(UsageError, match="worker processes die on start-up"):
        run(ProcessEngine(1), tasks("a"))


def test_models_start_in_the_order_given(tasks: Tasks) -> None:
    names: list[str] = []
    given = tasks("c", "a", "b")
    for _ in ProcessEngine(1).run(given, lambda task: names.append(task.model.name), work):
        pass
    assert names == ["c/net", "a/net", "b/net"]


def test_stopping_ends_the_workers_and_leaves_nothing(tasks: Tasks, target: Path) -> None:
    given = tasks("a", "b", "c")
    running = ProcessEngine(2).run(given, lambda task: None, faults.slowly)
    task, outcome = next(running)
    assert outcome.status == "converted"
    running.close()
    pids = [int(path.read_text()) for path in target.glob("*.pid")]
    assert pids
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(_alive(pid) for pid in pids)
    landed = {path.parent.name for path in target.rglob("net.caffemodel")}
    assert task.model.name.split("/")[0] in landed
    assert "c" not in landed


def test_interrupted_while_a_task_is_handed_over(
    tasks: Tasks, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has the task, nobody noted that: it is ended all the same before run() is."""

    class Interrupted(engines._Worker):
        def take(self, task: Task, work: Work) -> bool:
            self.pipe.send((work, task))
            deadline = time.monotonic() + 30
            while not list(target.glob("*.pid")) and time.monotonic() < deadline:
                time.sleep(0.005)
            raise KeyboardInterrupt

    monkeypatch.setattr(engines, "_Worker", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(ProcessEngine(1).run(tasks("a"), lambda task: None, faults.hesitating))
    (path,) = target.glob("*.pid")
    assert not _alive(int(path.read_text()))
    time.sleep(0.1)
    assert not list(target.rglob("net.caffemodel"))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_threads_convert_too(tasks: Tasks) -> None:
    found = run(ThreadEngine(2), tasks("a", "bug", "b"))
    assert [found[name].status for name in ("a", "bug", "b")] == [
        "converted",
        "failed",
        "converted",
    ]
    assert found["bug"].code == "Bug"


def test_the_mapper_goes_on_when_a_process_is_killed() -> None:
    parent = os.getpid()
    with processes.mapper(2) as mapper:
        _until_elsewhere(mapper)
        assert list(mapper(_die_elsewhere, [(parent, n) for n in range(6)])) == list(range(6))


def test_this_process_maps_until_others_can() -> None:
    """What the others load takes a while; nothing is lost or done twice when they take over."""
    with processes.mapper(2) as mapper:
        first = next(iter(mapper(_pid, range(4))))
        _until_elsewhere(mapper)
        assert list(mapper(abs, range(-5, 5))) == [abs(n) for n in range(-5, 5)]
    assert first == os.getpid()


def _until_elsewhere(mapper: processes.Mapper) -> None:
    """Wait until other processes do the work."""
    while os.getpid() in set(mapper(_pid, range(4))):
        time.sleep(0.01)


def _pid(_number: int) -> int:
    return os.getpid()


def _die_elsewhere(item: tuple[int, int]) -> int:
    parent, number = item
    if number == 3 and os.getpid() != parent:
        os.kill(os.getpid(), 9)
    return number


def test_a_limit_that_no_conversion_keeps_is_refused(source: Path, target: Path) -> None:
    model(source)
    with pytest.raises(UsageError, match="needs about 64 MB"):
        zoo.run(zoo.plan(source, target), memory=1000)


@pytest.mark.parametrize(("options", "said"), [
    ({"engine": "dask"}, "give the scheduler"),
    ({"scheduler": "tcp://x:1"}, "goes with engine dask"),
    ({"engine": "dask", "scheduler": "tcp://x:1", "memory": 10**9}, "own memory limit"),
    ({"engine": "mpi"}, "choose processes or dask"),
])  # fmt: skip
def test_engines_that_make_no_sense(
    source: Path, target: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        zoo.run(zoo.plan(source, target), **options)  # type: ignore[arg-type]
