"""Do a plan: what is new, changed or failed; everything else is as the journal says.

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
from pathlib import Path
from typing import TYPE_CHECKING

from caffefold.errors import UsageError
from caffefold.zoo import journal, kept, landing, lock, results
from caffefold.zoo.places import open_storage
from caffefold.zoo.storage import STATE, Storage
from caffefold.zoo.values import (
    CONVERTED,
    FAILED,
    REFUSED,
    Event,
    Kind,
    Model,
    Outcome,
    Plan,
    Result,
)

if TYPE_CHECKING:
    from caffefold.zoo.engine import Engine

_CHANGED_BY_HAND = f"{STATE}/changed"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a plan is done."""

    jobs: int = 0
    """Processes; 0: one for each core."""
    engine: str = "processes"
    scheduler: str = ""
    timeout: float = 0.0
    memory: int = 0
    fail_fast: bool = False
    retry_failed: bool = False
    """Try those again, too, that were refused and whose files are the same."""
    force: bool = False
    """Do everything again, and replace files that no journal knows."""


def run(plan: Plan, options: RunOptions, on_event: Callable[[Event], None] | None = None) -> Result:
    """Do ``plan``; see ``caffefold.zoo.run``."""
    source, target = open_storage(plan.source), open_storage(plan.target)
    check(options, source, target)
    with lock.held(target):
        kept.keep(plan, target)
        known = journal.read(target)
        with closing(journal.open_journal(target, known.values())) as book:
            recover(target, book, known)
            work = _Run(plan, options, source, target, book, known, on_event or _nobody)
            try:
                work.all()
            finally:
                work.late(recover(target, book, known))
                result = work.result()
                results.write(result, target, frozenset(work.worked))
    return result


def recover(target: Storage, book: journal.Journal, known: dict[str, Outcome]) -> list[Outcome]:
    """Journal what has landed and nobody was told of; clear away what will never land."""
    found = landing.recover(target)
    for outcome in found:
        if not _is_known(outcome, known.get(outcome.name)):
            book.append(outcome)
            known[outcome.name] = outcome
    landing.clear(target)
    return found


def _is_known(outcome: Outcome, old: Outcome | None) -> bool:
    """Whether the journal has it already: the run was killed between journal and clearing away."""
    return old is not None and (old.status, old.fingerprint, old.inputs, old.outputs) == (
        outcome.status,
        outcome.fingerprint,
        outcome.inputs,
        outcome.outputs,
    )


def _nobody(event: Event) -> None:
    del event


def check(options: RunOptions, source: Storage, target: Storage) -> None:
    """Refuse what contradicts itself.

    Raises:
        UsageError: says what.
    """
    from caffefold.zoo import processes

    if options.engine not in ("processes", "threads", "dask"):
        raise UsageError(f"--engine {options.engine}: choose processes or dask")
    if options.engine == "dask" and not options.scheduler:
        raise UsageError("--engine dask: give the --scheduler, such as tcp://host:8786")
    if options.engine != "dask" and options.scheduler:
        raise UsageError("--scheduler goes with --engine dask")
    if options.engine == "dask" and options.memory:
        raise UsageError("--memory: with Dask it is the workers' own --memory-limit")
    if options.engine == "dask" and not (source.shared and target.shared):
        raise UsageError("memory:// is seen by this process only; no cluster can work on it")
    if options.memory:
        processes.check_memory(options.memory)


@dataclass(slots=True)
class _Run:
    """One run, while it lasts."""

    plan: Plan
    options: RunOptions
    source: Storage
    target: Storage
    book: journal.Journal
    known: dict[str, Outcome]
    tell: Callable[[Event], None]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    worked: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    stopped: bool = False

    def all(self) -> None:
        """Go through every model."""
        todo = []
        for model in self.plan.models:
            old = self.known.get(model.name)
            if model.problem:
                self.problem(model, old)
            elif old is not None and self.stays(model, old):
                self.outcomes[model.name] = old
                self.told("unchanged", model, old)
            elif self.foreign(model, old):
                continue
            else:
                todo.append(model)
        todo.sort(key=lambda model: (-model.size, model.name))
        if todo and not (self.stopped and self.options.fail_fast):
            self.work(todo)

    def problem(self, model: Model, old: Outcome | None) -> None:
        """A model that planning refused."""
        print_ = model.fingerprint()
        outcome = Outcome(model.name, REFUSED, model.problem, "InputError", fingerprint=print_)
        if old is not None and old.fingerprint == print_ and old.status == REFUSED:
            self.outcomes[model.name] = old
            self.told("unchanged", model, old)
        else:
            self.finished(model, outcome)

    def stays(self, model: Model, old: Outcome) -> bool:
        """Whether an old outcome still holds. Notices results that were changed or removed."""
        if self.options.force or old.fingerprint != model.fingerprint():
            return False
        if old.status == FAILED or (old.status == REFUSED and self.options.retry_failed):
            return False
        inputs = kept.same(self.source, old.inputs)
        if inputs is None:
            return False
        outputs = old.outputs
        if old.status == CONVERTED:
            found = kept.same(self.target, old.outputs)
            if found is None:
                changed = [file.path for file in old.outputs if not kept.same(self.target, (file,))]
                self.notes[model.name] = self.set_aside(changed)
                return False
            outputs = found
        if (inputs, outputs) != (old.inputs, old.outputs):
            # Same content under another stamp: remember, so that it need not be read next time.
            self.known[model.name] = replace(old, inputs=inputs, outputs=outputs)
            self.book.append(self.known[model.name])
        return True

    def set_aside(self, changed: list[str]) -> str:
        """Keep what somebody wrote into results before they are made again; a note of it."""
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
        if self.options.force or (old is not None and old.outputs):
            return False
        there = [p for p in landing.targets(model.name) if not p.endswith(".html")]
        there = [path for path in there if self.target.stat(path) is not None]
        if not there or self.ours(model):
            return False
        shown = self.target.shown(there[0])
        reason = f"{shown}: exists already, and is no result of an earlier run; use --force"
        self.finished(
            model,
            Outcome(model.name, FAILED, reason, "OutputError", fingerprint=model.fingerprint()),
        )
        return True

    def ours(self, model: Model) -> bool:
        """Whether the report of a conversion lies there: its journal was lost."""
        with suppress(ValueError):
            report = json.loads(self.target.read(f"{model.name}.report.json") or b"")
            return isinstance(report, dict) and {"schema", "caffefold", "proof"} <= report.keys()
        return False

    def work(self, todo: list[Model]) -> None:
        """Convert; journal each as it ends."""
        from caffefold.zoo.worker import Task

        stem = f"{os.getpid():x}-{os.urandom(3).hex()}"
        models = {}
        tasks = []
        for number, model in enumerate(todo):
            task = Task(model, self.plan.source, self.plan.target, f"{stem}-{number}")
            models[task.token] = model
            tasks.append(task)

        def started(task: Task) -> None:
            self.told("started", models[task.token], None)

        engine = self.engine(len(tasks))
        outcomes = engine.run(tasks, started)
        try:
            for task, told in outcomes:
                outcome = told
                if told.status == FAILED:
                    shutil.rmtree(landing.scratch(task.token), ignore_errors=True)
                    outcome = landing.landed(self.target, task.token) or told
                self.finished(models[task.token], outcome)
                landing.clear(self.target, task.token)
                if self.options.fail_fast and outcome.status != CONVERTED:
                    self.stopped = True
                    return
        finally:
            outcomes.close()  # ends what is running, now and not when somebody collects it
            for task in tasks if not self.target.local else ():
                shutil.rmtree(landing.scratch(task.token), ignore_errors=True)

    def engine(self, count: int) -> Engine:
        """The engine that was asked for."""
        from caffefold.zoo import processes

        options = self.options
        jobs = min(options.jobs or processes.cores(), count)
        if options.engine == "dask":
            from caffefold.zoo.engine_dask import DaskEngine

            return DaskEngine(options.scheduler, options.timeout)
        if options.engine == "threads" or not (self.source.shared and self.target.shared):
            from caffefold.zoo.engine import ThreadEngine

            return ThreadEngine(jobs)
        from caffefold.zoo.engine_processes import ProcessEngine

        guard = self.target.shown(lock.GUARD) if self.target.local else ""
        return ProcessEngine(jobs, options.timeout, options.memory, guard)

    def finished(self, model: Model, outcome: Outcome) -> None:
        """Record what became of a model."""
        note = self.notes.get(model.name)
        if note:
            outcome = replace(outcome, notes=(note, *outcome.notes))
        old = self.known.get(model.name)
        if outcome.status != CONVERTED and old is not None and old.outputs:
            outcome = replace(
                outcome,
                outputs=old.outputs,
                notes=(*outcome.notes, "the results of an earlier version are still there"),
            )
        self.book.append(outcome)
        self.known[model.name] = self.outcomes[model.name] = outcome
        self.worked.append(model.name)
        if outcome.status != CONVERTED and self.options.fail_fast:
            self.stopped = True
        self.told("finished", model, outcome)

    def late(self, found: list[Outcome]) -> None:
        """Models that were finished while the run was being ended."""
        planned = {model.name for model in self.plan.models}
        for outcome in found:
            if outcome.name in planned:
                self.outcomes[outcome.name] = outcome
                self.worked.append(outcome.name)

    def told(self, kind: Kind, model: Model, outcome: Outcome | None) -> None:
        """Tell who watches."""
        self.tell(Event(kind, model, len(self.outcomes), len(self.plan.models), outcome))

    def result(self) -> Result:
        """All outcomes there are by now."""
        outcomes = tuple(
            self.outcomes[model.name] for model in self.plan.models if model.name in self.outcomes
        )
        planned = {model.name for model in self.plan.models}
        stale = tuple(sorted(n for n, o in self.known.items() if n not in planned and o.outputs))
        return Result(self.plan, outcomes, len(self.worked), self.stopped, stale)
