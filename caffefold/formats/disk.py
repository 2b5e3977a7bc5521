"""How files are made, locked and named: the only place that creates what the package writes.

Nothing here follows a symbolic link at the end of a path: who may write to a folder shall not
choose, by a link, which of our files elsewhere are overwritten.
"""

# The functions of ``os``, not of pathlib: tests make each of them fail, or end the process there.
# ruff: noqa: PTH102, PTH108, PTH112

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from caffefold.errors import OutputError

if sys.platform != "win32":
    import fcntl

PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of every ``os.open``: no link is followed, and no child process inherits the file."""
NONBLOCK = getattr(os, "O_NONBLOCK", 0)
"""Opening a pipe does not wait for who writes to it."""
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | PLAIN
# No such file, a file where a folder should be, a link, a device nobody serves, a name too long.
_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.ENAMETOOLONG)
_LONGEST = 255  # bytes of a file name, on every common file system


def beside(target: Path, ending: str) -> Path:
    """The hidden ``.NAME.ENDING`` beside ``target``; a name too long for that is cut and hashed."""
    name, fixed = target.name, len(os.fsencode(ending)) + 2
    data = os.fsencode(name)
    if len(data) + fixed > _LONGEST:
        import hashlib  # seldom needed, and slow to load

        digest = hashlib.sha256(data).hexdigest()[:16]
        name = data[: _LONGEST - fixed - 17].decode("utf-8", "ignore") + f"~{digest}"
    return target.with_name(f".{name}.{ending}")


def create(path: Path) -> int:
    """A handle of a new, locked file at ``path``; what a dead run left there is replaced.

    Raises:
        BlockingIOError: another process is writing this very file.
        OSError: it cannot be made.
    """
    while True:
        try:
            handle = os.open(path, _NEW, 0o666)
        except FileExistsError:
            if is_in_use(path):
                raise BlockingIOError(errno.EBUSY, "another process is writing it") from None
            os.unlink(path)
            continue
        try:
            while not lock(handle):  # somebody looks at it: that is short
                time.sleep(0.001)
            if is_at(handle, path):  # nobody took it for a left-over before it was locked
                return handle
        except BaseException:
            os.close(handle)
            os.unlink(path)
            raise
        os.close(handle)


def open_plain(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """A handle of a regular file; None when there is none, or something else (a link, a pipe).

    Raises:
        OSError: it cannot be opened.
    """
    try:
        handle = os.open(path, flags | PLAIN | NONBLOCK)
    except OSError as error:
        if error.errno in _NOTHING:
            return None
        raise
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return None


def lock(handle: int, *, shared: bool = False) -> bool:
    """Take the kernel's lock of an open file if it is free; it ends with the handle.

    Whoever cannot lock (Windows here, some network file systems) goes without: True.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def is_in_use(path: Path) -> bool:
    """Whether a living process has the file at ``path`` locked."""
    handle = open_plain(path)
    if handle is None:
        return False
    try:
        return not lock(handle)
    finally:
        os.close(handle)


def is_at(handle: int, path: Path) -> bool:
    """Whether the open file is the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def identity(path: Path) -> int | None:
    """The number that the file system gives what is at ``path``, a link itself; None: nothing."""
    try:
        return os.lstat(path).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_all(handle: int, data: bytes) -> None:
    """Write all of ``data``."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


class Raw(io.RawIOBase):
    """An open file to write to; closing this leaves the handle open.

    ``wrote`` is told of the bytes of each write.
    """

    def __init__(self, handle: int, wrote: Callable[[int], None]) -> None:
        self._handle = handle
        self._wrote = wrote

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._handle, offset, whence)

    def write(self, data: Any) -> int:
        count = os.write(self._handle, data)
        self._wrote(count)
        return count


def keep_mode(handle: int, target: Path) -> None:
    """Give a new file the permissions of the file that it will replace, where there is one."""
    try:
        old = os.lstat(target)
    except OSError:
        return
    if stat.S_ISREG(old.st_mode):
        set_mode(handle, stat.S_IMODE(old.st_mode))


def set_mode(handle: int, mode: int) -> None:
    """Set the permissions of a file, where the file system has any."""
    if hasattr(os, "fchmod"):
        try:
            os.fchmod(handle, mode)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                raise


def make_folders(folder: Path) -> Sequence[Path]:
    """Make a folder; those that were not there, the innermost first."""
    made: list[Path] = []
    for each in (folder, *folder.parents):
        if os.path.lexists(each):
            break
        made.append(each)
    for each in reversed(made):
        try:
            os.mkdir(each)
        except FileExistsError:
            continue  # somebody else made it meanwhile
    if not os.path.isdir(folder):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return made


def sync_folder(folder: Path) -> None:
    """Make renames durable, where the system can sync a directory."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def output_error(target: Path, error: OSError) -> OutputError:
    """The OutputError for a failed write of ``target``."""
    reason = error.strerror or str(error) or type(error).__name__
    return OutputError(f"{target}: cannot write: {reason}; no output was written")
