"""Workers that fail in every way; importable, so that worker processes find them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from caffefold.zoo.records import Outcome
from caffefold.zoo.running.worker import Task, work


def by_name(task: Task) -> Outcome:
    """Do what the model's name says, else convert it."""
    name = task.model.name
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "stubborn" in name:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "hang" in name or "stubborn" in name:
        time.sleep(300)
        (Path(task.target) / "woke").touch()
    if "greedy" in name:
        hoard = [bytearray(1 << 24) for _ in range(256)]
        assert hoard
    if "bug" in name:
        raise KeyError("a bug")
    return work(task)


def never_ready(*given: object) -> None:
    """In place of ``engines._serve``: dies before it is ready."""
    del given
    os.kill(os.getpid(), signal.SIGKILL)


def _sign(task: Task) -> None:
    """Name the process in a file, which is there with its content or not at all."""
    path = Path(task.target, f"{task.model.name.replace('/', '_')}.pid")
    part = path.with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.replace(path)


def signed(task: Task) -> Outcome:
    """Convert at once; the process is named in a file first."""
    _sign(task)
    return work(task)


def slowly(task: Task) -> Outcome:
    """Convert, a moment later; the process is named in a file first."""
    _sign(task)
    time.sleep(0.3)
    return work(task)


def hesitating(task: Task) -> Outcome:
    """Convert, two seconds later."""
    _sign(task)
    time.sleep(2)
    return work(task)
