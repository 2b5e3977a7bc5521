"""Losses become the inference heads that stand for them.

Given   MultiBoxLoss(mbox_loc, mbox_conf, mbox_priorbox, label)
Result  Reshape -> Softmax -> Flatten of mbox_conf, and DetectionOutput

Given   SoftmaxWithLoss(ip, label), Accuracy(ip, label)
Result  Softmax(ip), unless the net has that Softmax already

Source: the SSD branch's examples/ssd/ssd_pascal.py (which layers, which parameters are copied) and
the loss layers' own code (which probability each of them computes before its loss).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from caffefold.formats.text import Document, Field, Scalar, block, quote, scalar
from caffefold.model import graph
from caffefold.model.graph import Graph
from caffefold.model.net import Layer, Net
from caffefold.rewrite.base import Change, PassResult

RULE = "heads"
PLAIN_LOSSES = frozenset(
    {"EuclideanLoss", "HingeLoss", "ContrastiveLoss", "MultinomialLogisticLoss", "SmoothL1Loss"}
)
MEASURES = frozenset({"Accuracy", "DetectionEvaluate", "Silence"})


@dataclass(frozen=True, slots=True)
class DetectionOptions:
    """What a training net does not know: how detections are thinned out (MobileNet-SSD's values)."""

    nms_threshold: float = 0.45
    top_k: int = 100
    keep_top_k: int = 100
    confidence_threshold: float = 0.25


@dataclass(frozen=True, slots=True)
class ConvertHeads:
    """Replace losses by heads; drop what only measures; prune what only they or labels needed."""

    options: DetectionOptions = DetectionOptions()
    name: str = RULE

    def run(self, net: Net) -> PassResult:
        """Convert every loss of the net."""
        wiring = graph.build(net)
        originally_unread = {
            wiring.versions[i].blob
            for i in wiring.sinks
            if wiring.versions[i].producer == graph.OUTSIDE
            or not _only_feeds(net.layers[wiring.versions[i].producer])
        }
        new: dict[int, tuple[Layer, ...]] = {}
        wanted = set(originally_unread)
        changes: list[Change] = []
        for position, layer in enumerate(net.layers):
            if layer.type in MEASURES:
                new[position] = ()
                changes.append(Change(RULE, (layer.name,), (), f"{layer.type} is for training only"))
            elif is_loss(layer):
                made = self.head(net, wiring, position)
                new[position] = made
                wanted.update(top for item in made for top in item.tops)
                wanted.update(_predictions(layer))
                wanted.difference_update(layer.tops)
                changes.append(_change(layer, made))
        pruned, dropped = _prune(net.substitute(new), wanted)
        if dropped:
            changes.append(Change(RULE, dropped, (), "only losses or labels needed it"))
        return PassResult(pruned, tuple(changes))

    def head(self, net: Net, wiring: Graph, position: int) -> tuple[Layer, ...]:
        """The layers that take the place of one loss."""
        layer = net.layers[position]
        if layer.type == "MultiBoxLoss":
            return _multibox(net, layer, self.options)
        if layer.type not in _PROBABILITY:
            return ()
        kind = _PROBABILITY[layer.type]
        version = wiring.reads[position][0]
        readers = wiring.versions[version].readers if version >= 0 else ()
        if any(net.layers[r].type == kind for r in readers):
            return ()  # the net computes this probability already
        name = _free(net, "prob" if kind == "Softmax" else f"{layer.bottoms[0]}_sigmoid")
        fields = [scalar("bottom", quote(layer.bottoms[0]), "  "), scalar("top", quote(name), "  ")]
        softmax = layer.body.message("softmax_param")
        axis = softmax.last("axis") if softmax is not None else None
        if kind == "Softmax" and isinstance(axis, Scalar):
            fields.append(block("softmax_param", [scalar("axis", axis.raw, "    ")], "  "))
        return (_layer(net.document, name, kind, fields, layer.field.lead),)


_PROBABILITY = {
    "SoftmaxWithLoss": "Softmax",
    "SoftmaxLoss": "Softmax",
    "InfogainLoss": "Softmax",
    "SigmoidCrossEntropyLoss": "Sigmoid",
}


def is_loss(layer: Layer) -> bool:
    """Whether this layer only exists to train."""
    return layer.type in _PROBABILITY or layer.type in PLAIN_LOSSES or layer.type == "MultiBoxLoss"


def _predictions(loss: Layer) -> tuple[str, ...]:
    """The bottoms of a loss that are predictions, when the loss itself makes no head of them."""
    if loss.type in PLAIN_LOSSES:
        return loss.bottoms[:1]
    return ()


def _only_feeds(layer: Layer) -> bool:
    """Whether a layer's unread tops are no results: data layers, losses, measures."""
    return not layer.bottoms or is_loss(layer) or layer.type in MEASURES


def _change(loss: Layer, made: tuple[Layer, ...]) -> Change:
    names = tuple(layer.name for layer in made)
    detail = f"{loss.type} -> {', '.join(layer.type for layer in made) or 'its prediction'}"
    return Change(RULE, (loss.name,), names, detail)


def _prune(net: Net, wanted: set[str]) -> tuple[Net, tuple[str, ...]]:
    """Drop layers whose results nobody reads and nobody wants, backwards to the inputs."""
    dropped: list[str] = []
    while True:
        wiring = graph.build(net)
        useless = []
        for position, layer in enumerate(net.layers):
            versions = [wiring.versions[v] for v in wiring.writes[position]]
            unread = [v for v in versions if not v.readers]
            if layer.bottoms and len(unread) == len(versions):
                if not wanted.intersection(v.blob for v in unread):
                    useless.append(position)
        if not useless:
            return net, tuple(dropped)
        dropped += [net.layers[i].name for i in useless]
        net = net.without(useless)


# ------------------------------------------------------------------------------- detection


def _multibox(net: Net, loss: Layer, options: DetectionOptions) -> tuple[Layer, ...]:
    """Reshape, Softmax, Flatten (or Sigmoid) of the confidences, and DetectionOutput."""
    if len(loss.bottoms) < 3:
        raise loss.error("MultiBoxLoss needs the bottoms loc, conf, priorbox and label")
    loc, conf, prior = loss.bottoms[:3]
    made: list[Layer] = []

    def add(kind: str, suffix: str, bottom: str, params: Field | None) -> str:
        name = f"{conf}_{suffix}"
        for known in net.layers:
            if known.type == kind and known.bottoms == (bottom,) and known.tops == (name,):
                return name  # the training net computes it already, for its own evaluation
        fields = [scalar("bottom", quote(bottom), "  "), scalar("top", quote(name), "  ")]
        fields += [params] if params is not None else []
        made.append(_layer(net.document, name, kind, fields, "\n"))
        return name

    if loss.params("multibox_loss_param").enum("conf_loss_type") == "LOGISTIC":
        scores = add("Sigmoid", "sigmoid", conf, None)
    else:
        dims = [scalar("dim", d, "      ") for d in ("0", "-1", _token(loss, "num_classes"))]
        shape = block("reshape_param", [block("shape", dims, "    ")], "  ")
        shaped = add("Reshape", "reshape", conf, shape)
        axis = block("softmax_param", [scalar("axis", "2", "    ")], "  ")
        flat = block("flatten_param", [scalar("axis", "1", "    ")], "  ")
        scores = add("Flatten", "flatten", add("Softmax", "softmax", shaped, axis), flat)
    fields = [scalar("bottom", quote(b), "  ") for b in (loc, scores, prior)]
    name = _free(net, "detection_out")
    fields += [scalar("top", quote(name), "  "), _detection_params(loss, options)]
    made.append(_layer(net.document, name, "DetectionOutput", fields, "\n"))
    return tuple(made)


def _detection_params(loss: Layer, options: DetectionOptions) -> Field:
    """What the loss knows (it can not be defaulted), then how detections are thinned out."""
    params = loss.params("multibox_loss_param")

    def known(name: str, raw: str) -> Field:
        return scalar(name, raw, "    ")

    fields = [
        known("num_classes", _token(loss, "num_classes")),
        known("share_location", _bool(params.bool("share_location"))),
        known("background_label_id", str(params.int("background_label_id"))),
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
    if params.bool("encode_variance_in_target"):
        fields.append(known("variance_encoded_in_target", "true"))
    fields += [
        known("keep_top_k", str(options.keep_top_k)),
        known("confidence_threshold", f"{options.confidence_threshold:g}"),
    ]
    return block("detection_output_param", fields, "  ")


def _token(loss: Layer, name: str) -> str:
    """The integer ``name`` of the loss; an error that names it when the loss does not say."""
    params = loss.params("multibox_loss_param")
    if not params.has(name):
        raise loss.error(f"multibox_loss_param has no {name}; add it, DetectionOutput needs it")
    return str(params.int(name))


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _free(net: Net, wish: str) -> str:
    """``wish``, or with a number behind it when a layer or blob has that name already."""
    taken = {layer.name for layer in net.layers if not is_loss(layer)}
    taken.update(top for layer in net.layers if not is_loss(layer) for top in layer.tops)
    name, number = wish, 2
    while name in taken:
        name, number = f"{wish}{number}", number + 1
    return name


def _layer(document: Document, name: str, kind: str, fields: list[Field], lead: str) -> Layer:
    head = [scalar("name", quote(name), "  "), scalar("type", quote(kind), "  ")]
    field = Field("layer", block("", head + fields, "").value, lead=lead, sep=" ")
    return Layer.of(field, document)


