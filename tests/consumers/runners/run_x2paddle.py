"""X2Paddle's own command, and Paddle, which runs what it writes."""

# ruff: noqa: B905 (zip of Python 3.7 has no strict)

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def run(prototxt: str, caffemodel: str, inputs: dict[str, Any], outputs: Any) -> dict[str, Any]:
    command = [str(Path(sys.executable).parent / "x2paddle"), "--framework", "caffe"]
    command += ["--prototxt", prototxt, "--weight", caffemodel, "--save_dir", "made"]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(1)  # its own last line stands
    paddle: Any = import_module("paddle")
    net = paddle.jit.load("made/inference_model/model")
    found = net(*(paddle.to_tensor(value) for value in inputs.values()))
    # They have no names; they are in the order of the net.
    found = found if isinstance(found, (list, tuple)) else [found]
    return {blob: value.numpy() for (blob, _), value in zip(outputs, found)}
