"""Layers of forks, and rare spellings, as upstream's plain layers.

Given   DepthwiseConvolution (8 channels)     InnerProduct { transpose: true }
Result  Convolution { group: 8 }              InnerProduct, its weights turned round

Given   Input with the tops data and im_info
Result  one Input layer for each
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from caffefold.analysis.shapes import infer
from caffefold.formats.prototxt.tree import Field, drop, quote, set_scalar
from caffefold.frozen import dataclass
from caffefold.ir.blob import TransposedBlob
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import LinearOp
from caffefold.ops.linear import INNER_PRODUCT, Convolution
from caffefold.ops.table import op
from caffefold.passes.contracts import blobs_fit, text_agrees, wired
from caffefold.passes.deploy.newlayer import free_name
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PlainTypes(Pass):
    """Every linear layer has upstream's type and layout, every Input layer one top."""

    name: ClassVar = "plain"
    requires: ClassVar = (text_agrees, wired, blobs_fit)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Rewrite layer by layer; blobs keep their names."""
        shapes = infer(net)
        new: dict[int, tuple[Layer, ...]] = {}
        changes: list[Change] = []
        for position, layer in enumerate(net.layers):
            if layer.is_input and len(layer.tops) > 1:
                made = _separate(net, layer)
                what = f"one Input layer for each of {', '.join(layer.tops)}"
            elif isinstance(op(layer), LinearOp):
                reads = shapes.graph.reads[position]
                made = (_plain(layer, shapes.channels(reads[0]) if reads else None),)
                what = f"{layer.type} written as a plain {made[0].type}"
            else:
                continue
            if made != (layer,):
                new[position] = made
                names = tuple(each.name for each in made)
                changes.append(Change(ChangeKind.REWRITTEN, (), names, what))
        return PassResult(net.substitute(new), tuple(changes)) if new else PassResult(net)


def _plain(layer: Layer, channels: int | None) -> Layer:
    own = op(layer)
    if isinstance(own, Convolution) and own.is_alias(layer):
        groups = own.groups(layer, channels)
        if groups != own.params(layer).integer("group"):
            fields = layer.body.fields
            grouped = (
                f.with_body(set_scalar(f.body, "group", str(groups))) if f.name == own.param else f
                for f in fields
            )
            layer = layer.edited(replace(layer.body, fields=tuple(grouped)))
    if own.is_alias(layer):
        layer = layer.edited(set_scalar(layer.body, "type", quote(own.name)))
    return _turned(layer) if own is INNER_PRODUCT else layer


def _turned(layer: Layer) -> Layer:
    """An InnerProduct with weights of (outputs, inputs), which says nothing of ``transpose``."""
    params = INNER_PRODUCT.params(layer)
    turned = params.flag("transpose")
    if not params.has("transpose") or (turned and not layer.blobs):
        return layer

    def without(field: Field) -> Field:
        if field.name != INNER_PRODUCT.param:
            return field
        kept = drop(field.body.fields, lambda inner: inner.name == "transpose")
        return field.with_fields(kept)

    plain = layer.edited(replace(layer.body, fields=tuple(map(without, layer.body.fields))))
    if not turned:
        return plain
    weights = TransposedBlob(layer.blobs[0], params.integer("num_output"))
    return plain.with_blobs((weights, *layer.blobs[1:]))


def _separate(net: Net, layer: Layer) -> tuple[Layer, ...]:
    """An Input layer with several tops as one for each; the first keeps the name."""
    made = []
    for at, top in enumerate(layer.tops):
        one = layer.with_wiring((), (top,))

        def alone(field: Field, at: int = at) -> Field:
            if field.name != "input_param":
                return field
            shapes = [inner for inner in field.body.fields if inner.name == "shape"]
            if len(shapes) != len(layer.tops):  # one for all
                return field
            others = shapes[:at] + shapes[at + 1 :]
            gone = drop(field.body.fields, lambda inner: any(inner is each for each in others))
            return field.with_fields(gone)

        body = replace(one.body, fields=tuple(map(alone, one.body.fields)))
        if at:
            body = set_scalar(body, "name", quote(free_name(net, top)))
        made.append(one.edited(body))
    return tuple(made)
