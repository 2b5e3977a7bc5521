"""Weights that the caffemodel does not have because Caffe fills them.

Given   up: Deconvolution, weight_filler { type: "bilinear" }, and a caffemodel without "up"
Result  up: Deconvolution with the bilinear weights in the caffemodel

Only what the text says and is the same each time: constants and bilinear kernels. What is random
stays without weights, and is refused by analysis/fit.py.
"""

from __future__ import annotations

from typing import ClassVar

from caffefold.analysis.shapes import infer
from caffefold.errors import TextError
from caffefold.formats.prototxt.tree import Message
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import parse_float
from caffefold.ops.filler import FilledBlob, differs_in_forks, filled, fillers
from caffefold.ops.shape import ShapeList
from caffefold.ops.table import op
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult


class FillWeights(Pass):
    """Give layers without stored weights those that Caffe would fill in."""

    name: ClassVar = "filling"

    def run(self, net: Net) -> PassResult:
        """Fill what can be known."""
        if net.weights is None:
            return PassResult(net)
        wanting = [
            i
            for i, layer in enumerate(net.layers)
            if layer.record is None and not layer.blobs and op(layer).wants_weights(layer)
        ]
        if not wanting:
            return PassResult(net)
        shapes = infer(net)
        new: dict[int, tuple[Layer, ...]] = {}
        how: dict[str, list[str]] = {}
        warnings: list[str] = []
        for position in wanting:
            layer = net.layers[position]
            blobs = _filled(layer, shapes.bottoms[position])
            if blobs:
                new[position] = (layer.with_blobs(blobs),)
                said = ", ".join(dict.fromkeys(str(blob.filler) for blob in blobs))
                how.setdefault(said, []).append(layer.name)
                warnings += _doubts(layer, blobs, said)
        changes = [
            Change(
                ChangeKind.WEIGHTS_FILLED,
                (),
                tuple(names),
                f"not in the caffemodel; filled as Caffe does ({said})",
            )
            for said, names in how.items()
        ]
        return PassResult(net.substitute(new), tuple(changes), (), tuple(warnings))


def _filled(layer: Layer, bottoms: ShapeList) -> tuple[FilledBlob, ...]:
    own = op(layer)
    try:
        specs = own.weights(layer, bottoms) or ()
        how = fillers(own, layer, [spec.role for spec in specs])
    except TextError:  # shape inference reports it
        return ()
    return filled(own, layer, specs, how) if how else ()


def _doubts(layer: Layer, blobs: tuple[FilledBlob, ...], said: str) -> list[str]:
    """What may be wrong about it: numbers that were trained, or that Caffes do not agree on."""
    found = []
    first = layer.body.message("param") or Message(())
    if parse_float(first.string("lr_mult", "1")) != 0:
        found.append(
            f"layer '{layer.name}': not in the caffemodel; filled as Caffe does ({said}), but its "
            "lr_mult is not 0: training would have changed it"
        )
    if any(map(differs_in_forks, blobs)):
        found.append(
            f"layer '{layer.name}': filled with BVLC Caffe's bilinear kernel; for a kernel of "
            f"{blobs[0].shape[-1]} the SSD branch has another"
        )
    return found
