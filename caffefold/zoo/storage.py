"""Where a zoo lies: what a tree of files can do, be it a local folder or behind a URL.

Paths inside a storage are relative to its root and use ``/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from caffefold.errors import UsageError

STATE = ".caffefold-zoo"
UNREADABLE = -1  # size of a folder that can not be read; its stamp then says why


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that ``walk`` found. ``stamp`` changes when its content may have changed."""

    path: str
    size: int
    stamp: str


class Storage(Protocol):
    """A tree of files. Implementations pickle, so that workers elsewhere can open it too."""

    @property
    def root(self) -> str:
        """The path or URL of the tree."""
        ...

    @property
    def local(self) -> bool:
        """Whether files have paths of their own, to be read in place and renamed."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes see the same files."""
        ...

    def walk(self, skip: str = "") -> Iterator[Entry]:
        """Every file, sorted; without folders that hold a zoo's results, and without ``skip``."""
        ...

    def stat(self, path: str) -> Entry | None:
        """The file as it is now; None when it is not there."""
        ...

    def shown(self, path: str) -> str:
        """The path or URL for people."""
        ...

    def fetch(self, path: str, folder: Path) -> Path:
        """The file on the local disk, in ``folder`` if it has to be copied."""
        ...

    def store(self, source: Path, path: str) -> None:
        """Put a local file in place, complete or not at all."""
        ...

    def read(self, path: str) -> bytes | None:
        """The content; None when there is no such file."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Replace the content, complete or not at all."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; it need not be there."""
        ...


def need(package: str, extra: str, why: str, error: ImportError) -> UsageError:
    """The error for a package that is not installed."""
    return UsageError(f"{why} needs {package} ({error}); pip install 'caffefold[{extra}]'")
