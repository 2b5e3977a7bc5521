"""A bar on a terminal for what takes long."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from caffefold.cli.console import Console, colour, width

_AFTER = 1.0  # seconds; what is done by then is not talked about


class Bar:
    """Shows what is done and how far it is, on a terminal only; gone at the end.

    with Bar(console) as bar:
        bar("accuracy", 3, 500)
    """

    def __init__(self, console: Console) -> None:
        self._silent = console.quiet or bool(console.verbose) or not width(sys.stderr)
        self._start = time.monotonic()
        self._shown: Any = None
        self._task: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._shown is not None:
            self._shown.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` are finished; 0: nobody knows how many there are."""
        if self._silent or time.monotonic() - self._start < _AFTER:
            return
        if self._shown is None:
            self._open()
        task = self._shown.tasks[0]
        if task.fields["what"] != what:
            self._shown.reset(self._task, total=total or None, what=what)
        self._shown.update(self._task, completed=done)

    def _open(self) -> None:
        from rich import progress
        from rich.console import Console as Screen

        self._shown = progress.Progress(
            progress.TextColumn("{task.fields[what]}", markup=False),
            progress.BarColumn(bar_width=None),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            console=Screen(stderr=True, no_color=None if colour(sys.stderr) else True),
            transient=True,
            expand=True,
        )
        self._task = self._shown.add_task("", total=None, what="")
        self._shown.start()
