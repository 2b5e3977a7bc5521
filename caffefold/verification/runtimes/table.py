"""The runtimes by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from caffefold.verification.runtimes.base import Runtime
from caffefold.verification.runtimes.onnx import OnnxRuntime
from caffefold.verification.runtimes.opencv import OpenCV4, OpenCV5
from caffefold.verification.runtimes.pycaffe import PyCaffe
from caffefold.verification.runtimes.reference import Reference

RUNTIMES: Mapping[str, Callable[[], Runtime]] = MappingProxyType(
    {
        "onnxruntime": OnnxRuntime,
        "opencv": OpenCV4,
        "opencv5": OpenCV5,
        "pycaffe": PyCaffe,
        "reference": Reference,
    }
)
DEFAULT = "onnxruntime"
