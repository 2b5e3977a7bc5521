"""ONNX models in tests: written by caffefold, read by protobuf, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

AnyArray: TypeAlias = npt.NDArray[Any]


def run(model: bytes | Path, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """The outputs by name; skips where onnxruntime is missing."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # warns of what no output needs
    options.intra_op_num_threads = 1
    content = model if isinstance(model, bytes) else str(model)
    session = runtime.InferenceSession(content, options)
    fed = {each.name: inputs[each.name] for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, fed), strict=True))


def difference(found: AnyArray, wanted: AnyArray) -> float:
    """The largest difference, relative to the largest number; NaN equals NaN, and what stands for
    an infinite number equals itself alone."""
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    infinite = ~(np.abs(wanted) < np.finfo(np.float32).max)
    np.testing.assert_array_equal(found[infinite], wanted[infinite])
    if infinite.all():
        return 0.0
    apart = np.abs(found.astype(np.float64) - wanted)[~infinite]
    return float(apart.max(initial=0.0) / max(np.abs(wanted[~infinite]).max(initial=0.0), 1e-30))
