"""Results land together: pair, page and report of one model, whatever happens meanwhile.

Everything is made in a folder of its own inside the target. Once complete, a record of it is
written there, then each file is renamed to its place, the report last. A run that is killed in
between leaves the record; the next run finishes what it finds with a record, and throws away what
it finds without. Behind a URL, files are uploaded instead: the record then tells the next run whose
they are, and whether they are complete.
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


def land(
    folder: Path, target: Storage, outcome: Outcome, digests: Mapping[str, str], token: str
) -> Outcome:
    """Put the files of ``folder`` in place.

    Args:
        folder: where they were made; on the file system of a local target.
        target: the zoo's target.
        outcome: what is known so far; its ``outputs`` are filled in.
        digests: SHA-256 by file in ``folder``.
        token: names the record.
    """
    outputs = tuple(
        FileState(outcome.name + suffix, (folder / file).stat().st_size, "", digests[file])
        for file, suffix in FILES
    )
    outcome = replace(outcome, outputs=outputs)
    target.write(_record(target, token), json.dumps(outcome.to_json()).encode())
    return _finish(folder, target, outcome)


def _record(target: Storage, token: str) -> str:
    """Where the record is: beside the files when they are renamed, alone when they are uploaded."""
    return f"{WORK}/{token}/landing.json" if target.local else f"{WORK}/{token}.json"


def _finish(folder: Path, target: Storage, outcome: Outcome) -> Outcome:
    """Put in place what is not yet there; the outcome with the stamps of the files."""
    for file, suffix in FILES:
        if (folder / file).exists():
            target.store(folder / file, outcome.name + suffix)
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
        tokens = [PurePosixPath(path).stem for path in target.names(WORK)]
    else:
        tokens = sorted(path.name for path in Path(target.root, WORK).glob("*"))
    outcomes = (landed(target, token) for token in tokens)
    return [outcome for outcome in outcomes if outcome is not None]


def landed(target: Storage, token: str) -> Outcome | None:
    """The outcome of a worker that ended behind its work: recorded, then perhaps put in place."""
    with suppress(ValueError, KeyError, TypeError):
        outcome = Outcome.of_json(json.loads(target.read(_record(target, token)) or b""))
        if target.local:
            return _finish(Path(target.root, WORK, token), target, outcome)
        return _uploaded(target, outcome)
    return None


def _uploaded(target: Storage, outcome: Outcome) -> Outcome:
    """``outcome`` if all of its files are there and are what was to be uploaded."""
    with tempfile.TemporaryDirectory(prefix="caffefold-zoo-") as name:
        for known in outcome.outputs:
            entry = target.stat(known.path)
            whole = entry is not None and entry.size == known.bytes
            if not whole or digest.sha256(target.fetch(known.path, Path(name))) != known.sha256:
                reason = "the run was ended while its results were uploaded"
                return replace(outcome, status=FAILED, code="Crashed", reason=reason, facts=None)
    return _finish(Path(name), target, outcome)


def clear(target: Storage, token: str = "") -> None:
    """Forget a task whose outcome is journalled; without a token, all of them."""
    if isinstance(target, RemoteStorage):
        for path in [_record(target, token)] if token else target.names(WORK):
            target.remove(path)
    else:
        shutil.rmtree(Path(target.root, WORK, token), ignore_errors=True)
