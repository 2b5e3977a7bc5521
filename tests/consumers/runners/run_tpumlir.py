"""tpu-mlir's model_transform.py, and its interpreter of the module that comes out."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# The wheel brings a C library of its own, in which those of newer systems do not load.
_BUNDLED = ("libc.so.6", "libm.so.6", "libpthread.so.0", "libgcc_s.so.1", "libstdc++.so.6")


def run(prototxt: str, caffemodel: str, inputs: dict[str, Any], outputs: Any) -> dict[str, Any]:
    package: Any = find_spec("tpu_mlir")
    for name in _BUNDLED:
        (Path(package.origin).parent / "lib" / "third_party" / name).unlink(missing_ok=True)
    shapes = [list(value.shape) for value in inputs.values()]
    script = Path(sys.executable).parent / "model_transform.py"
    command = [sys.executable, str(script), "--model_name", "net", "--mlir", "net.mlir"]
    command += ["--model_def", prototxt, "--model_data", caffemodel]
    command += ["--input_shapes", str(shapes).replace(" ", "")]
    if subprocess.run(command, check=False).returncode or not Path("net.mlir").exists():
        raise SystemExit(1)  # its own last line stands
    runner: Any = import_module("tpu_mlir.python.tools.model_runner")
    found = runner.mlir_inference(dict(inputs), "net.mlir", dump_all=False)
    # Its outputs are called after the layer and its type.
    asked = {name: blob for blob, layer in outputs for name in (layer, blob)}
    return {
        asked.get(name, asked.get(name.rpartition("_")[0], name)): x for name, x in found.items()
    }
