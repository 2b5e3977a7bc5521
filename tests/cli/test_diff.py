"""``caffefold diff`` as a process: exit codes, options, what goes to stdout and stderr."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Pair


@pytest.fixture
def other(pair: Pair) -> Path:
    """The same net with another number of outputs."""
    path = pair.prototxt.with_name("other.prototxt")
    path.write_text(pair.prototxt.read_text().replace("num_output: 3", "num_output: 4"))
    return path


def test_the_same(cli: Cli, pair: Pair) -> None:
    ran = cli("diff", pair.prototxt, pair.prototxt, expect=0)
    assert ran.out.splitlines()[-1] == "same      = 6 layers: no difference"
    assert ran.err == ""


def test_different(cli: Cli, pair: Pair, other: Path) -> None:
    ran = cli("diff", pair.prototxt, other, expect=1)
    assert ran.out.splitlines()[2:] == [
        "changed   ~ fc  num_output: 3 -> 4",
        "same      = 5 layers: 1 BatchNorm, 1 Convolution, 1 Input, 1 ReLU, 1 Scale",
        "total     ~ 1 changed   = 5 same",
    ]
    assert ran.err == ""


def test_quiet_is_the_exit_code_alone(cli: Cli, pair: Pair, other: Path) -> None:
    assert cli("-q", "diff", pair.prototxt, other, expect=1).out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["a"],
        ["a", "b", "c"],
        ["a", "b", "--rtol", "-1"],
        ["a", "b", "--context", "-1"],
        ["a", "b", "--format", "xml"],
        ["a", "b", "--json", "--stat"],
        ["a", "b", "--stat", "--side-by-side"],
        ["a", "b", "--format", "html", "--side-by-side"],
        ["a", "b", "--weights", "w"],
    ],
)
def test_wrong_usage(cli: Cli, arguments: list[str]) -> None:
    ran = cli("diff", *arguments, expect=2)
    assert ran.out == ""
    assert ran.err.startswith("error: ")


def test_bad_input(cli: Cli, pair: Pair) -> None:
    ran = cli("diff", pair.prototxt, "missing.prototxt", expect=3)
    assert ran.err == "error: missing.prototxt: no such file; check the path of the file\n"
    pair.replace("layer {", "layer (")
    ran = cli("diff", pair.prototxt, pair.prototxt, expect=3)
    assert f"error: {pair.prototxt}:2:" in ran.err


def test_weights(cli: Cli, pair: Pair) -> None:
    changed = pair.caffemodel.with_name("changed.caffemodel")
    original = pair.caffemodel.read_bytes()
    pair.set_number("fc", 1, 0, 1.5)
    changed.write_bytes(pair.caffemodel.read_bytes())
    pair.caffemodel.write_bytes(original)
    nets = (pair.prototxt, pair.prototxt, "--weights", pair.caffemodel)
    assert "8 blobs: 8 identical" in cli("diff", *nets, pair.caffemodel).out
    ran = cli("diff", *nets, changed, expect=1)
    assert "8 blobs: 7 identical, 1 different" in ran.out
    cli("diff", *nets, changed, "--atol", "0.5", expect=0)
    cli("diff", *nets, changed, "--structure", expect=0)
    cli("diff", pair.caffemodel, changed, expect=1)


@pytest.mark.parametrize("option", ["--ignore-training", "--structure"])
def test_levels(cli: Cli, pair: Pair, option: str) -> None:
    path = pair.prototxt.with_name("trained.prototxt")
    text = pair.prototxt.read_text()
    path.write_text(text.replace("num_output: 3", "num_output: 3 weight_filler { std: 0.1 }"))
    cli("diff", pair.prototxt, path, expect=1)
    cli("diff", pair.prototxt, path, option, expect=0)


def test_only(cli: Cli, pair: Pair, other: Path) -> None:
    cli("diff", pair.prototxt, other, "--only", "conv*", expect=0)
    cli("diff", pair.prototxt, other, "--only", "conv*", "--only", "f?", expect=1)


def test_forms(cli: Cli, pair: Pair, other: Path) -> None:
    def out(*options: str) -> str:
        return cli("diff", pair.prototxt, other, *options, expect=1).out

    assert json.loads(out("--json")) == json.loads(out("--format", "json"))
    assert out("--format", "markdown").startswith("### ")
    assert out("--format", "html").startswith("<!doctype html>")
    assert "~ fc  InnerProduct  num_output: 3 -> 4" in out("--context", "0")
    assert "= relu1  ReLU" in out("--context", "1")
    assert out("--stat").splitlines()[0].split() == ["InnerProduct", "~1"]


@pytest.mark.parametrize("columns", [60, 140])
def test_side_by_side_fits_the_terminal(cli: Cli, pair: Pair, other: Path, columns: int) -> None:
    wide = replace(cli, variables={"COLUMNS": str(columns)})
    lines = wide("diff", pair.prototxt, other, "--side-by-side", expect=1).out.splitlines()
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("fc  InnerProduct ") and " ~ fc" in line for line in lines)


def test_colour_on_demand(cli: Cli, pair: Pair, other: Path) -> None:
    assert "\x1b" not in cli("diff", pair.prototxt, other, expect=1).out
    forced = replace(cli, variables={"FORCE_COLOR": "1"})
    assert "\x1b[33m~ fc" in forced("diff", pair.prototxt, other, expect=1).out
    both = replace(cli, variables={"FORCE_COLOR": "1", "NO_COLOR": "1"})
    assert "\x1b" not in both("diff", pair.prototxt, other, expect=1).out
    assert "\x1b" not in forced("diff", pair.prototxt, other, "--json", expect=1).out


def test_names_that_are_no_utf8(cli: Cli, pair: Pair) -> None:
    path = pair.prototxt.with_name("bytes.prototxt")
    path.write_bytes(pair.prototxt.read_bytes().replace(b'name: "fc"', b'name: "f\xe9"'))
    for form in ("text", "json", "markdown", "html"):
        assert "\\" in cli("diff", pair.prototxt, path, "--format", form, expect=1).out


def test_unknown_names_are_told(cli: Cli, pair: Pair) -> None:
    """A slip compares as what it is, so it is named beside the nets."""
    other = cli.folder / "other.prototxt"
    other.write_text(
        pair.prototxt.read_text().replace("kernel_size: 3", "kernel_size: 3 stirde: 2")
    )
    out = cli("diff", pair.prototxt, "other.prototxt", expect=1).out
    assert "note        other.prototxt:" in out
    assert "unknown field 'stirde' in convolution_param; did you mean 'stride'?" in " ".join(
        out.split()
    )
