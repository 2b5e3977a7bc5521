"""Content of files as digests, read once and in chunks."""

from __future__ import annotations

import hashlib
from pathlib import Path

from caffefold.zoo.storage import Storage
from caffefold.zoo.values import FileState

_CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    return both(path)[0]


def both(path: Path, *, sha1: bool = False) -> tuple[str, str]:
    """(SHA-256, SHA-1) of a file, from one reading; SHA-1 is empty unless asked for."""
    first, second = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            first.update(chunk)
            if sha1:
                second.update(chunk)
    return first.hexdigest(), second.hexdigest() if sha1 else ""


def state(storage: Storage, path: str, local: Path, digest: str) -> FileState:
    """The state of a file in ``storage`` whose content, with ``digest``, is also at ``local``."""
    entry = storage.stat(path)
    size = local.stat().st_size if entry is None else entry.size
    return FileState(path, size, "" if entry is None else entry.stamp, digest)
