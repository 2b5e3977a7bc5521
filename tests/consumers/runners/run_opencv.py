"""OpenCV's own reader and engine, as a user gets it: with its fusion."""

# ruff: noqa: B905 (zip of Python 3.7 has no strict)

from __future__ import annotations

from typing import Any


def run(prototxt: str, caffemodel: str, inputs: dict[str, Any], outputs: Any) -> dict[str, Any]:
    import cv2

    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise SystemExit("error: it has no readNetFromCaffe")
    net = cv2.dnn.readNetFromCaffe(prototxt, caffemodel)
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    for blob, value in inputs.items():
        net.setInput(value, blob)
    # It is asked for layers; one whose top is the net's output has that top's name.
    known = net.getLayerNames()
    names = [layer if layer in known else blob for blob, layer in outputs]
    return dict(zip([blob for blob, _ in outputs], net.forward(names)))
