"""caffe2onnx's own command, then onnxruntime."""

# ruff: noqa: B905 (zip of Python 3.7 has no strict)

from __future__ import annotations

import subprocess
import sys
from typing import Any


def run(prototxt: str, caffemodel: str, inputs: dict[str, Any], outputs: Any) -> dict[str, Any]:
    import onnxruntime

    command = [sys.executable, "-m", "caffe2onnx.convert", "--prototxt", prototxt]
    command += ["--caffemodel", caffemodel, "--onnx", "net.onnx"]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(1)  # its own last line stands
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    # An input is called after its blob, with something behind it, or is the only one.
    names = [each.name for each in session.get_inputs()]
    feeds = {
        next((name for name in names if name.startswith(blob)), names[0]): value
        for blob, value in inputs.items()
    }
    found = session.run(None, feeds)
    return {each.name: value for each, value in zip(session.get_outputs(), found)}
