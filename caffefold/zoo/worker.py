"""One model: fetch, convert, prove, land. Runs in a worker, here or on another machine."""

from __future__ import annotations

import errno
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from caffefold.conversion import convert, load
from caffefold.errors import CaffefoldError, InputError, UsageError
from caffefold.report import ConvertReport, FileSize
from caffefold.zoo import digest, landing, page
from caffefold.zoo.places import open_storage
from caffefold.zoo.storage import Entry, Storage
from caffefold.zoo.values import CONVERTED, FAILED, REFUSED, Facts, FileState, Model, Outcome

_CHANGED = "the file changed while it was read; run again"


class BugError(RuntimeError):
    """An exception that is none of ours, as text: it travels between processes."""


@dataclass(frozen=True, slots=True)
class Task:
    """One model and all a worker must know about it."""

    model: Model
    source: str
    target: str
    token: str
    """Unique: names the folder the results are made in."""
    deadline: float = 0.0
    """Time (``time.time()``) after which nothing is put in place any more; 0: never."""


def work(task: Task) -> Outcome:
    """Convert one model. What is wrong with its files, or with the system, is in the outcome.

    Raises:
        BugError: an exception that should not be.
    """
    start = time.perf_counter()
    try:
        outcome = _work(task)
    except CaffefoldError as error:
        status = REFUSED if isinstance(error, (InputError, UsageError)) else FAILED
        outcome = _ended(task, status, type(error).__name__, str(error))
    except MemoryError:
        outcome = _ended(task, FAILED, "OutOfMemory", "out of memory; give it more with --memory")
    except OSError as error:
        code = "OutOfMemory" if error.errno == errno.ENOMEM else type(error).__name__
        outcome = _ended(task, FAILED, code, f"{error.filename or 'system'}: {error.strerror}")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        text = f"{type(error).__name__}: {error} ({place})"
        raise BugError(" ".join(text.split())) from None
    return replace(outcome, seconds=round(time.perf_counter() - start, 3))


def _ended(task: Task, status: str, code: str, reason: str) -> Outcome:
    """The outcome of a model that was not converted, with the state of its files."""
    source = open_storage(task.source)
    inputs: list[FileState] = []
    for path in (*task.model.prototxts, task.model.caffemodel):
        entry = source.stat(path)
        if entry is not None:
            known = digest.sha256(Path(source.shown(path))) if source.local else ""
            inputs.append(FileState(path, entry.size, entry.stamp, known))
    assert status in (REFUSED, FAILED)
    return Outcome(
        task.model.name,
        REFUSED if status == REFUSED else FAILED,
        " ".join(reason.split()),
        code,
        inputs=tuple(inputs),
        fingerprint=task.model.fingerprint(),
    )


def _work(task: Task) -> Outcome:
    model = task.model
    if model.problem:
        raise InputError(model.problem)
    keywords = dict(model.options)
    source, target = open_storage(task.source), open_storage(task.target)
    with _folder(task, target) as folder:
        weights = source.fetch(model.caffemodel, _made(folder / "weights", source))
        entry = source.stat(model.caffemodel)
        if entry is None:
            raise InputError(f"{source.shown(model.caffemodel)}: no such file")
        known, sha1 = digest.both(weights, sha1=bool(model.sha1))
        if sha1 != model.sha1:
            raise InputError(
                f"{source.shown(model.caffemodel)}: its SHA-1 is {sha1}, the zoo says "
                f"{model.sha1}; the file is damaged, or another version than the one described"
            )
        inputs = [FileState(model.caffemodel, entry.size, entry.stamp, known)]
        notes: list[str] = []
        refusal: CaffefoldError | None = None
        for path in model.prototxts:
            prototxt = source.fetch(path, _made(folder / "prototxt", source))
            inputs.append(_input(source, path, prototxt))
            try:
                report = convert(prototxt, weights, folder / task.token, **keywords)
            except (InputError, UsageError) as error:
                said = _as_seen(str(error), source, path, prototxt, model.caffemodel, weights)
                notes.append(f"{path} was refused: {said}")
                refusal = refusal or _plain(error, said)
                continue
            _unchanged(source, entry)
            return _land(task, folder, source, target, path, prototxt, report, inputs, notes)
        raise refusal or InputError(f"{model.caffemodel}: no prototxt to convert it with")


def _plain(error: CaffefoldError, said: str) -> CaffefoldError:
    """The error with another text: TextError and WeightsError would ask for their place again."""
    return UsageError(said) if isinstance(error, UsageError) else InputError(said)


def _land(
    task: Task,
    folder: Path,
    source: Storage,
    target: Storage,
    path: str,
    prototxt: Path,
    report: ConvertReport,
    inputs: list[FileState],
    notes: list[str],
) -> Outcome:
    model = task.model
    sizes = (s.bytes for s in (*report.inputs[:2], *report.outputs[:2]))
    places = [target.shown(each) for each in landing.targets(model.name)[:2]]
    shown = (source.shown(path), source.shown(model.caffemodel), *places)
    files = tuple(FileSize(*each) for each in zip(shown, sizes, strict=True))
    inside, outside = (*files[:2], *report.inputs[2:]), (*files[2:], *report.outputs[2:])
    report = replace(report, inputs=inside, outputs=outside)
    made = {suffix: folder / f"{task.token}{suffix}" for suffix in landing.SUFFIXES}
    made[".report.json"].write_bytes(report.to_json().encode("utf-8", "backslashreplace"))
    outcome = Outcome(
        model.name,
        CONVERTED,
        prototxt=path,
        facts=_facts(report),
        notes=tuple(notes),
        inputs=tuple(inputs),
        fingerprint=model.fingerprint(),
    )
    with load(prototxt) as before, load(made[".prototxt"]) as after:
        html = page.model_page(model, outcome, report, before, after)
    made[".html"].write_bytes(html)
    digests = {suffix: digest.sha256(path) for suffix, path in made.items()}
    if task.deadline and time.time() > task.deadline:
        return _ended(task, FAILED, "TimedOut", "took longer than --timeout allows")
    return landing.land(folder, target, outcome, digests, task.token)


def _facts(report: ConvertReport) -> Facts:
    left = Counter[str]()
    for skip in report.skips:
        left[skip.code.value] += len(skip.layers)
    return Facts(
        report.net,
        report.layers_before,
        report.layers_after,
        len(report.proof.folds),
        sum(len(chain) for _, chain in report.folded()),
        report.proof.largest_error,
        report.inputs[1].bytes,
        report.outputs[1].bytes,
        dict(sorted(left.items())),
        report.warnings,
    )


@contextmanager
def _folder(task: Task, target: Storage) -> Iterator[Path]:
    """Where the results are made; what will not land is gone afterwards."""
    if not target.local:
        folder = landing.scratch(task.token)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    folder = Path(target.shown(landing.WORK))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if not landing.is_recorded(target, task.token):
            for suffix in landing.SUFFIXES:
                (folder / f"{task.token}{suffix}").unlink(missing_ok=True)


def _made(folder: Path, source: Storage) -> Path:
    """A folder for a copy, where one is needed."""
    if not source.local:
        folder.mkdir(exist_ok=True)
    return folder


def _input(source: Storage, path: str, place: Path) -> FileState:
    try:
        return digest.state(source, path, place, digest.sha256(place))
    except OSError as error:
        raise InputError(f"{source.shown(path)}: cannot read: {error.strerror}") from None


def _unchanged(source: Storage, entry: Entry) -> None:
    """The weights are the largest file: who overwrites a zoo while it is read overwrites them."""
    now = source.stat(entry.path)
    if now is None or (now.size, now.stamp) != (entry.size, entry.stamp):
        raise OSError(errno.EAGAIN, _CHANGED, source.shown(entry.path))


def _as_seen(
    text: str, source: Storage, path: str, prototxt: Path, caffemodel: str, weights: Path
) -> str:
    """A message with the places of the zoo in place of those of copies."""
    if source.local:
        return text
    text = text.replace(str(prototxt), source.shown(path))
    return text.replace(str(weights), source.shown(caffemodel))
