"""Worker processes: how they start, what they ignore, and that they end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from caffefold.errors import Option, UsageError

Mapper = Callable[..., Iterator[Any]]
"""``map`` over several processes, results in order."""
FEW = 24  # files; more are worth starting processes for
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def context() -> BaseContext:
    """How processes start: from a fork server that has everything loaded, where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["caffefold.zoo.preload"])
    _start_server()
    return made


def _start_server() -> None:
    """Start the fork server unless it runs; it must not import from the working directory.

    It is a ``python -c``, which does so unless this variable is set (Python 3.10 ignores it).
    """
    from multiprocessing import forkserver

    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def prepare(memory: int = 0, guard: str = "") -> None:
    """Runs first in a worker process.

    Ctrl-C reaches every process of a terminal; only the parent acts on it. ``guard`` is a file that
    this process holds a shared lock on while it lives, ``memory`` its limit in bytes.
    """
    from caffefold.zoo.running.lock import hold_shared

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if guard:
        hold_shared(Path(guard))
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.join,), daemon=True).start()
    if memory:
        _limit_memory(memory)


def _die_with(wait: Callable[[], None]) -> None:
    """A worker whose parent was killed would wait for work forever."""
    wait()
    os.kill(os.getpid(), _KILL)


def _limit_memory(limit: int) -> None:
    """Let this process have no more than ``limit`` bytes of data, where the system can do that."""
    import resource

    # RLIMIT_DATA counts private writable memory (Linux >= 4.7): libraries and files do not count.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(kind, (limit, hard))


def check_memory(limit: int) -> None:
    """Refuse a limit that this system cannot set, or that no conversion can keep.

    Raises:
        UsageError: which of the two it is.
    """
    try:
        import resource  # noqa: F401
    except ImportError:
        raise UsageError(
            Option("memory"), ": this system cannot limit the memory of a process"
        ) from None
    if limit < 64_000_000:
        raise UsageError(
            Option("memory", str(limit)), ": a conversion needs about 64 MB itself; give more"
        )


@contextmanager
def mapper(jobs: int) -> Iterator[Mapper]:
    """A ``Mapper``: over ``jobs`` processes, or in this one."""
    if jobs <= 1:
        yield map
        return
    with ProcessPoolExecutor(jobs, mp_context=context(), initializer=prepare) as pool:

        def spread(function: Callable[[Any], Any], listed: Sequence[Any]) -> Iterator[Any]:
            done = 0
            try:
                chunk = max(1, len(listed) // (jobs * 8))
                for result in pool.map(function, listed, chunksize=chunk):
                    done += 1
                    yield result
            except BrokenExecutor:  # a process was killed; go on without them
                yield from map(function, listed[done:])

        yield spread
