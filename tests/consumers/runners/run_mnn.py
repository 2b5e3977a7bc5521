"""MNN: the function behind its converter. The script around it installs a package for telemetry."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np


def run(prototxt: str, caffemodel: str, inputs: dict[str, Any], outputs: Any) -> dict[str, Any]:
    mnn: Any = import_module("MNN")
    tools: Any = import_module("_tools")
    command = ["-f", "CAFFE", "--modelFile", caffemodel, "--prototxt", prototxt]
    tools.mnnconvert(["mnnconvert", *command, "--MNNModel", "net.mnn", "--bizCode", "caffefold"])
    net = mnn.Interpreter("net.mnn")
    session = net.createSession()
    planar = mnn.Tensor_DimensionType_Caffe
    for blob, value in inputs.items():
        given = mnn.Tensor(value.shape, mnn.Halide_Type_Float, value, planar)
        net.getSessionInput(session, blob).copyFrom(given)
    net.runSession(session)
    # Its outputs are called after their last layer, in place or not.
    found = {}
    for name, tensor in net.getSessionOutputAll(session).items():
        empty = np.zeros(tensor.getShape(), np.float32)
        host = mnn.Tensor(tensor.getShape(), mnn.Halide_Type_Float, empty, planar)
        tensor.copyToHostTensor(host)
        found[name] = np.array(host.getNumpyData())
    return found
