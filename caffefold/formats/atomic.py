"""Files that appear complete or not at all: written beside their place, synced, then renamed."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO

from caffefold.errors import OutputError

_BUFFER = 1 << 20


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
        for staged in reversed(self._staged):
            staged.remove_folders()

    def write(self, target: Path, data: bytes) -> Path:
        """Stage ``data`` as ``target``; the temporary path."""
        staged = self.open(target)
        with staged as out:
            out.write(data)
        return staged.temporary

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

        All or none: when a rename fails, the targets before it get back what they held.

        Raises:
            OutputError: the disk is full or failed, or a target cannot be replaced.
        """
        for staged in self._staged:
            staged.finish()
        try:
            for staged in self._staged:
                staged.put_in_place()
        except BaseException:
            for staged in reversed(self._staged):
                staged.take_back()
            raise
        for staged in self._staged:
            staged.forget_old()
        for folder in {staged.target.parent for staged in self._staged}:
            _sync_folder(folder)
        self._staged.clear()


class StagedFile:
    """A file being staged; use ``with``. Once complete, a thread brings it to the disk: nobody
    waits for that before ``commit``, the proof goes on meanwhile."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        self._made: list[Path] = []
        self._existed = True
        self._old: Path | None = None
        try:
            self._made = [f for f in (target.parent, *target.parent.parents) if not f.exists()]
            target.parent.mkdir(parents=True, exist_ok=True)
            self.temporary.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            self._handle = os.open(self.temporary, flags, 0o666)
        except OSError as error:
            raise output_error(target, error) from None
        self._file = os.fdopen(self._handle, "wb", buffering=_BUFFER, closefd=False)
        self._error: OSError | None = None
        self._syncer: threading.Thread | None = None

    def __enter__(self) -> BinaryIO:
        return self._file

    def __exit__(self, kind: object, value: BaseException | None, trace: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise output_error(self.target, error) from None
        if isinstance(value, OSError):
            raise output_error(self.target, value) from None
        self._syncer = threading.Thread(target=self._sync, daemon=True)
        self._syncer.start()

    def _sync(self) -> None:
        try:
            os.fsync(self._handle)
        except OSError as error:
            self._error = error

    def finish(self) -> None:
        """Wait until the file's content is on the disk; OutputError when it cannot get there."""
        self.close()
        if self._error is not None:
            raise output_error(self.target, self._error)

    def put_in_place(self) -> None:
        """Rename the file to its target. What stood there keeps a second name, where files can."""
        old = self.target.with_name(f".{self.target.name}.{os.getpid()}.old")
        self._existed = self.target.exists()
        try:
            if self._existed:
                old.unlink(missing_ok=True)
                old.hardlink_to(self.target)
                self._old = old
        except OSError:
            self._old = None
        try:
            self.temporary.replace(self.target)
        except OSError as error:
            raise output_error(self.target, error) from None

    def take_back(self) -> None:
        """Give the target what it held before."""
        renamed = not self.temporary.exists()
        try:
            if renamed and self._old is not None:
                self._old.replace(self.target)
            elif renamed and not self._existed:
                self.target.unlink(missing_ok=True)
            else:
                self.forget_old()
        except OSError:
            return  # keep the first error; what was set aside is not lost

    def forget_old(self) -> None:
        """What stood at the target is not needed any more."""
        if self._old is not None:
            self._old.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the file go; a second call does nothing."""
        if self._syncer is not None:
            self._syncer.join()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def discard(self) -> None:
        """Give the file up: nothing of it stays."""
        self.close()
        self.temporary.unlink(missing_ok=True)

    def remove_folders(self) -> None:
        """Remove the folders that were made for the file, as far as they are empty."""
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                break  # somebody else uses it by now


def output_error(target: Path, error: OSError) -> OutputError:
    """The OutputError for a failed write of ``target``."""
    reason = error.strerror or type(error).__name__
    return OutputError(f"{target}: cannot write: {reason}; no output was written")


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
