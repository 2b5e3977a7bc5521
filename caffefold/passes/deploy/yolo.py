"""YOLO losses -> the detection layers of the fork that has both (eric612/MobileNet-YOLO).

Given   Yolov3(conv22, label), Yolov3(conv23, label), each with its masks of the anchors
Result  Yolov3DetectionOutput(conv22, conv23), with all masks; made only on ``--head``
"""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.formats.prototxt.tree import Document, Field, Message, block, quote, scalar
from caffefold.ir.net import Layer
from caffefold.ops.detection import YOLO_OUTPUT, YOLO_V3_OUTPUT
from caffefold.ops.loss import Loss
from caffefold.ops.table import op, op_of
from caffefold.options import DetectionOptions
from caffefold.passes.deploy.newlayer import new_layer


def detects(kind: str, layer: Layer) -> bool:
    """Whether a layer of type ``kind`` detects with what the loss ``layer`` is trained on."""
    own = op(layer)
    return isinstance(own, Loss) and own.detector is not None and own.detector.name == kind


def detection(
    document: Document, kind: str, name: str, losses: Sequence[Layer], options: DetectionOptions
) -> Layer:
    """The detection layer for ``losses``, all of which ``detects`` accepts."""
    messages = [_params(loss) for loss in losses]
    fields = [
        scalar("confidence_threshold", f"{options.confidence_threshold:g}", "    "),
        scalar("nms_threshold", f"{options.nms_threshold:g}", "    "),
    ]
    fields += _copied(messages[:1], "num_class", "num_classes")
    if kind == YOLO_OUTPUT.name:
        fields += _copied(messages[:1], "coords", "coords")
    fields += _copied(messages[:1], "biases", "biases")
    if kind == YOLO_V3_OUTPUT.name:
        fields += _copied(messages, "mask", "mask")
        fields += _copied(messages, "anchors_scale", "anchors_scale")
        fields.append(scalar("mask_group_num", str(len(losses)), "    "))
    wires = [scalar("bottom", quote(loss.bottoms[0]), "  ") for loss in losses]
    wires += [scalar("top", quote(name), "  "), block(op_of(kind).param, fields, "  ")]
    return new_layer(document, name, kind, wires, losses[-1].field.lead)


def _params(loss: Layer) -> Message:
    """The parameters of a loss, whatever the fork calls the message."""
    found = loss.body.message(op(loss).param)
    if found is None:
        messages = (f.body for f in loss.body.fields if f.name.endswith("_param"))
        found = next((m for m in messages if m.last("biases") is not None), None)
    if found is None or found.last("biases") is None:
        raise loss.error("it has no anchors (biases); the detection layer needs them")
    return found


def _copied(messages: Sequence[Message], name: str, new: str) -> list[Field]:
    return [scalar(new, str(value), "    ") for m in messages for value in m.all(name)]
