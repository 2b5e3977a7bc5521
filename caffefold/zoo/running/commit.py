"""Commit the results of one model together: pair, page and report, whatever happens meanwhile.

All of them are made in one folder inside the target, named by the task's token. Once complete, a
record of the commit is written there, then each file is renamed to its place, the report last. A
run that is killed in between leaves the record: the next run finishes what has a record, and throws
away what has none. Behind a URL files are uploaded instead, and the record shows the next run whose
they are and whether they are complete.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from caffefold.zoo.records import Outcome
from caffefold.zoo.storage import (
    STATE,
    TEMPORARY,
    LocalStorage,
    RemoteStorage,
    Storage,
    digest,
    stamped,
)

WORK = f"{STATE}/work"
# Appended to the model's name, in the order in which the files are put in place.
SUFFIXES = (".prototxt", ".caffemodel", ".html", ".report.json")


def scratch(token: str) -> Path:
    """Where a worker makes what it then uploads. Whoever ends a worker removes it."""
    return Path(tempfile.gettempdir(), f"{TEMPORARY}{token}")


def commit(folder: Path, target: Storage, outcome: Outcome, token: str) -> Outcome:
    """Put the files of ``folder`` in place; ``outcome`` with their stamps.

    Args:
        folder: where they were made; on the file system of a local target.
        target: the zoo's target.
        outcome: what became of the model; its ``outputs`` have no stamps yet.
        token: the name of the files, before the suffix, and of the record.
    """
    target.write(_record(token), json.dumps(outcome.to_json()).encode())
    return _finish(folder, token, target, outcome)


def is_recorded(target: Storage, token: str) -> bool:
    """Whether the results of a task are complete: from then on they are put in place."""
    return target.stat(_record(token)) is not None


def recover(target: Storage) -> list[Outcome]:
    """Finish what a killed run had recorded; outcomes that are not journalled yet.

    What was uploaded only in part cannot be finished: that is a failure, to be tried again. The
    records stay until ``clear``: only then is all of it in the journal.
    """
    records = [path for path in target.names(WORK) if path.endswith(".json")]
    tokens = [PurePosixPath(path).stem for path in records if not path.endswith(".report.json")]
    outcomes = (recovered(target, token) for token in tokens)
    return [outcome for outcome in outcomes if outcome is not None]


def recovered(target: Storage, token: str) -> Outcome | None:
    """The outcome of a task whose worker died after it wrote the record; None without one."""
    with suppress(ValueError, KeyError, TypeError):
        outcome = Outcome.of_json(json.loads(target.read(_record(token)) or b""))
        if isinstance(target, LocalStorage):
            outcome = _finish(Path(target.root, WORK), token, target, outcome)
            whole = all(file.stamp for file in outcome.outputs)
        else:
            whole = _is_uploaded(target, outcome)
            outcome = replace(outcome, outputs=stamped(target, outcome.outputs))
        if whole:
            return outcome
        reason = "the run was ended while its results were put in place"
        return replace(outcome, status="failed", code="Crashed", reason=reason, facts=None)
    return None


def clear(target: Storage, token: str = "") -> None:
    """Forget a task whose outcome is journalled; without a token, all, with what they left."""
    if token:
        target.remove(_record(token))
    else:
        target.clear(WORK)


def _record(token: str) -> str:
    return f"{WORK}/{token}.json"


def _finish(folder: Path, token: str, target: Storage, outcome: Outcome) -> Outcome:
    """Put in place what is not there yet; the outcome with the stamps of the files."""
    for suffix in SUFFIXES:
        made = folder / f"{token}{suffix}"
        if made.exists():
            target.store(made, outcome.name + suffix)
    return replace(outcome, outputs=stamped(target, outcome.outputs))


def _is_uploaded(target: RemoteStorage, outcome: Outcome) -> bool:
    """Whether all files of ``outcome`` are there and are what was to be uploaded."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as name:
        return all(
            (entry := target.stat(known.path)) is not None
            and entry.size == known.bytes
            and digest(target.fetch(known.path, Path(name))) == known.sha256
            for known in outcome.outputs
        )
