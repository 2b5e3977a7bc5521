"""Files that appear complete or not at all: written beside their place, synced, then renamed."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO

from caffefold.errors import OutputError

_BUFFER = 1 << 20
_SYNC_EVERY = 0.25  # seconds


class Staging:
    """A group of output files. ``commit`` puts all of them in place; leaving without it, none.

    Each file is first written as ``.NAME.PID.part`` in its own directory.
    """

    def __init__(self) -> None:
        self._staged: list[StagedFile] = []

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *exc: object) -> None:
        for staged in self._staged:
            staged.discard()

    def write(self, target: Path, data: bytes) -> Path:
        """Stage ``data`` as ``target``; the temporary path."""
        with self.open(target) as out:
            out.write(data)
        return self.path_of(target)

    def open(self, target: Path) -> StagedFile:
        """A new staged file to write ``target`` through.

        Raises:
            OutputError: the directory does not take new files.
        """
        staged = StagedFile(target)
        self._staged.append(staged)
        return staged

    def path_of(self, target: Path) -> Path:
        """Where ``target`` is staged."""
        return next(staged.temporary for staged in self._staged if staged.target == target)

    def commit(self) -> None:
        """Wait until every staged file is on the disk, then rename each to its target, in order.

        Raises:
            OutputError: the disk is full or failed, or a target can not be replaced.
        """
        for staged in self._staged:
            staged.wait_synced()
        for staged in self._staged:
            try:
                staged.temporary.replace(staged.target)
            except OSError as error:
                raise output_error(staged.target, error) from None
        for folder in {staged.target.parent for staged in self._staged}:
            _sync_folder(folder)
        self._staged.clear()


class StagedFile:
    """A file being staged; use ``with``. The disk works while we compute: a thread syncs what has
    been written so far, and all of it once the file is complete."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.temporary.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            self._handle = os.open(self.temporary, flags, 0o666)
        except OSError as error:
            raise output_error(target, error) from None
        self._file = os.fdopen(self._handle, "wb", buffering=_BUFFER, closefd=False)
        self._complete = threading.Event()
        self._error: OSError | None = None
        self._syncer = threading.Thread(target=self._keep_syncing, daemon=True)

    def __enter__(self) -> BinaryIO:
        self._syncer.start()
        return self._file

    def __exit__(self, kind: object, value: BaseException | None, trace: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise output_error(self.target, error) from None
        finally:
            self._complete.set()
        if isinstance(value, OSError):
            raise output_error(self.target, value) from None

    def wait_synced(self) -> None:
        """Return when the file's content is on the disk; raises OutputError when it can not be."""
        self._syncer.join()
        if self._error is not None:
            raise output_error(self.target, self._error)

    def discard(self) -> None:
        """Give the file up: nothing of it stays."""
        self._complete.set()
        if self._syncer.is_alive():
            self._syncer.join()
        self.temporary.unlink(missing_ok=True)

    def _keep_syncing(self) -> None:
        try:
            while not self._complete.wait(_SYNC_EVERY):
                os.fsync(self._handle)
            os.fsync(self._handle)
        except OSError as error:
            self._error = error
        finally:
            os.close(self._handle)


def output_error(target: Path, error: OSError) -> OutputError:
    """The OutputError for a failed write of ``target``."""
    reason = error.strerror or type(error).__name__
    return OutputError(f"{target}: cannot write: {reason}; nothing was put in place")


def _sync_folder(folder: Path) -> None:
    """Make the renames durable, where the system can sync a directory."""
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
