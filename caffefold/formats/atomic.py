"""Files that appear complete or not at all: written beside their place, synced, then renamed.

Of several files, all appear or none (``groups``).
"""

# As in ``disk``: the functions of ``os``, which tests make fail one by one.
# ruff: noqa: PTH105, PTH106, PTH108

from __future__ import annotations

import io
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from caffefold.formats import disk, groups

_BUFFER = 1 << 20
_EARLY = 64 << 20  # bytes after which the disk is set to work, while more is written


class Staging:
    """A group of output files in one folder. ``commit`` puts all of them in place; leaving without
    it, none.

    Each file is first written as ``.NAME.PID.part`` beside its place, or where ``made`` says, which
    is on the same file system.
    """

    def __init__(self, made: Mapping[Path, Path] | None = None) -> None:
        self._made = made or {}
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
        """A new staged file to write ``target`` through; a torn group there is mended first.

        Raises:
            OutputError: the directory does not take new files.
        """
        folders = {staged.target.parent for staged in self._staged}
        if folders - {target.parent}:
            raise ValueError(f"{target}: the files of a group lie in one folder")
        staged = StagedFile(target, self._made.get(target))
        self._staged.append(staged)
        return staged

    def path_of(self, target: Path) -> Path:
        """Where ``target`` is staged."""
        return next(staged.temporary for staged in self._staged if staged.target == target)

    def drop(self, targets: Collection[Path]) -> None:
        """Give up ``targets``, as far as they are staged; the others of the group go on."""
        for staged in [each for each in self._staged if each.target in targets]:
            staged.discard()
            self._staged.remove(staged)

    def finish(self) -> None:
        """Wait until every staged file is on the disk.

        Raises:
            OutputError: the disk is full or failed.
        """
        for staged in self._staged:
            staged.finish()

    def commit(self) -> None:
        """Wait until every staged file is on the disk, then rename each to its target, in order.

        All or none, also when this process is killed meanwhile: see ``groups``.

        Raises:
            OutputError: the disk is full or failed, or a target cannot be replaced.
            TornGroup: a target cannot be replaced, nor those before it put back.
        """
        self.finish()
        if self._staged:
            try:
                groups.replace_all([(staged.temporary, staged.target) for staged in self._staged])
            except OSError as error:
                staged = next((s for s in self._staged if s.stands_for(error)), self._staged[0])
                raise disk.output_error(staged.target, error) from None
        for staged in self._staged:
            staged.close()
        self._staged.clear()


def write_file(target: Path, data: bytes) -> None:
    """Write one small file, complete or not at all; the system brings it to the disk when it likes.

    Raises:
        OSError: it cannot be written; what stood there stays.
    """
    disk.make_folders(target.parent)
    part = disk.beside(target, "part")  # one name: what is left of a run, the next one replaces
    handle = disk.create(part)
    try:
        disk.write_all(handle, data)
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    finally:
        os.close(handle)


class StagedFile:
    """A file being staged; use ``with``. A thread brings it to the disk, once it is complete and
    every so often before: nobody waits for that before ``commit``, the proof goes on meanwhile."""

    def __init__(self, target: Path, made: Path | None = None) -> None:
        self.target = target
        self.temporary = made or groups.part_of(target)
        self._folders: Sequence[Path] = ()
        groups.mend(target, parts=made is None)
        try:
            self._folders = disk.make_folders(target.parent)
            self._handle = disk.create(self.temporary)
        except OSError as error:
            raise disk.output_error(target, error) from None
        self._file = io.BufferedWriter(disk.Raw(self._handle, self._wrote), _BUFFER)
        self._pending = 0  # bytes that nobody brings to the disk yet
        self._error: OSError | None = None
        self._syncer: threading.Thread | None = None

    def __enter__(self) -> BinaryIO:
        return cast(BinaryIO, self._file)

    def __exit__(self, kind: object, value: BaseException | None, trace: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise disk.output_error(self.target, error) from None
        if isinstance(value, OSError):
            raise disk.output_error(self.target, value) from None
        self._start_sync()

    def _wrote(self, count: int) -> None:
        self._pending += count
        if self._pending >= _EARLY and (self._syncer is None or not self._syncer.is_alive()):
            self._start_sync()

    def _start_sync(self) -> None:
        self._pending = 0
        self._syncer = threading.Thread(target=self._sync, args=(self._syncer,), daemon=True)
        self._syncer.start()

    def _sync(self, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        try:
            os.fsync(self._handle)
        except OSError as error:
            self._error = self._error or error

    def finish(self) -> None:
        """Wait until the file's content is on the disk; OutputError when it cannot get there."""
        if self._syncer is not None:
            self._syncer.join()
        if self._error is not None:
            raise disk.output_error(self.target, self._error)
        try:
            disk.keep_mode(self._handle, self.target)
        except OSError as error:
            raise disk.output_error(self.target, error) from None

    def stands_for(self, error: OSError) -> bool:
        """Whether an error names this file."""
        return str(error.filename) in (str(self.temporary), str(self.target))

    def close(self) -> None:
        """Let the file go, and its lock; a second call does nothing."""
        if self._syncer is not None:
            self._syncer.join()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def discard(self) -> None:
        """Give the file up: nothing of it stays, or the next run clears it away."""
        self.close()
        with suppress(OSError):
            os.unlink(self.temporary)

    def remove_folders(self) -> None:
        """Remove the folders that were made for the file, as far as they are empty."""
        for folder in self._folders:
            try:
                os.rmdir(folder)
            except OSError:
                break  # somebody else uses it by now
