"""YOLO losses -> the detection layers of the fork that has both (eric612/MobileNet-YOLO).

Given   Yolov3(conv22, label), Yolov3(conv23, label), each with its masks of the anchors
Result  Yolov3DetectionOutput(conv22, conv23), with all masks; made only on ``--head``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from caffefold.formats.prototxt.tree import Document, Field, Message, block, quote, scalar
from caffefold.ir.net import Layer
from caffefold.options import DetectionOptions
from caffefold.passes.deploy.newlayer import new_layer

LOSSES: Mapping[str, frozenset[str]] = {
    "Yolov3DetectionOutput": frozenset({"Yolov3", "Yolov3Loss"}),
    "YoloDetectionOutput": frozenset({"RegionLoss"}),
}
_PARAMS = {
    "Yolov3DetectionOutput": ("yolov3_param", "yolov3_detection_output_param"),
    "YoloDetectionOutput": ("region_loss_param", "yolo_detection_output_param"),
}


def detection(
    document: Document, kind: str, name: str, losses: Sequence[Layer], options: DetectionOptions
) -> Layer:
    """The detection layer for ``losses``, which all are of the kinds ``LOSSES[kind]``."""
    source, target = _PARAMS[kind]
    messages = [_params(loss, source) for loss in losses]
    fields = [
        scalar("confidence_threshold", f"{options.confidence_threshold:g}", "    "),
        scalar("nms_threshold", f"{options.nms_threshold:g}", "    "),
    ]
    fields += _copied(messages[:1], "num_class", "num_classes")
    if kind == "YoloDetectionOutput":
        fields += _copied(messages[:1], "coords", "coords")
    fields += _copied(messages[:1], "biases", "biases")
    if kind == "Yolov3DetectionOutput":
        fields += _copied(messages, "mask", "mask")
        fields += _copied(messages, "anchors_scale", "anchors_scale")
        fields.append(scalar("mask_group_num", str(len(losses)), "    "))
    wires = [scalar("bottom", quote(loss.bottoms[0]), "  ") for loss in losses]
    wires += [scalar("top", quote(name), "  "), block(target, fields, "  ")]
    return new_layer(document, name, kind, wires, losses[-1].field.lead)


def _params(loss: Layer, wanted: str) -> Message:
    """The parameters of a loss, whatever the fork calls the message."""
    found = loss.body.message(wanted)
    if found is None:
        messages = (f.body for f in loss.body.fields if f.name.endswith("_param"))
        found = next((m for m in messages if m.last("biases") is not None), None)
    if found is None or found.last("biases") is None:
        raise loss.error("it has no anchors (biases); the detection layer needs them")
    return found


def _copied(messages: Sequence[Message], name: str, new: str) -> list[Field]:
    return [scalar(new, str(value), "    ") for m in messages for value in m.all(name)]
