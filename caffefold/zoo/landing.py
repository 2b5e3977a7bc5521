"""Results land together: pair, page and report of one model, whatever happens meanwhile.

Everything is made in a folder of its own inside the target. Once complete, a record of it is
written there, then each file is renamed to its place, the report last. A run that is killed in
between leaves the record; the next run finishes what it finds with a record, and throws away what
it finds without.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from caffefold.zoo.local import LocalStorage
from caffefold.zoo.storage import STATE, Storage
from caffefold.zoo.values import FileState, Outcome

WORK = f"{STATE}/work"
_RECORD = "landing.json"
# (file in the work folder, what is put behind the model's name), in the order they are put in place
FILES = (
    ("out.prototxt", ".prototxt"),
    ("out.caffemodel", ".caffemodel"),
    ("out.html", ".html"),
    ("out.report.json", ".report.json"),
)


def targets(name: str) -> tuple[str, ...]:
    """Where the results of a model go."""
    return tuple(name + suffix for _, suffix in FILES)


def land(folder: Path, target: Storage, outcome: Outcome, digests: Mapping[str, str]) -> Outcome:
    """Put the files of ``folder`` in place.

    Args:
        folder: where they were made; on the file system of a local target.
        target: the zoo's target.
        outcome: what is known so far; its ``outputs`` are filled in.
        digests: SHA-256 by file in ``folder``.
    """
    outputs = tuple(
        FileState(outcome.name + suffix, (folder / file).stat().st_size, "", digests[file])
        for file, suffix in FILES
    )
    outcome = replace(outcome, outputs=outputs)
    if target.local:
        part = folder / f"{_RECORD}.part"
        part.write_text(json.dumps(outcome.to_json()))
        part.replace(folder / _RECORD)
    return _finish(folder, target, outcome)


def _finish(folder: Path, target: Storage, outcome: Outcome) -> Outcome:
    """Put in place what is not yet there; the outcome with the stamps of the files."""
    for file, suffix in FILES:
        if (folder / file).exists():
            target.store(folder / file, outcome.name + suffix)
    return replace(outcome, outputs=tuple(_stamped(target, each) for each in outcome.outputs))


def _stamped(target: Storage, known: FileState) -> FileState:
    entry = target.stat(known.path)
    return known if entry is None else replace(known, stamp=entry.stamp)


def recover(target: LocalStorage) -> list[Outcome]:
    """Finish what a killed run had recorded, throw away the rest; outcomes not yet journalled.

    The folders of what was finished stay until ``clear``: only then is it in the journal.
    """
    finished = []
    for folder in sorted(Path(target.root, WORK).glob("*")):
        outcome = _recorded(folder)
        if outcome is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            finished.append(_finish(folder, target, outcome))
    return finished


def landed(target: LocalStorage, token: str) -> Outcome | None:
    """The outcome of a worker that died behind its work: recorded, then perhaps put in place."""
    folder = Path(target.root, WORK, token)
    outcome = _recorded(folder)
    return None if outcome is None else _finish(folder, target, outcome)


def _recorded(folder: Path) -> Outcome | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Outcome.of_json(json.loads((folder / _RECORD).read_bytes()))
    return None


def clear(target: LocalStorage, token: str = "") -> None:
    """Remove a work folder whose outcome is journalled; without a token, all of them."""
    shutil.rmtree(Path(target.root, WORK, token), ignore_errors=True)
