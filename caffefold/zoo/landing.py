"""Results land together: pair, page and report of one model, whatever happens meanwhile.

Everything is made in one folder inside the target, under the task's token. Once complete, a record
of it is written there, then each file is renamed to its place, the report last. A run that is
killed in between leaves the record; the next run finishes what it finds with a record, and throws
away what it finds without. Behind a URL, files are uploaded instead: the record then tells the
next run whose they are, and whether they are complete.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from caffefold.zoo import digest
from caffefold.zoo.remote import RemoteStorage
from caffefold.zoo.storage import STATE, Storage
from caffefold.zoo.values import FAILED, FileState, Outcome

WORK = f"{STATE}/work"
# What is put behind the model's name, in the order in which it is put in place.
SUFFIXES = (".prototxt", ".caffemodel", ".html", ".report.json")


def targets(name: str) -> tuple[str, ...]:
    """Where the results of a model go."""
    return tuple(name + suffix for suffix in SUFFIXES)


def land(
    folder: Path, target: Storage, outcome: Outcome, digests: Mapping[str, str], token: str
) -> Outcome:
    """Put the files of ``folder`` in place.

    Args:
        folder: where they were made; on the file system of a local target.
        target: the zoo's target.
        outcome: what is known so far; its ``outputs`` are filled in.
        digests: SHA-256 by suffix.
        token: the name of the files, before the suffix, and of the record.
    """
    outputs = tuple(
        FileState(outcome.name + suffix, (folder / f"{token}{suffix}").stat().st_size, "", known)
        for suffix, known in digests.items()
    )
    outcome = replace(outcome, outputs=outputs)
    target.write(_record(token), json.dumps(outcome.to_json()).encode())
    return _finish(folder, token, target, outcome)


def _record(token: str) -> str:
    return f"{WORK}/{token}.json"


def _finish(folder: Path, token: str, target: Storage, outcome: Outcome) -> Outcome:
    """Put in place what is not yet there; the outcome with the stamps of the files."""
    for suffix in SUFFIXES:
        made = folder / f"{token}{suffix}"
        if made.exists():
            target.store(made, outcome.name + suffix)
    return replace(outcome, outputs=tuple(_stamped(target, each) for each in outcome.outputs))


def _stamped(target: Storage, known: FileState) -> FileState:
    entry = target.stat(known.path)
    return known if entry is None else replace(known, stamp=entry.stamp)


def recover(target: Storage) -> list[Outcome]:
    """Finish what a killed run had recorded; outcomes that are not journalled yet.

    What was uploaded only in part can not be finished: that is a failure, to be tried again. The
    records stay until ``clear``: only then is all of it in the journal.
    """
    if isinstance(target, RemoteStorage):
        names = [PurePosixPath(path).name for path in target.names(WORK)]
    else:
        names = sorted(path.name for path in Path(target.root, WORK).glob("*.json"))
    tokens = [name.removesuffix(".json") for name in names if not name.endswith(".report.json")]
    outcomes = (landed(target, token) for token in tokens)
    return [outcome for outcome in outcomes if outcome is not None]


def landed(target: Storage, token: str) -> Outcome | None:
    """The outcome of a worker that ended behind its work: recorded, then perhaps put in place."""
    with suppress(ValueError, KeyError, TypeError):
        outcome = Outcome.of_json(json.loads(target.read(_record(token)) or b""))
        if target.local:
            outcome = _finish(Path(target.root, WORK), token, target, outcome)
            return outcome if all(each.stamp for each in outcome.outputs) else _torn(outcome)
        return _uploaded(target, outcome)
    return None


def scratch(token: str) -> Path:
    """Where a worker makes what it then uploads. Whoever ends a worker removes it."""
    return Path(tempfile.gettempdir(), f"caffefold-zoo-{token}")


def is_recorded(target: Storage, token: str) -> bool:
    """Whether the results of a task are complete: from then on they land, come what may."""
    return target.stat(_record(token)) is not None


def _torn(outcome: Outcome) -> Outcome:
    reason = "the run was ended while its results were put in place"
    return replace(outcome, status=FAILED, code="Crashed", reason=reason, facts=None)


def _uploaded(target: Storage, outcome: Outcome) -> Outcome:
    """``outcome`` if all of its files are there and are what was to be uploaded."""
    with tempfile.TemporaryDirectory(prefix="caffefold-zoo-") as name:
        for known in outcome.outputs:
            entry = target.stat(known.path)
            whole = entry is not None and entry.size == known.bytes
            if not whole or digest.sha256(target.fetch(known.path, Path(name))) != known.sha256:
                return _torn(outcome)
    return replace(outcome, outputs=tuple(_stamped(target, each) for each in outcome.outputs))


def clear(target: Storage, token: str = "") -> None:
    """Forget a task whose outcome is journalled; without a token, all, and what they left."""
    if token:
        target.remove(_record(token))
    elif isinstance(target, RemoteStorage):
        for path in target.names(WORK):
            target.remove(path)
    else:
        shutil.rmtree(Path(target.root, WORK), ignore_errors=True)
