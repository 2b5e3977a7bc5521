"""Ten ways in which a fold goes wrong, planted in nets that were folded right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

import caffefold
from caffefold.formats.caffemodel.blob import array
from caffefold.formats.prototxt.tree import Field, set_scalar
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.net import Layer, Net

Doubles: TypeAlias = NDArray[np.float64]
Fault: TypeAlias = Callable[[Net, np.random.Generator], Net]
"""Makes of a net (a deploy net, not folded) what a wrong fold would have made of it."""


def folded(net: Net) -> Net:
    """What a right fold makes of it."""
    return caffefold.fold(net).net


def _replaced(net: Net, old: Layer, new: Layer) -> Net:
    return net.substitute({net.layers.index(old): (new,)})


def _with_blob(net: Net, layer: Layer, index: int, change: Callable[[Doubles], Doubles]) -> Net:
    blobs = list(layer.blobs)
    blobs[index] = ArrayBlob(change(array(blobs[index]).astype(np.float64)))
    return _replaced(net, layer, layer.with_blobs(tuple(blobs)))


def _one(net: Net, random: np.random.Generator, *types: str) -> Layer:
    """A layer of these types; of convolutions one that has a bias."""
    wanted = [x for x in net.layers if x.type in types and (len(x.blobs) > 1 or not x.blobs)]
    return wanted[int(random.integers(len(wanted)))]


def _row(values: Doubles, row: int, factor: float) -> Doubles:
    values = values.copy()
    values[row] *= factor
    return values


def one_channel(net: Net, random: np.random.Generator) -> Net:
    """One channel of one fold is 1 % off."""
    net = folded(net)
    layer = _one(net, random, "Convolution")
    row = int(random.integers(layer.blobs[1].shape[0]))
    wrong = _with_blob(net, layer, 0, lambda w: _row(w, row, 1.01))
    return _with_blob(wrong, wrong[layer.name], 1, lambda b: _row(b, row, 1.01))


def eps(net: Net, random: np.random.Generator) -> Net:
    """1e-3 where 1e-5 is stated."""
    layer = _one(net, random, "BatchNorm")
    factor = float(array(layer.blobs[2])[0])
    return folded(_with_blob(net, layer, 1, lambda v: v + 1e-3 * factor))


def bias(net: Net, random: np.random.Generator) -> Net:
    """A layer loses its bias."""
    net = folded(net)
    return _with_blob(net, _one(net, random, "Convolution"), 1, np.zeros_like)


def channels(net: Net, random: np.random.Generator) -> Net:
    """Two channels of a layer are exchanged."""
    net = folded(net)
    layer = _one(net, random, "Convolution")
    a, b = random.choice(layer.blobs[1].shape[0], 2, replace=False)
    order = np.arange(layer.blobs[1].shape[0])
    order[[a, b]] = order[[b, a]]
    wrong = _with_blob(net, layer, 0, lambda w: w[order])
    return _with_blob(wrong, wrong[layer.name], 1, lambda w: w[order])


def factor(net: Net, random: np.random.Generator) -> Net:
    """The factor of the statistics is ignored."""
    return folded(_with_blob(net, _one(net, random, "BatchNorm"), 2, np.ones_like))


def stride(net: Net, random: np.random.Generator) -> Net:
    """A stride, or where there is none, a dilation is lost or comes in."""
    net = folded(net)
    plain = [
        x
        for x in net.layers
        if x.type == "Convolution"
        and x.params("convolution_param").integers("stride") in ((), (1,))
    ]
    strided = [
        x
        for x in net.layers
        if x.type == "Convolution" and x.params("convolution_param").integers("stride") == (2,)
    ]
    layers = strided or plain
    layer = layers[int(random.integers((len(layers) + 1) // 2))]  # later, maps may be 1 x 1
    return _replaced(
        net, layer, _set(layer, "convolution_param", "stride", "1" if strided else "2")
    )


def _set(layer: Layer, message: str, name: str, raw: str) -> Layer:
    def change(field: Field) -> Field:
        if field.name != message:
            return field
        return field.with_body(set_scalar(field.body, name, raw))

    return layer.edited(replace(layer.body, fields=tuple(map(change, layer.body.fields))))


def name(net: Net, random: np.random.Generator) -> Net:
    """An output is called something else."""
    del random
    net = folded(net)
    last = net.layers[-1]
    return _replaced(net, last, last.with_wiring(last.bottoms, (f"{last.tops[0]}_folded",)))


def activation(net: Net, random: np.random.Generator) -> Net:
    """An activation, in place, is lost."""
    net = folded(net)
    wanted = [i for i, x in enumerate(net.layers) if x.type == "ReLU" and x.bottoms == x.tops]
    return net.without([wanted[int(random.integers(len(wanted)))]])


def mean(net: Net, random: np.random.Generator) -> Net:
    """The mean is not taken away."""
    return folded(_with_blob(net, _one(net, random, "BatchNorm"), 0, np.zeros_like))


def deviation(net: Net, random: np.random.Generator) -> Net:
    """The variance stands where its root should."""
    layer = _one(net, random, "BatchNorm")
    scale = float(array(layer.blobs[2])[0])
    return folded(_with_blob(net, layer, 1, lambda v: v * v / scale))


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "one channel 1 % off": one_channel,
        "eps swapped": eps,
        "bias dropped": bias,
        "two channels exchanged": channels,
        "factor ignored": factor,
        "stride changed": stride,
        "output renamed": name,
        "activation lost": activation,
        "mean ignored": mean,
        "variance for deviation": deviation,
    }
)
