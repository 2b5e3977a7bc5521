"""The engine of a cluster: the same tasks on a Dask scheduler that runs already.

Workers need caffefold and must reach source and target: a mounted folder at the same path, or a
URL. When a worker dies, Dask gives its task to another one; each attempt makes its results in a
folder of its own, so nothing half-done is ever in place. Memory limits are the workers' own
(``dask worker --memory-limit``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from caffefold.errors import UsageError
from caffefold.zoo.engine import Outcomes, Started, Work, failed, outcome_of
from caffefold.zoo.storage import need
from caffefold.zoo.values import Outcome
from caffefold.zoo.worker import Task, work

_CONNECT = 15.0


@dataclass(frozen=True, slots=True)
class DaskEngine:
    """An existing scheduler, such as ``tcp://host:8786``."""

    scheduler: str
    timeout: float = 0.0
    """Seconds that one model may take; what takes longer is put in place no more."""

    def run(self, tasks: Sequence[Task], started: Started, work: Work = work) -> Outcomes:
        """See ``Engine``.

        Raises:
            UsageError: distributed is not installed, or no scheduler answers.
        """
        client, completed = self._connect()
        running: dict[Any, Task] = {}
        try:
            # Twice as many as there are threads: workers stay busy, the large ones go first, and
            # a task's time does not pass in a queue for long.
            width = max(2, 2 * sum(client.nthreads().values()))
            queue = completed(loop=client.loop)
            todo = list(reversed(tasks))
            while todo or running:
                while todo and len(running) < width:
                    task = todo.pop()
                    future = client.submit(attempt, work, task, self.timeout, pure=False)
                    running[future] = task
                    queue.add(future)
                    started(task)
                future = next(queue)
                task = running.pop(future)
                yield task, _outcome(task, future)
        finally:
            client.cancel(list(running), force=True)
            client.close(timeout=_CONNECT)

    def _connect(self) -> tuple[Any, Any]:
        try:
            from distributed import Client, as_completed
        except ImportError as error:
            raise need("distributed", "dask", "--engine dask", error) from None
        try:
            connect: Any = Client
            return connect(self.scheduler, timeout=_CONNECT, set_as_default=False), as_completed
        except (OSError, ValueError) as error:
            raise UsageError(f"--scheduler {self.scheduler}: no answer: {error}") from None


def attempt(work: Work, task: Task, timeout: float) -> Outcome:
    """Runs on a worker: its time starts now, its work folder is its own."""
    token = f"{task.token}-{time.time_ns():x}"
    deadline = time.time() + timeout if timeout else 0.0
    return work(replace(task, token=token, deadline=deadline))


def _outcome(task: Task, future: Any) -> Outcome:
    if future.cancelled() or type(future.exception()).__name__ in (
        "KilledWorker",
        "CommClosedError",
    ):
        return failed(task, "Crashed", f"every worker that tried it died: {future.exception()}")
    return outcome_of(task, future)
