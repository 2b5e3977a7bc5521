"""The engine of one machine: warm worker processes, each in an executor of its own.

An executor of concurrent.futures breaks as a whole when a process of it dies. With one process
each, a crash, an OOM kill or a timeout costs the model that was running there, and nothing else.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from caffefold.zoo import processes
from caffefold.zoo.engine import Outcomes, Started, Work, failed, outcome_of
from caffefold.zoo.values import Outcome
from caffefold.zoo.worker import Task, work

_GRACE = 2.0  # seconds between asking a worker to end and ending it
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
    told: float = 0.0
    """When it was asked to end, for taking too long."""

    def waits_for(self) -> Future[Any]:
        """What will happen next here."""
        return self.hello if self.future is None else self.future

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it lives."""
        if self.hello.done() and not self.hello.cancelled() and self.hello.exception() is None:
            with suppress(OSError):
                os.kill(self.hello.result(), number)


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
                    if todo:
                        slot.task = todo.pop()
                        slot.future = slot.executor.submit(processes.interruptible, work, slot.task)
                        slot.since = time.monotonic()
                        started(slot.task)
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
        return [slot for slot in self.slots if slot.task is None and slot.hello.done()]

    def wait(self) -> Iterator[tuple[Task, Outcome]]:
        """Wait until something happens; the outcomes it brings."""
        futures = [s.waits_for() for s in self.slots if s.task is not None or not s.hello.done()]
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
            raise MemoryError("worker processes die while they start; is there memory for --jobs?")
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
        ended = isinstance(error, (BrokenExecutor, CancelledError, KeyboardInterrupt))
        if ended or slot.told:
            self.slots[number] = self._new(slot)
        if slot.told and error is not None:
            return task, failed(
                task, "TimedOut", f"took longer than --timeout {self.engine.timeout:g} seconds"
            )
        if ended:
            return task, failed(task, "Crashed", _DIED)
        return task, outcome_of(task, future)

    def _patience(self) -> float | None:
        """Seconds until some task has taken too long."""
        if not self.engine.timeout:
            return None
        now = time.monotonic()
        ends = [
            slot.told + _GRACE if slot.told else slot.since + self.engine.timeout
            for slot in self.slots
            if slot.task is not None
        ]
        return max(0.0, min(ends) - now) + 0.001 if ends else None

    def _hurry(self, slot: _Slot) -> None:
        """Ask a task that takes too long to end; then end it."""
        now = time.monotonic()
        if not self.engine.timeout or now < slot.since + self.engine.timeout:
            return
        if not slot.told:
            slot.told = now
            slot.signal(signal.SIGTERM)
        elif now >= slot.told + _GRACE:
            slot.signal(_KILL)
            slot.told = now

    def end(self) -> None:
        """End every worker: those at work are asked first, so that they clear up.

        When this returns, no worker is alive. A task may be without a future: the run can be
        interrupted between handing it over and noting that.
        """
        working = [slot for slot in self.slots if slot.task is not None]
        for slot in working:
            slot.signal(signal.SIGTERM)
        wait([slot.future for slot in working if slot.future is not None], _GRACE)
        for slot in working:
            if slot.future is None or not slot.future.done():
                slot.signal(_KILL)
        for slot in self.slots:
            slot.executor.shutdown(wait=True, cancel_futures=True)
