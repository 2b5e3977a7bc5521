"""Losses become the inference heads that replace them; training-only layers are dropped.

Given   SoftmaxWithLoss(ip, label), Accuracy(ip, label)
Result  Softmax(ip), unless the net has that Softmax already

Then the net is pruned backwards: layers that no output depends on are dropped.

Given   conv -> fc -> prob, conv -> aux, and the output prob
Result  conv -> fc -> prob
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import field
from typing import ClassVar, NamedTuple

from caffefold.errors import Option, Text, UnknownName, UsageError
from caffefold.frozen import dataclass
from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import Normalization, Scale
from caffefold.ops.base import Category, Op
from caffefold.ops.detection import DETECTION_OUTPUT
from caffefold.ops.loss import INFOGAIN_LOSS, MULTIBOX_LOSS, SILENCE, Loss
from caffefold.ops.table import op
from caffefold.ops.wiring import SLICE
from caffefold.options import ALL, DeployOptions, DetectionOptions
from caffefold.passes.contracts import text_agrees, without_losses
from caffefold.passes.deploy.detection import TAKEN_OVER, detects_yolo, multibox, thresholds, yolo
from caffefold.passes.deploy.newlayer import Names, Parameters, new_layer
from caffefold.passes.deploy.training import TrainingAnalysis, auxiliary
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult
from caffefold.passes.view.phase import State

NONE = "none"
DETECTIONS = ("DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput")
KINDS = ("Softmax", "Sigmoid", "ArgMax", *DETECTIONS, NONE)
_SCORE = re.compile(r"(.+)_score(_reshape)?$")  # cls_score -> cls_prob, as the R-CNN family has it


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ConvertHeads(Pass):
    """Replace losses by heads; drop what only trains or measures; prune behind the outputs."""

    options: DeployOptions = field(default_factory=DeployOptions)
    name: ClassVar = "heads"
    ensures: ClassVar = (text_agrees, without_losses)

    def run(self, net: Net) -> PassResult:
        """Convert every loss of the net.

        Raises:
            UsageError: an option names a loss or an output that the net does not have.
        """
        wiring = graph.build(net)
        training = TrainingAnalysis(net, wiring)
        self._refuse_severed(training)
        helpers = {
            position: why
            for position, why in auxiliary(training, State.of(self.options)).items()
            if net.layers[position].name not in self.options.heads  # asked for, so wanted
        }
        maker = HeadMaker(training, self.options, helpers)
        if _only_hushes(net, training) and not self.options.outputs:
            return PassResult(net, (), (), maker.unused())
        new: dict[int, tuple[Layer, ...]] = {}
        changes: list[Change] = []
        notes: list[str] = []
        outputs: dict[str, None] = {}
        dropped: set[str] = set()  # what a loss that leaves nothing predicts
        for position in sorted(training.going):
            layer = net.layers[position]
            if op(layer) is SILENCE:
                dropped.update(layer.bottoms)
                continue
            unwanted = training.scores_of(position)
            head = Head()
            if position in helpers:
                unwanted += tuple(training.behind(training.predictions(position)))
                became = f"nothing ({helpers[position].reason})"
                if helpers[position].likely:
                    notes.append(_likely(layer, helpers[position].reason))
            elif training.judges(position):
                head = maker.head(position)
                became = _shown(head)
            elif op(layer).is_measure(layer):
                became = "nothing, it only measures"
            else:
                became = "nothing, only training needs it"
            new[position] = head.layers
            outputs.update(dict.fromkeys(head.outputs))
            dropped.update(head.dropped, (wiring.versions[v].blob for v in unwanted))
            notes += head.notes
            names = tuple(made.name for made in head.layers)
            detail = f"{layer.type} -> {became}"
            changes.append(Change(ChangeKind.HEAD_CONVERTED, (layer.name,), names, detail))
        made = net.substitute(new)
        if self.options.outputs:
            wanted = _chosen(made, self.options.outputs)
            why = "no chosen output needs them"
        else:
            # An output that something drops as well (a Silence, a lighter loss) stays one.
            wanted = [*outputs, *_results(made, training, dropped - set(outputs))]
            why = "only losses or labels needed them"
        pruned, useless = prune(made, wanted)
        if useless:
            changes.append(Change(ChangeKind.USELESS_DROPPED, useless, (), why))
        return PassResult(pruned, tuple(changes), (), (*notes, *maker.unused()))

    def _refuse_severed(self, training: TrainingAnalysis) -> None:
        """Refuse a net in which layers behind one that only training can compute learn.

        Raises:
            TextError: nothing says what it is to be at test time.
        """
        found = training.severing()
        if found is None:
            return
        position, blob = found
        wanted = self.options.outputs
        if wanted:
            versions = training.wiring.versions
            last = {version.blob: i for i, version in enumerate(versions)}
            chosen = (last[name] for name in wanted if name in last)
            if position not in training.wiring.ancestors(chosen):
                return
        layer = training.net.layers[position]
        what = f"{layer.type} reads '{blob}', which only training has, and later layers learn from "
        error = layer.error(f"{what}what it makes; give ")
        bypass, outputs = Option("bypass", layer.name), Option("outputs", "BLOB")
        raise error.advised(
            *(bypass, " if it passes its input on at test time, or "),
            *(outputs, " for a part of the net that does not need it"),
        )


def _only_hushes(net: Net, training: TrainingAnalysis) -> bool:
    """Whether all that is to go are Silence layers of a net that reads no data set: without them,
    what they read would be outputs."""
    hushes = [op(net.layers[position]) is SILENCE for position in training.going]
    return any(hushes) and all(hushes) and not any(op(x).is_data(x) for x in net.layers)


def _results(made: Net, training: TrainingAnalysis, silent: Collection[str]) -> list[str]:
    """Blobs nobody reads any more: results of the net. In a net that was trained, only those that
    hold something learned; what was read off labels is none."""
    versions = training.wiring.versions
    learned = {v.blob for i, v in enumerate(versions) if i not in training.pure}
    pure = {versions[i].blob for i in training.pure} - learned if training.going else set()
    return [name for name in _computed(made) if name not in silent and name not in pure]


def _chosen(made: Net, wanted: Sequence[str]) -> Sequence[str]:
    known = {version.blob for version in graph.build(made).versions}
    for name in wanted:
        if name not in known:
            reason = "the deploy net has no blob of that name; its outputs are"
            raise UnknownName("outputs", name, reason, tuple(_computed(made)))
    return wanted


def _computed(net: Net) -> list[str]:
    """Blobs that nobody reads and that are made of other blobs."""
    wiring = graph.build(net)
    sinks = [wiring.versions[sink] for sink in wiring.sinks]
    return [v.blob for v in sinks if v.producer != OUTSIDE and net.layers[v.producer].bottoms]


# -------------------------------------------------------------------------------- one loss


class Head(NamedTuple):
    """What takes a loss's place."""

    layers: tuple[Layer, ...] = ()
    outputs: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """Predictions that are no outputs: other images of a siamese net."""
    notes: tuple[str, ...] = ()
    stand_in: str = ""
    """What does its work where it gets no layers; "" for its outputs as they are."""


def _existing(outputs: tuple[str, ...]) -> Head:
    shown = f"'{', '.join(outputs)}', which the net already computes"
    return Head((), outputs, stand_in=shown)


def _shown(head: Head) -> str:
    kinds = ", ".join(layer.type for layer in head.layers)
    if kinds or head.stand_in:
        return (kinds or head.stand_in) + thresholds(head.layers)
    kind = "output " if len(head.outputs) < 2 else "outputs "
    return kind + ", ".join(head.outputs) if head.outputs else "nothing, it predicts nothing"


class HeadMaker:
    """Makes the heads of one net; names given to new layers are not given again."""

    def __init__(
        self, training: TrainingAnalysis, options: DeployOptions, helpers: Collection[int]
    ) -> None:
        self.training = training
        self.net, self.wiring = training.net, training.wiring
        self.options = options
        self.detection = options.detection or DetectionOptions()
        self.names = Names(training.net, training.going)
        self.predicted: list[int] = []
        self.made: dict[tuple[int, str], tuple[str, ...]] = {}
        self.used: set[str] = set()
        layers = self.net.layers
        self.losses = [i for i in sorted(training.going) if training.judges(i) and i not in helpers]
        names = tuple(layers[i].name for i in self.losses)
        for name, kind in options.heads.items():
            if kind not in KINDS:
                reason = f"'{kind}' is not a head; choose from"
                raise UnknownName("heads", _given(name, kind), reason, KINDS)
            if name != ALL and name not in names:
                reason = f"'{name}' is not a loss of this net; its losses are"
                raise UnknownName("heads", _given(name, kind), reason, names)

    def head(self, position: int) -> Head:
        """What takes the place of the loss at ``position``."""
        layer, training = self.net.layers[position], self.training
        read = next(iter(self.wiring.reads[position]), -1)
        kind = self._asked(layer)
        if op(layer) is MULTIBOX_LOSS and kind in ("", "DetectionOutput"):
            self.used.update(("detection", layer.name, ALL) if kind else ("detection",))
            return self._detection(layer, read)
        if detects_yolo(kind, layer):
            self.used.update((layer.name, ALL))
            return self._yolo(position, kind)
        if kind in DETECTIONS:
            if layer.name in self.options.heads:
                asked = Option("heads", f"{layer.name}={kind}")
                raise UsageError(asked, f": it cannot replace {layer.type}")
            kind = ""  # meant for other losses
        elif kind:
            self.used.update((layer.name, ALL))
        versions = training.predictions(position)
        if not versions and not training.trained_only(read):
            versions = (read,)
        if not versions:
            return Head()
        first = versions[0]
        blobs = self._blobs(versions)
        if any(training.same_function(earlier, first) for earlier in self.predicted):
            shown = "nothing, another loss predicts with the same shared weights"
            return Head(dropped=blobs, stand_in=shown)
        self.predicted.append(first)
        reads_it = first == read or training.filtered(position)
        own = op(layer).probability
        kind = kind or (own if reads_it else "")
        if self._dense(layer, kind, first):
            return Head((), blobs[:1], (), (_dense_note(layer, blobs[0]),))
        if not kind or kind == NONE:
            outputs = self._blobs(training.without_twins(versions))
            dropped = tuple(blob for blob in blobs if blob not in outputs)
            notes = () if kind else self._notes(position, outputs, reads_it)
            return Head((), outputs, dropped, notes)
        existing = self._existing(first, kind) or self.made.get((first, kind), ())
        if existing:
            return _existing(existing)
        head = self._new(layer, kind, blobs[0])
        self.made[first, kind] = head.outputs
        return head

    def unused(self) -> tuple[str, ...]:
        """A warning for each option that had nothing to act on."""
        found = []
        if self.options.detection is not None and "detection" not in self.used:
            found.append(
                "thresholds for a DetectionOutput: no effect; this net has no loss that becomes one"
            )
        if self.options.prob_name and "prob" not in self.used:
            asked = Option("prob_name", self.options.prob_name)
            found.append(Text(asked, ": no effect; no probability layer is made"))
        for name, kind in self.options.heads.items():
            if name not in self.used:
                asked = Option("heads", _given(name, kind))
                found.append(Text(asked, ": no effect; no loss becomes that"))
        return tuple(found)

    def _asked(self, layer: Layer) -> str:
        """The head that the options want for a loss; "" for what stands for it."""
        return self.options.heads.get(layer.name) or self.options.heads.get(ALL, "")

    def _blobs(self, versions: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.wiring.versions[v].blob for v in versions)

    def _add(self, *layers: Layer) -> Head:
        self.names.add(layers)
        return Head(layers, layers[-1].tops)

    def _detection(self, layer: Layer, location: int) -> Head:
        for reader in self._readers(location):
            if op(reader) is DETECTION_OUTPUT:
                return _existing(reader.tops)
        return self._add(*multibox(self.names, layer, self.detection))

    def _yolo(self, position: int, kind: str) -> Head:
        """One detection layer for all losses of its kind, in the place of the last."""
        losses = [(i, self.net.layers[i]) for i in self.losses]
        same = [(i, x) for i, x in losses if detects_yolo(kind, x) and self._asked(x) == kind]
        if position != same[-1][0]:
            return Head()
        self.used.add("detection")
        name = self.names.free("detection_out")
        return self._add(yolo(self.net.document, kind, name, [x for _, x in same], self.detection))

    def _notes(self, position: int, outputs: tuple[str, ...], reads_it: bool) -> tuple[str, ...]:
        """A warning where the outputs are not what the loss computes first; for a detector's losses
        of one kind one, at the last."""
        own = op(self.net.layers[position])
        if not isinstance(own, Loss) or own.detector is None:
            return _notes(self.net.layers[position], outputs, reads_it)
        kind = own.detector.name
        same = [i for i in self.losses if detects_yolo(kind, self.net.layers[i])]
        same = [i for i in same if not self._asked(self.net.layers[i])]
        if position != same[-1]:
            return ()
        losses = [self.net.layers[i] for i in same]
        names = ", ".join(f"'{loss.name}'" for loss in losses)
        shown = ", ".join(f"'{blob}'" for blob in dict.fromkeys(x.bottoms[0] for x in losses))
        fields = TAKEN_OVER[kind]
        taken = f"{', '.join(fields[:-1])} and {fields[-1]}"
        if len(losses) == 1:
            what = f"layer {names}: its prediction is the output: {shown} ("
            made = f" makes a detection layer of it, with its {taken})"
        else:
            what = f"layers {names}: their predictions are the outputs: {shown} ("
            made = f" makes one detection layer of them, with their {taken})"
        return (Text(what, Option("heads", kind), made),)

    def _dense(self, layer: Layer, kind: str, version: int) -> bool:
        """Whether this is the loss of a map of classes that was enlarged for it.

        Segmentation nets are published with class scores there (FCN, ENet, ERFNet, PSPNet): which
        class is largest, a Softmax does not change, and it costs time on every pixel.
        """
        asked = self.options.prob_name or {layer.name, ALL} & set(self.options.heads)
        if asked or not kind == op(layer).probability == "Softmax":
            return False
        if self._existing(version, kind):
            return False
        layers = self.net.layers
        producer = self.wiring.maker(version)
        while producer != OUTSIDE and _pointwise(op(layers[producer])):
            producer = self.wiring.maker(self.wiring.reads[producer][0])
        return producer != OUTSIDE and op(layers[producer]).spatial

    def _existing(self, version: int, kind: str) -> tuple[str, ...]:
        """The blob of a layer of that kind that the net has already, on or as the prediction."""
        producer = self.wiring.maker(version)
        if producer != OUTSIDE and op(self.net.layers[producer]).name == kind:
            return self._blobs([version])
        return next((x.tops for x in self._readers(version) if op(x).name == kind), ())

    def _readers(self, version: int) -> list[Layer]:
        """The layers that read a version and stay."""
        readers = self.wiring.versions[version].readers if version >= 0 else ()
        return [self.net.layers[r] for r in readers if r not in self.training.going]

    def _new(self, layer: Layer, kind: str, bottom: str) -> Head:
        if kind == "ArgMax":
            wish = "argmax"
        else:
            self.used.add("prob")
            score = _SCORE.match(bottom)
            wish = self.options.prob_name or (f"{score[1]}_prob" if score else "prob")
        name = self.names.free(wish)
        params: Parameters = {}
        if kind == "Softmax":
            params = _softmax_params(layer)
        elif kind == "ArgMax":
            params = {"argmax_param": {"axis": layer.params("softmax_param").integer("axis")}}
        lead = layer.field.lead
        return self._add(new_layer(self.net.document, kind, name, [bottom], name, params, lead))


def _notes(layer: Layer, outputs: tuple[str, ...], reads_it: bool) -> tuple[str, ...]:
    """A warning where the output is not what the loss computes first."""
    shown = ", ".join(f"'{name}'" for name in outputs)
    own = op(layer)
    if own.probability and not reads_it:
        why = "its prediction needs labels; its input becomes the output"
        return (f"layer '{layer.name}': {why}: {shown}",)
    if not own.probability and not own.plain:
        why = f"no inference layer is known for {layer.type}; its prediction is the output"
        adds = Option("heads", f"{layer.name}=TYPE")
        return (Text(f"layer '{layer.name}': {why}: {shown} (", adds, " adds one)"),)
    return ()


def _likely(layer: Layer, reason: str) -> str:
    keeps = Option("heads", f"{layer.name}={op(layer).probability}")
    return Text(f"layer '{layer.name}': {reason}; its branch is dropped (", keeps, " keeps it)")


def _dense_note(layer: Layer, blob: str) -> str:
    why = f"class scores of a map are the output: '{blob}'"
    adds = Option("heads", f"{layer.name}=Softmax")
    return Text(f"layer '{layer.name}': {why} (", adds, " gives probabilities)")


def _pointwise(own: Op) -> bool:
    """Whether the layer changes no more than the values of class scores, one by one."""
    return isinstance(own, (Normalization, Scale)) or own.category is Category.IDENTITY


def _given(name: str, kind: str) -> str:
    return kind if name == ALL else f"{name}={kind}"


def _softmax_params(loss: Layer) -> Parameters:
    """The axis and engine the loss's own Softmax has; defaults are not written out."""
    found: dict[str, str | int] = {}
    known = loss.body.message("softmax_param")
    if known is not None:
        values = ((name, known.last(name)) for name in ("axis", "engine"))
        found = {name: str(value) for name, value in values if value is not None}
    elif op(loss) is INFOGAIN_LOSS and INFOGAIN_LOSS.params(loss).has("axis"):
        found = {"axis": INFOGAIN_LOSS.params(loss).integer("axis")}
    return {"softmax_param": found} if found else {}


# --------------------------------------------------------------------------------- pruning


def prune(net: Net, wanted: Iterable[str]) -> tuple[Net, tuple[str, ...]]:
    """``net`` without the layers that no blob in ``wanted`` is made of, and their names.

    A name stands for the last value the blob takes. Layers without bottoms stay: whether a data
    layer is still read is for the inputs pass to see.
    """
    wiring = graph.build(net)
    last = {version.blob: i for i, version in enumerate(wiring.versions)}
    needed = wiring.ancestors(last[name] for name in wanted if name in last)
    new: dict[int, tuple[Layer, ...]] = {}
    for position, layer in enumerate(net.layers):
        if op(layer) is SILENCE:
            new[position] = _quieter(net, position, wiring, needed)
        elif layer.bottoms and position not in needed:
            new[position] = ()
    useless = tuple(net.layers[i].name for i, layers in new.items() if not layers)
    return net.substitute(new), useless


def _quieter(net: Net, position: int, wiring: Graph, needed: set[int]) -> tuple[Layer, ...]:
    """A Silence for those of its bottoms that would be outputs without it: other tops of layers
    that stay. Nothing when there are none."""
    layer = net.layers[position]
    bottoms = []
    for name, read in zip(layer.bottoms, wiring.reads[position], strict=True):
        producer = wiring.maker(read)
        alone = producer in needed and set(wiring.versions[read].readers) == {position}
        if alone and not _of_data(net, wiring, producer):
            bottoms.append(name)
    return (layer.with_wiring(tuple(bottoms), ()),) if bottoms else ()


def _of_data(net: Net, wiring: Graph, position: int) -> bool:
    """Whether a layer reads a data set, or cuts what a data layer reads: the inputs pass sees to
    what nobody reads of that."""
    layer = net.layers[position]
    if op(layer) is SLICE:
        maker = wiring.maker(wiring.reads[position][0])
        return maker != OUTSIDE and op(net.layers[maker]).is_data(net.layers[maker])
    return not layer.bottoms
