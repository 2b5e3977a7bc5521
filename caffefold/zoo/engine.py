"""Who runs the tasks of a zoo: a Protocol, and the engine of threads in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from caffefold.zoo.values import FAILED, Outcome
from caffefold.zoo.worker import BugError, Task, work

Work = Callable[[Task], Outcome]
Started = Callable[[Task], None]
Outcomes = Generator[tuple[Task, Outcome], None, None]


class Engine(Protocol):
    """Runs tasks in the order given, several at a time."""

    def run(self, tasks: Sequence[Task], started: Started, work: Work = work) -> Outcomes:
        """Outcomes as they come, one for each task, whatever happens to a worker.

        ``started`` is called when a worker takes a task. Closing the iterator ends all that is
        running; what had not landed by then leaves nothing.
        """
        ...


def failed(task: Task, code: str, reason: str) -> Outcome:
    """The outcome of a task that no worker lived to tell of."""
    fingerprint = task.model.fingerprint()
    return Outcome(task.model.name, FAILED, reason, code, fingerprint=fingerprint)


def outcome_of(task: Task, future: Future[Outcome]) -> Outcome:
    """What a finished future holds; a bug of ours is an outcome too."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, MemoryError):
        return failed(task, "OutOfMemory", "out of memory; give it more with --memory")
    said = str(error) if isinstance(error, BugError) else f"{type(error).__name__}: {error}"
    return failed(
        task,
        "Bug",
        f"this is a bug in caffefold, not in your files: {said}; convert this model alone with "
        "'caffefold -vv convert' and report what it prints",
    )


@dataclass(frozen=True, slots=True)
class ThreadEngine:
    """Threads of this process: for a store that no other process sees (``memory://``)."""

    jobs: int = 1

    def run(self, tasks: Sequence[Task], started: Started, work: Work = work) -> Outcomes:
        """See ``Engine``; nothing can be ended here before it ends by itself."""
        todo = list(reversed(tasks))
        running: dict[Future[Outcome], Task] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            while todo or running:
                while todo and len(running) < self.jobs:
                    task = todo.pop()
                    running[pool.submit(work, task)] = task
                    started(task)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task = running.pop(future)
                    yield task, outcome_of(task, future)
