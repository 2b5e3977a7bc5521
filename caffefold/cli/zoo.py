"""``caffefold zoo``: convert a whole folder of models, in parallel and resumably."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffefold.cli.console import INTERRUPTED, Console, colour, error, note
from caffefold.cli.console import width as columns_of
from caffefold.cli.help import Command
from caffefold.cli.options import Number, given, options_of
from caffefold.humanize import json_text, size, visible
from caffefold.options import ConvertOptions

if TYPE_CHECKING:
    from caffefold.zoo import Event, Outcome, Plan, Result

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_PLANNING = (
    "manifest",
    "prefer",
    "snapshots",
    "onnx",
    "verify",
)  # options that are handed on as they are
_RUNNING = ("engine", "scheduler", "timeout", "memory", "fail_fast")
_COLOURS = {"converted": "green", "refused": "yellow", "failed": "red"}
_UNSURE = ("inconclusive", "unverified")
_STATUS = 11  # characters
_NAME = 20  # of a name that are worth more than the last column
_REASON = 32
_NUMBERS = (("layers", 11), ("size", 9), ("folds", 5), ("error", 7))
_CURRENT = 8  # models that are shown while they are converted


class _Bytes(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """``2G``, ``512MB``, ``1e9`` or a plain number of bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", str(value).strip().lower())
        if match is None:
            self.fail(f"'{value}' is not a size; write 2G, 512M or a number of bytes", param, ctx)
        return int(float(match[1]) * _UNITS[match[2]])


@click.command(cls=Command)
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST", required=False, default="")
@click.option(
    "--plan",
    "plan_only",
    is_flag=True,
    help="Print the plan as a zoo.toml without converting anything.",
)
@click.option(
    "--manifest",
    metavar="FILE",
    default="",
    help="Pairs and options for individual models; SRC/zoo.toml by default, if present.",
)
@click.option(
    "--prefer",
    type=click.Choice(["train", "deploy"]),
    default="train",
    show_default=True,
    help="Which prototxt to use when several fit the weights.",
)
@click.option(
    "--snapshots",
    type=click.Choice(["last", "all"]),
    default="last",
    show_default=True,
    help="Convert the last snapshot of each net, or all of them.",
)
@click.option(
    "--onnx",
    is_flag=True,
    help="Write NAME.onnx beside each pair as well, checked as by export; where that is refused, "
    "the pair is written all the same, and the report says why.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Run each model before and after as well, see caffefold verify; one that is different "
    "fails.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Models to convert at a time.  [default: one for each core]",
)
@click.option(
    "--timeout",
    type=Number(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Give up on a model after this long.",
)
@click.option(
    "--memory",
    type=_Bytes(),
    default=0,
    metavar="SIZE",
    help="Limit of each worker process, such as 2G.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first model that is not converted.")
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Retry refused models even if their files have not changed.",
)
@click.option("--force", is_flag=True, help="Convert everything again, overwriting what is in DST.")
@click.option(
    "--engine",
    type=click.Choice(["processes", "dask"]),
    default="processes",
    show_default=True,
    help="Worker processes on this machine, or a running Dask cluster.",
)
@click.option(
    "--scheduler", metavar="URL", default="", help="Address of the Dask scheduler: tcp://HOST:8786."
)
@options_of(ConvertOptions)
@click.option("--json", "as_json", is_flag=True, help="Print zoo.json, or the plan, as JSON.")
@click.pass_context
def zoo(
    context: click.Context,
    /,
    source: str,
    destination: str,
    plan_only: bool,
    jobs: int | None,
    retry_failed: bool,
    force: bool,
    as_json: bool,
    **others: Any,
) -> None:
    """Find the models below SRC and convert each of them into DST.

    Prototxts and caffemodels are paired by the names and shapes of their layers. Results are
    written completely or not at all; running again converts what is new, changed or failed. DST
    gets the results in the folders of SRC, and zoo.json, zoo.csv and index.html. SRC and DST may be
    URLs such as s3://bucket/zoo. All options of 'caffefold convert' apply to every model.

    \b
    Examples:
      caffefold zoo models/ out/ --jobs 8
      caffefold zoo models/ --plan > models/zoo.toml
    """
    from caffefold import zoo as api
    from caffefold.errors import InputError, UsageError
    from caffefold.zoo.pages import site

    console: Console = context.obj
    if not destination and not plan_only:
        raise UsageError("DST is missing: where should the results go? --plan needs no DST")
    plan = api.plan(
        source,
        destination,
        options=given(context, ConvertOptions),
        jobs=jobs or 0,
        fresh=force or retry_failed,
        **{name: others[name] for name in _PLANNING},
    )
    if plan_only:
        _print_plan(console, plan, as_json)
        return
    if not plan.models:
        raise InputError(f"{plan.source}: no models in this zoo; --plan lists the files it has")
    live = sys.stderr.isatty() and not console.quiet
    total = len(plan.models)
    watcher = _Bar(total) if live else _Watcher(total, quiet=console.quiet)
    try:
        with watcher.screen:
            result = api.run(
                plan,
                watcher.event,
                jobs=jobs or 0,
                retry_failed=retry_failed,
                force=force,
                **{name: others[name] for name in _RUNNING},
            )
    except KeyboardInterrupt:
        error(
            f"interrupted; {watcher.done} of {watcher.total} models are finished and kept; run "
            "again to continue"
        )
        context.exit(INTERRUPTED)
    if console.quiet:
        for outcome in result.outcomes:
            if outcome.status != "converted":
                note(_line(outcome))
    if as_json:
        console.document(site.as_json(result).rstrip("\n"))
    else:
        _print_table(console, result)
    context.exit(0 if result.ok else 1)


def _print_plan(console: Console, plan: Plan, as_json: bool) -> None:
    from caffefold.zoo.planning import manifest

    if as_json:
        document = {"schema": 1, **plan.to_json()}
        del document["key"]
        console.document(json_text(document, 1).rstrip("\n"))
        return
    console.document(manifest.to_toml(plan).rstrip("\n"))


class _Watcher:
    """Counts events, and writes a line for each model that is finished unless ``quiet``."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self.done = 0
        self.total = total
        self.screen: AbstractContextManager[Any] = nullcontext()
        self._quiet = quiet

    def event(self, event: Event) -> None:
        """Note one event."""
        self.done = max(self.done, event.done)
        if event.kind == "finished" and event.outcome is not None and not self._quiet:
            note(f"[{event.done}/{event.total}] {_line(event.outcome)}")


class _Bar(_Watcher):
    """A bar, the rate, the time left; below it the models being converted, each with its time."""

    def __init__(self, total: int) -> None:
        super().__init__(total, quiet=True)
        from rich import progress
        from rich.console import Console as Screen
        from rich.console import Group
        from rich.live import Live

        self._bar = progress.Progress(
            progress.TextColumn("models"),
            progress.BarColumn(bar_width=None),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            expand=True,
        )
        self._names = progress.Progress(
            progress.TimeElapsedColumn(), progress.TextColumn("{task.description}", markup=False)
        )
        self._stderr = Screen(stderr=True, no_color=None if colour(sys.stderr) else True)
        shown = Group(self._bar, self._names)
        self.screen = Live(shown, console=self._stderr, transient=True, refresh_per_second=8)
        self._all = self._bar.add_task("", total=total, rate="")
        self._current: dict[str, Any] = {}
        self._worked = 0

    def event(self, event: Event) -> None:
        """Move the bar; failures stay on the screen as lines."""
        super().event(event)
        if event.kind == "started":
            if len(self._current) < _CURRENT:
                shown = visible(event.model.name)
                self._current[event.model.name] = self._names.add_task(shown, total=None)
            return
        task = self._current.pop(event.model.name, None)
        if task is not None:
            self._names.remove_task(task)
        self._worked += event.kind == "finished"
        elapsed = self._bar.tasks[0].elapsed or 0.0
        rate = f"{self._worked / elapsed:.1f}/s" if elapsed > 0.5 and self._worked else ""
        self._bar.update(self._all, completed=event.done, rate=rate)
        if event.outcome is not None and event.kind == "finished" and event.outcome.reason:
            self._stderr.print(_line(event.outcome), markup=False, highlight=False)


def _line(outcome: Outcome) -> str:
    """One outcome as a line of plain text."""
    if outcome.facts is None:
        return visible(f"{outcome.status} {outcome.name}: {outcome.reason}")
    before, after = outcome.facts.layers_before, outcome.facts.layers_after
    took = f"{outcome.seconds:.2f} s"
    return visible(f"converted {outcome.name}: {before} layers -> {after}, {took}")


def _print_table(console: Console, result: Result) -> None:
    """The result on screen: a row for each model, then the sums."""
    from caffefold.zoo.pages import site

    names = [visible(outcome.name) for outcome in result.outcomes]
    room = columns_of(sys.stdout)
    columns = [*_NUMBERS]
    while room and len(columns) > 1 and room < _STATUS + _NAME + _taken(columns):
        columns.pop()
    width = min(max(map(len, names), default=0), 60)
    if room:
        width = min(width, max(room - _STATUS - _taken(columns), 1))
    if names:
        heads = "".join(f"  {title:>{size}}" for title, size in columns)
        console.result(click.style(f"{'status':<10} {'model':<{width}}{heads}", bold=True))
    for name, outcome in zip(names, result.outcomes, strict=True):
        console.result(_row(name, outcome, width, room, len(columns)))
    counts = site.summary(result)
    parts = [f"{counts[status]} {status}" for status in _COLOURS if counts[status]]
    parts += [f"{counts['waiting']} not tried"] if counts["waiting"] else []
    same = len(result.outcomes) - result.worked
    if same:
        parts.append("all up to date" if same == len(result.outcomes) else f"{same} up to date")
    console.row("zoo", ", ".join(parts))
    verdicts = site.verdicts(result)
    if verdicts is not None:
        told = [f"{count} {verdict}" for verdict, count in verdicts.items() if count]
        console.row("verified", ", ".join(told) or "none")
    kinds = Counter(orphan.kind for orphan in result.plan.orphans)
    if kinds:
        others = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        console.row("others", f"{others}: not used by any model; see zoo.json")
    for outcome in result.outcomes:
        for text in outcome.notes:
            if "converted again" in text:
                console.warning(f"{outcome.name}: {text}")
        if outcome.verified is not None and outcome.verified.verdict in _UNSURE:
            console.warning(f"{outcome.name}: {outcome.verified.reason}")
        if outcome.facts is not None and outcome.facts.onnx is not None:
            made = outcome.facts.onnx
            if made.reason:
                console.warning(f"{outcome.name}: no ONNX model: {made.reason}")
    target = result.plan.target.removeprefix(str(Path.cwd()) + os.sep)
    console.row("wrote", f"{target}/index.html, zoo.json, zoo.csv")


def _taken(columns: list[tuple[str, int]]) -> int:
    """The room of so many columns."""
    return sum(2 + size for _, size in columns)


def _row(name: str, outcome: Outcome, width: int, room: int, columns: int) -> str:
    """One model in one line; of what does not fit, names lose their start and reasons their end."""
    status = click.style(f"{outcome.status:<10}", fg=_COLOURS[outcome.status])
    facts = outcome.facts
    if facts is None:
        # The name says where it lies.
        reason = re.sub(r"(?<!\S)\S*/(?=\S*\.\w)", "", visible(outcome.reason))
        if room:
            width = min(width, max(room - _STATUS - 2 - _REASON, 1))
            left = max(room - _STATUS - 2 - width, 4)
            reason = reason if len(reason) <= left else f"{reason[: left - 3].rstrip()}..."
        return f"{status} {_end(name, width):<{width}}  {reason}"
    error = f"{facts.largest_error:.1e}" if facts.folds else "-"
    layers = f"{facts.layers_before} -> {facts.layers_after}"
    cells = (layers, size(facts.bytes_after), str(facts.folds), error)
    shown = zip(cells[:columns], _NUMBERS, strict=False)
    numbers = "".join(f"  {cell:>{room}}" for cell, (_, room) in shown)
    return f"{status} {_end(name, width):<{width}}{numbers}"


def _end(name: str, width: int) -> str:
    """The end of a name that is too long."""
    return name if len(name) <= width else f"...{name[len(name) + 3 - width :]}"[:width]
