"""RKNN-Toolkit2 and its simulator, which computes in half precision."""

# ruff: noqa: B905 (zip of Python 3.7 has no strict)

from __future__ import annotations

from importlib import import_module
from typing import Any


def run(prototxt: str, caffemodel: str, inputs: dict[str, Any], outputs: Any) -> dict[str, Any]:
    toolkit: Any = import_module("rknn.api").RKNN(verbose=False)
    toolkit.config(target_platform="rk3588")
    steps = {
        "load_caffe": lambda: toolkit.load_caffe(model=prototxt, blobs=caffemodel),
        "build": lambda: toolkit.build(do_quantization=False),
        "init_runtime": toolkit.init_runtime,
    }
    for name, step in steps.items():
        if step() != 0:
            raise SystemExit(f"error: {name} failed")
    layout = ["nchw" if value.ndim == 4 else "undefined" for value in inputs.values()]
    found = toolkit.inference(inputs=list(inputs.values()), data_format=layout)
    # They are numbered, in the order of the net's outputs.
    return {blob: value for (blob, _), value in zip(outputs, found)}
