"""How each linear layer absorbs an affine map of its output. Weight mathematics without a graph.

Every weight is seen as ``(groups, rows, columns, inner)``:

    Convolution    [Cout, Cin/g, k...]   rows = outputs, columns = inputs of a group
    Deconvolution  [Cin, Cout/g, k...]   rows = inputs, columns = outputs of a group
    InnerProduct   [N, K]                rows = outputs; [K, N] with ``transpose``

(base_conv_layer.cpp, inner_product_layer.cpp.) The grouped Deconvolution is the one most tools get
wrong: output channel c lies in group c // (Cout/g), column c % (Cout/g).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from caffefold.formats.blob import Blob, array, size
from caffefold.formats.text import drop
from caffefold.model.blob import ArrayBlob, Doubles, ScaledBlob
from caffefold.model.net import Layer
from caffefold.rewrite.affine import Affine
from caffefold.rewrite.base import Refusal, SkipCode

PARAMETERS = {
    "Convolution": "convolution_param",
    "ConvolutionDepthwise": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "InnerProduct": "inner_product_param",
}


@dataclass(frozen=True, slots=True)
class Linear:
    """Where the outputs of a linear layer lie in its weights."""

    view: tuple[int, int, int, int]
    outputs_are_rows: bool
    outputs: int
    rank: int
    """Number of axes of the layer's output."""


def of_layer(layer: Layer) -> Linear | Refusal:
    """The layout of a linear layer's weights, or why its weights can not be scaled."""
    if not layer.blobs:
        return Refusal(SkipCode.NO_WEIGHTS, f"the caffemodel holds no weights for '{layer.name}'")
    shape = layer.blobs[0].shape
    params = layer.params(PARAMETERS[layer.type])
    if layer.type == "InnerProduct":
        outputs = params.integer("num_output")
        inputs = size(layer.blobs[0]) // outputs
        if params.integer("axis") != 1:
            return Refusal(
                SkipCode.NOT_CHANNEL_AXIS,
                f"'{layer.name}' has axis {params.integer('axis')}; its outputs are not axis 1",
            )
        if params.flag("transpose"):
            return Linear((1, inputs, outputs, 1), False, outputs, 2)
        return Linear((1, outputs, 1, inputs), True, outputs, 2)
    if params.integer("axis") != 1:
        return Refusal(
            SkipCode.NOT_CHANNEL_AXIS,
            f"'{layer.name}' has axis {params.integer('axis')}; its channels are not axis 1",
        )
    inner = prod(shape[2:])
    groups = params.integer("group")
    if layer.type == "Deconvolution":
        view = (groups, shape[0] // groups, shape[1], inner)
        return Linear(view, False, shape[1] * groups, len(shape))
    if shape[0] % groups:
        groups = 1
    return Linear((groups, shape[0] // groups, shape[1], inner), True, shape[0], len(shape))


def absorb_output(layer: Layer, linear: Linear, affine: Affine) -> Layer:
    """The layer that computes ``affine(layer(x))``; a missing bias is created.

    ``W' = scale * W`` along the outputs, ``b' = scale * b + shift``, in float64, not yet rounded.
    """
    full = affine.over(linear.outputs)
    groups = linear.view[0]
    factors = full.scale.reshape(groups, -1)
    weights = ScaledBlob.of(layer.blobs[0], linear.view)
    weights = (
        weights.times(row=factors) if linear.outputs_are_rows else weights.times(column=factors)
    )
    bias, shape = bias_of(layer, linear.outputs)
    folded: Blob = ArrayBlob((bias * full.scale + full.shift).reshape(shape))
    return with_bias(layer, (weights, folded))


def bias_of(layer: Layer, outputs: int) -> tuple[Doubles, tuple[int, ...]]:
    """The bias as a float64 vector (zeros when the layer has none) and its stored shape."""
    if len(layer.blobs) > 1:
        return array(layer.blobs[1]).reshape(-1).astype(np.float64), layer.blobs[1].shape
    return np.zeros(outputs), (outputs,)


def with_bias(layer: Layer, blobs: tuple[Blob, ...]) -> Layer:
    """The layer with weights and bias; the text says so too (``bias_term`` is true by default)."""
    name = PARAMETERS[layer.type]
    params = layer.body.message(name)
    if params is not None and params.last("bias_term") is not None:
        kept = replace(params, fields=drop(params.fields, lambda f: f.name == "bias_term"))
        fields = (f.with_body(kept) if f.name == name else f for f in layer.body.fields)
        layer = layer.edited(replace(layer.body, fields=tuple(fields)))
    return layer.with_blobs(blobs)
