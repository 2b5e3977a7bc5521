"""What has been done, for the next run: one JSON object a line, only ever appended to.

The last line of a model counts. A line torn by a kill is not read, and the next one starts afresh.
Behind a URL, where nothing can be appended to, each entry is an object of its own until the next
run merges them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from caffefold.errors import OutputError
from caffefold.zoo.records import Outcome
from caffefold.zoo.storage import STATE, RemoteStorage, Storage, failing, opened

JOURNAL = f"{STATE}/journal.jsonl"
_PARTS = f"{STATE}/journal"


def read(storage: Storage) -> dict[str, Outcome]:
    """The latest outcome of each model. What cannot be read is as if it had never happened."""
    lines = (storage.read(JOURNAL) or b"").split(b"\n")
    if not storage.local:
        lines += [storage.read(path) or b"" for path in storage.names(_PARTS)]
    found: dict[str, Outcome] = {}
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            outcome = Outcome.of_json(json.loads(line))
            found[outcome.name] = outcome
    return found


def _line(outcome: Outcome) -> bytes:
    return json.dumps(outcome.to_json(), separators=(",", ":")).encode() + b"\n"


class Journal:
    """Where outcomes are recorded. One write for each entry: the system appends it whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = opened(path, os.O_APPEND)
        if os.fstat(self._handle).st_size:
            os.lseek(self._handle, -1, os.SEEK_END)
            if os.read(self._handle, 1) != b"\n":
                self._write(b"\n")

    def append(self, outcome: Outcome) -> None:
        """Record one outcome; it is on its way to the disk when this returns."""
        self._write(_line(outcome))

    def _write(self, data: bytes) -> None:
        with failing(OutputError, self._path, "write"):
            while data:
                data = data[os.write(self._handle, data) :]

    def close(self) -> None:
        """Bring everything to the disk; nothing more will be recorded."""
        with suppress(OSError):
            os.fsync(self._handle)
        os.close(self._handle)


class _Parts(Journal):
    """The journal of a store: what is known is written whole, then one object for each entry."""

    def __init__(self, storage: Storage, known: Iterable[Outcome]) -> None:
        self._storage = storage
        self._number = 0
        self._latest = {outcome.name: outcome for outcome in known}
        self._merge()

    def append(self, outcome: Outcome) -> None:
        """One object."""
        self._latest[outcome.name] = outcome
        self._number += 1
        self._storage.write(f"{_PARTS}/{self._number:08d}.json", _line(outcome))

    def close(self) -> None:
        """Merge all entries into one object."""
        self._merge()

    def _merge(self) -> None:
        if self._storage.names(_PARTS):
            self._storage.write(JOURNAL, b"".join(map(_line, self._latest.values())))
            self._storage.clear(_PARTS)


def open_journal(storage: Storage, known: Iterable[Outcome]) -> Journal:
    """The journal to append to; ``known`` is what it holds."""
    if isinstance(storage, RemoteStorage):
        return _Parts(storage, known)
    return Journal(storage.place(JOURNAL))
