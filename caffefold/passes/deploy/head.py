"""One loss -> the layers that take its place, and the outputs it leaves."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from caffefold.errors import Option, Text, UnknownName, UsageError
from caffefold.formats.prototxt.tree import Field, block, quote, scalar
from caffefold.ir.graph import OUTSIDE
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import Normalization, Scale
from caffefold.ops.base import Category, Op
from caffefold.ops.detection import DETECTION_OUTPUT
from caffefold.ops.loss import INFOGAIN_LOSS, MULTIBOX_LOSS
from caffefold.ops.table import op
from caffefold.options import ALL, DeployOptions, DetectionOptions
from caffefold.passes.deploy import yolo
from caffefold.passes.deploy.detection import multibox
from caffefold.passes.deploy.newlayer import free_name, new_layer
from caffefold.passes.deploy.training import Roles
from caffefold.passes.deploy.twins import same_function, without_twins

NONE = "none"
DETECTIONS = ("DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput")
KINDS = ("Softmax", "Sigmoid", "ArgMax", *DETECTIONS, NONE)
_SCORE = re.compile(r"(.+)_score(_reshape)?$")  # cls_score -> cls_prob, as the R-CNN family has it


class Head(NamedTuple):
    """What takes a loss's place."""

    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    """Predictions that are no outputs: other images of a siamese net."""
    notes: tuple[str, ...] = ()
    there: bool = False
    """Whether the net has the head already."""
    twin: bool = False
    """Whether another loss predicts with the same function."""


class HeadMaker:
    """Makes the heads of one net; names given to new layers are not given again."""

    def __init__(self, roles: Roles, options: DeployOptions, auxiliary: frozenset[int]) -> None:
        self.roles = roles
        self.options = options
        self.detection = options.detection or DetectionOptions()
        self.going = roles.training
        self.taken: list[Layer] = []
        self.predicted: list[int] = []
        self.made: dict[tuple[int, str], tuple[str, ...]] = {}
        self.used: set[str] = set()
        layers = roles.net.layers
        self.losses = [i for i in sorted(roles.training) if roles.judges(i) and i not in auxiliary]
        for name, kind in options.heads.items():
            if kind not in KINDS:
                reason = f"'{kind}' is no head; known are"
                raise UnknownName("heads", _given(name, kind), reason, KINDS)
            if name != ALL and name not in {layers[i].name for i in self.losses}:
                known = tuple(layers[i].name for i in self.losses)
                reason = f"'{name}' is no loss of this net; its losses are"
                raise UnknownName("heads", _given(name, kind), reason, known)

    def head(self, position: int) -> Head:
        """What takes the place of the loss at ``position``."""
        layer = self.roles.net.layers[position]
        kind = self.options.heads.get(layer.name) or self.options.heads.get(ALL, "")
        if op(layer) is MULTIBOX_LOSS and kind in ("", "DetectionOutput"):
            self.used.update(("detection", layer.name, ALL) if kind else ("detection",))
            return self._detection(position)
        if yolo.detects(kind, layer):
            self.used.update((layer.name, ALL))
            return self._yolo(position, kind)
        if kind in DETECTIONS:
            if layer.name in self.options.heads:
                asked = Option("heads", f"{layer.name}={kind}")
                raise UsageError(asked, f": it does not stand for {layer.type}")
            kind = ""  # meant for other losses
        elif kind:
            self.used.update((layer.name, ALL))
        versions = self.roles.predictions(position)
        blobs = [self.roles.wiring.versions[v].blob for v in versions]
        if (
            not blobs
            and layer.bottoms
            and not self.roles.trained_only(self.roles.wiring.reads[position][0])
        ):
            versions = (self.roles.wiring.reads[position][0],)
            blobs = [layer.bottoms[0]]
        if not blobs:
            return Head((), ())
        for earlier in self.predicted:
            if same_function(self.roles, earlier, versions[0]):
                return Head((), (), tuple(blobs), twin=True)
        self.predicted.append(versions[0])
        reads_it = versions[0] == self.roles.wiring.reads[position][0] or self.roles.filtered(
            position
        )
        own = op(layer).probability
        kind = kind or (own if reads_it else "")
        if self._dense(layer, own, kind, versions[0]):
            return Head((), (blobs[0],), (), (_dense_note(layer, blobs[0]),))
        if not kind or kind == NONE:
            kept = without_twins(self.roles, versions)
            outputs = tuple(self.roles.wiring.versions[v].blob for v in kept)
            dropped = tuple(b for b in blobs if b not in outputs)
            return Head((), outputs, dropped, self._notes(layer, outputs, kind, own, reads_it))
        there = self._there(versions[0], kind) or self.made.get((versions[0], kind), ())
        if not there:
            head = self._new(layer, kind, blobs[0])
            self.made[versions[0], kind] = head.outputs
            return head
        return Head((), there, there=True)

    def unused(self) -> tuple[str, ...]:
        """A warning for each option that had nothing to act on."""
        found = []
        if self.options.detection is not None and "detection" not in self.used:
            found.append(
                "thresholds for a DetectionOutput: no effect; this net has no loss that becomes one"
            )
        if self.options.prob_name and "prob" not in self.used:
            found.append(
                Text(
                    Option("prob_name", self.options.prob_name),
                    ": no effect; no probability layer is made",
                )
            )
        for name, kind in self.options.heads.items():
            if name not in self.used:
                asked = Option("heads", _given(name, kind))
                found.append(Text(asked, ": no effect; no loss becomes that"))
        return tuple(found)

    # -------------------------------------------------------------------------------- heads

    def _detection(self, position: int) -> Head:
        layer = self.roles.net.layers[position]
        for reader in self._readers(self.roles.wiring.reads[position][0]):
            if op(self.roles.net.layers[reader]) is DETECTION_OUTPUT:
                return Head((), self.roles.net.layers[reader].tops, there=True)
        made = multibox(self._holder(), layer, self.detection, self.going)
        self.taken += made
        return Head(made, made[-1].tops)

    def _yolo(self, position: int, kind: str) -> Head:
        """One detection layer for all losses of its kind, in the place of the last."""
        layers = self.roles.net.layers
        same = [
            i
            for i in self.losses
            if yolo.detects(kind, layers[i])
            and self.options.heads.get(layers[i].name, self.options.heads.get(ALL)) == kind
        ]
        if position != same[-1]:
            return Head((), (), (), ())
        self.used.add("detection")
        name = free_name(self._holder(), "detection_out", self.going)
        made = yolo.detection(
            self.roles.net.document, kind, name, [layers[i] for i in same], self.detection
        )
        self.taken.append(made)
        return Head((made,), made.tops)

    def _dense(self, layer: Layer, own: str, kind: str, version: int) -> bool:
        """Whether this is the loss of a map of classes that was enlarged for it.

        Segmentation nets are published with class scores there (FCN, ENet, ERFNet, PSPNet): which
        class is largest, a Softmax does not change, and it costs time on every pixel.
        """
        asked = self.options.prob_name or {layer.name, ALL} & set(self.options.heads)
        if asked or own != "Softmax" or kind != own or self._there(version, kind):
            return False
        layers, wiring = self.roles.net.layers, self.roles.wiring
        producer = wiring.versions[version].producer
        while producer != OUTSIDE and _pointwise(op(layers[producer])):
            before = wiring.reads[producer][0]
            producer = wiring.versions[before].producer if before >= 0 else OUTSIDE
        return producer != OUTSIDE and op(layers[producer]).spatial

    def _there(self, version: int, kind: str) -> tuple[str, ...]:
        """The blob of a layer of that kind that the net has already, on or as the prediction."""
        net, wiring = self.roles.net, self.roles.wiring
        producer = wiring.versions[version].producer
        if producer != OUTSIDE and op(net.layers[producer]).name == kind:
            return (wiring.versions[version].blob,)
        for reader in self._readers(version):
            if op(net.layers[reader]).name == kind:
                return net.layers[reader].tops
        return ()

    def _readers(self, version: int) -> tuple[int, ...]:
        if version < 0:
            return ()
        return tuple(
            r for r in self.roles.wiring.versions[version].readers if r not in self.roles.training
        )

    def _new(self, layer: Layer, kind: str, bottom: str) -> Head:
        net = self.roles.net
        wish = "argmax" if kind == "ArgMax" else self._wish(bottom)
        self.used.add("prob" if kind != "ArgMax" else "argmax")
        name = free_name(self._holder(), wish, self.going)
        fields = [scalar("bottom", quote(bottom), "  "), scalar("top", quote(name), "  ")]
        if kind == "Softmax":
            fields += _softmax_params(layer)
        elif kind == "ArgMax":
            axis = layer.params("softmax_param").integer("axis")
            fields.append(block("argmax_param", [scalar("axis", str(axis), "    ")], "  "))
        made = new_layer(net.document, name, kind, fields, layer.field.lead)
        self.taken.append(made)
        return Head((made,), (name,))

    def _holder(self) -> Net:
        """The net with the layers made so far, so that no name is given twice."""
        return replace(self.roles.net, items=(*self.roles.net.items, *self.taken))

    def _wish(self, bottom: str) -> str:
        if self.options.prob_name:
            return self.options.prob_name
        score = _SCORE.match(bottom)
        return f"{score[1]}_prob" if score else "prob"

    def _notes(
        self, layer: Layer, outputs: tuple[str, ...], kind: str, own: str, reads_it: bool
    ) -> tuple[str, ...]:
        if kind == NONE:
            return ()
        shown = ", ".join(f"'{name}'" for name in outputs)
        if own and not reads_it:
            why = "its prediction needs labels; what goes into it is the output"
            return (f"layer '{layer.name}': {why}: {shown}",)
        if not own and not op(layer).plain:
            why = f"no inference layer is known for {layer.type}; its prediction is the output"
            adds = Option("heads", f"{layer.name}=TYPE")
            return (Text(f"layer '{layer.name}': {why}: {shown} (", adds, " adds one)"),)
        return ()


def _pointwise(own: Op) -> bool:
    """Whether the layer changes no more than the values of class scores, one by one."""
    return isinstance(own, (Normalization, Scale)) or own.category is Category.IDENTITY


def _dense_note(layer: Layer, blob: str) -> str:
    why = f"class scores of a map are the output: '{blob}'"
    adds = Option("heads", f"{layer.name}=Softmax")
    return Text(f"layer '{layer.name}': {why} (", adds, " gives probabilities)")


def _given(name: str, kind: str) -> str:
    return kind if name == ALL else f"{name}={kind}"


def _softmax_params(loss: Layer) -> list[Field]:
    """The axis and engine the loss's own Softmax has; defaults are not written out."""
    found = []
    known = loss.body.message("softmax_param")
    if known is not None:
        for name in ("axis", "engine"):
            value = known.last(name)
            if value is not None:
                found.append(scalar(name, str(value), "    "))
    elif op(loss) is INFOGAIN_LOSS and INFOGAIN_LOSS.params(loss).has("axis"):
        axis = INFOGAIN_LOSS.params(loss).integer("axis")
        found.append(scalar("axis", str(axis), "    "))
    return [block("softmax_param", found, "  ")] if found else []
