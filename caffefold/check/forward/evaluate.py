"""One forward pass of a net in float64, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from caffefold.check.forward import boxes, regions
from caffefold.check.forward.boxes import BOXES
from caffefold.check.forward.layers import Array, Function, NotEvaluated
from caffefold.check.forward.learned import LEARNED
from caffefold.check.forward.plain import PLAIN
from caffefold.check.forward.regions import REGIONS
from caffefold.check.forward.windows import WINDOWS
from caffefold.formats.caffemodel.blob import quiet
from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op

FUNCTIONS: Mapping[str, Function] = {**PLAIN, **WINDOWS, **LEARNED, **BOXES, **REGIONS}
DECIDING = frozenset({"ArgMax", "DetectionOutput", "Filter", "Threshold", *REGIONS})
"""Types whose result jumps with the last bit of what they read."""
CANDIDATES: Mapping[str, Function] = {
    "DetectionOutput": boxes.candidates,
    "YoloDetectionOutput": regions.candidates,
    "Yolov3DetectionOutput": regions.candidates,
}
"""Boxes and scores of a detector in place of its detections."""


class Made(NamedTuple):
    """The numbers of one version of a blob."""

    version: int
    """As ``ir.graph`` counts them."""
    layer: Layer | None
    """Who makes it; None for an input of the net."""
    values: Array | None
    """None where they cannot be known: ``why`` says it."""
    why: str = ""


def evaluate(
    net: Net,
    inputs: Mapping[str, Array],
    observed: Mapping[int, Array] | None = None,
    *,
    locally: bool = False,
) -> Iterator[Made]:
    """Every version of every blob, in the order of the layers; each is forgotten once it is read.

    Args:
        net: a net at test time.
        inputs: the numbers of the blobs from outside.
        observed: what somebody else computed for versions, by number. Layers that decide (NMS,
            ArgMax, a threshold) read it instead of what is computed here: by float64 they would
            decide differently wherever numbers are nearly equal. Behind a layer that the reference
            does not know, it goes on from what was observed.
        locally: every layer reads what was observed, where it was.

    Raises:
        KeyError: an input is not given.
    """
    wiring = graph.build(net)
    there: dict[int, Array] = {}
    left = [len(version.readers) for version in wiring.versions]
    seen = observed or {}

    def keep(made: Made) -> Made:
        if made.values is not None and left[made.version]:
            there[made.version] = made.values
        return made

    for i, version in enumerate(wiring.versions):
        if version.producer == OUTSIDE:
            yield keep(Made(i, None, np.asarray(inputs[version.blob], np.float64)))
    for position, layer in enumerate(net.layers):
        reads, writes = wiring.reads[position], wiring.writes[position]
        if layer.is_input:
            for top, i in zip(layer.tops, writes, strict=True):
                yield keep(Made(i, layer, np.asarray(inputs[top], np.float64)))
            continue
        missing = [wiring.versions[i].blob for i in reads if i not in there]
        if missing:
            found: list[Array] | str = f"'{missing[0]}' is not known"
        else:
            deciding = type_of(layer) in DECIDING
            observing = seen if deciding or locally else {}
            found = _made(layer, [observing.get(i, there[i]) for i in reads])
        for k, i in enumerate(writes):
            if isinstance(found, str) or k >= len(found):
                yield Made(i, layer, None, found if isinstance(found, str) else "not evaluated")
                if i in seen and left[i]:
                    there[i] = np.asarray(seen[i], np.float64)  # goes on from there
            else:
                yield keep(Made(i, layer, found[k]))
        for i in reads:
            left[i] -= 1
            if not left[i]:
                there.pop(i, None)


def unknown(layer: Layer) -> bool:
    """Whether the reference does not know layers of this type at all."""
    return type_of(layer) not in FUNCTIONS


def type_of(layer: Layer) -> str:
    """The canonical type; of a Python layer that is one of the known types, that."""
    python = layer.body.message("python_param")
    if python is not None and python.string("layer") == "ProposalLayer":
        return "Proposal"
    return op(layer).name


def _made(layer: Layer, inputs: list[Array]) -> list[Array] | str:
    """The tops, or why they are not known."""
    function = FUNCTIONS.get(type_of(layer))
    if function is None:
        return f"the reference does not know {layer.type}"
    try:
        with quiet():
            return function(layer, inputs)
    except NotEvaluated as reason:
        return f"the reference does not know {reason}"
