"""caffe-onnx's own command, then onnxruntime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from onnx_file import answers  # type: ignore[import-not-found]


def run(prototxt: str, caffemodel: str, inputs: dict[str, Any], outputs: Any) -> dict[str, Any]:
    command = [str(Path(sys.executable).parent / "caffe2onnx"), prototxt, caffemodel, "net", "."]
    if subprocess.run(command, check=False).returncode or not Path("net.onnx").exists():
        raise SystemExit(1)  # its own last line stands
    found: dict[str, Any] = answers("net.onnx", inputs)
    # An output is called after its layer, with something behind it.
    layers = {layer: blob for blob, layer in outputs}
    named = {next((x for x in layers if name.startswith(x)), name): found[name] for name in found}
    return {layers.get(name, name): value for name, value in named.items()}
