"""Images as they come from a decoder, and the preprocessing of a training net as operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from caffefold.errors import Option, UsageError
from caffefold.formats import onnx

_OPTION = Option("raw_input")


def with_raw_inputs(model: onnx.Model, known: Sequence[Mapping[str, Any]]) -> onnx.Model:
    """The model with uint8 images of (N, H, W, C) in place of the inputs that ``known`` is about.

    ``known`` is the preprocessing of each input: colour images are given as RGB. What the net
    computes on keeps a value, called ``BLOB@preprocessed``.

    Raises:
        UsageError: nothing is known of any input, or one is preprocessed by more than arithmetic.
    """
    if not known:
        raise UsageError(
            _OPTION,
            ": the net does not state how its images are preprocessed; export the training net",
        )
    for each in known:
        model = _with_raw_input(model, each)
    return model


def _with_raw_input(model: onnx.Model, known: Mapping[str, Any]) -> onnx.Model:
    blob = known["blob"]
    value = next(value for value in model.inputs if value.name == blob)
    if value.shape is None or len(value.shape) != 4:
        raise UsageError(_OPTION, f": input '{blob}' is no image of 4 axes")
    if "mean_file" in known:
        raise UsageError(
            _OPTION,
            f": '{blob}' is preprocessed by the mean image {known['mean_file']}, which is cropped "
            "with the image; only mean values can become part of a model",
        )
    items, channels, height, width = value.shape
    steps: list[tuple[str, onnx.Tensor | None, dict[str, onnx.Attribute]]] = []
    steps.append(("Cast", None, {"to": onnx.FLOAT}))
    if known.get("color_order") == "BGR":
        order = onnx.integers(f"{blob}@order", [2, 1, 0])
        steps.append(("Gather", order, {"axis": 3}))
    if "mean_value" in known:
        steps.append(("Sub", onnx.floats(f"{blob}@mean", known["mean_value"]), {}))
    if "scale" in known:
        steps.append(("Mul", onnx.floats(f"{blob}@scale", [known["scale"]]), {}))
    steps.append(("Transpose", None, {"perm": [0, 3, 1, 2]}))
    nodes, at = [], blob
    done = f"{blob}@preprocessed"
    for i, (kind, tensor, attributes) in enumerate(steps):
        made = done if i == len(steps) - 1 else f"{blob}@{kind.lower()}"
        inputs = (at,) if tensor is None else (at, tensor.name)
        nodes.append(onnx.Node(made, kind, inputs, (made,), attributes, "preprocessing"))
        at = made
    image = onnx.Value(blob, onnx.UINT8, (items, height, width, channels), "uint8 image, RGB")
    if channels != 3:
        image = image._replace(doc="uint8 image")
    tensors = tuple(tensor for _, tensor, _ in steps if tensor is not None)
    return model._replace(
        nodes=(*nodes, *(_fed(node, blob, done) for node in model.nodes)),
        tensors=(*tensors, *model.tensors),
        inputs=tuple(image if each is value else each for each in model.inputs),
        values=(onnx.Value(done, onnx.FLOAT, value.shape), *model.values),
    )


def _fed(node: onnx.Node, old: str, new: str) -> onnx.Node:
    """The node with another value in place of one of its inputs."""
    inputs = tuple(new if name == old else name for name in node.inputs)
    return node._replace(inputs=inputs)
