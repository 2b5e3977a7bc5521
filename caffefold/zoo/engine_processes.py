"""The engine of one machine: warm worker processes, each in an executor of its own.

An executor of concurrent.futures breaks as a whole when a process of it dies. With one process
each, a crash, an OOM kill or a timeout costs the model that was running there, and nothing else.

A worker that has to end is killed outright. That is safe at any moment (zoo/landing.py), and it
always works: an exception raised by a signal may be swallowed wherever Python happens to be.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from caffefold.errors import UsageError
from caffefold.zoo import processes
from caffefold.zoo.engine import Outcomes, Started, Work, failed, outcome_of
from caffefold.zoo.values import Outcome
from caffefold.zoo.worker import Task, work

_MAX_DEAD_STARTS = 3
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
_DIED = (
    "its worker process died (killed by the system or by somebody, or a crash in native code); "
    "often for lack of memory: fewer --jobs, or --memory"
)


@dataclass(slots=True)
class _Slot:
    """One worker process and what it does."""

    executor: ProcessPoolExecutor
    hello: Future[int]
    """Its process id, once it is ready."""
    task: Task | None = None
    future: Future[Outcome] | None = None
    since: float = 0.0
    late: bool = False
    """Whether it was killed for taking too long."""

    def waits_for(self) -> Future[Any]:
        """What will happen next here."""
        return self.hello if self.future is None else self.future

    def is_ready(self) -> bool:
        """Whether the process said hello."""
        hello = self.hello
        return hello.done() and not hello.cancelled() and hello.exception() is None

    def take(self, task: Task, work: Work) -> bool:
        """Hand over a task; False when the process has died while it had nothing to do."""
        self.task, self.since = task, time.monotonic()
        try:
            self.future = self.executor.submit(work, task)
        except BrokenExecutor as error:
            self.task = None
            self.hello = Future()
            self.hello.set_exception(error)
            return False
        return True

    def kill(self) -> None:
        """End the process, if it lives."""
        if self.is_ready():
            with suppress(OSError):
                os.kill(self.hello.result(), _KILL)


@dataclass(frozen=True, slots=True)
class ProcessEngine:
    """``jobs`` worker processes."""

    jobs: int = 1
    timeout: float = 0.0
    """Seconds that one model may take; 0: any time."""
    memory: int = 0
    """Bytes that one worker may have; 0: as much as there is."""
    guard: str = ""
    """The file that workers hold a lock on while they live."""

    def run(self, tasks: Sequence[Task], started: Started, work: Work = work) -> Outcomes:
        """See ``Engine``."""
        crew = _Crew(self, [self._slot() for _ in range(max(1, min(self.jobs, len(tasks))))])
        todo = list(reversed(tasks))
        try:
            while todo or crew.busy():
                for slot in crew.idle():
                    if todo and slot.take(todo[-1], work):
                        started(todo.pop())
                yield from crew.wait()
        finally:
            crew.end()

    def _slot(self) -> _Slot:
        executor = ProcessPoolExecutor(
            1,
            mp_context=processes.context(),
            initializer=processes.prepare,
            initargs=(self.memory, self.guard),
        )
        return _Slot(executor, executor.submit(os.getpid))


@dataclass(slots=True)
class _Crew:
    """The slots of a run."""

    engine: ProcessEngine
    slots: list[_Slot]
    dead_starts: int = field(default=0)

    def busy(self) -> bool:
        return any(slot.task is not None for slot in self.slots)

    def idle(self) -> list[_Slot]:
        return [slot for slot in self.slots if slot.task is None and slot.is_ready()]

    def wait(self) -> Iterator[tuple[Task, Outcome]]:
        """Wait until something happens; the outcomes it brings."""
        futures = [s.waits_for() for s in self.slots if s.task is not None or not s.is_ready()]
        wait(futures, self._patience(), FIRST_COMPLETED)
        for number, slot in enumerate(self.slots):
            if slot.task is None:
                if slot.hello.done() and isinstance(slot.hello.exception(), BrokenExecutor):
                    self._start_again(number)
            elif slot.future is not None and slot.future.done():
                yield self._outcome(number)
            else:
                self._hurry(slot)

    def _start_again(self, number: int) -> None:
        """A process that died before it did anything: the system has no room for it."""
        self.dead_starts += 1
        if self.dead_starts > _MAX_DEAD_STARTS:
            asked = f"--memory {self.engine.memory}" if self.engine.memory else "--jobs"
            raise UsageError(f"{asked}: worker processes die while they start; too little memory?")
        self.slots[number] = self._new(self.slots[number])

    def _new(self, old: _Slot) -> _Slot:
        old.executor.shutdown(wait=False, cancel_futures=True)
        return self.engine._slot()

    def _outcome(self, number: int) -> tuple[Task, Outcome]:
        slot = self.slots[number]
        task, future = slot.task, slot.future
        assert task is not None
        assert future is not None
        slot.task = slot.future = None
        error = future.exception()
        died = isinstance(error, BrokenExecutor)
        if died or slot.late:
            self.slots[number] = self._new(slot)
        if died and slot.late:
            return task, failed(
                task, "TimedOut", f"took longer than --timeout {self.engine.timeout:g} seconds"
            )
        if died:
            return task, failed(task, "Crashed", _DIED)
        return task, outcome_of(task, future)

    def _patience(self) -> float | None:
        """Seconds until some task has taken too long."""
        if not self.engine.timeout:
            return None
        now = time.monotonic()
        ends = [s.since + self.engine.timeout for s in self.slots if s.task is not None]
        return max(0.0, min(ends) - now) + 0.001 if ends else None

    def _hurry(self, slot: _Slot) -> None:
        """End a task that takes too long."""
        if self.engine.timeout and time.monotonic() >= slot.since + self.engine.timeout:
            slot.late = True
            slot.kill()

    def end(self) -> None:
        """End every worker. When this returns, none is alive.

        A task may be without a future: the run can be interrupted between handing it over and
        noting that.
        """
        for slot in self.slots:
            if slot.task is not None:
                slot.kill()
        for slot in self.slots:
            slot.executor.shutdown(wait=True, cancel_futures=True)
