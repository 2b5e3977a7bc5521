"""Layers that work on one blob and keep its shape: activations, normalization, Dropout, Split."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from caffefold.ir.net import Layer
from caffefold.ir.params import FALSE, TRUE
from caffefold.ops.affine import channels_of, per_channel
from caffefold.ops.base import Category, Op, Same, WeightSpec, blob_size, own_message, word_in
from caffefold.ops.shape import Dim, ShapeList, canonical, first, four_axes, show


class Elementwise(Op):
    """A function of each element, or of what lies around it; every top is like the bottom."""

    category = Category.ELEMENTWISE
    flow = Same()

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return [first(bottoms)] * len(layer.tops)


class MVN(Elementwise):
    """MVN: always puts out 4 axes (mvn_layer.cpp reshapes by num, channels, height, width)."""

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        shape = first(bottoms)
        return [None if shape is None else four_axes(layer, shape)]


class Softmax(Elementwise):
    """Softmax along ``axis`` (softmax_layer.cpp)."""

    param = "softmax_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        shape = first(bottoms)
        if shape is not None:
            canonical(layer, self.params(layer).integer("axis"), len(shape))
        return super().shapes(layer, bottoms)


class LRN(Elementwise):
    """LRN over an odd number of channels or pixels of images (lrn_layer.cpp)."""

    param = "lrn_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        size, shape = self.params(layer).integer("local_size"), first(bottoms)
        if size % 2 == 0:
            raise layer.error(f"local_size is {size}; it must be odd")
        if shape is not None and len(shape) != 4:
            raise layer.error(f"it works on 4 axes, its input is {show(shape)}")
        return super().shapes(layer, bottoms)


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
    fillers = MappingProxyType({"slope": "filler"})
    learned = True
    required = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return per_channel(layer, bottoms)

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        shared = self.params(layer).flag("channel_shared")
        return (WeightSpec(self.role, (1 if shared else channels_of(first(bottoms)),)),)

    def stated_by_blobs(self, layer: Layer) -> dict[str, Sequence[int | str]]:
        params, count = self.params(layer), blob_size(layer, 0)
        default = bool(params.descriptor.fields_by_name["channel_shared"].default_value)
        if params.has("channel_shared") or count is None or (count == 1) == default:
            return {}
        return {"channel_shared": ("true" if count == 1 else "false",)}

    def input_channels(self, layer: Layer, rank: int | None = None, found: Dim = None) -> Dim:
        return None if blob_size(layer, 0) == 1 else blob_size(layer, 0)


class Normalize(PReLU):
    """Normalize of SSD: a scale for each channel, or one for all (normalize_layer.cpp)."""

    param = "norm_param"
    role = "scale"
    fillers = MappingProxyType({"scale": "scale_filler"})
    pointwise = False


SPLIT = Split("Split")
SOFTMAX, SIGMOID = Softmax("Softmax"), Pointwise("Sigmoid")
OPS = (
    # Upstream
    *(Pointwise("ReLU"), Pointwise("ELU"), SIGMOID, Pointwise("TanH"), Pointwise("AbsVal")),
    *(Pointwise("BNLL"), Pointwise("Exp"), Pointwise("Log"), Pointwise("Swish")),
    *(Pointwise("Clip"), Pointwise("Threshold"), LRN("LRN", "LRNRistretto")),
    *(MVN("MVN"), SOFTMAX, PReLU("PReLU"), Normalize("Normalize")),
    *(Dropout("Dropout"), SPLIT),
    # Forks
    *(Pointwise("ReLU6"), Pointwise("ReLU1"), Pointwise("SELU", "SeLu"), Pointwise("SeLuDropout")),
    *(Pointwise("Mish"), Pointwise("HardSwish", "HSwish", "Hswish"), Pointwise("GELU")),
    *(Pointwise("HardSigmoid", "HSigmoid", "Hsigmoid"), Pointwise("LeakyReLU"), Pointwise("RReLU")),
    *(Pointwise("Noise", "GaussianNoise"), Pointwise("Quantize"), Pointwise("Dequantize")),
    *(Elementwise("L2Normalize", "L2Norm"), Elementwise("Permutation"), Elementwise("Reverse")),
)
