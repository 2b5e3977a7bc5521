"""A hypothesis strategy for small random deploy nets that Caffe accepts, with weights and inputs.

The layers are those that folding meets. About half of them are affine maps, so these follow, and
chain after, anything: the data, joins, non-linearities, each other. Structure is drawn, and shrinks
towards few and simple layers; the numbers come from one drawn seed.

Every blob's size is estimated on the way, and what would blow rounding errors up (a sigmoid of
numbers in the thousands) is left out: rounding all weights to float32 moves hardly any output by
more than 1e-6 of its largest value. A ReLU that leaves next to nothing still can: compare with a
floor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from google.protobuf import text_format
from hypothesis import strategies as st

from caffefold._proto import caffe_pb2 as pb
from tests.reference import random_layers as layers
from tests.reference.random_builder import Array, Builder, Current, Shape


class RandomNet(NamedTuple):
    """A deploy net, its weights (a caffemodel's bytes), and values for its inputs."""

    prototxt: str
    caffemodel: bytes
    inputs: dict[str, Array]


def add_layer(b: Builder) -> None:
    names = b.newest_first()
    bottom = b.pick(names) if b.one_in(4) else names[0]
    current = b.blobs[bottom]
    alike = [made for made in b.made if made.bottom == current.shape and current.size < 30]
    if alike and b.one_in(20):
        b.share(bottom, b.pick(alike))
        return
    if b.coin():
        b.pick(layers.AFFINE)(b, bottom)
        return
    adders = list(layers.ANY_SHAPE)
    if len(current.shape) == 4:
        adders = layers.IMAGES + adders
    if current.shape[1] > 1:
        adders.append(layers.add_slice)
    if current.size < 30:
        adders.append(layers.add_sigmoid)
    b.pick(adders)(b, bottom)


def add_inputs(b: Builder) -> dict[str, Array]:
    """One or two inputs, by Input layer or by one of the two older spellings."""
    batch = b.pick([1, 2])
    shapes: list[Shape] = []
    for _ in range(2 if b.one_in(5) else 1):
        shape: Shape = (batch, b.pick([3, 1, 2, 4, 6, 8]))
        if not b.one_in(8):
            shape += (b.pick([5, 1, 2, 7, 8, 9]), b.pick([5, 1, 4, 6, 9]))
        shapes.append(shape)
    names = ["data", "data2"][: len(shapes)]
    style = b.pick(["layer", "input_shape", "input_dim"])
    if style == "layer":
        for name, shape in zip(names, shapes, strict=True):
            layer = b.net.layer.add(name=name, type="Input", top=[name])
            layer.input_param.shape.add(dim=shape)
    elif style == "input_dim" and all(len(shape) == 4 for shape in shapes):
        b.net.input.extend(names)
        b.net.input_dim.extend(dim for shape in shapes for dim in shape)
    else:
        b.net.input.extend(names)
        for shape in shapes:
            b.net.input_shape.add(dim=shape)
    for name, shape in zip(names, shapes, strict=True):
        b.blobs[name] = Current(shape, 1)
    return {name: b.normal(*shape) for name, shape in zip(names, shapes, strict=True)}


@st.composite
def nets(draw: st.DrawFn, min_layers: int = 3, max_layers: int = 12) -> RandomNet:
    """A valid deploy net of so many layers besides its inputs."""
    seed = draw(st.integers(0, 2**16 - 1))
    b = Builder(draw, np.random.default_rng(seed))
    b.net.name = "random"
    inputs = add_inputs(b)
    for _ in range(draw(st.integers(min_layers, max_layers))):
        add_layer(b)
    return RandomNet(text_format.MessageToString(b.net), weights(b), inputs)


def weights(b: Builder) -> bytes:
    """The caffemodel: as Caffe saves it, every layer with its parameters and blobs."""
    model = pb.NetParameter()
    model.CopyFrom(b.net)
    for layer in model.layer:
        for values in b.learned.get(layer.name, ()):
            blob = layer.blobs.add(data=values.ravel().tolist())
            blob.shape.dim.extend(values.shape)
    return model.SerializeToString()


def perturbed(caffemodel: bytes, seed: int = 0, relative: float = 6e-8) -> bytes:
    """The same weights, each off by up to `relative`: what rounding to float32 may do to them."""
    model = pb.NetParameter()
    model.ParseFromString(caffemodel)
    rng = np.random.default_rng(seed)
    for layer in model.layer:
        for blob in layer.blobs:
            values = np.array(blob.data)
            values *= 1 + rng.uniform(-relative, relative, values.shape)
            del blob.data[:]
            blob.double_data.extend(values.tolist())
    return model.SerializeToString()
