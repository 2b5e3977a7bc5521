"""caffe2onnx's own command, then onnxruntime."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from onnx_file import answers  # type: ignore[import-not-found]


def run(prototxt: str, caffemodel: str, inputs: dict[str, Any], outputs: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "caffe2onnx.convert", "--prototxt", prototxt]
    command += ["--caffemodel", caffemodel, "--onnx", "net.onnx"]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(1)  # its own last line stands
    found: dict[str, Any] = answers("net.onnx", inputs)
    return found
