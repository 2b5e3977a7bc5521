"""Layers that are in the deploy net alone: each has to be the head of a loss, over its prediction.

What a loss computes before it compares is written from softmax_loss_layer.cpp,
sigmoid_cross_entropy_loss_layer.cpp, infogain_loss_layer.cpp and the SSD branch's
examples/ssd/ssd_pascal.py; what YOLO losses hand over, from the fork that has both layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from caffefold.check.given import is_loss
from caffefold.check.sides import Sides
from caffefold.errors import ProofError
from caffefold.formats.prototxt.tree import ListValue, Message, unquote
from caffefold.ir.net import Layer
from caffefold.ir.params import FALSE, parse_float
from caffefold.ops.table import op
from caffefold.options import ALL, DetectionOptions

_SOFTMAX = re.compile(r"Softmax.*Loss|Focal|^InfogainLoss$")
_SIGMOID = re.compile(r"Sigmoid.*Loss|BinaryCrossEntropy|MultiLabel.*Loss")
_YOLO = {
    "YoloDetectionOutput": ("RegionLoss", ("coords",)),
    "Yolov3DetectionOutput": ("Yolov3", ("mask", "anchors_scale")),
}
_PARTS = ("Reshape", "Softmax", "Sigmoid", "Flatten")  # in front of a DetectionOutput
_DEFAULTS = {"flatten_param/axis": ("1",), "softmax_param/axis": ("1",)}
Values = Mapping[str, tuple[str, ...]]


class Heads:
    """The new layers of one deploy net."""

    def __init__(self, walk: Sides) -> None:
        self.walk = walk
        self.new: dict[int, bool] = {}
        """By position, whether it was accounted for."""
        self._handed_out: set[int] | None = None  # the values of the net's outputs
        self._comparing: dict[int, list[int]] = {}  # by value, the losses that compare it
        self.losses = [
            position
            for position, layer in enumerate(walk.given.layers)
            if position not in walk.alive and is_loss(layer)
        ]

    def add(self, position: int) -> None:
        """Take note of a layer that the given net does not have.

        Raises:
            ProofError: it has, in another phase, and it is of no type that a head may have.
        """
        layer = self.walk.deploy.layers[position]
        head = op(layer).name in (*_PARTS, *_YOLO, "ArgMax", "DetectionOutput")
        if not head and (layer.name, layer.type) in self.walk.given.others:
            raise ProofError(
                f"layer '{layer.name}': is no part of the net in this phase", layer=layer.name
            )
        self.new[position] = False

    def check(self) -> None:
        """Account for each of them.

        Raises:
            ProofError: one stands for no loss, or differs from what its loss computes.
        """
        for position in self.new:
            layer = self.walk.deploy.layers[position]
            kind = op(layer).name
            if kind == "DetectionOutput":
                self.new[position] = self._detects(position, layer)
            elif kind in _YOLO:
                self.new[position] = self._yolo(position, layer, kind)
            elif kind in ("Softmax", "Sigmoid", "ArgMax"):
                self.new[position] |= self._stands_for_loss(position, layer, kind)
        for position, accounted in reversed(self.new.items()):
            if not accounted:
                layer = self.walk.deploy.layers[position]
                raise ProofError(
                    f"layer '{layer.name}': is not in the given net, and not what a loss of it "
                    f"computes",
                    layer=layer.name,
                )
        for place in self.losses:
            self._present(place)

    # ---------------------------------------------------------------------- probabilities

    def _stands_for_loss(self, position: int, layer: Layer, kind: str) -> bool:
        reads = self.walk.graph.reads[position]
        if len(reads) != 1:
            return False
        value, options = self.walk.origin(reads[0]), self.walk.options.heads
        if not self._comparing:
            for place in self.losses:
                for compared in self._predicted(place):
                    self._comparing.setdefault(compared, []).append(place)
        for place in self._comparing.get(value, ()):
            loss = self.walk.given.layers[place]
            asked = options.get(loss.name) or options.get(ALL, "")
            kinds = (asked, probability(loss))
            if kind in kinds and _values(layer) == _probability_values(loss, kind):
                return True
        return False

    def _present(self, place: int) -> None:
        """Check that scores of classes, as products have them, got the probability their loss
        computes; maps of scores may stay as they are."""
        walk, loss = self.walk, self.walk.given.layers[place]
        asked = walk.options.heads.get(loss.name) or walk.options.heads.get(ALL, "")
        kind, value = probability(loss), walk.value(walk.given.graph.reads[place][0])
        maker = walk.given.graph.maker(value)
        product = maker >= 0 and op(walk.given.layers[maker]).name == "InnerProduct"
        if not (kind and product) or asked or walk.options.outputs:
            return
        if self._handed_out is None:
            self._handed_out = {walk.origin(version) for version in walk.graph.sinks}
        if value in self._handed_out:
            blob = walk.given.graph.versions[value].blob
            raise ProofError(
                f"layer '{loss.name}': its {kind} over '{blob}' is lost", layer=loss.name
            )

    def _predicted(self, loss: int) -> Iterator[int]:
        """What a loss compares: its first bottom; behind layers that only training has, what
        these are made of."""
        walk = self.walk
        queue, seen = list(walk.given.graph.reads[loss][:1]), set()
        while queue:
            value = walk.value(queue.pop())
            if value < 0 or value in seen:
                continue
            seen.add(value)
            yield value
            maker = walk.given.graph.maker(value)
            if maker >= 0 and maker not in walk.alive:
                queue += walk.given.graph.reads[maker]

    # -------------------------------------------------------------------------- detectors

    def _detects(self, position: int, layer: Layer) -> bool:
        """DetectionOutput(loc, Flatten(Softmax(Reshape(conf))), priors), as the SSD example has
        it, with a Sigmoid for LOGISTIC."""
        walk, reads = self.walk, self.walk.graph.reads[position]
        parts: list[int] = []
        version = reads[1] if len(reads) > 2 else -1
        for kind in ("Flatten", ("Softmax", "Sigmoid"), "Reshape"):
            maker = walk.graph.maker(version)
            if maker < 0 or op(walk.deploy.layers[maker]).name not in kind:
                return False
            parts.append(maker)
            version = walk.graph.reads[maker][0]
        made = [walk.deploy.layers[maker] for maker in parts]
        for place in self.losses:
            loss = walk.given.layers[place]
            own = loss.body.message("multibox_loss_param")
            if op(loss).name != "MultiBoxLoss" or own is None:
                continue
            wanted = [walk.value(v) for v in walk.given.graph.reads[place]]
            fed = [walk.origin(v) for v in (reads[0], version, *reads[2:])]
            if fed != [*wanted[:3], *wanted[4:6]]:
                continue
            classes = own.string("num_classes")
            logistic = own.string("conf_loss_type") in ("LOGISTIC", "1")
            probable: Values = {} if logistic else {"softmax_param/axis": ("2",)}
            expected: list[Values] = [
                {"flatten_param/axis": ("1",)},
                probable,
                {"reshape_param/shape/dim": ("0", "-1", classes)},
            ]
            right = op(made[1]).name == ("Sigmoid" if logistic else "Softmax")
            right &= all(
                self._same(part, values, own=place in self.new)
                for place, part, values in zip(parts, made, expected, strict=True)
            )
            if right and self._same(layer, _detection(own, walk.options.detection)):
                self.new.update((p, True) for p in parts if p in self.new)
                return True
        return False

    def _yolo(self, position: int, layer: Layer, kind: str) -> bool:
        """One layer for all losses for which it was asked."""
        walk = self.walk
        type_, own = _YOLO[kind]
        losses = [p for p in self.losses if op(walk.given.layers[p]).name == type_]
        options = walk.options.heads
        layers = [walk.given.layers[p] for p in losses]
        asked = [options.get(loss.name) or options.get(ALL, "") for loss in layers]
        losses = [p for p, what in zip(losses, asked, strict=True) if what == kind]
        fed = [walk.origin(v) for v in walk.graph.reads[position]]
        if not losses or fed != [walk.value(walk.given.graph.reads[p][0]) for p in losses]:
            return False
        found = _values(layer)
        tables = [_values(walk.given.layers[p]) for p in losses]

        def of(name: str, tables: list[Values]) -> tuple[str, ...]:
            ends = (v for t in tables for path, v in t.items() if path.endswith(f"/{name}"))
            return tuple(value for values in ends for value in values)

        head = f"{next(iter(found), '').partition('/')[0]}/"
        wanted = [
            ("num_classes", of("num_class", tables[:1])),
            ("biases", of("biases", tables[:1])),
        ]
        wanted += [
            (name, of(name, tables if kind != "YoloDetectionOutput" else tables[:1]))
            for name in own
        ]
        return all(found.get(head + name, ()) == values for name, values in wanted)

    def _same(self, layer: Layer, wanted: Values, *, own: bool = True) -> bool:
        """Whether a layer has these values, up to placeholders and how numbers are written. One
        that the given net has (not ``own``) may leave out defaults, or write them out."""
        found = _values(layer)
        if not own:
            found = {**_DEFAULTS, **found}
            found = {path: found[path] for path in wanted if path in found}
        if found.keys() != wanted.keys():
            return False
        return all(
            len(found[path]) == len(values)
            and all(
                old == new
                or parse_float(old) == parse_float(new) is not None
                or self.walk.filled.fits(layer.name, path, old, new)
                for old, new in zip(values, found[path], strict=True)
            )
            for path, values in wanted.items()
        )


def probability(loss: Layer) -> str:
    """The layer that computes what a loss computes first; "" where there is none."""
    name = op(loss).name
    if _SOFTMAX.search(name):
        return "Softmax"
    return "Sigmoid" if _SIGMOID.search(name) else ""


def _probability_values(loss: Layer, kind: str) -> Values:
    """The parameters of a loss's own Softmax, or of an ArgMax along the same axis."""
    softmax = loss.body.message("softmax_param")
    infogain = loss.body.message("infogain_loss_param")
    axis = softmax.string("axis") if softmax is not None else ""
    if kind == "ArgMax":
        return {"argmax_param/axis": (axis or "1",)}
    if kind == "Sigmoid":
        return {}
    found = {"softmax_param/axis": (axis,)} if axis else {}
    if softmax is not None and (engine := softmax.string("engine")):
        found["softmax_param/engine"] = (engine,)
    elif softmax is None and op(loss).name == "InfogainLoss" and infogain is not None:
        axis = infogain.string("axis")
        found = {"softmax_param/axis": (axis,)} if axis else {}
    return found


def _detection(own: Message, options: DetectionOptions | None) -> Values:
    """What a DetectionOutput takes over of a MultiBoxLoss; defaults are caffe.proto's."""
    codes = {"1": "CORNER", "2": "CENTER_SIZE", "3": "CORNER_SIZE"}
    code = own.string("code_type", "CORNER")
    asked = options or DetectionOptions()
    shared = own.string("share_location", "true") not in FALSE
    found = {
        "num_classes": own.string("num_classes"),
        "share_location": "true" if shared else "false",
        "background_label_id": own.string("background_label_id", "0"),
        "nms_param/nms_threshold": f"{asked.nms_threshold:g}",
        "nms_param/top_k": str(asked.top_k),
        "code_type": codes.get(code, code),
        "keep_top_k": str(asked.keep_top_k),
        "confidence_threshold": f"{asked.confidence_threshold:g}",
    }
    if own.string("encode_variance_in_target", "false") not in FALSE:
        found["variance_encoded_in_target"] = "true"
    return {f"detection_output_param/{name}": (value,) for name, value in found.items()}


def _values(layer: Layer) -> Values:
    """The parameters of a layer by path."""
    found: dict[str, tuple[str, ...]] = {}

    def collect(message: Message, path: str) -> None:
        for field in message.fields:
            if not path and not field.name.endswith("_param"):
                continue
            here, value = f"{path}{field.name}", field.value
            for item in value.items if isinstance(value, ListValue) else (value,):
                if isinstance(item, Message):
                    collect(item, f"{here}/")
                else:
                    found[here] = (*found.get(here, ()), unquote(item.raw))

    collect(layer.body, "")
    return found
