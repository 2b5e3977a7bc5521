"""Files as they were: their digests and stamps, and whether they still are what they were."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from caffefold.zoo.records import FileState
from caffefold.zoo.storage import Storage

_CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    return digests(path)[0]


def digests(path: Path, *, sha1: bool = False) -> tuple[str, str]:
    """(SHA-256, SHA-1) of a file, from one reading; SHA-1 is empty unless asked for."""
    first, second = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            first.update(chunk)
            if sha1:
                second.update(chunk)
    return first.hexdigest(), second.hexdigest() if sha1 else ""


def unchanged(storage: Storage, files: tuple[FileState, ...]) -> tuple[FileState, ...] | None:
    """The files with their present stamps when their content is the same, else None."""
    found = []
    for file in files:
        entry = storage.stat(file.path)
        if entry is None or entry.size != file.bytes:
            return None
        if entry.stamp != file.stamp:
            if not storage.local or not file.sha256:
                return None
            if sha256(Path(storage.shown(file.path))) != file.sha256:
                return None
        found.append(replace(file, stamp=entry.stamp))
    return tuple(found)


def stamped(storage: Storage, files: tuple[FileState, ...]) -> tuple[FileState, ...]:
    """The files with their present stamps, where they are there."""
    entries = [(file, storage.stat(file.path)) for file in files]
    return tuple(
        file if entry is None else replace(file, stamp=entry.stamp) for file, entry in entries
    )
