"""How a linear layer absorbs an affine map: weight mathematics without a graph.

Every weight is seen as ``(groups, rows, columns, inner)``; which of rows and columns are outputs is
the layer's business (``LinearOp.layout``). On the output ``W' = a W``, ``b' = a b + c``; on the
input ``W' = W a``, ``b' = b + W c``: in float64, rounded once by the writer.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from caffefold.formats.caffemodel.blob import Blob, array
from caffefold.formats.prototxt.tree import drop
from caffefold.ir.affine import Affine
from caffefold.ir.blob import ArrayBlob, Doubles, ScaledBlob
from caffefold.ir.net import Layer
from caffefold.ops.base import LinearLayout, LinearOp, Refusal, SkipCode
from caffefold.ops.linear import INNER_PRODUCT
from caffefold.ops.table import op


def absorb_output(layer: Layer, layout: LinearLayout, affine: Affine) -> Layer:
    """The layer that computes ``affine(layer(x))``; a missing bias is created when needed."""
    full = affine.over(layout.outputs)
    weights = _scaled(layer, layout, full.scale, layout.outputs_are_rows)
    bias = _bias(layer, layout) * full.scale + full.shift
    return _with_blobs(layer, weights, bias, _terms(layer) * np.abs(full.scale) + full.sizes)


def absorb_input(layer: Layer, layout: LinearLayout, affine: Affine) -> Layer:
    """The layer that computes ``layer(affine(x))``; ``refuse_input`` must have agreed."""
    # An InnerProduct sees every pixel of a channel as an input of its own.
    channels = affine.over(affine.channels)
    repeats = layout.inputs // affine.channels
    bias, terms = _bias(layer, layout), _terms(layer)
    if affine.shifts:
        unscaled = ScaledBlob.of(layer.blobs[0], layout.view)
        shift, sizes = (each.repeat(repeats) for each in (channels.shift, channels.sizes))
        added, of_sizes = _response(unscaled, layout, shift, sizes)
        bias, terms = bias + added, terms + of_sizes
    scale = channels.scale.repeat(repeats)
    weights = _scaled(layer, layout, scale, not layout.outputs_are_rows)
    return _with_blobs(layer, weights, bias, terms)


def _scaled(layer: Layer, layout: LinearLayout, scale: Doubles, rows: bool) -> ScaledBlob:
    """The weights with each row (or column, across all groups) times its number."""
    factors = scale.reshape(layout.view[0], -1)
    weights = ScaledBlob.of(layer.blobs[0], layout.view)
    return weights.times(row=factors) if rows else weights.times(column=factors)


def refuse_input(layer: Layer, layout: LinearLayout, affine: Affine) -> Refusal | None:
    """Why a map on the input cannot be absorbed exactly; None when it can.

    Zeros that padding puts around the input are not mapped, and an output pixel of a deconvolution
    meets a varying part of the kernel: with a shift neither is exact.
    """
    fits = layout.inputs % affine.channels == 0
    own = op(layer)
    assert isinstance(own, LinearOp)
    if own is not INNER_PRODUCT:
        fits = affine.channels in (1, layout.inputs)
    if not fits:
        return Refusal(
            SkipCode.NOT_CHANNEL_AXIS,
            f"'{layer.name}' has {layout.inputs} inputs, the map has {affine.channels} channels",
        )
    border = own.border(layer, layout) if affine.shifts else ""
    return Refusal(SkipCode.PADDED_INPUT, border) if border else None


def _response(
    weights: ScaledBlob, layout: LinearLayout, shift: Doubles, sizes: Doubles
) -> tuple[Doubles, Doubles]:
    """What the layer (without bias) answers to the constant input ``shift``, per output; and what
    a layer of the sizes of its weights answers to ``sizes``."""
    groups, rows, columns, inner = layout.view
    shifts, sizes = (each.reshape(groups, -1) for each in (shift, sizes))
    total = np.zeros((2, groups, rows if layout.outputs_are_rows else columns))
    step = max(1, weights.step // (columns * inner))
    for group in range(groups):
        for row in range(0, rows, step):
            stop = min(row + step, rows)
            start = (group * rows + row) * columns * inner
            block = weights.read(start, start + (stop - row) * columns * inner)
            block = block.reshape(stop - row, columns, inner)
            summed, size = block.sum(axis=2), np.abs(block).sum(axis=2)
            if layout.outputs_are_rows:
                total[0, group, row:stop] = summed @ shifts[group]
                total[1, group, row:stop] = size @ sizes[group]
            else:
                total[0, group] += shifts[group, row:stop] @ summed
                total[1, group] += sizes[group, row:stop] @ size
    return total[0].reshape(-1), total[1].reshape(-1)


def _bias(layer: Layer, layout: LinearLayout) -> Doubles:
    """The bias as a float64 vector; zeros when the layer has none."""
    if len(layer.blobs) > 1:
        return array(layer.blobs[1]).reshape(-1).astype(np.float64)
    return np.zeros(layout.outputs)


def _terms(layer: Layer) -> Doubles:
    """The sums of the sizes of what each bias was added up from."""
    bias = layer.blobs[1] if len(layer.blobs) > 1 else None
    if isinstance(bias, ArrayBlob) and bias.terms is not None:
        return bias.terms
    return np.zeros(1) if bias is None else np.abs(array(bias).reshape(-1).astype(np.float64))


def _with_blobs(layer: Layer, weights: Blob, bias: Doubles, terms: Doubles) -> Layer:
    """The layer with new numbers; with a bias, ``bias_term`` stays at its default, true."""
    if len(layer.blobs) == 1 and not bias.any():
        return layer.with_blobs((weights,))
    name = op(layer).param
    params = layer.body.message(name)
    if params is not None and params.last("bias_term") is not None:
        kept = replace(params, fields=drop(params.fields, lambda f: f.name == "bias_term"))
        fields = (f.with_body(kept) if f.name == name else f for f in layer.body.fields)
        layer = layer.edited(replace(layer.body, fields=tuple(fields)))
    return layer.with_blobs((weights, ArrayBlob(bias, np.broadcast_to(terms, bias.shape))))
