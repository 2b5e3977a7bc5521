"""What fits into a terminal, and that nothing is cut where there is none."""

from __future__ import annotations

import io
import re
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from caffefold.cli import console
from caffefold.cli.main import COMMANDS
from caffefold.targets import TARGETS

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Pair

SHAPES = Path(__file__).resolve().parents[2] / "sample_models/mobilenet_ssd_shapes"
LENET = SHAPES.parent / "lenet_bn"
PAIR = (LENET / "train_val.prototxt", LENET / "lenet_bn_iter_5000.caffemodel")
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


def fits(lines: list[str], columns: int) -> None:
    """No line is wider than the terminal but by one word, and none ends in a part of one."""
    for line in lines:
        assert len(line) <= columns or len(line.split()) == 1, line
        assert not line.endswith(" "), line


def same_words(cli: Cli, columns: int, *arguments: str | Path, expect: int = 0) -> list[str]:
    """What a terminal of so many columns shows: it fits, and every word is there, whole."""
    plain = cli(*arguments, expect=expect)
    lines = shown(cli, columns, *arguments, expect=expect)
    fits(lines, columns)
    assert sorted(" ".join(lines).split()) == sorted(f"{plain.out} {plain.err}".split())
    return lines


@pytest.mark.parametrize("columns", WIDTHS)
def test_targets_fit(cli: Cli, columns: int) -> None:
    lines = same_words(cli, columns, "targets")
    assert all(re.match(r"[a-z0-9-]+ +\S| {12}\S", line) for line in lines)
    lines = same_words(
        cli, columns, "targets", max(TARGETS, key=lambda name: len(TARGETS[name].facts))
    )
    assert all(re.match(r"[a-z]+ +\S| {10}\S", line) for line in lines)


@pytest.mark.parametrize("columns", WIDTHS)
def test_inspect_fits(cli: Cli, columns: int) -> None:
    """Numbers are given in brief, names lose their middle, columns go; no row becomes two."""
    plain = cli("inspect", TEMPLATE, SNAPSHOT).out.splitlines()
    lines = shown(cli, columns, "inspect", TEMPLATE, SNAPSHOT)
    fits(lines, columns)
    assert [line.split()[:1] for line in lines if "..." not in line] == [
        was.split()[:1] for was, line in zip(plain, lines, strict=True) if "..." not in line
    ]
    heading = next(line for line in lines if line.startswith("layer "))
    wanted = ["layer", "type", "output", "parameters", "MACs", "memory"]
    if columns < 120:
        wanted[3] = "params"
    assert heading.split() == wanted[: 5 if columns < 80 else 6]
    assert any("11.06M" in line or "11,059,200" in line for line in lines)


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("form", [(), ("--context", "1"), ("--side-by-side",), ("--stat",)])
def test_diff_fits(cli: Cli, columns: int, form: tuple[str, ...]) -> None:
    for path in PAIR[0], LENET / "deploy_bn.prototxt":
        shutil.copy(path, cli.folder)
    nets = ("train_val.prototxt", "deploy_bn.prototxt")
    if form == ("--side-by-side",):
        fits(shown(cli, columns, "diff", *nets, *form, expect=1), columns)
    else:
        same_words(cli, columns, "diff", *nets, *form, expect=1)


@pytest.mark.parametrize("columns", WIDTHS)
def test_what_a_diff_of_a_conversion_says_fits(cli: Cli, columns: int) -> None:
    cli("convert", TEMPLATE, SNAPSHOT, "-o", "a")
    shutil.copy(TEMPLATE, cli.folder)
    shutil.copy(SNAPSHOT, cli.folder / "s.caffemodel")
    weights = ("--weights", "s.caffemodel", "a.caffemodel")
    lines = shown(cli, columns, "diff", TEMPLATE.name, "a.prototxt", *weights, expect=1)
    fits(lines, columns)
    assert sum(not line.startswith(" ") for line in lines) == 9  # the labels


@pytest.mark.parametrize("columns", WIDTHS)
def test_slim_fits(cli: Cli, columns: int) -> None:
    words = ("slim", *PAIR, "-o", "a", "--ratio", "0.3", "--force", "--keep-training")
    lines = same_words(cli, columns, *words)
    assert all(re.match(r"[a-z]+ +\S| {10}\S|warning: | {2}\S", line) for line in lines)


@pytest.mark.parametrize("columns", WIDTHS)
def test_verify_fits(cli: Cli, columns: int) -> None:
    cli("convert", *PAIR, "-o", "a")
    words = ("verify", *PAIR, "a.prototxt", "a.caffemodel", "--runtime", "reference")
    same_words(cli, columns, *words, "--batches", "1")
    lines = shown(cli, columns, *words, "--batches", "1", "--layers")
    fits(lines, columns)
    heading = next(line for line in lines if line.startswith("layer "))
    assert heading.startswith("layer")
    assert ("cosine" in heading) == (columns > 60)
    assert lines[-1] == "verdict   equal"


@pytest.mark.parametrize("columns", WIDTHS)
def test_export_fits(cli: Cli, columns: int) -> None:
    words = ("export", *PAIR, "-o", "a.onnx", "--force", "--no-check")
    lines = same_words(cli, columns, *words)
    assert all(re.match(r"[a-z]+: |[a-z]+ +\S| {2}", line) for line in lines)


@pytest.mark.parametrize("columns", WIDTHS)
def test_zoo_fits(cli: Cli, pair: Pair, columns: int) -> None:
    """A line for each model, the reason of a refusal visible."""
    pair.replace("num_output: 2", "num_output: 5")
    shutil.copytree(LENET, cli.folder / "zoo/lenet")
    shutil.copytree(pair.prototxt.parent, cli.folder / "zoo" / ("deep" * 12))
    lines = shown(cli, columns, "zoo", "zoo", "out", "--jobs", "1", expect=1)
    lines = lines[next(n for n, line in enumerate(lines) if "status     model" in line) + 1 :]
    fits(lines, columns)  # the moving bar before it is rich's
    rows = [line for line in lines if line.startswith(("converted ", "refused "))]
    assert [row.split()[0] for row in rows[-2:]] == ["refused", "converted"]
    assert "  net.caffemodel: does not " in rows[-2]
    assert "/net.prototxt" not in rows[-2]
    assert lines[-1] == "wrote     out/index.html, zoo.json, zoo.csv"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits(cli: Cli, command: str) -> None:
    """Examples are not wrapped, so they have to be short; a hyphen is no place to break."""
    lines = shown(cli, 80, *filter(None, [command]), "--help")
    fits(lines, 80)
    assert not any(re.search(r"[a-z]-$", line) for line in lines)


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
