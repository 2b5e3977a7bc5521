"""Files that appear complete or not at all: written beside their place, synced, then renamed."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO, NamedTuple

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

        All or none: when a rename fails, the targets before it get back what they held.

        Raises:
            OutputError: the disk is full or failed, or a target cannot be replaced.
        """
        for staged in self._staged:
            staged.wait_synced()
            staged.close()
        replaced: list[_Replaced] = []
        try:
            for staged in self._staged:
                replaced.append(_set_aside(staged.target))
                try:
                    staged.temporary.replace(staged.target)
                except OSError as error:
                    raise output_error(staged.target, error) from None
        except BaseException:
            _undo(replaced, {staged.target for staged in self._staged if not staged.is_pending()})
            raise
        for old in replaced:
            if old.aside is not None:
                old.aside.unlink(missing_ok=True)
        for folder in {staged.target.parent for staged in self._staged}:
            _sync_folder(folder)
        self._staged.clear()


class _Replaced(NamedTuple):
    """What stood at a target: a second name for it, where the file system has such names."""

    target: Path
    existed: bool
    aside: Path | None


def _set_aside(target: Path) -> _Replaced:
    aside = target.with_name(f".{target.name}.{os.getpid()}.old")
    if not target.exists():
        return _Replaced(target, False, None)
    try:
        aside.unlink(missing_ok=True)
        aside.hardlink_to(target)
    except OSError:
        return _Replaced(target, True, None)
    return _Replaced(target, True, aside)


def _undo(replaced: list[_Replaced], done: set[Path]) -> None:
    """Give every target back what it held before."""
    for target, existed, aside in reversed(replaced):
        try:
            if target in done and aside is not None:
                aside.replace(target)
            elif target in done and not existed:
                target.unlink(missing_ok=True)
            elif aside is not None:
                aside.unlink(missing_ok=True)
        except OSError:  # keep the first error; what is set aside is not lost
            continue


class StagedFile:
    """A file being staged; use ``with``. Once complete, a thread brings it to the disk: nobody
    waits for that before ``commit``, the proof goes on meanwhile."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        self._made: list[Path] = []
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

    def wait_synced(self) -> None:
        """Return when the file's content is on the disk; raises OutputError when it cannot be."""
        if self._syncer is not None:
            self._syncer.join()
        if self._error is not None:
            raise output_error(self.target, self._error)

    def _sync(self) -> None:
        try:
            os.fsync(self._handle)
        except OSError as error:
            self._error = error

    def is_pending(self) -> bool:
        """Whether the file still waits under its temporary name."""
        return self.temporary.exists()

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
