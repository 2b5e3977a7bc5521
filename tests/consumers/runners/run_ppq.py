"""PPQ's Caffe parser and its own executor in torch."""

# ruff: noqa: B905 (zip of Python 3.7 has no strict)

from __future__ import annotations

from importlib import import_module
from typing import Any


def run(prototxt: str, caffemodel: str, inputs: dict[str, Any], outputs: Any) -> dict[str, Any]:
    import torch

    api: Any = import_module("ppq.api")
    executor: Any = import_module("ppq.executor")
    graph = api.load_caffe_graph(prototxt, caffemodel)
    engine = executor.TorchExecutor(graph, fp16_mode=False, device="cpu")
    found = engine.forward({blob: torch.from_numpy(value) for blob, value in inputs.items()})
    return {name: value.numpy() for name, value in zip(graph.outputs, found)}
