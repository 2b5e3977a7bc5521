"""What fits into a terminal, and that nothing is cut where there is none."""

from __future__ import annotations

import io
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from caffefold.cli import console

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Pair

SHAPES = Path(__file__).resolve().parents[2] / "sample_models/mobilenet_ssd_shapes"
TEMPLATE, SNAPSHOT = SHAPES / "train_template.prototxt", SHAPES / "shapes_iter_9000.caffemodel"
COLOURS = re.compile("\x1b\\[[0-9;]*m")
PROGRESS = re.compile("\r\x1b\\[K[^\r\n]*(?=\r\x1b\\[K)")
WIDTHS = (60, 80, 120)


def shown(cli: Cli, columns: int, *arguments: str | Path, expect: int = 0) -> list[str]:
    """The lines that a terminal of so many columns is sent, without their colours."""
    run = replace(cli, terminal=True, variables={"COLUMNS": str(columns)})
    out = PROGRESS.sub("", run(*arguments, expect=expect).out).replace("\r\x1b[K", "")
    return COLOURS.sub("", out.replace("\r\n", "\n")).splitlines()


@pytest.mark.parametrize("columns", WIDTHS)
def test_convert_fits(cli: Cli, columns: int) -> None:
    """No line is longer, no word is broken, and what goes on stands under what it belongs to."""
    words = ("convert", TEMPLATE, SNAPSHOT, "-o")
    lines = shown(cli, columns, *words, "a")
    plain = cli(*words, "a", "--force").out.split()
    assert " ".join(lines).split() == plain
    longest = max(len(word) for word in plain) + 20
    assert all(len(line) <= max(columns, longest) for line in lines)
    assert sum(len(line) > columns for line in lines) <= 1  # the code to copy has long names
    assert all(re.match(r"[a-z]|  ", line) for line in lines)


@pytest.mark.parametrize("columns", WIDTHS)
def test_errors_fit(cli: Cli, pair: Pair, columns: int) -> None:
    pair.replace("num_output: 2", "num_output: 2" + " " * 200 + "group: }")
    lines = shown(
        cli, columns, "convert", "in/net.prototxt", "in/net.caffemodel", "-o", "x", expect=3
    )
    assert lines[0].startswith("error: in/net.prototxt:")
    assert all(len(line) <= columns for line in lines)
    assert all(line.startswith("  ") for line in lines[1:])
    assert lines[-1].strip() == "^"


def test_nothing_is_cut_off_a_terminal(cli: Cli, pair: Pair) -> None:
    run = replace(cli, variables={"COLUMNS": "40"})
    long = "x" * 30 + "/" + "y" * 30
    ran = run("convert", pair.prototxt, pair.caffemodel, "-o", long)
    assert f"wrote     {long}.prototxt (" in ran.out
    assert "\nproof     1 fold checked, largest error " in ran.out
    assert len(next(line for line in ran.out.splitlines() if line.startswith("proof"))) > 60


def test_what_is_quoted_stays_whole() -> None:
    line = "see 'a name with spaces' and \x1b[1mmore\x1b[0m"
    assert console._fitted(line, 22, 2) == "see\n  'a name with spaces'\n  and \x1b[1mmore\x1b[0m"
    assert console._fitted("it's one's", 5, 2) == "it's\n  one's"
    assert console._fitted("a  table   here", 40, 2) == "a  table   here"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_work_is_talked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of it stays on the screen."""
    screen = _Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "30")
    with console.Console().working("converting " + "deep/" * 20 + "net.caffemodel", after=0):
        deadline = time.monotonic() + 60
        while not screen.getvalue() and time.monotonic() < deadline:
            threading.Event().wait(0.01)
    said = screen.getvalue()
    assert re.match(r"\r\x1b\[K\.\.\..*deep/net\.caffemodel 0 s\r", said)
    assert all(len(part) < 30 for part in re.split(r"\r\x1b\[K", said))
    assert said.endswith("\r\x1b[K")


def test_short_work_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    with console.Console().working("converting"):
        pass
    assert screen.getvalue() == ""
