"""Standard output that is full or closed, and what ``-v`` adds on standard error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LENET = ROOT / "sample_models/lenet_bn"
PAIR = [str(LENET / "deploy_bn.prototxt"), str(LENET / "lenet_bn_iter_5000.caffemodel")]
COMMAND = [sys.executable, "-m", "caffefold"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("help_only", [False, True])
def test_a_full_standard_output(tmp_path: Path, help_only: bool) -> None:
    arguments = ["--help"] if help_only else ["convert", *PAIR, "-o", str(tmp_path / "out")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], check=False, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 3
    assert done.stderr == "error: standard output: No space left on device\n"
    assert (tmp_path / "out.caffemodel").exists() != help_only


def test_a_reader_that_went_away(tmp_path: Path) -> None:
    """The results are in place; the code is that of SIGPIPE, not that of a failed proof."""
    running = subprocess.Popen(
        [*COMMAND, "convert", *PAIR, "-o", str(tmp_path / "out"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    with running.stderr as stream:
        assert stream.read() == ""
    assert running.wait() == 141
    assert (tmp_path / "out.caffemodel").exists()


def left_alone(*arguments: str | Path) -> int:
    """The exit code of ``caffefold ARGUMENTS 2>&1 | true``."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([*COMMAND, *arguments], check=False, stdout=theirs, stderr=theirs)
    os.close(theirs)
    return done.returncode


def test_a_reader_of_everything_that_went_away(tmp_path: Path) -> None:
    """``caffefold -v convert ... 2>&1 | head``: the work is done, and the code is SIGPIPE's."""
    assert left_alone("-v", "convert", *PAIR, "-o", tmp_path / "out") == 141
    assert (tmp_path / "out.report.json").exists()
    assert left_alone("--help") == 141
    assert left_alone("convert", "--no-such-option") == 2
    assert left_alone("convert", *PAIR, "-o", tmp_path / "out") == 3  # it exists: only an error


def test_a_log_that_nobody_reads(tmp_path: Path) -> None:
    """The result is still said, and the code is that of the work."""
    running = subprocess.Popen(
        [*COMMAND, "-vv", "convert", *PAIR, "-o", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    running.stderr.close()
    assert running.stdout is not None
    with running.stdout as stream:
        assert stream.read().startswith("net ")
    assert running.wait() == 0


@pytest.mark.parametrize(
    ("flags", "expected", "unexpected"),
    [
        ([], "", "fold"),
        (["-v"], "fold: 21 layers -> 13; 4 changes, 0 left alone", "scale1: "),
        (["-vv"], "fold: bn1, scale1: ", "Traceback"),
    ],
)
def test_verbosity(tmp_path: Path, flags: list[str], expected: str, unexpected: str) -> None:
    done = subprocess.run(
        [*COMMAND, *flags, "convert", *PAIR, "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert expected in done.stderr
    assert unexpected not in done.stderr
    assert done.stdout.startswith("net ")


def test_logging_is_not_imported_for_nobody(tmp_path: Path) -> None:
    code = (
        "import sys, caffefold; caffefold.convert(*sys.argv[1:]); "
        "sys.exit('logging' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, *PAIR, str(tmp_path / "out")], check=True)
