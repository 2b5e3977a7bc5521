"""What a run over a zoo looks like: a live bar on a terminal, plain lines elsewhere, one table."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from caffefold.cli.console import Console, colour, note, printable
from caffefold.humanize import size

if TYPE_CHECKING:
    from caffefold.zoo import Event, Outcome, Result

_COLOURS = {"converted": "green", "refused": "yellow", "failed": "red"}
_CURRENT = 8


class Watcher:
    """Counts events while ``with`` lasts, and shows nothing."""

    def __init__(self, total: int) -> None:
        self.done = 0
        self.total = total

    def event(self, event: Event) -> None:
        """Note one event."""
        self.done = max(self.done, event.done)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class _Lines(Watcher):
    """A line for each model that is finished; none for those that were up to date."""

    def event(self, event: Event) -> None:
        """One line."""
        super().event(event)
        if event.kind == "finished" and event.outcome is not None:
            note(f"[{event.done}/{event.total}] {line(event.outcome)}")


class _Bar(Watcher):
    """A bar, the rate, the time left; below it the models being converted, each with its time."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        from rich.console import Console as Screen
        from rich.console import Group
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._screen = Screen(stderr=True, no_color=None if colour(sys.stderr) else True)
        self._bar = Progress(
            TextColumn("models"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            expand=True,
        )
        self._names = Progress(TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
        self._live = Live(
            Group(self._bar, self._names),
            console=self._screen,
            transient=True,
            refresh_per_second=8,
        )
        self._all = self._bar.add_task("", total=total, rate="")
        self._current: dict[str, Any] = {}
        self._worked = 0

    def event(self, event: Event) -> None:
        """Move the bar; failures stay on the screen as lines."""
        super().event(event)
        if event.kind == "started":
            if len(self._current) < _CURRENT:
                shown = printable(event.model.name)
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
            self._screen.print(line(event.outcome), markup=False, highlight=False)

    def __enter__(self) -> _Bar:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()


def watcher(console: Console, total: int) -> Watcher:
    """What fits where stderr goes."""
    if console.quiet:
        return Watcher(total)
    return _Bar(total) if sys.stderr.isatty() else _Lines(total)


def line(outcome: Outcome) -> str:
    """One outcome as a line of plain text."""
    if outcome.facts is None:
        return printable(f"{outcome.status} {outcome.name}: {outcome.reason}")
    before, after = outcome.facts.layers_before, outcome.facts.layers_after
    took = f"{outcome.seconds:.2f} s"
    return printable(f"converted {outcome.name}: {before} layers -> {after}, {took}")


def interrupted(watcher: Watcher) -> None:
    """What Ctrl-C leaves."""
    from caffefold.cli.console import error

    error(
        f"interrupted; {watcher.done} of {watcher.total} models are finished and stay; run again "
        "to continue"
    )


def table(console: Console, result: Result) -> None:
    """The result on screen: a row for each model, then the sums."""
    from caffefold.zoo.pages import site

    names = [printable(outcome.name) for outcome in result.outcomes]
    width = min(max(map(len, names), default=0), 60)
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    if names:
        head = f"{'status':<10} {'model':<{width}}  {'layers':>11} {'size':>9} {'folds':>5}  error"
        console.result(click.style(head, bold=True))
    for name, outcome in zip(names, result.outcomes, strict=True):
        console.result(_row(name, outcome, width, room))
    counts = site.summary(result)
    parts = [f"{counts[status]} {status}" for status in _COLOURS if counts[status]]
    parts += [f"{counts['waiting']} not tried"] if counts["waiting"] else []
    same = len(result.outcomes) - result.worked
    if same:
        parts.append("all up to date" if same == len(result.outcomes) else f"{same} up to date")
    console.row("zoo", ", ".join(parts))
    kinds = Counter(orphan.kind for orphan in result.plan.orphans)
    if kinds:
        others = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        console.row("others", f"{others}: used by no model; zoo.json says why")
    for outcome in result.outcomes:
        for text in outcome.notes:
            if "converted again" in text:
                console.warning(f"{outcome.name}: {text}")
    target = result.plan.target
    console.row("wrote", f"{target}/index.html, zoo.json, zoo.csv")


def _row(name: str, outcome: Outcome, width: int, room: int) -> str:
    status = click.style(f"{outcome.status:<10}", fg=_COLOURS[outcome.status])
    facts = outcome.facts
    if facts is None:
        reason = printable(outcome.reason)
        left = room - width - 13
        if room and len(reason) > max(left, 20):
            reason = reason[: max(left, 20) - 3] + "..."
        return f"{status} {name:<{width}}  {reason}"
    layers = f"{facts.layers_before} -> {facts.layers_after}"
    error = f"{facts.largest_error:.1e}" if facts.folds else "-"
    numbers = f"{layers:>11} {size(facts.bytes_after):>9} {facts.folds:>5}  {error}"
    return f"{status} {name:<{width}}  {numbers}"
