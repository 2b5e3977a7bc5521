"""Layers that work on one blob and keep its shape: activations, normalization, Dropout, Split."""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.ir.net import Layer
from caffefold.ir.params import FALSE, TRUE
from caffefold.ops.affine import channels_of, per_channel
from caffefold.ops.base import (
    Category,
    ChannelFlow,
    Op,
    Same,
    WeightSpec,
    blob_size,
    own_message,
    word_in,
)
from caffefold.ops.linear import four_axes
from caffefold.ops.shape import Dim, Shape, Step, first


class Elementwise(Op):
    """A function of each element, or of what lies around it; every top is like the bottom."""

    category = Category.ELEMENTWISE

    def prepare(self, layer: Layer) -> Step:
        count = len(layer.tops)
        return lambda bottoms: [first(bottoms)] * count

    def channels(self, layer: Layer, bottoms: Sequence[Shape]) -> ChannelFlow:
        del layer, bottoms
        return Same()


class MVN(Elementwise):
    """MVN: always puts out 4 axes (mvn_layer.cpp reshapes by num, channels, height, width)."""

    def prepare(self, layer: Layer) -> Step:
        def step(bottoms: Sequence[Shape]) -> list[Shape]:
            shape = first(bottoms)
            return [None if shape is None else four_axes(layer, shape)]

        return step


class Pointwise(Elementwise):
    """A function of each element alone."""

    pointwise = True


class Split(Pointwise):
    """Split: the bottom under other names, as Caffe itself inserts it (insert_splits.cpp)."""

    category = Category.IDENTITY


class Dropout(Pointwise):
    """Dropout: the identity at test time, but for two forks.

    SegNet's with ``sample_weights_test`` stays active, and DeepLab's with ``scale_train: false``
    scales in TEST instead.
    """

    category = Category.IDENTITY
    param = "dropout_param"

    def is_identity(self, layer: Layer) -> bool:
        own = own_message(layer, self.param)
        active = word_in(own, "sample_weights_test", TRUE) or word_in(own, "scale_train", FALSE)
        return not active and super().is_identity(layer)


class PReLU(Pointwise):
    """PReLU: a slope for each channel, or one for all (prelu_layer.cpp)."""

    param = "prelu_param"
    role = "slope"
    learned = True

    def prepare(self, layer: Layer) -> Step:
        return per_channel(layer)

    def weights(self, layer: Layer, bottoms: Sequence[Shape]) -> tuple[WeightSpec, ...] | None:
        shared = self.params(layer).flag("channel_shared")
        return (WeightSpec(self.role, (1 if shared else channels_of(first(bottoms)),)),)

    def wants_weights(self, layer: Layer) -> bool:
        del layer
        return True

    def input_channels(self, layer: Layer, rank: int | None = None, found: Dim = None) -> Dim:
        del rank, found
        return None if blob_size(layer, 0) == 1 else blob_size(layer, 0)


class Normalize(PReLU):
    """Normalize of SSD: a scale for each channel, or one for all (normalize_layer.cpp)."""

    param = "norm_param"
    role = "scale"
    pointwise = False


SPLIT = Split("Split")
SOFTMAX, SIGMOID = Elementwise("Softmax"), Pointwise("Sigmoid")
OPS = (
    # Upstream
    *(Pointwise("ReLU"), Pointwise("ELU"), SIGMOID, Pointwise("TanH"), Pointwise("AbsVal")),
    *(Pointwise("BNLL"), Pointwise("Exp"), Pointwise("Log"), Pointwise("Swish")),
    *(Pointwise("Clip"), Pointwise("Threshold"), Elementwise("LRN", "LRNRistretto")),
    *(MVN("MVN"), SOFTMAX, PReLU("PReLU"), Normalize("Normalize")),
    *(Dropout("Dropout"), SPLIT),
    # Forks
    *(Pointwise("ReLU6"), Pointwise("ReLU1"), Pointwise("SELU", "SeLu"), Pointwise("SeLuDropout")),
    *(Pointwise("Mish"), Pointwise("HardSwish", "HSwish", "Hswish"), Pointwise("GELU")),
    *(Pointwise("HardSigmoid", "HSigmoid", "Hsigmoid"), Pointwise("LeakyReLU"), Pointwise("RReLU")),
    *(Pointwise("Noise", "GaussianNoise"), Pointwise("Quantize"), Pointwise("Dequantize")),
    *(Elementwise("L2Normalize", "L2Norm"), Elementwise("Permutation"), Elementwise("Reverse")),
)
