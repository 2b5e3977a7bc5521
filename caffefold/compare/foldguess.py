"""What authors of merged models did instead of the exact fold, to be tried where numbers differ.

Both were met in published models: eps 1e-5 although the net says 1e-3, and the mean and scale of
the data layer folded into the first convolution as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from caffefold.errors import TextError
from caffefold.formats.prototxt.tree import drop
from caffefold.ir import graph
from caffefold.ir.affine import Affine
from caffefold.ir.net import Layer, Net
from caffefold.ops.kinds import is_data
from caffefold.passes.fold import absorb as linear
from caffefold.passes.infra import Refusal

USUAL_EPS = "it is what eps 1e-05 gives, but the net says another"
TRANSFORM = "it is the fold with the data layer's mean and scale taken in as well"


@dataclass(frozen=True, slots=True)
class Guess:
    """Another net to fold, or data layers whose transformation goes in too."""

    message: str
    net: Net
    feeds: Mapping[str, Layer] = field(default_factory=dict)
    """By name of a linear layer, the data layer it reads."""


def guesses(net: Net) -> Iterator[Guess]:
    """The guesses that make a difference for ``net``."""
    usual = _with_usual_eps(net)
    if usual is not net:
        yield Guess(USUAL_EPS, usual)
    feeds = _feeds(net)
    if feeds:
        yield Guess(TRANSFORM, net, feeds)


def _with_usual_eps(net: Net) -> Net:
    """The net with Caffe's default eps in each BatchNorm; the same net when all have it."""
    new: dict[int, tuple[Layer, ...]] = {}
    for position, layer in enumerate(net.layers):
        params = layer.body.message("batch_norm_param")
        if layer.type == "BatchNorm" and params is not None and params.last("eps") is not None:
            kept = replace(params, fields=drop(params.fields, lambda f: f.name == "eps"))
            fields = (
                f.with_body(kept) if f.name == "batch_norm_param" else f for f in layer.body.fields
            )
            new[position] = (layer.edited(replace(layer.body, fields=tuple(fields))),)
    return net.substitute(new) if new else net


def _feeds(net: Net) -> dict[str, Layer]:
    """The data layer with a transformation that each first linear layer reads, by its name."""
    wiring = graph.build(net)
    found: dict[str, Layer] = {}
    for position, layer in enumerate(net.layers):
        if layer.type not in linear.PARAMETERS or len(wiring.reads[position]) != 1:
            continue
        version = wiring.reads[position][0]
        producer = wiring.versions[version].producer if version >= 0 else -1
        if producer >= 0 and is_data(net.layers[producer]):
            found[layer.name] = net.layers[producer]
    return found


def with_transform(layer: Layer, data: Layer) -> Layer:
    """``layer`` reading raw pixels: ``scale * (x - mean)`` of the data layer is its own now.

    (data_transformer.cpp.) The same layer when there is nothing to take in, or no way to.
    """
    try:
        params = data.params("transform_param")
        scale, means = params.number("scale"), params.numbers("mean_value")
        layout = linear.of_layer(layer)
    except TextError:
        return layer
    if isinstance(layout, Refusal) or len(means) not in (0, 1, layout.inputs):
        return layer
    mean = np.array(means or (0.0,), np.float64)
    return linear.absorb_input(layer, layout, Affine(np.full(mean.size, scale), -mean * scale))
