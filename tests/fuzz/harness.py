"""Runs one input under guards: what may escape, how long it may take, how much it may allocate.

Time is the processor time of this process, so that a busy machine slows nothing down, in units of
what reading a small file takes, so that neither a slow one nor a tool that watches does; the guard
interrupts, so that an endless loop is a finding and not a hang. Memory is the peak of the resident
set while the input runs (Linux), else the peak that tracemalloc sees.
"""

from __future__ import annotations

import gc
import resource
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TypeAlias

import caffefold
from caffefold.errors import CaffefoldError
from tests.fuzz.run_large import unit
from tests.fuzz.targets import LossyError

UNITS = 100  # about two seconds
A_KILOBYTE = 2  # units more for each: a layer of five bytes is as much work as a long one
MARGIN = 100 << 20  # bytes an input may take beyond five times its size
_PACKAGE = Path(caffefold.__file__).parent
TRIES = 3  # an input must be too slow each time
_IDLE = 30  # times as long by the clock: what waits uses no processor time
_AGAIN = 0.25  # seconds until an interrupt that something swallowed comes again
_AIR = 6 << 30  # address space for one run: what wants more gets a MemoryError, not the machine
_SHRINKS = 1_500

Target: TypeAlias = Callable[[bytes], object]


class TooSlowError(BaseException):
    """The time is up. No ``except Exception`` may swallow it."""


@dataclass(frozen=True)
class Finding:
    """One input that broke a promise."""

    kind: str
    detail: str
    data: bytes
    case: str = ""

    def __str__(self) -> str:
        shown = repr(self.data[:300]) + (f"... {len(self.data)} bytes" if self.data[300:] else "")
        return f"{self.case or 'input'}: {self.kind}: {self.detail}\n    {shown}"


_unit = cache(unit)  # measured once


def allowed(size: int) -> float:
    """Seconds of processor time that an input of so many bytes may take."""
    return (UNITS + A_KILOBYTE * size / 1_000) * _unit()


def examine(target: Target, data: bytes, case: str = "") -> Finding | None:
    """Run ``target(data)``; what is wrong with it, if anything is."""
    for _ in range(TRIES):
        found = _once(target, data)
        if found is None or found[0] != "slow":
            break
    return None if found is None else Finding(*found, data, case)


def shrunk(target: Target, finding: Finding) -> Finding:
    """A smaller input with the same finding: pieces are left out while it stays the same."""
    data, best = finding.data, finding
    piece = max(len(data) // 2, 1)
    tries = _SHRINKS if finding.kind in ("escape", "lossy") else 8
    while tries > 0:
        at = 0
        while at < len(data) and tries > 0:
            tries -= 1
            shorter = data[:at] + data[at + piece :]
            found = _once(target, shorter)
            if found is not None and _same(found, (best.kind, best.detail)):
                data, best = shorter, Finding(*found, shorter, finding.case)
            else:
                at += piece
        if piece == 1:
            break
        piece = max(piece // 2, 1)
    return best


def _same(a: tuple[str, str], b: tuple[str, str]) -> bool:
    return a[0] == b[0] and a[1].split(":")[0] == b[1].split(":")[0]


def _once(target: Target, data: bytes) -> tuple[str, str] | None:
    start = time.process_time()
    escaped, lost, stopped, peak = "", "", False, [0]
    try:
        with _memory() as peak, _interrupted(allowed(len(data))):
            target(data)
    except CaffefoldError as error:
        if "\n" in str(error):
            escaped = f"a message of several lines: {str(error)[:200]!r} {_where(error)}"
    except TooSlowError:
        stopped = True
    except KeyboardInterrupt:
        raise
    except LossyError as error:
        lost = str(error)
    except BaseException as error:
        escaped = f"{type(error).__name__}: {' '.join(str(error).split())[:200]} {_where(error)}"
    seconds = time.process_time() - start
    if escaped:
        return "escape", escaped
    if lost:
        return "lossy", lost
    if stopped or seconds > allowed(len(data)):
        more = f"{A_KILOBYTE} more for each kilobyte"
        return "slow", f"more than {UNITS} units of time, {more}, or waits {_IDLE} times as long"
    if peak[0] > MARGIN + 5 * len(data):
        return "memory", f"{peak[0] >> 20} MiB for {len(data)} bytes"
    return None


def _where(error: BaseException) -> str:
    """Where it was raised: the last lines of the traceback that are ours."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if _PACKAGE in Path(code.co_filename).parents:
            places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"({' > '.join(places[-3:])})" if places else ""


# -------------------------------------------------------------------------------------- guards


@contextmanager
def _interrupted(seconds: float) -> Iterator[None]:
    """Raises TooSlowError after so many seconds of processor time, or many more by the clock."""

    over = False

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        if not over:
            raise TooSlowError

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, 1), (signal.ITIMER_REAL, signal.SIGALRM, _IDLE))
    for timer, number, factor in timers:
        signal.signal(number, stop)
        signal.setitimer(timer, seconds * factor, _AGAIN)
    try:
        yield
    finally:
        over = True
        for timer, number, _ in timers:
            signal.setitimer(timer, 0)
            # Not what was there before: that is to die of a signal that is still under way.
            signal.signal(number, signal.SIG_IGN)


_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@contextmanager
def _memory() -> Iterator[list[int]]:
    """The first item of what it gives is, after the block, how far memory rose in it, in bytes."""
    found = [0]
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resident = _resident_peak()
    if resident is None:
        tracemalloc.start()
        try:
            yield found
        finally:
            found[0] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + _AIR, limits[1]))
    try:
        yield found
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        found[0] = _status("VmHWM") - resident


def _resident_peak() -> int | None:
    """Bytes resident now; the peak starts anew from there. None where that can not be done."""
    try:
        _CLEAR.write_bytes(b"5")
        return _status("VmHWM")
    except OSError:
        return None


def _status(name: str) -> int:
    text = _STATUS.read_text(encoding="ascii")
    start = text.index(name + ":") + len(name) + 1
    return int(text[start : text.index("kB", start)]) << 10


def settle() -> None:
    """Return what earlier inputs left behind, so that the next one's memory is its own."""
    gc.collect()
