"""Engines run the tasks of a zoo: in worker processes, on a Dask cluster, in threads.

Worker processes each have a pipe of their own. A shared queue or a shared lock would make the death
of one the business of all; so a crash, an OOM kill or a timeout costs the model that was running
there, and nothing else. A worker that has to end is killed outright. That is safe at any moment
(see ``commit``) and always works: an exception raised by a signal may be swallowed anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from multiprocessing import connection
from typing import Any, Protocol

from caffefold.errors import Option, UsageError
from caffefold.frozen import dataclass
from caffefold.zoo import processes
from caffefold.zoo.records import Outcome
from caffefold.zoo.running.worker import Task, Work, attempt, work
from caffefold.zoo.storage import need

Started = Callable[[Task], None]
Outcomes = Generator[tuple[Task, Outcome], None, None]
_MAX_DEAD_STARTS = 3
_DEAD_STARTS = ": worker processes die on start-up; too little memory?"
_JOBS = Option("jobs")
_CONNECT = 15.0  # seconds for the scheduler of a cluster to answer
_DIED = (
    "its worker process died (it was killed, or crashed in native code); often for lack of memory: "
    "try fewer jobs, or a memory limit"
)


class Engine(Protocol):
    """Runs tasks in the order given, several at a time."""

    def run(self, tasks: Sequence[Task], started: Started, work: Work = work) -> Outcomes:
        """Outcomes as they come, one for each task, whatever happens to a worker.

        ``started`` is called when a worker takes a task. Closing the iterator ends all that is
        running; what had not been put in place by then leaves nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProcessEngine:
    """``jobs`` worker processes of this machine."""

    jobs: int = 1
    timeout: float = 0.0
    """Seconds that one model may take; 0: any time."""
    memory: int = 0
    """Bytes that one worker may have; 0: as much as there is."""
    guard: str = ""
    """The file that workers hold a lock on while they live."""

    def run(self, tasks: Sequence[Task], started: Started, work: Work = work) -> Outcomes:
        """See ``Engine``.

        Raises:
            UsageError: worker processes die again and again before they are ready.
        """
        todo = list(reversed(tasks))
        crew: list[_Worker] = []
        dead_starts = 0
        try:
            crew += [_Worker(self) for _ in range(max(1, min(self.jobs, len(tasks))))]
            while todo or any(worker.task for worker in crew):
                for worker in crew:
                    if todo and worker.ready and not worker.task and worker.take(todo[-1], work):
                        started(todo.pop())
                for worker in self._wait(crew):
                    task = worker.task
                    alive, outcome = worker.receive()
                    if not alive:
                        dead_starts += not worker.ready
                        if dead_starts > _MAX_DEAD_STARTS:
                            limit = Option("memory", str(self.memory)) if self.memory else _JOBS
                            raise UsageError(limit, _DEAD_STARTS)
                        crew[crew.index(worker)] = _Worker(self)
                        if task and outcome is None:
                            outcome = self._lost(task, worker)
                    if task and outcome:
                        yield task, outcome
        finally:
            for worker in crew:
                worker.process.kill()
            for worker in crew:
                worker.process.join()

    def _wait(self, crew: Sequence[_Worker]) -> Iterator[_Worker]:
        """Wait until something happens; the workers it happened to. Kills what takes too long."""
        busy = [worker for worker in crew if worker.task]
        patience = None
        if self.timeout and busy:
            end = min(worker.since for worker in busy) + self.timeout
            patience = max(0.0, end - time.monotonic()) + 0.001
        there = connection.wait([worker.pipe for worker in crew], patience)
        for worker in crew if self.timeout else ():
            if worker.task and time.monotonic() >= worker.since + self.timeout:
                worker.late = True
                worker.process.kill()
        yield from [worker for worker in crew if worker.pipe in there]

    def _lost(self, task: Task, worker: _Worker) -> Outcome:
        if worker.late:
            reason = f"took longer than the timeout of {self.timeout:g} seconds"
            return Outcome.of(task.model, "failed", "TimedOut", reason)
        return Outcome.of(task.model, "failed", "Crashed", _DIED)


class _Worker:
    """One worker process and what it does."""

    def __init__(self, engine: ProcessEngine) -> None:
        context: Any = processes.context()
        self.pipe, there = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(there, engine.memory, engine.guard), daemon=True
        )
        self.process.start()
        there.close()
        self.ready = False
        self.task: Task | None = None
        self.since = 0.0
        self.late = False
        """Whether it was killed for taking too long."""

    def take(self, task: Task, work: Work) -> bool:
        """Hand over a task; False when the process has died while it had nothing to do."""
        try:
            self.pipe.send((work, task))
        except OSError:
            return False
        self.task, self.since = task, time.monotonic()
        return True

    def receive(self) -> tuple[bool, Outcome | None]:
        """(whether it lives, the outcome of its task): what there is to be read now."""
        try:
            outcome: Outcome | None = self.pipe.recv()
        except (EOFError, OSError):
            return False, None
        self.ready, self.task = True, None
        return not self.late, outcome


def _serve(pipe: Any, memory: int, guard: str) -> None:
    """Runs in a worker process: None when it is ready, then an outcome for each task."""
    processes.prepare(memory, guard)
    pipe.send(None)
    while True:
        try:
            work, task = pipe.recv()
        except EOFError:
            return
        pipe.send(attempt(work, task))


def _through(
    pool: Executor,
    width: int,
    attempting: Callable[[Task], Outcome],
    tasks: Sequence[Task],
    started: Started,
) -> Outcomes:
    """Outcomes out of ``pool``, which is given ``width`` tasks at a time."""
    todo = list(reversed(tasks))
    running: dict[Future[Outcome], Task] = {}
    try:
        while todo or running:
            while todo and len(running) < width:
                task = todo.pop()
                running[pool.submit(attempting, task)] = task
                started(task)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task, error = running.pop(future), future.exception()
                if error is None:
                    yield task, future.result()
                else:
                    reason = f"every worker that tried it died: {error}"
                    yield task, Outcome.of(task.model, "failed", "Crashed", reason)
    finally:
        for future in list(running):
            future.cancel()


@dataclass(frozen=True, slots=True)
class ThreadEngine:
    """Threads of this process: for a store that no other process sees (``memory://``)."""

    jobs: int = 1

    def run(self, tasks: Sequence[Task], started: Started, work: Work = work) -> Outcomes:
        """See ``Engine``; nothing can be ended here before it ends by itself."""
        with ThreadPoolExecutor(self.jobs) as pool:
            yield from _through(pool, self.jobs, partial(attempt, work), tasks, started)


@dataclass(frozen=True, slots=True)
class DaskEngine:
    """The same tasks on a Dask scheduler that runs already, such as ``tcp://host:8786``.

    Workers need caffefold and must reach source and target: a mounted folder at the same path, or a
    URL. When a worker dies, Dask gives its task to another one; each attempt makes its results in a
    folder of its own, so nothing half-done is ever in place. Memory limits are the workers' own
    (``dask worker --memory-limit``).
    """

    scheduler: str
    timeout: float = 0.0
    """Seconds that one model may take; what takes longer is no longer put in place."""

    def run(self, tasks: Sequence[Task], started: Started, work: Work = work) -> Outcomes:
        """See ``Engine``.

        Raises:
            UsageError: distributed is not installed, or no scheduler answers.
        """
        client = self._connect()
        try:
            # Twice as many as there are threads: workers stay busy, the large ones go first, and
            # a task's time does not pass in a queue for long.
            width = max(2, 2 * sum(client.nthreads().values()))
            attempting = partial(_on_cluster, work, self.timeout)
            pool = client.get_executor(pure=False)
            yield from _through(pool, width, attempting, tasks, started)
        finally:
            client.close(timeout=_CONNECT)

    def _connect(self) -> Any:
        try:
            from distributed import Client
        except ImportError as error:
            raise need("distributed", Option("engine", "dask"), error) from None
        try:
            connect: Any = Client
            return connect(self.scheduler, timeout=_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(Option("scheduler", self.scheduler), f": no answer: {error}") from None


def _on_cluster(work: Work, timeout: float, task: Task) -> Outcome:
    """Runs on a worker of the cluster: its time starts now, its work folder is its own."""
    token = f"{task.token}-{time.time_ns():x}"
    deadline = time.time() + timeout if timeout else 0.0
    return attempt(work, replace(task, token=token, deadline=deadline))
