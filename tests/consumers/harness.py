"""One pair in one consumer: in a process of its own, since consumers crash and hang."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SERVE = Path(__file__).parent / "runners" / "serve.py"


@dataclass(frozen=True)
class Answer:
    """What a consumer made of a pair: its outputs, or why there are none."""

    outputs: Mapping[str, NDArray[Any]]
    why: str = ""


def ask(
    python: Path,
    runner: str,
    pair: tuple[Path, Path],
    inputs: Mapping[str, NDArray[Any]],
    wanted: Mapping[str, str],
    folder: Path,
    seconds: float = 300,
) -> Answer:
    """Let the consumer ``runner`` of the interpreter ``python`` convert and run a pair.

    Args:
        python: the interpreter of the consumer's environment.
        runner: the name of a ``runners/run_NAME.py``.
        pair: prototxt and caffemodel.
        inputs: float32 arrays, by blob.
        wanted: the layer that writes each blob that is asked for.
        folder: an empty folder, for the consumer's files.
        seconds: how long it may take.
    """
    folder.mkdir(parents=True)
    given: dict[str, Any] = {str(at): x for at, x in enumerate(inputs.values())}
    np.savez(folder / "data.npz", **given)
    request = {
        "prototxt": str(pair[0].resolve()),
        "caffemodel": str(pair[1].resolve()),
        "inputs": list(inputs),
        "outputs": list(wanted.items()),
    }
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PATH"] = os.pathsep.join((str(python.parent), environment.get("PATH", "")))
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [python, SERVE, runner, folder / "request.json"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # what it starts is ended with it
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Answer({}, f"no answer in {seconds:g} s")
    if code < 0:
        return Answer({}, f"crashed: {signal.Signals(-code).name}")
    if code or not (folder / "result.npz").exists():
        return Answer({}, _reason(folder / "log.txt"))
    with np.load(folder / "result.npz") as found:
        return Answer({blob: found[str(at)] for at, blob in enumerate(wanted)})


def _reason(log: Path) -> str:
    """The last line that speaks of an error, else the last one."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line]
    return " ".join((errors or lines or ["it ended without a word"])[-1].split())[:200]
