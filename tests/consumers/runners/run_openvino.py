"""OpenVINO's Model Optimizer, the last that reads Caffe, and its CPU plugin."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def run(prototxt: str, caffemodel: str, inputs: dict[str, Any], outputs: Any) -> dict[str, Any]:
    convert: Any = import_module("openvino.tools.mo").convert_model
    runtime: Any = import_module("openvino.runtime")
    model = convert(input_model=caffemodel, input_proto=prototxt, framework="caffe", silent=True)
    core = runtime.Core()
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = {name: port for port in compiled.inputs for name in port.get_names()}
    found = compiled({names[blob]: value for blob, value in inputs.items()})
    asked = {name for pair in outputs for name in pair}
    # A port has several names; layers that were fused have given it theirs.
    return {
        next((name for name in port.get_names() if name in asked), port.any_name): value
        for port, value in found.items()
    }
