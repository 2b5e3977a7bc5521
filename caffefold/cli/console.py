"""What the user sees: results on stdout, everything else on stderr, colour on terminals only.

No text from a file reaches a terminal as it is: everything that is printed goes through here, and
what is not ``humanize.visible`` is escaped, our own colours apart.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

import click

from caffefold.errors import OutputError, Text
from caffefold.humanize import visible

if TYPE_CHECKING:
    from caffefold.onnx_export.report import ExportReport
    from caffefold.report import ConvertReport
    from caffefold.upgrading import UpgradeReport

INTERRUPTED = 130
PIPE_CLOSED = 141  # as the shell has it for a program that SIGPIPE ended
_COLOURS = re.compile("(\x1b\\[[0-9;]*m)")


class Console:
    """Where a command prints; ``quiet`` leaves only errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def result(self, line: str) -> None:
        """One line of the result, on stdout. Names in a coloured line are ``visible`` already."""
        self.document(_coloured(line))

    def document(self, text: str) -> None:
        """Text in lines, in which nothing is left to be escaped: JSON, TOML, a page."""
        if self.quiet:
            return
        try:
            click.echo(text, color=colour(sys.stdout))
        except BrokenPipeError:  # whoever read this has seen enough
            discard(sys.stdout)
            raise SystemExit(PIPE_CLOSED) from None
        except OSError as error:
            discard(sys.stdout)
            raise OutputError(f"standard output: {error.strerror}") from None

    def row(self, label: str, value: str) -> None:
        """A labelled line of the result."""
        self.result(click.style(f"{label:<10}", bold=True) + visible(value))

    def summary(
        self,
        report: ConvertReport | ExportReport | UpgradeReport,
        rows: Iterable[tuple[str, str]],
        *,
        as_json: bool,
    ) -> None:
        """A report: as JSON, or as labelled lines."""
        if as_json:
            self.document(report.to_json().rstrip("\n"))
            return
        for label, value in rows:
            self.row(label, value)

    def remarks(self, notes: Iterable[str], warnings: Iterable[str]) -> None:
        """What is to be known, then what may be wrong, on stderr."""
        for text in () if self.quiet else notes:
            note(f"note: {visible(text)}")
        for text in warnings:
            self.warning(text)

    def warning(self, text: str) -> None:
        """A warning, on stderr."""
        if not self.quiet:
            label = click.style("warning:", fg="yellow", bold=True)
            if isinstance(text, Text):
                from caffefold.cli.options import spelled

                text = text.spelled(spelled)
            note(f"{label} {visible(text)}")


class Log:
    """The stream that ``logging`` writes to: standard error, a line for each message."""

    def write(self, text: str) -> None:
        """Show one message."""
        note(visible(text.removesuffix("\n")))

    def flush(self) -> None:
        """Nothing is held back."""


def discard(stream: IO[str]) -> None:
    """Send what ``stream`` still holds nowhere: its flush at exit would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def error(text: str) -> None:
    """An error, on stderr."""
    note(f"{click.style('error:', fg='red', bold=True)} {visible(text)}")


def note(line: str) -> None:
    """A line on stderr. When nobody reads there any more, the work goes on in silence."""
    try:
        click.echo(_coloured(line), err=True, color=colour(sys.stderr))
    except OSError:
        discard(sys.stderr)


def _coloured(line: str) -> str:
    """``line`` as one line, ``visible`` but for our own colours, and tabs of quoted lines."""
    if line.isprintable():
        return line
    parts = _COLOURS.split(line)
    parts[::2] = (visible(part, keep="\t") for part in parts[::2])
    return "".join(parts)


def colour(stream: IO[str]) -> bool:
    """Whether to use colour: NO_COLOR and FORCE_COLOR decide, else whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty()
