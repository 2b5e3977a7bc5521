"""Files that appear complete or not at all: written beside their place, synced, then renamed."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO

from caffefold.errors import OutputError


class Staging:
    """A group of output files. ``commit`` puts all of them in place; leaving without it, none.

    Each file is first written as ``.NAME.PID.part`` in its own directory.
    """

    def __init__(self) -> None:
        self._staged: list[tuple[Path, Path]] = []

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *exc: object) -> None:
        for temporary, _ in self._staged:
            temporary.unlink(missing_ok=True)

    def write(self, target: Path, data: bytes) -> Path:
        """Stage ``data`` as ``target``; the temporary path."""
        with self.open(target) as out:
            out.write(data)
        return self._staged[-1][0]

    def open(self, target: Path) -> StagedFile:
        """A new staged file to write ``target`` through; synced to disk when it is closed.

        Raises:
            OutputError: the directory does not take new files.
        """
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            handle = os.open(temporary, flags, 0o666)
        except OSError as error:
            raise output_error(target, error) from None
        self._staged.append((temporary, target))
        return StagedFile(handle, temporary, target)

    def path_of(self, target: Path) -> Path:
        """Where ``target`` is staged."""
        return next(temporary for temporary, wanted in self._staged if wanted == target)

    def commit(self) -> None:
        """Rename every staged file to its target, in the order they were opened."""
        folders = set()
        try:
            for temporary, target in self._staged:
                os.replace(temporary, target)
                folders.add(target.parent)
        except OSError as error:
            raise output_error(target, error) from None
        self._staged.clear()
        for folder in folders:
            _sync_folder(folder)


class StagedFile:
    """A file being staged; use ``with``. The disk works while we still compute: a thread keeps
    syncing, so that closing does not wait for everything at once."""

    def __init__(self, handle: int, temporary: Path, target: Path) -> None:
        self.temporary = temporary
        self.target = target
        self._handle = handle
        self._file: BinaryIO = os.fdopen(handle, "wb", buffering=1 << 20)
        self._done = threading.Event()
        self._syncer: threading.Thread | None = None

    def __enter__(self) -> BinaryIO:
        self._syncer = threading.Thread(target=self._keep_syncing, daemon=True)
        self._syncer.start()
        return self._file

    def __exit__(self, kind: object, value: BaseException | None, trace: object) -> None:
        self._done.set()
        assert self._syncer is not None
        self._syncer.join()
        try:
            self._file.flush()
            if value is None:
                os.fsync(self._handle)
            self._file.close()
        except OSError as error:
            raise output_error(self.target, error) from None
        if isinstance(value, OSError):
            raise output_error(self.target, value) from None

    def _keep_syncing(self) -> None:
        while not self._done.wait(0.05):
            os.fdatasync(self._handle)


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
