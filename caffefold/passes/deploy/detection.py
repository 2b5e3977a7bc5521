"""Losses of detectors -> the layers that detect.

Given   MultiBoxLoss(mbox_loc, mbox_conf, mbox_priorbox, label)
Result  Reshape -> Softmax -> Flatten of mbox_conf, then DetectionOutput

Source: the SSD branch's examples/ssd/ssd_pascal.py: which layers, and which parameters are the
loss's own and cannot be defaulted. For LOGISTIC the Softmax is a Sigmoid; there the example has no
Reshape and Flatten, but the authors of such detectors have (MobileNetv2-SSDLite, SFD).

Given   Yolov3(conv22, label), Yolov3(conv23, label), each with its masks of the anchors
Result  Yolov3DetectionOutput(conv22, conv23), with all masks; made only on ``--head``

Source: the fork that has both (eric612/MobileNet-YOLO).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from caffefold.formats.prototxt.tree import Document, Message
from caffefold.ir.net import Layer
from caffefold.ops.base import own_message
from caffefold.ops.detection import YOLO_OUTPUT, YOLO_V3_OUTPUT, Detections
from caffefold.ops.loss import MULTIBOX_LOSS, Loss
from caffefold.ops.table import op, op_of
from caffefold.options import DetectionOptions
from caffefold.passes.deploy.newlayer import Names, Parameters, new_layer

TAKEN_OVER = {
    YOLO_OUTPUT.name: ("num_class", "coords", "biases"),
    YOLO_V3_OUTPUT.name: ("num_class", "biases", "mask", "anchors_scale"),
}
"""By detection layer of YOLO, which parameters of its losses it has, too."""
_OF_EACH = frozenset({"mask", "anchors_scale"})  # one after another; the others are alike
_RENAMED = {"num_class": "num_classes"}

_THRESHOLDS = ("confidence_threshold", "nms_threshold", "top_k", "keep_top_k")


def multibox(names: Names, loss: Layer, options: DetectionOptions) -> tuple[Layer, ...]:
    """Reshape, Softmax (or Sigmoid), Flatten of the confidences, and DetectionOutput."""
    if len(loss.bottoms) < 3:
        raise loss.error("MultiBoxLoss needs the bottoms loc, conf, priorbox and label")
    loc, conf, prior = loss.bottoms[:3]
    params = MULTIBOX_LOSS.params(loss)
    if not params.has("num_classes"):
        raise loss.error("multibox_loss_param has no num_classes; add it, DetectionOutput needs it")
    classes = params.integer("num_classes")
    made: list[Layer] = []

    def add(kind: str, bottom: str, params: Parameters) -> str:
        name = f"{conf}_{kind.lower()}"
        for known in names.layers:
            if op(known).name == kind and known.bottoms == (bottom,) and known.tops == (name,):
                return name  # the training net computes it already, for its own evaluation
        name = names.free(name)
        made.append(new_layer(loss.document, kind, name, [bottom], name, params))
        return name

    shaped = add("Reshape", conf, {"reshape_param": {"shape": {"dim": [0, -1, classes]}}})
    if params.enum("conf_loss_type") == "LOGISTIC":
        probable = add("Sigmoid", shaped, {})
    else:
        probable = add("Softmax", shaped, {"softmax_param": {"axis": 2}})
    scores = add("Flatten", probable, {"flatten_param": {"axis": 1}})
    # RefineDet: the boxes and scores of its first step stand behind the label.
    reads = (loc, scores, prior, *loss.bottoms[4:6])
    name = names.free("detection_out")
    known: Parameters = {
        "num_classes": classes,
        "share_location": str(params.flag("share_location")).lower(),
        "background_label_id": params.integer("background_label_id"),
        "nms_param": {"nms_threshold": f"{options.nms_threshold:g}", "top_k": options.top_k},
        "code_type": params.enum("code_type"),
        "variance_encoded_in_target": ["true"] * params.flag("encode_variance_in_target"),
        "keep_top_k": options.keep_top_k,
        "confidence_threshold": f"{options.confidence_threshold:g}",
    }
    detects: Parameters = {"detection_output_param": known}
    made.append(new_layer(loss.document, "DetectionOutput", name, reads, name, detects))
    return tuple(made)


def thresholds(layers: Iterable[Layer]) -> str:
    """What was chosen for a detector among ``layers``: no training net has these numbers."""
    chosen = [
        f"{name} {message.string(name)}"
        for layer in layers
        if isinstance(op(layer), Detections)
        for params in [own_message(layer, op(layer).param)]
        for message in (params, params.message("nms_param") or params)
        for name in _THRESHOLDS
        if message.last(name) is not None
    ]
    return f" with {', '.join(dict.fromkeys(chosen))}" if chosen else ""


def detects_yolo(kind: str, layer: Layer) -> bool:
    """Whether a layer of type ``kind`` detects with what the loss ``layer`` is trained on."""
    own = op(layer)
    return isinstance(own, Loss) and own.detector is not None and own.detector.name == kind


def yolo(
    document: Document, kind: str, name: str, losses: Sequence[Layer], options: DetectionOptions
) -> Layer:
    """The detection layer for ``losses``, each of which ``detects_yolo`` accepts."""
    messages = [_yolo_params(loss) for loss in losses]

    def copied(name: str, messages: Sequence[Message]) -> list[str]:
        return [str(value) for message in messages for value in message.all(name)]

    known: dict[str, int | str | list[str]] = {
        "confidence_threshold": f"{options.confidence_threshold:g}",
        "nms_threshold": f"{options.nms_threshold:g}",
    }
    for field in TAKEN_OVER[kind]:
        each = messages if field in _OF_EACH else messages[:1]
        known[_RENAMED.get(field, field)] = copied(field, each)
    if kind == YOLO_V3_OUTPUT.name:
        known["mask_group_num"] = len(losses)
    reads = [loss.bottoms[0] for loss in losses]
    params = {op_of(kind).param: known}
    return new_layer(document, kind, name, reads, name, params, losses[-1].field.lead)


def _yolo_params(loss: Layer) -> Message:
    """The parameters of a loss, whatever the fork calls the message."""
    found = loss.body.message(op(loss).param)
    if found is None:
        messages = (f.body for f in loss.body.fields if f.name.endswith("_param"))
        found = next((m for m in messages if m.last("biases") is not None), None)
    if found is None or found.last("biases") is None:
        raise loss.error("it has no anchors (biases); the detection layer needs them")
    return found
