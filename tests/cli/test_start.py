"""Help, version, usage errors; and that they come without loading what they do not need."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import caffefold
from caffefold.cli.main import COMMANDS
from caffefold.cli.main import cli as cli_group

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Pair, Ran

_HEAVY = ("numpy", "google.protobuf", "rich", "caffefold._proto", "caffefold.convert")
_PROBE = """
import sys
from caffefold.cli.main import run
code = run(sys.argv[2:])
found = [name for name in sys.argv[1].split(",") if name in sys.modules]
sys.exit(f"loaded {found}" if found else code)
"""


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_shows_an_example_and_the_commands(cli: Cli, flag: str) -> None:
    ran = cli(flag)
    assert ran.out.startswith("Usage: caffefold ")
    assert "Example:\n    caffefold convert train.prototxt snapshot.caffemodel -o " in ran.out
    assert "\nCommands:\n  convert " in ran.out
    assert ran.err == ""


def test_help_of_convert_shows_an_example_and_every_option(cli: Cli) -> None:
    ran = cli("convert", "--help")
    assert ran.out.startswith("Usage: caffefold convert [OPTIONS] PROTOTXT [CAFFEMODEL]\n")
    assert (
        "Examples:\n    caffefold convert train_val.prototxt snapshot.caffemodel -o out" in ran.out
    )
    for option in (
        *("--prefix", "--no-weights", "--batch", "--input-style", "--head", "--prob-name"),
        *("--output", "--force", "--classes", "--set", "--input-shape", "--json"),
        *("--nms-threshold", "--top-k", "--keep-top-k", "--confidence-threshold"),
    ):
        assert option in ran.out
    assert ran.err == ""


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(cli: Cli, flag: str) -> None:
    ran = cli(flag)
    assert ran.out == f"caffefold {caffefold.__version__}\n"
    assert ran.err == ""


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("convert", "--help"), ("inspect", "--help"), ("convert",)],
)
def test_start_is_light(cli: Cli, arguments: tuple[str, ...]) -> None:
    """No numpy, no protobuf, no rich; a usage error does without them, too."""
    probe = replace(cli, prefix=(sys.executable, "-c", _PROBE, ",".join(_HEAVY)))
    probe(*arguments, expect=2 if arguments == ("convert",) else 0)


_NOT_FOR_CONVERT = (
    *("google.protobuf", "caffefold._proto.caffe_pb2", "rich", "jinja2", "hashlib", "logging"),
    *("caffefold.slimming", "caffefold.extraction", "caffefold.page", "caffefold.html"),
    *("caffefold.verification", "caffefold.onnx_export", "caffefold.zoo", "caffefold.compare"),
    *("caffefold.check.forward", "caffefold.check.verdict", "caffefold.passes.slim"),
    *("caffefold.passes.target", "caffefold.formats.upgrade", "caffefold.formats.fork_schema"),
)


def test_convert_loads_what_it_needs(cli: Cli, pair: Pair) -> None:
    """What few nets need, or other commands, is loaded where it is; old numpys load hashlib."""
    code = "import sys, numpy; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    ours = [name for name in _NOT_FOR_CONVERT if name not in done.stdout.split()]
    probe = replace(cli, prefix=(sys.executable, "-c", _PROBE, ",".join(ours)))
    probe("convert", pair.prototxt, pair.caffemodel, "-o", "out")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("convert",), "Missing argument 'PROTOTXT'"),
        (("convert", "-", "-o", "c"), "give the CAFFEMODEL, or --no-weights"),
        (("convert", "a", "b", "--no-weights", "-o", "c"), "--no-weights contradicts"),
        (("convert", "a", "b", "-o", "c", "--batch", "0"), "--batch"),
        (("convert", "a", "b", "-o", "c", "--head", "=Softmax"), "'=Softmax' is not of the"),
        (("convert", "a", "b", "-o", "c", "d"), "unexpected extra argument"),
        (("convert", "a", "b", "-o", "c", "--frobnicate"), "--frobnicate"),
        (("convert", "a", "b", "-o", "c", "--classes", "many"), "--classes"),
        (("convert", "a", "b", "-o", "c", "--classes", "0"), "--classes"),
        (("convert", "a", "b", "-o", "c", "--nms-threshold", "2"), "--nms-threshold"),
        (("convert", "a", "b", "-o", "c", "--set", "width"), "'width' is not of the form"),
        (("convert", "a", "b", "-o", "c", "--set", "=8"), "'=8' is not of the form"),
        (("convert", "a", "b", "-o", "c", "--set", "n=1", "--set", "n=2"), "'n' is set twice"),
        (("convert", "a", "b", "-o", "c", "--input-shape", "data"), "'data' is not of the form"),
        (("convert", "a", "b", "-o", "c", "--input-shape", "data=1,x"), "'1,x' is not a shape"),
        (("convert", "a", "b", "-o", "c", "--input-shape", "data=1,0"), "'1,0' is not a shape"),
        (("frobnicate",), "No such command 'frobnicate'"),
    ],
)
def test_usage_errors(cli: Cli, arguments: tuple[str, ...], complaint: str) -> None:
    ran = cli(*arguments, expect=2)
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert complaint in ran.err
    assert list(cli.folder.iterdir()) == []


def test_a_bare_call_shows_the_help(cli: Cli) -> None:
    done = subprocess.run(cli.prefix, cwd=cli.folder, capture_output=True, text=True, check=False)
    assert "Usage: caffefold " in done.stdout + done.stderr
    assert done.returncode in (0, 2)


def test_the_console_script_is_the_module(cli: Cli, pair: Pair) -> None:
    """``caffefold`` and ``python -m caffefold`` are one thing."""
    installed = Path(sys.executable).with_name("caffefold")
    if not installed.exists():
        pytest.skip("the scripts of this environment are elsewhere")
    script = replace(cli, prefix=(str(installed),))
    first = script("convert", pair.prototxt, pair.caffemodel, "-o", "out")
    second = cli("convert", pair.prototxt, pair.caffemodel, "-o", "out", "--force")
    assert first == second


def test_the_overview_says_what_the_commands_say() -> None:
    """The overview does not load them, so it repeats their line."""
    for name, line in COMMANDS.items():
        command = cli_group.get_command(click.Context(cli_group), name)
        assert command is not None
        assert (command.name, command.short_help) == (name, line)
    assert cli_group.get_command(click.Context(cli_group), "convrt") is None


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("convret",), "No such command 'convret'; did you mean 'convert'?"),
        (("merge", "a", "b"), "No such command 'merge'; did you mean 'convert'?"),
        (("caffe2onnx",), "No such command 'caffe2onnx'; did you mean 'export'?"),
        (("qqqqq",), "No such command 'qqqqq'; choose from convert, diff, "),
        (("help",), "No such command 'help'; --help lists the commands, and 'caffefold convert"),
        (
            ("a.prototxt", "b.caffemodel"),
            "'a.prototxt' is no command; try: caffefold convert a.prototxt b.caffemodel\n",
        ),
        (("convert",), "Missing argument 'PROTOTXT'; see 'caffefold convert --help'\n"),
    ],
)
def test_what_was_meant_is_said(cli: Cli, arguments: tuple[str, ...], advice: str) -> None:
    ran = cli(*arguments, expect=2)
    assert ran.err.startswith(f"error: {advice}")
    assert ran.out == ""


@pytest.mark.parametrize("place", ["before", "behind"])
def test_flags_work_before_and_behind_the_command(cli: Cli, pair: Pair, place: str) -> None:
    def run(flag: str, output: str) -> Ran:
        words = ["convert", str(pair.prototxt), str(pair.caffemodel), "-o", output]
        return cli(flag, *words) if place == "before" else cli(*words, flag)

    assert run("-q", "a").out == ""
    assert "fold: 6 layers -> 4" in run("-v", "b").err
    assert "\x1b[" in run("--color=always", "c").out
    assert run("--debug", "d").err == ""


def test_verbose_adds_up(cli: Cli, pair: Pair) -> None:
    words = ["convert", str(pair.prototxt), str(pair.caffemodel), "-o"]
    assert "fold: bn1, scale1: " not in cli("-v", *words, "a").err
    assert "fold: bn1, scale1: " in cli("-v", *words, "b", "-v").err


def test_color_never(cli: Cli, pair: Pair) -> None:
    run = replace(cli, variables={"FORCE_COLOR": "1"})
    ran = run("convert", pair.prototxt, pair.caffemodel, "-o", "a", "--color", "never")
    assert "\x1b[" not in ran.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(cli: Cli, shell: str) -> None:
    assert "_CAFFEFOLD_COMPLETE" in cli("completion", shell).out


def test_the_shell_is_told_what_fits(cli: Cli) -> None:
    asked = {
        "_CAFFEFOLD_COMPLETE": "bash_complete",
        "COMP_WORDS": "caffefold con",
        "COMP_CWORD": "1",
    }
    assert replace(cli, variables=asked)().out == "plain,convert\n"
