"""One run at a time for each target: who holds it, and that a dead holder holds nothing.

The lock is the kernel's (flock), so it is gone with the process that held it, however that ended.
Worker processes hold a second, shared one: a new run waits until the last worker of a killed one is
gone too, which takes milliseconds.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from caffefold.errors import OutputError
from caffefold.zoo.storage import STATE, RemoteStorage, Storage, failing, opened

LOCK = f"{STATE}/lock"
GUARD = f"{STATE}/workers.lock"
_PATIENCE = 10.0  # seconds for the workers of a dead run


def holder() -> dict[str, Any]:
    """What a lock records of this process."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime()),
    }


@contextmanager
def held(storage: Storage) -> Iterator[None]:
    """Hold the target while ``with`` lasts.

    Raises:
        OutputError: another run holds it, which is named.
    """
    if isinstance(storage, RemoteStorage):
        with _held_remotely(storage):
            yield
        return
    handle = opened(storage.place(LOCK))
    try:
        if not _try(handle, shared=False):
            raise _refusal(storage)
        _await_workers(storage.place(GUARD))
        with failing(OutputError, storage.shown(LOCK), "write"):
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps(holder()).encode())
        yield
        with suppress(OSError):
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _await_workers(guard: Path) -> None:
    """Wait until no worker of an earlier run lives."""
    handle = opened(guard)
    deadline = time.monotonic() + _PATIENCE
    try:
        while not _try(handle, shared=False):
            if time.monotonic() > deadline:
                raise OutputError(
                    f"{guard.parent.parent}: workers of an earlier run are still alive; end them"
                )
            time.sleep(0.02)
    finally:
        os.close(handle)


def hold_shared(guard: Path) -> None:
    """Hold the workers' lock until this process ends; the handle is meant to stay open."""
    with suppress(OSError, OutputError):
        _try(opened(guard), shared=True)


def _try(handle: int, *, shared: bool) -> bool:
    """Take the lock if it is free."""
    if sys.platform == "win32":
        import msvcrt

        try:
            if not shared:  # Windows has no shared locks of this kind
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _refusal(storage: Storage, advice: str = "") -> OutputError:
    by = _holder(storage)
    who = "another run"
    if by:
        who = f"process {by.get('pid')} on {by.get('host')} since {by.get('since')}"
    return OutputError(
        f"{storage.root}: in use by {who}; wait for it, or choose another target{advice}"
    )


def _holder(storage: Storage) -> dict[str, Any]:
    """What the lock records; nothing where a lock keeps others from reading it (Windows)."""
    with suppress(OutputError, ValueError):
        found = json.loads(storage.read(LOCK) or b"")
        if isinstance(found, dict):
            return found
    return {}


@contextmanager
def _held_remotely(storage: Storage) -> Iterator[None]:
    """An object with the holder's name. Stores have no locks that end with a process: one whose
    process is dead on this machine is taken over, any other has to be deleted by hand."""
    mine = json.dumps({**holder(), "token": os.urandom(8).hex()}).encode()
    if storage.read(LOCK) and not _is_dead(_holder(storage)):
        raise _refusal(storage, f"; if it is dead, delete {storage.shown(LOCK)}")
    storage.write(LOCK, mine)
    if storage.read(LOCK) != mine:
        raise _refusal(storage)
    try:
        yield
    finally:
        if storage.read(LOCK) == mine:
            storage.remove(LOCK)


def _is_dead(by: dict[str, Any]) -> bool:
    if by.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(by["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, KeyError, ValueError):
        return False
    return False
