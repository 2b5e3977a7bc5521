"""What a converter wrote, in onnxruntime."""

# ruff: noqa: B905 (zip of Python 3.7 has no strict)

from __future__ import annotations

from typing import Any


def answers(path: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The outputs of the model, by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    # An input is called after its blob, with something behind it, or is the only one.
    names = [each.name for each in session.get_inputs()]
    feeds = {
        next((name for name in names if name.startswith(blob)), names[0]): value
        for blob, value in inputs.items()
    }
    found = session.run(None, feeds)
    return {each.name: value for each, value in zip(session.get_outputs(), found)}
