"""How each linear layer absorbs affine maps. Weight mathematics without a graph.

Every weight is seen as ``(groups, rows, columns, inner)``:

    Convolution    [Cout, Cin/g, k...]   rows = outputs, columns = inputs of a group
    Deconvolution  [Cin, Cout/g, k...]   rows = inputs, columns = outputs of a group
    InnerProduct   [N, C * inner]        rows = outputs, columns = input channels
                   [C * inner, N]        with ``transpose``: rows = inputs, columns = outputs

(base_conv_layer.cpp, inner_product_layer.cpp.) The grouped Deconvolution is the one most tools get
wrong: output channel c lies in group c // (Cout/g), column c % (Cout/g).
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np

from caffefold.formats.caffemodel.blob import Blob, array, size
from caffefold.formats.prototxt.tree import drop
from caffefold.ir.affine import Affine
from caffefold.ir.blob import ArrayBlob, Doubles, ScaledBlob
from caffefold.ir.net import Layer
from caffefold.passes.infra import Refusal, SkipCode

PARAMETERS = {
    "Convolution": "convolution_param",
    "ConvolutionDepthwise": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "InnerProduct": "inner_product_param",
}


class Linear(NamedTuple):
    """Where outputs and inputs of a linear layer lie in its weights."""

    view: tuple[int, int, int, int]
    outputs_are_rows: bool
    outputs: int
    inputs: int
    """Input channels; for an InnerProduct all inputs, C * inner."""


def of_layer(layer: Layer) -> Linear | Refusal:
    """The layout of a linear layer's weights, or why its weights can not be scaled."""
    if not layer.blobs:
        return Refusal(SkipCode.NO_WEIGHTS, f"the caffemodel holds no weights for '{layer.name}'")
    if len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return Refusal(
            SkipCode.SHARED_WEIGHTS, f"'{layer.name}' uses its weights for several blobs at once"
        )
    params = layer.params(PARAMETERS[layer.type])
    if params.integer("axis") != 1:
        return Refusal(
            SkipCode.NOT_CHANNEL_AXIS,
            f"'{layer.name}' has axis {params.integer('axis')}, so its outputs are not on axis 1",
        )
    if layer.type == "InnerProduct":
        outputs = params.integer("num_output")
        inputs = size(layer.blobs[0]) // outputs
        if params.flag("transpose"):
            return Linear((1, inputs, outputs, 1), False, outputs, inputs)
        return Linear((1, outputs, inputs, 1), True, outputs, inputs)
    shape = layer.blobs[0].shape
    inner = prod(shape[2:])
    groups = params.integer("group")
    if layer.type == "Deconvolution":
        view = (groups, shape[0] // groups, shape[1], inner)
        return Linear(view, False, shape[1] * groups, shape[0])
    if layer.type != "Convolution" and shape[1] == 1:
        groups = shape[0]  # depthwise types of forks may leave ``group`` out
    if shape[0] % groups:
        return Refusal(
            SkipCode.UNKNOWN_LAYOUT,
            f"'{layer.name}' has {shape[0]} outputs in {groups} groups, which do not divide evenly",
        )
    return Linear((groups, shape[0] // groups, shape[1], inner), True, shape[0], shape[1] * groups)


def absorb_output(layer: Layer, linear: Linear, affine: Affine) -> Layer:
    """The layer that computes ``affine(layer(x))``; a missing bias is created when needed.

    ``W' = scale * W`` along the outputs, ``b' = scale * b + shift``, in float64, not yet rounded.
    """
    full = affine.over(linear.outputs)
    factors = full.scale.reshape(linear.view[0], -1)
    weights = ScaledBlob.of(layer.blobs[0], linear.view)
    weights = (
        weights.times(row=factors) if linear.outputs_are_rows else weights.times(column=factors)
    )
    return _with_blobs(layer, weights, _bias(layer, linear) * full.scale + full.shift)


def absorb_input(layer: Layer, linear: Linear, affine: Affine) -> Layer:
    """The layer that computes ``layer(affine(x))``; ``refuse_input`` must have agreed.

    ``W' = W * scale`` along the inputs, ``b' = b + sum over inputs of W * shift``.
    """
    # An InnerProduct sees every pixel of a channel as an input of its own.
    channels = affine.over(affine.channels)
    repeats = linear.inputs // affine.channels if layer.type == "InnerProduct" else 1
    full = Affine(channels.scale.repeat(repeats), channels.shift.repeat(repeats))
    full = full.over(linear.inputs)
    factors = full.scale.reshape(linear.view[0], -1)
    weights = ScaledBlob.of(layer.blobs[0], linear.view)
    bias = _bias(layer, linear)
    if affine.shifts:
        bias = bias + _response(weights, linear, full.shift)
    weights = (
        weights.times(column=factors) if linear.outputs_are_rows else weights.times(row=factors)
    )
    return _with_blobs(layer, weights, bias)


def refuse_input(layer: Layer, linear: Linear, affine: Affine) -> Refusal | None:
    """Why a map on the input can not be absorbed exactly; None when it can.

    Zeros that padding puts around the input are not mapped, and an output pixel of a deconvolution
    meets a varying part of the kernel: with a shift neither is exact.
    """
    channels = linear.inputs
    fits = (
        channels % affine.channels == 0
        if layer.type == "InnerProduct"
        else (affine.channels in (1, channels))
    )
    if not fits:
        return Refusal(
            SkipCode.NOT_CHANNEL_AXIS,
            f"'{layer.name}' has {channels} inputs, the map has {affine.channels} channels",
        )
    if not affine.shifts or layer.type == "InnerProduct":
        return None
    params = layer.params("convolution_param")
    if layer.type == "Deconvolution":
        strides = (*params.integers("stride"), *map(params.integer, ("stride_h", "stride_w")))
        if linear.view[3] == 1 and max(strides) <= 1:
            return None  # every output meets exactly one input
        return Refusal(
            SkipCode.PADDED_INPUT,
            f"'{layer.name}' is a Deconvolution: at its borders only part of the kernel meets "
            "the input, so the shift can not move behind it",
        )
    pads = (*params.integers("pad"), params.integer("pad_h"), params.integer("pad_w"))
    if any(pads):
        return Refusal(
            SkipCode.PADDED_INPUT,
            f"'{layer.name}' pads its input with zeros, which the map would have to leave alone",
        )
    return None


def _response(weights: ScaledBlob, linear: Linear, shift: Doubles) -> Doubles:
    """What the layer (without bias) answers to the constant input ``shift``, per output."""
    groups, rows, columns, inner = linear.view
    shifts = shift.reshape(groups, -1)
    total = np.zeros((groups, rows if linear.outputs_are_rows else columns))
    step = max(1, weights.step // (columns * inner))
    for group in range(groups):
        for row in range(0, rows, step):
            stop = min(row + step, rows)
            start = (group * rows + row) * columns * inner
            block = weights.read(start, start + (stop - row) * columns * inner)
            summed = block.reshape(stop - row, columns, inner).sum(axis=2)
            if linear.outputs_are_rows:
                total[group, row:stop] = summed @ shifts[group]
            else:
                total[group] += shifts[group, row:stop] @ summed
    return total.reshape(-1)


def _bias(layer: Layer, linear: Linear) -> Doubles:
    """The bias as a float64 vector; zeros when the layer has none."""
    if len(layer.blobs) > 1:
        return array(layer.blobs[1]).reshape(-1).astype(np.float64)
    return np.zeros(linear.outputs)


def _with_blobs(layer: Layer, weights: Blob, bias: Doubles) -> Layer:
    """The layer with new numbers; the text says so too (``bias_term`` is true by default)."""
    if len(layer.blobs) == 1 and not bias.any():
        return layer.with_blobs((weights,))
    name = PARAMETERS[layer.type]
    params = layer.body.message(name)
    if params is not None and params.last("bias_term") is not None:
        kept = replace(params, fields=drop(params.fields, lambda f: f.name == "bias_term"))
        fields = (f.with_body(kept) if f.name == name else f for f in layer.body.fields)
        layer = layer.edited(replace(layer.body, fields=tuple(fields)))
    return layer.with_blobs((weights, ArrayBlob(bias)))
