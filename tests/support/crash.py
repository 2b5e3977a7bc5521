"""Make the N-th file operation fail, or end the process there, as SQLite's tests do.

for fault in faults(job): ...    one for each operation of ``job`` and each way to fail
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from caffefold.errors import CaffefoldError

OPERATIONS = (
    "open", "write", "fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir", "fchmod",
)  # fmt: skip
ERRORS = ("EIO", "ENOSPC", "EINTR")
DEATHS = ("kill", "power")
_DEAD = 86


class Fault(NamedTuple):
    """``how`` the ``number``-th operation fails: an error, ``kill``, or ``power`` is lost."""

    how: str
    number: int


@contextmanager
def counting(fault: Fault | None = None) -> Iterator[list[str]]:
    """The operations done meanwhile, by name; one fails as ``fault`` says."""
    done: list[str] = []
    unsynced: dict[int, bool] = {}

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            done.append(name)
            if fault is not None and len(done) == fault.number:
                _strike(fault, unsynced)
            result = real(*args, **options)
            if name == "write":
                unsynced[args[0]] = True
            elif name == "fsync":
                unsynced.pop(args[0], None)
            elif name == "open":
                unsynced.pop(result, None)
            return result

        return call

    with ExitStack() as stack:
        for name in OPERATIONS:
            stack.enter_context(mock.patch.object(os, name, wrapped(name, getattr(os, name))))
        yield done


def _strike(fault: Fault, unsynced: dict[int, bool]) -> None:
    if fault.how in ERRORS:
        code = getattr(errno, fault.how)
        raise OSError(code, os.strerror(code))
    if fault.how == "power":  # what was not synced is lost
        for handle in list(unsynced):
            try:
                os.ftruncate(handle, 0)
            except OSError:
                continue  # closed meanwhile: its content was given up
    os._exit(_DEAD)


def struck(fault: Fault, job: Callable[[], object]) -> tuple[bool, bool]:
    """Do ``job`` with a fault: (whether the fault happened, whether the job said it was done)."""
    if fault.how in ERRORS:
        with counting(fault) as done:
            try:
                job()
            except CaffefoldError:
                return len(done) >= fault.number, False
        return len(done) >= fault.number, True
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            with counting(fault):
                job()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, _DEAD)
    return code == _DEAD, code == 0


def everywhere(how: str, prepare: Callable[[], Callable[[], object]]) -> Iterator[tuple[int, bool]]:
    """Strike every operation of a job once: (its number, whether the job said it was done).

    ``prepare`` sets the stage anew and returns the job.
    """
    number = 0
    while True:
        number += 1
        happened, done = struck(Fault(how, number), prepare())
        if not happened:
            assert number > 5
            return
        yield number, done


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
