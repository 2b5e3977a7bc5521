"""What the user sees: results on stdout, everything else on stderr, colour on terminals only.

No text from a file reaches a terminal as it is: everything that is printed goes through here, and
what is not ``humanize.visible`` is escaped, our own colours apart.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

import click

from caffefold.errors import OutputError, Text
from caffefold.humanize import visible

if TYPE_CHECKING:
    from caffefold.extraction import ExtractReport
    from caffefold.onnx_export.report import ExportReport
    from caffefold.report import ConvertReport, SlimResult
    from caffefold.upgrading import UpgradeReport

INTERRUPTED = 130
PIPE_CLOSED = 141  # as the shell has it for a program that SIGPIPE ended
_COLOURS = re.compile("(\x1b\\[[0-9;]*m)")
_WORDS = re.compile(r"( *)((?:(?<!\w)'[^']*'|[^ ])+)")
_WIDTH = 80
_TICK = 0.25  # seconds


class Console:
    """Where a command prints; ``quiet`` leaves only errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.verbose = 0

    def result(self, line: str, indent: int = 0) -> None:
        """One line of the result, on stdout. Names in a coloured line are ``visible`` already.

        On a terminal, a line that is too long goes on in the next one, behind ``indent`` spaces.
        """
        self.document(_fitted(_coloured(line), width(sys.stdout), indent))

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

    def row(self, label: str, value: str, indent: int = 10) -> None:
        """A labelled line of the result."""
        self.result(click.style(f"{label:<{indent}}", bold=True) + visible(value), indent)

    def summary(
        self,
        report: ConvertReport | ExportReport | ExtractReport | SlimResult | UpgradeReport,
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

    @contextmanager
    def working(self, what: str, after: float = 1.0) -> Iterator[None]:
        """Meanwhile, say ``what`` is being done and for how long, on a terminal.

        What takes less than ``after`` seconds is not talked about.
        """
        if self.quiet or self.verbose or not width(sys.stderr):
            yield
            return
        done = threading.Event()
        teller = threading.Thread(target=_tell, args=(visible(what), after, done), daemon=True)
        teller.start()
        try:
            yield
        finally:
            done.set()
            teller.join()

    def remarks(self, notes: Iterable[str], warnings: Iterable[str]) -> None:
        """What is to be known, then what may be wrong, on stderr."""
        for text in () if self.quiet else notes:
            note(f"note: {visible(_spelled(text))}")
        for text in warnings:
            self.warning(text)

    def warning(self, text: str) -> None:
        """A warning, on stderr."""
        if not self.quiet:
            label = click.style("warning:", fg="yellow", bold=True)
            note(f"{label} {visible(_spelled(text))}")


def _spelled(text: str) -> str:
    """A note or warning with its options as the command line has them."""
    if not isinstance(text, Text):
        return text
    from caffefold.cli.options import spelled

    return text.spelled(spelled)


class Log:
    """The stream that ``logging`` writes to: standard error, a line for each message."""

    def write(self, text: str) -> None:
        """Show one message."""
        note(visible(text.removesuffix("\n")))

    def flush(self) -> None:
        """Nothing is held back."""


def _tell(what: str, after: float, done: threading.Event) -> None:
    """Keep a line up to date until it is ``done``; then the line is gone."""
    start = time.monotonic()
    if done.wait(after):
        return
    with suppress(OSError, ValueError):  # the terminal has gone away
        while True:
            seconds = f" {time.monotonic() - start:.0f} s"
            room = max(width(sys.stderr) - len(seconds) - 1, 0)
            shown = what if len(what) <= room else f"...{what[len(what) + 3 - room :]}"
            sys.stderr.write(f"\r\x1b[K{shown}{seconds}")
            sys.stderr.flush()
            if done.wait(_TICK):
                break
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def discard(stream: IO[str]) -> None:
    """Send what ``stream`` still holds nowhere: its flush at exit would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def error(text: str) -> None:
    """An error, on stderr."""
    note(f"{click.style('error:', fg='red', bold=True)} {visible(text)}")


def note(line: str, *, whole: bool = False) -> None:
    """A line on stderr, fitted to a terminal unless it is to stay ``whole``.

    When nobody reads there any more, the work goes on in silence.
    """
    shown = _coloured(line)
    try:
        shown = shown if whole else _fitted(shown, width(sys.stderr), 2)
        click.echo(shown, err=True, color=colour(sys.stderr))
    except OSError:
        discard(sys.stderr)


def _coloured(line: str) -> str:
    """``line`` as one line, ``visible`` but for our own colours, and tabs of quoted lines."""
    if line.isprintable():
        return line
    parts = _COLOURS.split(line)
    parts[::2] = (visible(part, keep="\t") for part in parts[::2])
    return "".join(parts)


def width(stream: IO[str]) -> int:
    """The columns of a terminal, as COLUMNS or the system has it; 0: it is none."""
    if not stream.isatty():
        return 0
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _WIDTH
    except OSError:
        return _WIDTH


def _fitted(line: str, columns: int, indent: int) -> str:
    """``line`` in lines of so many columns, all but the first indented. What is between quotes, and
    words, stay whole."""
    if not columns or len(_COLOURS.sub("", line)) <= columns:
        return line
    lines, used = [""], 0
    for space, word in _WORDS.findall(line):
        length = len(_COLOURS.sub("", word))
        if used > indent and used + len(space) + length > columns:
            lines.append(" " * indent + word)
            used = indent + length
        else:
            lines[-1] += space + word
            used += len(space) + length
    return "\n".join(lines)


def colour(stream: IO[str]) -> bool:
    """Whether to use colour: NO_COLOR and FORCE_COLOR decide, else whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty()
