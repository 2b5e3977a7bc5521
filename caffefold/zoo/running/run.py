"""Run a plan: convert what is new, changed or failed; the journal has all the rest.

The target holds, beside the results, ``.caffefold-zoo/``: the journal, the lock, the cached plan
and, while a run lasts, folders in which results are made.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from caffefold.errors import Option, OutputError, UsageError
from caffefold.zoo.planning import plan as plans
from caffefold.zoo.planning.manifest import DEFAULT_RUNTIME
from caffefold.zoo.records import Event, Kind, Model, Outcome, Plan, Result
from caffefold.zoo.running import commit, journal, lock
from caffefold.zoo.storage import STATE, Storage, open_storage, unchanged

if TYPE_CHECKING:
    from caffefold.zoo.running.engines import Engine

_CHANGED_BY_HAND = f"{STATE}/changed"
_identity = attrgetter("status", "fingerprint", "inputs", "outputs")
_STILL_THERE = "the results of an earlier version are still there"


def run(
    plan: Plan,
    on_event: Callable[[Event], None] | None = None,
    *,
    jobs: int = 0,
    engine: str = "processes",
    scheduler: str = "",
    timeout: float = 0.0,
    memory: int = 0,
    fail_fast: bool = False,
    retry_failed: bool = False,
    force: bool = False,
) -> Result:
    """Convert what is new, changed or failed since the last run.

    Worker processes never run the calling script: it needs no ``if __name__ == "__main__":``
    (except on Windows).

    Args:
        plan: from ``plan``, with a target.
        on_event: called in this thread as models start and end.
        jobs: worker processes; 0: one for each core.
        engine: ``"processes"``, or ``"dask"``.
        scheduler: address of the Dask scheduler.
        timeout: seconds that one model may take; 0: any time.
        memory: bytes that one worker process may have; 0: as much as there is.
        fail_fast: stop at the first model that is not converted.
        retry_failed: retry refused models even if their files have not changed.
        force: convert everything again, also over files that no earlier run made.

    Returns:
        What became of each model, earlier runs included. Also written to the target: ``zoo.json``,
        ``zoo.csv``, ``index.html`` and a page for each model.

    Raises:
        OutputError: the target cannot be written, or another run holds it.
        UsageError: options that contradict each other, or a package is not installed.
        KeyboardInterrupt: Ctrl-C; finished models are kept and are in the journal.
    """
    if not plan.target:
        raise UsageError("this plan has no target; give one to plan()")
    source, target = map(open_storage, plan.places)
    make = _engine(engine, scheduler, jobs, timeout, memory, source, target)
    if engine != "dask":
        _check_runtimes(plan)
    with lock.held(target):
        plans.keep(plan, target)
        known = journal.read(target)
        with closing(journal.open_journal(target, known.values())) as book:
            _recover(target, book, known)
            work = _Run(
                plan, source, target, book, known, make, on_event, fail_fast, retry_failed, force
            )
            try:
                work.all()
            finally:
                work.late(_recover(target, book, known))
                result = work.result()
                _write(result, target, work.worked)
    return result


def _engine(
    name: str,
    scheduler: str,
    jobs: int,
    timeout: float,
    memory: int,
    source: Storage,
    target: Storage,
) -> Callable[[], Engine]:
    """What makes the engine, which loads much: not before something is to be converted.

    Raises:
        UsageError: the options contradict each other.
    """
    from caffefold.zoo import processes

    shared = source.shared and target.shared
    if name not in ("processes", "threads", "dask"):
        raise UsageError(Option("engine", name), ": choose processes or dask")
    if name == "dask" and not scheduler:
        raise UsageError(
            Option("engine", name), ": give the ", Option("scheduler"), ", such as tcp://host:8786"
        )
    if name != "dask" and scheduler:
        raise UsageError(Option("scheduler"), " goes with ", Option("engine", "dask"))
    if name == "dask" and memory:
        raise UsageError(Option("memory"), ": with Dask it is the workers' own memory limit")
    if name == "dask" and not shared:
        raise UsageError("memory:// is visible to this process only; a cluster cannot use it")
    if memory:
        processes.check_memory(memory)

    def make() -> Engine:
        from caffefold.zoo.running.engines import DaskEngine, ProcessEngine, ThreadEngine

        if name == "dask":
            return DaskEngine(scheduler, timeout)
        if name == "threads" or not shared:
            return ThreadEngine(jobs or processes.cores())
        guard = target.shown(lock.GUARD) if target.local else ""
        return ProcessEngine(jobs or processes.cores(), timeout, memory, guard)

    return make


def _check_runtimes(plan: Plan) -> None:
    """Say once what is not installed, not of each model."""
    if any(model.verify == DEFAULT_RUNTIME for model in plan.models):
        from caffefold.verification.runtimes.onnx import required

        required()


def _recover(target: Storage, book: journal.Journal, known: dict[str, Outcome]) -> list[Outcome]:
    """Journal what was committed and not reported; clear away what never will be."""
    found = commit.recover(target)
    for outcome in found:
        old = known.get(outcome.name)
        # The journal has it already when the run was killed before the record was cleared away.
        if old is None or _identity(old) != _identity(outcome):
            commit.remove_former(target, old, outcome)
            book.append(outcome)
            known[outcome.name] = outcome
    commit.clear(target)
    return found


def _write(result: Result, target: Storage, worked: set[str]) -> None:
    """zoo.json, zoo.csv, index.html, pages of what was refused; only what differs is written."""
    from caffefold.zoo.pages import site

    for model, outcome in result.pairs:
        place = f"{model.name}.html"
        stays = model.name not in worked and target.stat(place) is not None
        if outcome.status != "converted" and not stays:
            with suppress(OutputError):  # its name is what failed, most likely
                target.write(place, site.plain_page(model, outcome))
    for path, content in (
        ("zoo.json", site.as_json(result).encode("utf-8", "backslashreplace")),
        ("zoo.csv", site.as_csv(result).encode("utf-8", "backslashreplace")),
        ("index.html", site.index_page(result)),
    ):
        if target.read(path) != content:
            target.write(path, content)


@dataclass(slots=True)
class _Run:
    """One run, while it lasts."""

    plan: Plan
    source: Storage
    target: Storage
    book: journal.Journal
    known: dict[str, Outcome]
    engine: Callable[[], Engine]
    on_event: Callable[[Event], None] | None
    fail_fast: bool
    retry_failed: bool
    force: bool
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    worked: set[str] = field(default_factory=set)
    notes: dict[str, str] = field(default_factory=dict)
    stopped: bool = False

    def all(self) -> None:
        """Go through every model; the large ones first."""
        todo = []
        for model in self.plan.models:
            old = self.known.get(model.name)
            if model.problem:
                self.problem(model, old)
            elif self.is_open(model, old):
                todo.append(model)
        todo.sort(key=lambda model: (-model.size, model.name))
        if todo and not self.stopped:
            self.work(todo)

    def is_open(self, model: Model, old: Outcome | None) -> bool:
        """Whether a model has to be converted; if not, what became of it is reported."""
        try:
            if old is None or not self.stays(model, old):
                return not self.foreign(model, old)
            self.unchanged(model, self.known[model.name])
        except OutputError as error:  # of its own results, nobody else's
            self.finished(model, Outcome.of(model, "failed", "OutputError", str(error)))
        return False

    def problem(self, model: Model, old: Outcome | None) -> None:
        """A model that planning refused."""
        refused = Outcome.of(model, "refused", "InputError", model.problem)
        if old and (old.fingerprint, old.status) == (refused.fingerprint, "refused"):
            self.unchanged(model, old)
        else:
            self.finished(model, refused)

    def stays(self, model: Model, old: Outcome) -> bool:
        """Whether an old outcome still holds. Notices results that were changed or removed."""
        if self.force or old.fingerprint != model.fingerprint():
            return False
        if old.status == "failed" or (old.status == "refused" and self.retry_failed):
            return False
        inputs = unchanged(self.source, old.inputs)
        if inputs is None:
            return False
        converted = old.status == "converted"
        outputs = unchanged(self.target, old.outputs) if converted else old.outputs
        if outputs is None:
            changed = [file.path for file in old.outputs if not unchanged(self.target, (file,))]
            self.notes[model.name] = self.set_aside(changed)
            return False
        if (inputs, outputs) != (old.inputs, old.outputs):
            # Same content under another stamp: remember, so that it need not be read next time.
            self.known[model.name] = replace(old, inputs=inputs, outputs=outputs)
            self.book.append(self.known[model.name])
        return True

    def set_aside(self, changed: list[str]) -> str:
        """Keep results that somebody edited before they are made again; a note of it."""
        there = [path for path in changed if self.target.stat(path) is not None]
        if not there:
            return f"was removed: {', '.join(changed)}; converted again"
        if self.target.local:
            for path in there:
                aside = f"{_CHANGED_BY_HAND}/{os.getpid()}/{path}"
                self.target.store(Path(self.target.shown(path)), aside)
            where = f"kept in {self.target.shown(_CHANGED_BY_HAND)}"
        else:
            where = "replaced"
        return f"was changed since: {', '.join(there)} ({where}); converted again"

    def foreign(self, model: Model, old: Outcome | None) -> bool:
        """Refuse to replace files that no journal knows, without ``force``."""
        if self.force:
            return False
        known = {file.path for file in old.outputs} if old is not None else set()
        suffixes = commit.ALL if model.onnx else commit.SUFFIXES
        results = [model.name + suffix for suffix in suffixes if suffix != ".html"]
        there = [p for p in results if p not in known and self.target.stat(p) is not None]
        if not there or (not known and self.ours(model)):
            return False
        reason = (
            f"{there[0]}: already exists, and is not from an earlier run; use force to replace it"
        )
        self.finished(model, Outcome.of(model, "failed", "OutputError", reason))
        return True

    def ours(self, model: Model) -> bool:
        """Whether the report of a conversion is there: its journal was lost."""
        with suppress(ValueError):
            report = json.loads(self.target.read(f"{model.name}.report.json") or b"")
            return isinstance(report, dict) and {"schema", "caffefold", "proof"} <= report.keys()
        return False

    def work(self, todo: list[Model]) -> None:
        """Convert; journal each as it ends."""
        from caffefold.zoo.running.worker import Task

        stem = f"{os.getpid():x}-{os.urandom(3).hex()}"
        tasks = [
            Task(model, *self.plan.places, f"{stem}-{number}") for number, model in enumerate(todo)
        ]
        outcomes = self.engine().run(tasks, lambda task: self.report("started", task.model))
        try:
            for task, reported in outcomes:
                outcome = reported
                if reported.status == "failed":
                    shutil.rmtree(commit.scratch(task.token), ignore_errors=True)
                    outcome = commit.recovered(self.target, task.token) or reported
                self.finished(task.model, outcome)
                commit.clear(self.target, task.token)
                if self.stopped:
                    return
        finally:
            outcomes.close()  # ends what is running, now and not when somebody collects it
            for task in tasks if not self.target.local else ():
                shutil.rmtree(commit.scratch(task.token), ignore_errors=True)

    def unchanged(self, model: Model, outcome: Outcome) -> None:
        """An outcome of an earlier run still holds."""
        self.outcomes[model.name] = outcome
        self.report("unchanged", model, outcome)

    def finished(self, model: Model, outcome: Outcome) -> None:
        """Record what became of a model."""
        notes = (*filter(None, [self.notes.get(model.name)]), *outcome.notes)
        outputs = outcome.outputs
        old = self.known.get(model.name)
        if outcome.status != "converted" and old is not None and old.outputs:
            notes, outputs = (*notes, _STILL_THERE), old.outputs
        outcome = replace(outcome, notes=notes, outputs=outputs)
        commit.remove_former(self.target, old, outcome)
        self.book.append(outcome)
        self.known[model.name] = self.outcomes[model.name] = outcome
        self.worked.add(model.name)
        self.stopped |= self.fail_fast and outcome.status != "converted"
        self.report("finished", model, outcome)

    def late(self, found: list[Outcome]) -> None:
        """Models that were finished while the run was being ended."""
        planned = {model.name for model in self.plan.models}
        late = {outcome.name: outcome for outcome in found if outcome.name in planned}
        self.outcomes |= late
        self.worked |= late.keys()

    def report(self, kind: Kind, model: Model, outcome: Outcome | None = None) -> None:
        """Pass an event on."""
        if self.on_event is not None:
            done, total = len(self.outcomes), len(self.plan.models)
            self.on_event(Event(kind, model, done, total, outcome))

    def result(self) -> Result:
        """All outcomes there are by now."""
        planned = [model.name for model in self.plan.models]
        outcomes = tuple(self.outcomes[name] for name in planned if name in self.outcomes)
        gone = self.known.keys() - set(planned)
        stale = tuple(sorted(name for name in gone if self.known[name].outputs))
        return Result(self.plan, outcomes, len(self.worked), self.stopped, stale)
