"""What the user sees: results on stdout, everything else on stderr, colour on terminals only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

import click

from caffefold.errors import OutputError, Text

if TYPE_CHECKING:
    from caffefold.report import ConvertReport
    from caffefold.upgrading import UpgradeReport

INTERRUPTED = 130
PIPE_CLOSED = 141  # as the shell has it for a program that SIGPIPE ended


class Console:
    """Where a command prints; ``quiet`` leaves only errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def result(self, text: str) -> None:
        """One line of the result, on stdout."""
        if self.quiet:
            return
        try:
            click.echo(printable(text), color=colour(sys.stdout))
        except BrokenPipeError:  # whoever read this has seen enough
            discard_output()
            raise SystemExit(PIPE_CLOSED) from None
        except OSError as error:
            discard_output()
            raise OutputError(f"standard output: {error.strerror}") from None

    def row(self, label: str, value: str) -> None:
        """A labelled line of the result."""
        self.result(click.style(f"{label:<10}", bold=True) + value)

    def summary(
        self,
        report: ConvertReport | UpgradeReport,
        rows: Iterable[tuple[str, str]],
        *,
        as_json: bool,
    ) -> None:
        """A report: as JSON, or as labelled lines."""
        if as_json:
            self.result(report.to_json().rstrip("\n"))
            return
        for label, value in rows:
            self.row(label, value)

    def warning(self, text: str) -> None:
        """A warning, on stderr."""
        if not self.quiet:
            label = click.style("warning:", fg="yellow", bold=True)
            if isinstance(text, Text):
                from caffefold.cli.options import spelled

                text = text.spelled(spelled)
            note(f"{label} {text}")


def discard_output() -> None:
    """Send what standard output still holds nowhere: its flush at exit would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def error(text: str) -> None:
    """An error, on stderr."""
    note(f"{click.style('error:', fg='red', bold=True)} {text}")


def note(text: str) -> None:
    """More about an error, on stderr."""
    click.echo(printable(text), err=True, color=colour(sys.stderr))


def printable(text: str) -> str:
    """``text`` with the bytes of names that are no UTF-8 written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def colour(stream: IO[str]) -> bool:
    """Whether to use colour: NO_COLOR and FORCE_COLOR decide, else whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty()
