"""MultiBoxLoss -> the layers of an SSD that detect.

Given   MultiBoxLoss(mbox_loc, mbox_conf, mbox_priorbox, label)
Result  Reshape -> Softmax -> Flatten of mbox_conf, then DetectionOutput

Source: the SSD branch's examples/ssd/ssd_pascal.py: which layers, and which parameters are the
loss's own and can not be defaulted. For LOGISTIC the Softmax is a Sigmoid; there the example has no
Reshape and Flatten, but the authors of such detectors have (MobileNetv2-SSDLite, SFD).
"""

from __future__ import annotations

from caffefold.formats.prototxt.tree import Field, block, quote, scalar
from caffefold.ir.net import Layer, Net
from caffefold.ops.loss import MULTIBOX_LOSS
from caffefold.ops.table import op
from caffefold.options import DetectionOptions
from caffefold.passes.deploy.newlayer import free_name, new_layer


def multibox(
    net: Net, loss: Layer, options: DetectionOptions, going: frozenset[int]
) -> tuple[Layer, ...]:
    """Reshape, Softmax (or Sigmoid), Flatten of the confidences, and DetectionOutput."""
    if len(loss.bottoms) < 3:
        raise loss.error("MultiBoxLoss needs the bottoms loc, conf, priorbox and label")
    loc, conf, prior = loss.bottoms[:3]
    made: list[Layer] = []

    def add(kind: str, suffix: str, bottom: str, params: Field | None) -> str:
        name = f"{conf}_{suffix}"
        for known in net.layers:
            if op(known).name == kind and known.bottoms == (bottom,) and known.tops == (name,):
                return name  # the training net computes it already, for its own evaluation
        name = free_name(net, name, going)
        fields = [scalar("bottom", quote(bottom), "  "), scalar("top", quote(name), "  ")]
        fields += [params] if params is not None else []
        made.append(new_layer(net.document, name, kind, fields, "\n"))
        return name

    dims = [scalar("dim", d, "      ") for d in ("0", "-1", _token(loss, "num_classes"))]
    shape = block("reshape_param", [block("shape", dims, "    ")], "  ")
    shaped = add("Reshape", "reshape", conf, shape)
    if MULTIBOX_LOSS.params(loss).enum("conf_loss_type") == "LOGISTIC":
        probable = add("Sigmoid", "sigmoid", shaped, None)
    else:
        axis = block("softmax_param", [scalar("axis", "2", "    ")], "  ")
        probable = add("Softmax", "softmax", shaped, axis)
    flat = block("flatten_param", [scalar("axis", "1", "    ")], "  ")
    scores = add("Flatten", "flatten", probable, flat)
    # RefineDet: the boxes and scores of its first step stand behind the label.
    reads = (loc, scores, prior, *loss.bottoms[4:6])
    fields = [scalar("bottom", quote(b), "  ") for b in reads]
    name = free_name(net, "detection_out", going)
    fields += [scalar("top", quote(name), "  "), _detection_params(loss, options)]
    made.append(new_layer(net.document, name, "DetectionOutput", fields, "\n"))
    return tuple(made)


def _detection_params(loss: Layer, options: DetectionOptions) -> Field:
    """What the loss knows (it can not be defaulted), then how detections are thinned out."""
    params = MULTIBOX_LOSS.params(loss)

    def known(name: str, raw: str) -> Field:
        return scalar(name, raw, "    ")

    fields = [
        known("num_classes", _token(loss, "num_classes")),
        known("share_location", _bool(params.flag("share_location"))),
        known("background_label_id", str(params.integer("background_label_id"))),
        block(
            "nms_param",
            [
                scalar("nms_threshold", f"{options.nms_threshold:g}", "      "),
                scalar("top_k", str(options.top_k), "      "),
            ],
            "    ",
        ),
        known("code_type", params.enum("code_type")),
    ]
    if params.flag("encode_variance_in_target"):
        fields.append(known("variance_encoded_in_target", "true"))
    fields += [
        known("keep_top_k", str(options.keep_top_k)),
        known("confidence_threshold", f"{options.confidence_threshold:g}"),
    ]
    return block("detection_output_param", fields, "  ")


def _token(loss: Layer, name: str) -> str:
    """The integer ``name`` of the loss; an error that names it when the loss does not say."""
    params = MULTIBOX_LOSS.params(loss)
    if not params.has(name):
        raise loss.error(f"multibox_loss_param has no {name}; add it, DetectionOutput needs it")
    return str(params.integer(name))


def _bool(value: bool) -> str:
    return "true" if value else "false"
