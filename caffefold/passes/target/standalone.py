"""What an affine layer that no linear layer takes becomes.

Given   Concat -> Scale -> ReLU
Result  Concat -> Convolution (1x1, one group for each channel) -> ReLU         form ``conv``

Given   Eltwise -> Bias -> ReLU
Result  Eltwise -> Scale (of ones, with that bias) -> ReLU                      form ``scale``

Given   Concat -> BatchNorm -> Scale -> ReLU
Result  the same, with use_global_stats: true in the BatchNorm                  form ``bn``
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from caffefold.analysis.shapes import infer
from caffefold.formats.prototxt.tree import Field, block, quote, scalar, set_scalar
from caffefold.frozen import dataclass
from caffefold.ir.affine import Affine
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import BATCH_NORM, SCALE, affine_map
from caffefold.ops.base import AffineOp, Refusal
from caffefold.ops.linear import CONVOLUTION
from caffefold.ops.table import op
from caffefold.passes.contracts import blobs_fit, text_agrees, wired
from caffefold.passes.fold.collapse import as_scale
from caffefold.passes.fold.fold import unshared
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult, Predicate, nothing

_AXES = 4  # of the blobs that a 2-D convolution takes


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Standalone(Pass):
    """Every learned affine layer that is left takes one form, where that form can say it."""

    form: str = "scale"
    """``scale``, ``conv`` or ``bn``."""
    keeps: Predicate = nothing
    """Whether the layer of this name is left as it is."""
    name: ClassVar = "standalone"
    requires: ClassVar = (text_agrees, wired, blobs_fit)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Rewrite layer by layer; the wiring stays."""
        shapes = infer(net)
        new: dict[int, tuple[Layer, ...]] = {}
        for position, layer in enumerate(net.layers):
            if not isinstance(op(layer), AffineOp) or not layer.blobs or self.keeps(layer.name):
                continue
            bottoms = shapes.bottoms[position]
            rank = None if not bottoms or bottoms[0] is None else len(bottoms[0])
            channels = shapes.channels(shapes.graph.reads[position][0])
            made = self._rewritten(layer, rank, channels)
            if made is not layer:
                new[position] = (made,)
        names = tuple(made.name for (made,) in new.values())
        detail = f"written as {_FORMS[self.form]}"
        change = Change(ChangeKind.REWRITTEN, (), names, detail)
        return PassResult(net.substitute(new), (change,) if names else ())

    def _rewritten(self, layer: Layer, rank: int | None, channels: int | None) -> Layer:
        own = op(layer)
        assert isinstance(own, AffineOp)
        if self.form == "bn":
            return frozen(layer) if own is BATCH_NORM else layer
        found = affine_map(own, layer, rank)
        count = channels if isinstance(found, Refusal) or found.channels == 1 else found.channels
        if isinstance(found, Refusal) or count is None:
            return layer
        if self.form == "conv" and rank == _AXES:
            return as_convolution(layer, found.over(count))
        return layer if own is SCALE else as_scale(layer, found.over(count))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FreezeNorms(Pass):
    """Every BatchNorm that is left says ``use_global_stats: true``, kept ones as well: it changes
    nothing at test time."""

    name: ClassVar = "norms"
    requires: ClassVar = (text_agrees,)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Rewrite layer by layer."""
        new = {
            position: (made,)
            for position, layer in enumerate(net.layers)
            if op(layer) is BATCH_NORM and (made := frozen(layer)) is not layer
        }
        names = tuple(made.name for (made,) in new.values())
        change = Change(ChangeKind.REWRITTEN, (), names, f"written as {_FORMS['bn']}")
        return PassResult(net.substitute(new), (change,) if names else ())


_FORMS = {
    "scale": "Scale",
    "conv": "1x1 depthwise Convolution",
    "bn": "BatchNorm with use_global_stats: true",
}


def as_convolution(layer: Layer, affine: Affine) -> Layer:
    """``layer`` as a 1x1 Convolution with one group for each channel, computing ``affine``."""
    fields: list[Field] = [f for f in layer.body.fields if f.name != op(layer).param]
    indent = "  "
    if fields and "\n" in fields[0].lead:
        indent = fields[0].lead.rpartition("\n")[2]
    count = str(affine.channels)
    numbers = {"num_output": count, "kernel_size": "1", "group": count}
    inner = [scalar(name, raw, indent * 2) for name, raw in numbers.items()]
    fields.append(block(CONVOLUTION.param, inner, indent))
    body = replace(layer.body, fields=tuple(fields))
    body = set_scalar(body, "type", quote(CONVOLUTION.name))
    weights = affine.scale.reshape(-1, 1, 1, 1)
    blobs = (ArrayBlob(np.array(weights)), ArrayBlob(np.array(affine.shift)))
    return unshared(layer.edited(body)).with_blobs(blobs)


def frozen(layer: Layer) -> Layer:
    """The BatchNorm with ``use_global_stats: true``, which TEST has anyway."""
    params = BATCH_NORM.params(layer)
    if params.has("use_global_stats"):
        return layer
    fields = list(layer.body.fields)
    at = next((i for i, field in enumerate(fields) if field.name == BATCH_NORM.param), None)
    if at is None:
        lead = fields[0].lead if fields else " "
        indent = lead.rpartition("\n")[2] if "\n" in lead else "  "
        inner = scalar("use_global_stats", "true", indent * 2)
        fields.append(block(BATCH_NORM.param, [inner], indent))
    else:
        message = set_scalar(fields[at].body, "use_global_stats", "true")
        fields[at] = fields[at].with_body(message)
    return layer.edited(replace(layer.body, fields=tuple(fields)))
