"""Layers that treat predictions and labels together, and hand on what a deploy net needs as it is.

Given   proposal -> rpn_rois; ProposalTargetLayer(rpn_rois, gt_boxes) -> rois, labels, ...
Result  proposal -> rois

R-CNN samples its proposals against the labels; at test time all are used (py-faster-rcnn,
models/*/faster_rcnn_end2end/{train,test}.prototxt). Gather (yjxiong's fork, gather_layer.cpp)
collects batches of several processes; DetectNetTransformation (NVIDIA) augments images with labels.
"""

from __future__ import annotations

from typing import ClassVar

from caffefold.frozen import dataclass
from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Unpair(Pass):
    """Take such layers out; what they read takes the names of what they wrote."""

    name: ClassVar = "unpair"

    def run(self, net: Net) -> PassResult:
        """Rename what the layers read, where it is made and read."""
        wiring = graph.build(net)
        layers = list(net.layers)
        new: dict[int, tuple[Layer, ...]] = {}
        changes = []
        for position, layer in enumerate(layers):
            pairs = op(layer).passed_on(layer)
            versions = wiring.reads[position][:pairs]
            if not pairs or any(wiring.maker(version) == OUTSIDE for version in versions):
                continue
            for version, name in zip(versions, layer.tops, strict=False):
                _rename(layers, wiring, version, name)
            new[position] = ()
            before = ", ".join(f"'{name}'" for name in layer.bottoms[:pairs])
            after = ", ".join(f"'{name}'" for name in layer.tops[:pairs])
            detail = f"{layer.type} -> nothing, {before} is {after}"
            changes.append(Change(ChangeKind.LABELS_DROPPED, (layer.name,), (), detail))
        for position, layer in enumerate(layers):
            if layer is not net.layers[position]:
                new.setdefault(position, (layer,))
        return PassResult(net.substitute(new) if new else net, tuple(changes))


def _rename(layers: list[Layer], wiring: Graph, version: int, name: str) -> None:
    """Call one value ``name`` in the layer that makes it and in those that read it."""
    value = wiring.versions[version]
    for position in dict.fromkeys((value.producer, *value.readers)):
        layer = layers[position]
        bottoms = tuple(
            name if read == version else b
            for read, b in zip(wiring.reads[position], layer.bottoms, strict=True)
        )
        tops = tuple(
            name if made == version else t
            for made, t in zip(wiring.writes[position], layer.tops, strict=True)
        )
        layers[position] = layer.with_wiring(bottoms, tops)
