"""Commit the results of one model together: pair, page and report, whatever happens meanwhile.

All of them are made in one folder inside the target, named by the task's token. Once complete, a
record of the commit is written there, then they are put in place as a group (``formats.groups``). A
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

from caffefold.errors import CaffefoldError
from caffefold.formats import groups
from caffefold.zoo.records import Outcome
from caffefold.zoo.storage import (
    STATE,
    TEMPORARY,
    LocalStorage,
    RemoteStorage,
    Storage,
    digest,
    stamped,
    unchanged,
)

WORK = f"{STATE}/work"
# Appended to the model's name, in the order in which the files are put in place.
SUFFIXES = (".prototxt", ".caffemodel", ".html", ".report.json")
ONNX = (".onnx", ".onnx.data")
"""Where it is asked for and can be made; the second one of more than 2 GB."""
ALL = (*SUFFIXES[:2], *ONNX, *SUFFIXES[2:])
_ENDED = "the run was ended while its results were put in place"


def scratch(token: str) -> Path:
    """Where a worker makes what it then uploads. Whoever ends a worker removes it."""
    return Path(tempfile.gettempdir(), f"{TEMPORARY}{token}")


def record(target: Storage, outcome: Outcome, token: str) -> None:
    """Note that the results of a task are complete, and what they are.

    Args:
        target: the zoo's target.
        outcome: what became of the model; its ``outputs`` have no stamps yet.
        token: the name of the files that were made, before the suffix.
    """
    target.write(_record(token), json.dumps(outcome.to_json()).encode())


def upload(folder: Path, target: RemoteStorage, outcome: Outcome, token: str) -> None:
    """Put the files of ``folder`` in place behind a URL, the report last."""
    for path, suffix in _files(outcome):
        target.store(folder / f"{token}{suffix}", path)


def remove_former(target: Storage, former: Outcome | None, outcome: Outcome) -> None:
    """Remove what ``former`` wrote and a new conversion did not: it does not belong to the pair.

    What somebody changed since is theirs, and stays.
    """
    if former is None or outcome.status != "converted":
        return
    written = {file.path for file in outcome.outputs}
    for file in former.outputs:
        if file.path not in written and unchanged(target, (file,)) is not None:
            target.remove(file.path)


def _files(outcome: Outcome) -> list[tuple[str, str]]:
    """The results, as paths and as what is appended to the model's name; in their order."""
    return [(file.path, file.path.removeprefix(outcome.name)) for file in outcome.outputs]


def is_recorded(target: Storage, token: str) -> bool:
    """Whether the results of a task are complete: from then on they are put in place."""
    return target.stat(_record(token)) is not None


def recover(target: Storage) -> list[Outcome]:
    """Finish what a killed run had recorded; outcomes that are not journalled yet.

    What cannot be finished is a failure of that model, to be tried again. The records stay until
    ``clear``: only then is all of it in the journal.
    """
    records = [path for path in target.names(WORK) if path.endswith(".json")]
    tokens = [PurePosixPath(path).stem for path in records if not path.endswith(".report.json")]
    outcomes = (recovered(target, token) for token in tokens)
    return [outcome for outcome in outcomes if outcome is not None]


def recovered(target: Storage, token: str) -> Outcome | None:
    """The outcome of a task whose worker died after it wrote the record; None without one."""
    with suppress(ValueError, KeyError, TypeError, CaffefoldError, OSError):
        outcome = Outcome.of_json(json.loads(target.read(_record(token)) or b""))
        try:
            if isinstance(target, LocalStorage):
                whole = _is_finished(target, outcome, token)
            else:
                whole = _is_uploaded(target, outcome)
        except (CaffefoldError, OSError) as error:
            why = f"{_ENDED}; they cannot be: {error}"
            return replace(outcome, status="failed", code="Crashed", reason=why, facts=None)
        if whole:
            return replace(outcome, outputs=stamped(target, outcome.outputs))
        return replace(outcome, status="failed", code="Crashed", reason=_ENDED, facts=None)
    return None


def clear(target: Storage, token: str = "") -> None:
    """Forget a task whose outcome is journalled; without a token, all, with what they left."""
    if token:
        target.remove(_record(token))
    else:
        target.clear(WORK)


def _record(token: str) -> str:
    return f"{WORK}/{token}.json"


def _is_finished(target: LocalStorage, outcome: Outcome, token: str) -> bool:
    """Put in place what is not there yet; whether all of it is there then."""
    folder = Path(target.root, WORK)
    files = [
        (folder / f"{token}{suffix}", Path(target.place(path))) for path, suffix in _files(outcome)
    ]
    known = {Path(target.root, file.path): file.sha256 for file in outcome.outputs}
    for made, place in files:
        # What is not in the folder any more was put in place; unless somebody wrote there since.
        if not made.exists() and (not place.is_file() or digest(place) != known.get(place)):
            return False
    groups.finish(files)
    return True


def _is_uploaded(target: RemoteStorage, outcome: Outcome) -> bool:
    """Whether all files of ``outcome`` are there and are what was to be uploaded."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as name:
        return all(
            (entry := target.stat(known.path)) is not None
            and entry.size == known.bytes
            and digest(target.fetch(known.path, Path(name))) == known.sha256
            for known in outcome.outputs
        )
