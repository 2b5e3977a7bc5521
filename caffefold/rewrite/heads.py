"""Losses become the inference heads that stand for them.

Given   SoftmaxWithLoss(ip, label), Accuracy(ip, label)
Result  Softmax(ip), unless the net has that Softmax already

Which probability each loss computes before its loss is read from the loss layers' own code;
detection heads have a file of their own (rewrite/detection.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from caffefold.formats.text import Scalar, block, quote, scalar
from caffefold.model import graph
from caffefold.model.graph import Graph
from caffefold.model.net import Layer, Net
from caffefold.rewrite.base import Change, PassResult
from caffefold.rewrite.detection import DetectionOptions, multibox
from caffefold.rewrite.kinds import MEASURES, is_loss
from caffefold.rewrite.newlayer import free_name, new_layer

RULE = "heads"
_PROBABILITY = {
    "SoftmaxWithLoss": "Softmax",
    "SoftmaxLoss": "Softmax",
    "InfogainLoss": "Softmax",
    "SigmoidCrossEntropyLoss": "Sigmoid",
}


@dataclass(frozen=True, slots=True)
class ConvertHeads:
    """Replace losses by heads; drop what only measures; prune what only they or labels needed."""

    options: DetectionOptions = field(default_factory=DetectionOptions)
    name: str = RULE

    def run(self, net: Net) -> PassResult:
        """Convert every loss of the net."""
        wiring = graph.build(net)
        going = frozenset(i for i, x in enumerate(net.layers) if is_loss(x) or x.type in MEASURES)
        wanted = _results(net, wiring, going)
        new: dict[int, tuple[Layer, ...]] = {}
        changes: list[Change] = []
        for position in sorted(going):
            layer = net.layers[position]
            made: tuple[Layer, ...] = ()
            if is_loss(layer):
                made, tops = self.head(net, wiring, position, going)
                kinds = ", ".join(item.type for item in made)
                detail = f"{layer.type} -> {kinds or 'output ' + ', '.join(tops)}"
            else:
                tops = layer.bottoms[:1] if layer.type != "Silence" else ()
                detail = f"{layer.type} -> nothing, it only measures"
            new[position] = made
            wanted.update(tops)
            names = tuple(item.name for item in made)
            changes.append(Change(RULE, (layer.name,), names, detail))
        pruned, dropped = _prune(net.substitute(new), wanted)
        if dropped:
            changes.append(Change(RULE, dropped, (), "only losses or labels needed them"))
        return PassResult(pruned, tuple(changes))

    def head(
        self, net: Net, wiring: Graph, position: int, going: frozenset[int]
    ) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
        """The layers that take the place of one loss, and the outputs it leaves."""
        layer = net.layers[position]
        if layer.type == "MultiBoxLoss":
            made = multibox(net, layer, self.options, going)
            return made, made[-1].tops
        kind = _PROBABILITY.get(layer.type)
        if kind is None:
            return (), layer.bottoms[:1]  # a loss without a head: its prediction is the result
        version = wiring.reads[position][0] if layer.bottoms else -1
        readers = wiring.versions[version].readers if version >= 0 else ()
        for reader in readers:
            if net.layers[reader].type == kind:
                return (), net.layers[reader].tops  # the net computes it already
        name = free_name(net, "prob" if kind == "Softmax" else f"{layer.bottoms[0]}_prob", going)
        fields = [scalar("bottom", quote(layer.bottoms[0]), "  "), scalar("top", quote(name), "  ")]
        softmax = layer.body.message("softmax_param")
        axis = softmax.last("axis") if softmax is not None else None
        if kind == "Softmax" and isinstance(axis, Scalar):
            fields.append(block("softmax_param", [scalar("axis", axis.raw, "    ")], "  "))
        return (new_layer(net.document, name, kind, fields, layer.field.lead),), (name,)


def _results(net: Net, wiring: Graph, going: frozenset[int]) -> set[str]:
    """Blobs that are results of the net as it stands: read by nobody, and not a data layer's."""
    versions = (wiring.versions[i] for i in wiring.sinks)
    return {
        version.blob
        for version in versions
        if version.producer != graph.OUTSIDE
        and version.producer not in going
        and net.layers[version.producer].bottoms
    }


def _prune(net: Net, wanted: set[str]) -> tuple[Net, tuple[str, ...]]:
    """Drop layers whose results nobody reads and nobody wants, backwards to the inputs."""
    dropped: list[str] = []
    while True:
        wiring = graph.build(net)
        useless = []
        for position, layer in enumerate(net.layers):
            versions = [wiring.versions[v] for v in wiring.writes[position]]
            unread = [v for v in versions if not v.readers]
            unwanted = not wanted.intersection(v.blob for v in unread)
            if layer.bottoms and len(unread) == len(versions) and unwanted:
                useless.append(position)
        if not useless:
            return net, tuple(dropped)
        dropped += [net.layers[i].name for i in useless]
        net = net.without(useless)
