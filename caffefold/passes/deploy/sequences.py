"""Recurrent nets: the Reshape into time steps and streams follows the batch of the inputs.

Given   data of 160 images; Reshape(fc6) to 16 x 3 x 4096, as the training net's batch of 48 was cut
Result  Reshape(fc6) to 16 x 10 x 4096

The first axis is time, the second the streams (recurrent_layer.hpp); the length of time stays where
the batch is a multiple of it, else there is one stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import ClassVar

from caffefold.analysis.shapes import input_shapes
from caffefold.formats.prototxt.tree import Field, with_scalars
from caffefold.frozen import dataclass
from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.linear import INNER_PRODUCT
from caffefold.ops.table import op
from caffefold.ops.wiring import PERMUTE, RESHAPE, SLICE
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FitSequences(Pass):
    """Make each Reshape into time x streams fit what comes in."""

    name: ClassVar = "sequences"

    def run(self, net: Net) -> PassResult:
        """Change the second number (and where need be the first) of such shapes."""
        if not any(op(layer).recurrent for layer in net.layers):
            return PassResult(net)
        wiring = graph.build(net)
        shapes = input_shapes(net)
        new: dict[int, tuple[Layer, ...]] = {}
        changes = []
        for position, layer in enumerate(net.layers):
            if op(layer) is not RESHAPE:
                continue
            batch, each = _incoming(net, wiring, shapes, wiring.reads[position][0])
            dims = RESHAPE.params(layer).sub("shape").integers("dim")
            if not batch or len(dims) < 2 or min(dims) < 1 or dims[0] * dims[1] == batch:
                continue
            if each != prod(dims[2:]):
                continue  # it cuts something else than the batch
            time = dims[0] if batch % dims[0] == 0 else batch
            new[position] = (_reshaped(layer, (time, batch // time)),)
            detail = f"{dims[0]} x {dims[1]} -> {time} x {batch // time}, for {batch} inputs"
            changes.append(Change(ChangeKind.SEQUENCE_FITTED, (), (layer.name,), detail))
        return PassResult(net.substitute(new) if new else net, tuple(changes))


def _incoming(
    net: Net, wiring: Graph, shapes: Mapping[str, tuple[int, ...]], version: int
) -> tuple[int, int]:
    """First axis of the net input a value comes from, and how many numbers the value has for each
    item of it; 0 where something in between cuts the batch anew, or the number is not plain."""
    each: int | None = None
    while version >= 0:
        producer = wiring.maker(version)
        if producer == OUTSIDE or net.layers[producer].is_input:
            dims = shapes.get(wiring.versions[version].blob) or (0,)
            return dims[0], prod(dims[1:]) if each is None else each
        layer, reads = net.layers[producer], wiring.reads[producer]
        if not reads or op(layer) in (RESHAPE, SLICE, PERMUTE) or op(layer).recurrent:
            break
        if each is None and op(layer) is INNER_PRODUCT:
            params = INNER_PRODUCT.params(layer)
            each = params.integer("num_output") if params.integer("axis") == 1 else 0
        elif each is None and (not op(layer).pointwise or len(reads) != 1):
            each = 0
        version = reads[0]
    return 0, 0


def _reshaped(layer: Layer, first: tuple[int, int]) -> Layer:
    """``layer`` with other first two numbers in ``reshape_param { shape { dim ... } }``."""
    left = list(map(str, first))

    def shaped(field: Field) -> Field:
        if field.name == "shape":
            return with_scalars(field, lambda raw: left.pop(0) if left else raw)
        if field.name == "reshape_param":
            return field.with_body(
                replace(field.body, fields=tuple(map(shaped, field.body.fields)))
            )
        return field

    return layer.edited(replace(layer.body, fields=tuple(map(shaped, layer.body.fields))))
