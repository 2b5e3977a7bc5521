"""One model: fetch, convert, prove, commit. Runs in a worker, here or on another machine."""

from __future__ import annotations

import errno
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from caffefold.conversion import convert_into
from caffefold.errors import CaffefoldError, InputError, UsageError
from caffefold.files import pair
from caffefold.formats import disk
from caffefold.formats.atomic import Staging
from caffefold.formats.prototxt.open import read_net, schema_of
from caffefold.frozen import dataclass
from caffefold.ir.net import Net
from caffefold.options import ALL, ConvertOptions, DeployOptions, part
from caffefold.report import ConvertReport
from caffefold.zoo.pages import site
from caffefold.zoo.records import Facts, Model, OnnxFacts, Outcome, Status, Verified
from caffefold.zoo.running import commit
from caffefold.zoo.storage import (
    Copies,
    FileState,
    RemoteStorage,
    Storage,
    digest,
    failing,
    open_storage,
    stamped,
)

_CHANGED = "the file changed while it was read; run again"


@dataclass(frozen=True, slots=True)
class Task:
    """One model and all a worker must know about it."""

    model: Model
    source: str
    target: str
    token: str
    """Unique: names the files while they are made."""
    deadline: float = 0.0
    """Time (``time.time()``) after which nothing is put in place any more; 0: never."""


Work = Callable[[Task], Outcome]


class _BugError(RuntimeError):
    """An exception that should not be, in one line."""


def attempt(work: Work, task: Task) -> Outcome:
    """Do ``work``; whatever is wrong, with the files, the system or this program, is an outcome."""
    start = time.perf_counter()
    try:
        outcome = _checked(work, task)
    except CaffefoldError as error:
        refused = isinstance(error, (InputError, UsageError)) and not _is_of_the_system(error)
        status: Status = "refused" if refused else "failed"
        outcome = _ended(task, status, type(error).__name__, str(error))
    except MemoryError:
        reason = "out of memory; raise the memory limit, or use fewer jobs"
        outcome = _ended(task, "failed", "OutOfMemory", reason)
    except OSError as error:
        code = "OutOfMemory" if error.errno == errno.ENOMEM else type(error).__name__
        outcome = _ended(task, "failed", code, f"{error.filename or 'system'}: {error.strerror}")
    except _BugError as error:
        outcome = Outcome.of(
            task.model,
            "failed",
            "Bug",
            f"this is a bug in caffefold, not in your files: {error}; convert this model alone "
            "with 'caffefold -vv convert' and report what it prints",
        )
    return replace(outcome, seconds=round(time.perf_counter() - start, 3))


def _is_of_the_system(error: CaffefoldError) -> bool:
    """Whether the system could not read a file: next time it may, though the file is the same."""
    return isinstance(error.__context__, OSError)


def _checked(work: Work, task: Task) -> Outcome:
    try:
        return work(task)
    except (CaffefoldError, MemoryError, OSError):
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        raise _BugError(" ".join(f"{type(error).__name__}: {error} ({place})".split())) from None


def _ended(task: Task, status: Status, code: str, reason: str) -> Outcome:
    """The outcome of a model that was not converted, with the state of its files."""
    source = open_storage(task.source)
    for root in (source.root, open_storage(task.target).root):  # reasons name paths in the zoo
        reason = reason.replace(f"{root}/", "")
    inputs = []
    for path in (*task.model.prototxts, task.model.caffemodel):
        with suppress(CaffefoldError, OSError):  # it may be what failed
            place = Path(source.shown(path)) if source.local else None
            inputs.append(_state(source, path, place))
    outcome = Outcome.of(task.model, status, code, " ".join(reason.split()))
    return replace(outcome, inputs=tuple(inputs))


def work(task: Task) -> Outcome:
    """Convert one model, prove it, commit its results.

    Raises:
        CaffefoldError, OSError: it cannot be converted.
    """
    model = task.model
    if model.problem:
        raise InputError(model.problem)
    source, target = open_storage(task.source), open_storage(task.target)
    with _folder(task, target) as folder:
        copies = Copies(source, folder)
        weights = copies.of(model.caffemodel)
        inputs = [_state(source, model.caffemodel, weights, model.sha1)]
        notes: list[str] = []
        refusal: CaffefoldError | None = None
        for path in model.prototxts:
            prototxt = copies.of(path)
            inputs.append(_state(source, path, prototxt))
            given = _Given(path, prototxt, weights, tuple(inputs), tuple(notes))
            try:
                return _converted(task, folder, given)
            except (InputError, UsageError) as error:
                if _is_of_the_system(error):
                    raise
                reason = copies.named(str(error))
                notes.append(f"{path} was refused: {reason}")
                # Errors with a place would add it to their text again.
                kind = UsageError if isinstance(error, UsageError) else InputError
                refusal = refusal or kind(reason)
        raise refusal or InputError(f"{model.caffemodel}: no prototxt to convert it with")


@dataclass(frozen=True, slots=True)
class _Given:
    """A pair to convert: where it lies, and what is known of it."""

    path: str
    prototxt: Path
    caffemodel: Path
    inputs: tuple[FileState, ...]
    notes: tuple[str, ...]


def _converted(task: Task, folder: Path, given: _Given) -> Outcome:
    """Convert a pair and put the results in place.

    Raises:
        CaffefoldError, OSError: it cannot be converted, or cannot be put in place.
    """
    model = task.model
    target = open_storage(task.target)
    made = {suffix: folder / f"{task.token}{suffix}" for suffix in commit.ALL}
    if isinstance(target, RemoteStorage):
        place = folder / "results" / task.token
    else:
        place = target.place(model.name)
    targets = {suffix: place.with_name(place.name + suffix) for suffix in commit.ALL}
    options = ConvertOptions(**model.options)
    sources = (given.prototxt, given.caffemodel)
    with (
        pair(read_net(given.prototxt, schema_of(options.proto)), given.caffemodel) as net,
        Staging({targets[suffix]: made[suffix] for suffix in commit.ALL}) as staging,
    ):
        pairs = targets[".prototxt"], targets[".caffemodel"]
        report, after = convert_into(staging, net, pairs, options, sources)
        verified = None
        if model.verify:
            staged = map(staging.path_of, pairs)
            verified, report = _verified(staged, net, options, model.verify, report)
            if verified.verdict == "different":
                reason = f"the written net is {verified.reason}"
                return replace(_ended(task, "failed", "Different", reason), verified=verified)
        onnx = _as_onnx(staging, targets, after, report) if model.onnx else None
        _check_unchanged(task, given.inputs[0])
        outcome = Outcome(
            model.name,
            "converted",
            prototxt=given.path,
            facts=replace(_facts(report), onnx=onnx),
            verified=verified,
            notes=given.notes,
            inputs=given.inputs,
            fingerprint=model.fingerprint(),
        )
        report = _named(task, outcome, report)
        page = site.model_page(model, outcome, report)
        staging.write(targets[".html"], page)
        text = report.to_json().encode("utf-8", "backslashreplace")
        staging.write(targets[".report.json"], text)
        written = tuple(
            FileState(model.name + suffix, path.stat().st_size, "", digest(path))
            for suffix, path in made.items()
            if suffix in commit.SUFFIXES or path.exists()
        )
        outcome = replace(outcome, outputs=written)
        if task.deadline and time.time() > task.deadline:
            return _ended(task, "failed", "TimedOut", "took longer than the timeout allows")
        staging.finish()  # what has a record is on the disk
        commit.record(target, outcome, task.token)
        try:
            if isinstance(target, RemoteStorage):
                commit.upload(folder, target, outcome, task.token)
            else:
                staging.commit()
        except Exception:
            commit.clear(target, task.token)  # what is not in place will not be
            raise
    return replace(outcome, outputs=stamped(target, outcome.outputs))


def _as_onnx(
    staging: Staging, targets: Mapping[str, Path], net: Net, report: ConvertReport
) -> OnnxFacts:
    """Stage the ONNX model of a pair; a net that has none keeps its pair.

    Raises:
        CaffefoldError: the model cannot be written, or does not compute what the net does.
    """
    from caffefold.onnx_export.exporting import OnnxBeside  # seldom needed

    beside = OnnxBeside()
    try:
        beside.stage(staging, targets[".onnx"], net, report.preprocessing)
    except (InputError, UsageError) as error:
        staging.drop([targets[suffix] for suffix in commit.ONNX])
        return OnnxFacts(" ".join(str(error).split()))
    agreement = beside.report.agreement
    return OnnxFacts(
        nodes=beside.report.nodes, error=None if agreement is None else agreement.worst.error
    )


def _verified(
    staged: Iterable[Path], net: Net, options: ConvertOptions, runtime: str, report: ConvertReport
) -> tuple[Verified, ConvertReport]:
    """Run the net and what is staged side by side; the report has it, too.

    Raises:
        CaffefoldError: the system could not read a file.
    """
    from caffefold.verification.verifying import verify  # seldom needed

    own = part(DeployOptions, options)
    prototxt, caffemodel = staged
    try:
        with pair(read_net(prototxt, net.document.schema), caffemodel) as written:
            found = verify(net, written, runtime={ALL: runtime}, **own)
    except (InputError, UsageError) as error:
        if _is_of_the_system(error):
            raise
        return Verified("unverified", " ".join(str(error).split())), report
    return Verified(found.verdict, found.sentence()), replace(report, verification=found)


def _check_unchanged(task: Task, given: FileState) -> None:
    """The weights are the largest file: whoever overwrites a zoo overwrites them."""
    source = open_storage(task.source)
    now = source.stat(given.path)
    if now is None or (now.size, now.stamp) != (given.bytes, given.stamp):
        raise OSError(errno.EAGAIN, _CHANGED, source.shown(given.path))


def _named(task: Task, outcome: Outcome, report: ConvertReport) -> ConvertReport:
    """The report with the files called what they are in the zoo."""
    model = task.model
    source, target = open_storage(task.source), open_storage(task.target)
    paths = outcome.prototxt, model.caffemodel
    inputs = [f._replace(path=source.shown(p)) for f, p in zip(report.inputs, paths, strict=False)]
    outputs = [
        file._replace(path=target.shown(model.name + suffix))
        for file, suffix in zip(report.outputs, commit.SUFFIXES[:2], strict=False)
    ]
    return replace(
        report,
        inputs=(*inputs, *report.inputs[2:]),
        outputs=(*outputs, *report.outputs[2:]),
    )


def _state(source: Storage, path: str, place: Path | None, sha1: str = "") -> FileState:
    """The state of a file of the zoo, which is at ``place``; None: its content is not read.

    Raises:
        InputError: it cannot be read, or ``sha1`` is given and is not its SHA-1.
    """
    entry, shown = source.stat(path), source.shown(path)
    if entry is None:
        raise InputError(f"{shown}: no such file")
    with failing(InputError, shown, "read"):
        known = digest(place) if place else ""
        found = digest(place, "sha1") if place and sha1 else ""
    if found != sha1:
        raise InputError(
            f"{shown}: its SHA-1 is {found}, the zoo lists {sha1}; the file is damaged, or not "
            "the version described"
        )
    return FileState(path, entry.size, entry.stamp, known)


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
    """Where the results are made; what will not be committed is gone afterwards."""
    if isinstance(target, RemoteStorage):
        folder = commit.scratch(task.token)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    folder = target.place(f"{commit.WORK}/")
    disk.make_folders(folder)
    try:
        yield folder
    finally:
        if not commit.is_recorded(target, task.token):
            for suffix in commit.ALL:
                (folder / f"{task.token}{suffix}").unlink(missing_ok=True)
