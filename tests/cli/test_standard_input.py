"""Prototxts that come through a pipe: ``-`` is standard input, and no stream is read twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Pair

LONG = "# " + "x" * 100 + "\n"
Piped = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def piped(tmp_path: Path) -> Piped:
    """Runs the command line with bytes on standard input, and the files of ``pipes`` as pipes."""

    def run(
        *words: str | Path, text: bytes = b"", pipes: tuple[Path, ...] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        readers, writers = [], []
        for path in pipes:
            reader, writer = os.pipe()
            writers.append(subprocess.Popen(["cat", str(path)], stdout=writer))
            os.close(writer)
            readers.append(reader)
        named = iter(f"/dev/fd/{reader}" for reader in readers)
        command = [next(named) if word == "PIPE" else str(word) for word in words]
        done = subprocess.run(
            [sys.executable, "-m", "caffefold", *command],
            input=text,
            cwd=tmp_path,
            capture_output=True,
            pass_fds=readers,
            timeout=120,
            check=False,
        )
        for reader in readers:
            os.close(reader)
        for process in writers:
            process.wait()
        return done

    return run


@pytest.fixture
def long(pair: Pair) -> Pair:
    """A net whose text is longer than what any pipe or any first look holds."""
    text = pair.prototxt.read_text(encoding="utf-8")
    pair.prototxt.write_text(LONG * 1_500 + text, encoding="utf-8")
    return pair


def test_diff_reads_process_substitutions_whole(piped: Piped, long: Pair) -> None:
    """``caffefold diff <(git show HEAD~1:net.prototxt) net.prototxt``."""
    done = piped("diff", "PIPE", long.prototxt, pipes=(long.prototxt,))
    assert (done.returncode, done.stderr) == (0, b"")
    done = piped("diff", "PIPE", "PIPE", pipes=(long.prototxt, long.prototxt))
    assert (done.returncode, done.stderr) == (0, b"")


def test_diff_reads_standard_input(piped: Piped, long: Pair) -> None:
    text = long.prototxt.read_bytes()
    done = piped("diff", "-", long.prototxt, text=text)
    assert done.returncode == 0
    assert b"<stdin>: tiny" in done.stdout
    done = piped("diff", long.prototxt, "-", text=text.replace(b"num_output: 3", b"num_output: 4"))
    assert done.returncode == 1


@pytest.mark.parametrize("way", ["-", "PIPE"])
def test_inspect(piped: Piped, long: Pair, way: str) -> None:
    whole = piped("inspect", long.prototxt, long.caffemodel)
    text = long.prototxt.read_bytes()
    done = piped("inspect", way, long.caffemodel, text=text, pipes=(long.prototxt,))
    assert done.returncode == 0
    assert done.stdout == whole.stdout
    alone = piped("inspect", way, text=text, pipes=(long.prototxt,))
    assert (alone.returncode, alone.stderr) == (0, b"")
    plain = piped("inspect", "--textconv", way, text=text, pipes=(long.prototxt,))
    assert b'name: "tiny"' in plain.stdout


@pytest.mark.parametrize("way", ["-", "PIPE"])
def test_convert(piped: Piped, long: Pair, tmp_path: Path, way: str) -> None:
    text = long.prototxt.read_bytes()
    for prefix, given in (("whole", long.prototxt), ("streamed", way)):
        words = ("convert", given, long.caffemodel, "-o", prefix)
        done = piped(*words, text=text, pipes=(long.prototxt,))
        assert (done.returncode, done.stderr) == (0, b"")
    for suffix in (".prototxt", ".caffemodel"):
        written = [
            (tmp_path / f"{prefix}{suffix}").read_bytes() for prefix in ("whole", "streamed")
        ]
        assert written[0] == written[1]
    inputs = json.loads((tmp_path / "streamed.report.json").read_bytes())["inputs"]
    assert inputs[0]["bytes"] == len(text)
    again = piped("convert", "-", long.caffemodel, "-o", "whole", "--force", text=text)
    assert again.returncode == 0


@pytest.mark.parametrize("way", ["-", "PIPE"])
def test_upgrade(piped: Piped, tmp_path: Path, way: str) -> None:
    old = tmp_path / "old.prototxt"
    old.write_text(LONG * 1_500 + "layers { name: 'r' type: RELU bottom: 'a' top: 'b' }\n")
    new = tmp_path / "new.prototxt"
    done = piped("upgrade", way, new, text=old.read_bytes(), pipes=(old,))
    assert (done.returncode, done.stderr) == (0, b"")
    assert 'type: "ReLU"' in new.read_text()
    again = piped("upgrade", way, new, "--force", text=old.read_bytes(), pipes=(old,))
    assert again.returncode == 0


def test_errors_name_standard_input(piped: Piped, long: Pair) -> None:
    done = piped("inspect", "-", text=b"layer {\n  name: \n}")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        3,
        b"error: <stdin>:2:3: 'name' has no value",
    )
    done = piped("diff", "-", "-", text=long.prototxt.read_bytes())
    assert done.stderr == (
        b"error: <stdin>: this file is empty; was the download or copy cut off?\n"
    )


@pytest.mark.parametrize(
    "words",
    [("inspect", "PIPE"), ("diff", "PIPE", "-"), ("upgrade", "PIPE", "new.caffemodel")],
    ids=lambda words: words[0],
)
def test_weights_are_no_stream(piped: Piped, long: Pair, words: tuple[str, ...]) -> None:
    """They are read where they lie; a pipe has no places."""
    done = piped(*words, text=long.prototxt.read_bytes(), pipes=(long.caffemodel,))
    assert done.returncode == 3
    assert done.stderr.endswith(
        b": a caffemodel cannot be read from a pipe; save it and give the file\n"
    )
