"""A zoo in a folder of this machine, or in one that several machines mount at the same path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from caffefold.errors import InputError, OutputError
from caffefold.zoo.storage import STATE, UNREADABLE, Entry


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """A folder. Files are read where they are, and renamed into place."""

    root: str
    local: bool = True
    shared: bool = True

    def walk(self, skip: str = "") -> Iterator[Entry]:
        """Every file below the root. Links are followed, each folder is visited once."""
        if not Path(self.root).is_dir():
            raise InputError(f"{self.root}: no such directory; give the folder of the zoo")
        yield from self._below("", os.path.realpath(skip) if skip else "", set())

    def _below(self, prefix: str, skip: str, seen: set[tuple[int, int]]) -> Iterator[Entry]:
        folder = os.path.join(self.root, prefix)  # noqa: PTH118 - thousands of times
        try:
            status = os.stat(folder)  # noqa: PTH116
            with os.scandir(folder) as listing:
                found = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            reason = f"cannot read this folder: {error.strerror}"
            if not prefix:
                raise InputError(f"{folder}: {reason}") from None
            yield Entry(prefix, UNREADABLE, reason)
            return
        here = (status.st_dev, status.st_ino)
        if here in seen or (prefix and any(entry.name == STATE for entry in found)):
            return
        seen.add(here)
        for entry in found:
            name = prefix + entry.name
            with suppress(OSError):  # gone meanwhile, or a link to nowhere
                if entry.is_file():
                    yield _entry(name, entry.stat())
                    continue
                inner = entry.is_dir() and entry.name not in (".git", "__pycache__")
                if not inner or (skip and os.path.realpath(entry.path) == skip):
                    continue
                yield from self._below(name + "/", skip, seen)

    def stat(self, path: str) -> Entry | None:
        """The file as it is now."""
        try:
            return _entry(path, os.stat(self.path(path)))  # noqa: PTH116 - thousands of times
        except OSError:
            return None

    def path(self, path: str) -> str:
        """Where the file is."""
        return os.path.join(self.root, path)  # noqa: PTH118 - thousands of times

    def shown(self, path: str) -> str:
        """The path for people."""
        return self.path(path)

    def fetch(self, path: str, folder: Path) -> Path:
        """The file itself."""
        del folder
        return Path(self.path(path))

    def store(self, source: Path, path: str) -> None:
        """Rename ``source``, which must lie on the same file system, into place."""
        target = Path(self.path(path))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
        except OSError as error:
            raise OutputError(f"{target}: cannot write: {error.strerror}") from None

    def read(self, path: str) -> bytes | None:
        """The content."""
        try:
            return Path(self.path(path)).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(f"{self.path(path)}: cannot read: {error.strerror}") from None

    def write(self, path: str, data: bytes) -> None:
        """Replace the content through a temporary file."""
        target = Path(self.path(path))
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.write_bytes(data)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{target}: cannot write: {error.strerror}") from None

    def remove(self, path: str) -> None:
        """Remove a file."""
        with suppress(FileNotFoundError, NotADirectoryError):
            Path(self.path(path)).unlink()


def _entry(path: str, status: os.stat_result) -> Entry:
    """ctime belongs to the stamp: it moves even when somebody sets mtime back."""
    return Entry(path, status.st_size, f"{status.st_mtime_ns}:{status.st_ctime_ns}")
