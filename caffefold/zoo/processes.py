"""Worker processes: how they start, what they ignore, and that they end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.context import BaseContext
from pathlib import Path
from types import ModuleType
from typing import Any

from caffefold.errors import Option, UsageError
from caffefold.search_path import ROOT

if sys.platform != "win32":
    from multiprocessing.context import ForkServerContext, ForkServerProcess

Mapper = Callable[..., Iterator[Any]]
"""``map`` over several processes, results in order."""
FEW = 24  # files; more are worth starting processes for
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def context() -> BaseContext:
    """How processes start: from a fork server that has everything loaded, where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    made = _Context()
    made.set_forkserver_preload(["caffefold.zoo.preload"])
    _start_server()
    return made


if sys.platform != "win32":

    class _Process(ForkServerProcess):
        """A worker. It imports what it needs and never the caller's script, which for that needs no
        ``if __name__ == "__main__":``."""

        def start(self) -> None:
            """Start it as if the caller had no script."""
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main

    class _Context(ForkServerContext):
        Process = _Process


def _start_server() -> None:
    """Start the fork server unless it runs. It imports from where this process does.

    It is a ``python -c``, which puts the working directory first unless a variable says no. Python
    3.10 does not know that one: there, the server works where this package was loaded from.
    """
    from multiprocessing import forkserver

    path = os.pathsep.join(filter(None, sys.path))
    before = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
    here = None if sys.version_info >= (3, 11) else os.open(".", os.O_RDONLY)
    os.environ.update(PYTHONSAFEPATH="1", PYTHONPATH=path)
    try:
        if here is not None:
            os.chdir(ROOT)
        forkserver.ensure_running()
    finally:
        if here is not None:
            os.fchdir(here)
            os.close(here)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
        # Takes as long as the fork server loads: this process works meanwhile.
        starting = threading.Thread(target=_start, args=(pool,), daemon=True)
        starting.start()

        def spread(function: Callable[[Any], Any], listed: Sequence[Any]) -> Iterator[Any]:
            done = 0
            while done < len(listed) and starting.is_alive():
                yield function(listed[done])
                done += 1
            try:
                rest = listed[done:]
                chunk = max(1, len(rest) // (jobs * 8))
                for result in pool.map(function, rest, chunksize=chunk) if rest else ():
                    done += 1
                    yield result
            except BrokenExecutor:  # a process was killed; go on without them
                yield from map(function, listed[done:])

        try:
            yield spread
        finally:
            starting.join()


def _start(pool: Executor) -> None:
    """Have the first process of a pool there."""
    with suppress(BrokenExecutor):
        pool.submit(os.getpid).result()
