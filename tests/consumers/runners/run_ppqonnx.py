"""PPQ's Caffe parser, its export to ONNX, and onnxruntime."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from onnx_file import answers  # type: ignore[import-not-found]


def run(prototxt: str, caffemodel: str, inputs: dict[str, Any], outputs: Any) -> dict[str, Any]:
    api: Any = import_module("ppq.api")
    platform: Any = import_module("ppq").TargetPlatform.ONNX
    graph = api.load_caffe_graph(prototxt, caffemodel)
    api.export_ppq_graph(graph, platform, "net.onnx")
    found: dict[str, Any] = answers("net.onnx", inputs)
    return found
