"""Names and numbers of Caffe's two older formats, and what each became. Facts only, no format.

V0 (2013): ``layers { layer { name type ... } bottom top }``, types are lower-case strings, all
parameters lie side by side. V1 (2014): ``layers { type: CONVOLUTION ... }``, types are an enum,
parameters have messages. V2 (today): ``layer { type: "Convolution" ... }``.

Source: BVLC/caffe, src/caffe/proto/caffe.proto and src/caffe/util/upgrade_proto.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# V1LayerParameter.LayerType: name -> (number, the string that V2 has for it).
V1_TYPES: dict[str, tuple[int, str]] = {
    "NONE": (0, ""),
    "ACCURACY": (1, "Accuracy"),
    "BNLL": (2, "BNLL"),
    "CONCAT": (3, "Concat"),
    "CONVOLUTION": (4, "Convolution"),
    "DATA": (5, "Data"),
    "DROPOUT": (6, "Dropout"),
    "EUCLIDEAN_LOSS": (7, "EuclideanLoss"),
    "FLATTEN": (8, "Flatten"),
    "HDF5_DATA": (9, "HDF5Data"),
    "HDF5_OUTPUT": (10, "HDF5Output"),
    "IM2COL": (11, "Im2col"),
    "IMAGE_DATA": (12, "ImageData"),
    "INFOGAIN_LOSS": (13, "InfogainLoss"),
    "INNER_PRODUCT": (14, "InnerProduct"),
    "LRN": (15, "LRN"),
    "MULTINOMIAL_LOGISTIC_LOSS": (16, "MultinomialLogisticLoss"),
    "POOLING": (17, "Pooling"),
    "RELU": (18, "ReLU"),
    "SIGMOID": (19, "Sigmoid"),
    "SOFTMAX": (20, "Softmax"),
    "SOFTMAX_LOSS": (21, "SoftmaxWithLoss"),
    "SPLIT": (22, "Split"),
    "TANH": (23, "TanH"),
    "WINDOW_DATA": (24, "WindowData"),
    "ELTWISE": (25, "Eltwise"),
    "POWER": (26, "Power"),
    "SIGMOID_CROSS_ENTROPY_LOSS": (27, "SigmoidCrossEntropyLoss"),
    "HINGE_LOSS": (28, "HingeLoss"),
    "MEMORY_DATA": (29, "MemoryData"),
    "ARGMAX": (30, "ArgMax"),
    "THRESHOLD": (31, "Threshold"),
    "DUMMY_DATA": (32, "DummyData"),
    "SLICE": (33, "Slice"),
    "MVN": (34, "MVN"),
    "ABSVAL": (35, "AbsVal"),
    "SILENCE": (36, "Silence"),
    "CONTRASTIVE_LOSS": (37, "ContrastiveLoss"),
    "EXP": (38, "Exp"),
    "DECONVOLUTION": (39, "Deconvolution"),
}
V1_NAMES: dict[int, str] = {number: name for name, (number, _) in V1_TYPES.items()}
V2_TYPES: frozenset[str] = frozenset(kind for _, kind in V1_TYPES.values())

# V0 type string -> V1 type. Only these are abbreviated; the others are the V1 name in lower case.
_V0_SHORT = {
    "conv": "CONVOLUTION",
    "images": "IMAGE_DATA",
    "innerproduct": "INNER_PRODUCT",
    "pool": "POOLING",
}
_V0_PLAIN = (
    "accuracy bnll concat data dropout euclidean_loss flatten hdf5_data hdf5_output im2col "
    "infogain_loss lrn multinomial_logistic_loss relu sigmoid softmax softmax_loss split tanh "
    "window_data"
)
V0_TYPES: dict[str, str] = {**_V0_SHORT, **{name: name.upper() for name in _V0_PLAIN.split()}}
PADDING = "padding"  # a V0 type without successor: its number goes to the layers it feeds

ANY = ""  # a key of V0_MOVES: whatever the layer's type is


def _moves(new: str, **blocks: str) -> dict[str, tuple[str, str]]:
    return {kind: (block, new) for kind, block in blocks.items()}


_DATA = {
    "data": "data_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "window_data": "window_data_param",
}
_LINEAR = {"conv": "convolution_param", "innerproduct": "inner_product_param"}
_WINDOW = {"conv": "convolution_param", "pool": "pooling_param"}

# V0 field -> {V0 type: (V1 message, field in it)}; for any other type Caffe drops the field.
V0_MOVES: dict[str, dict[str, tuple[str, str]]] = {
    "num_output": _moves("num_output", **_LINEAR),
    "biasterm": _moves("bias_term", **_LINEAR),
    "weight_filler": _moves("weight_filler", **_LINEAR),
    "bias_filler": _moves("bias_filler", **_LINEAR),
    "pad": _moves("pad", **_WINDOW),
    "kernelsize": _moves("kernel_size", **_WINDOW),
    "group": _moves("group", conv="convolution_param"),
    "stride": _moves("stride", **_WINDOW),
    "pool": _moves("pool", pool="pooling_param"),
    "dropout_ratio": _moves("dropout_ratio", dropout="dropout_param"),
    "local_size": _moves("local_size", lrn="lrn_param"),
    "alpha": _moves("alpha", lrn="lrn_param"),
    "beta": _moves("beta", lrn="lrn_param"),
    "k": _moves("k", lrn="lrn_param"),
    "source": _moves("source", infogain_loss="infogain_loss_param", **_DATA),
    "batchsize": _moves("batch_size", **_DATA),
    "scale": {ANY: ("transform_param", "scale")},
    "meanfile": {ANY: ("transform_param", "mean_file")},
    "cropsize": {ANY: ("transform_param", "crop_size")},
    "mirror": {ANY: ("transform_param", "mirror")},
    "rand_skip": _moves("rand_skip", data="data_param", images="image_data_param"),
    "shuffle_images": _moves("shuffle", images="image_data_param"),
    "new_height": _moves("new_height", images="image_data_param"),
    "new_width": _moves("new_width", images="image_data_param"),
    "concat_dim": _moves("concat_dim", concat="concat_param"),
    "det_fg_threshold": _moves("fg_threshold", window_data="window_data_param"),
    "det_bg_threshold": _moves("bg_threshold", window_data="window_data_param"),
    "det_fg_fraction": _moves("fg_fraction", window_data="window_data_param"),
    "det_context_pad": _moves("context_pad", window_data="window_data_param"),
    "det_crop_mode": _moves("crop_mode", window_data="window_data_param"),
    "new_num": {},
    "new_channels": {},
}
# V0 fields that a V1 layer has under the same name, beside hdf5_output_param of that type.
V0_KEPT = frozenset({"name", "blobs", "blobs_lr", "weight_decay"})
V0_NET_KEPT = frozenset({"name", "layers", "input", "input_dim", "force_backward"})

# V1 data layers whose parameter message once held the transformations, and which those were.
DATA_MESSAGES = {
    "DATA": "data_param",
    "IMAGE_DATA": "image_data_param",
    "WINDOW_DATA": "window_data_param",
}
TRANSFORMATIONS = ("scale", "mean_file", "crop_size", "mirror")


def v1_of_v0(kind: str) -> str:
    """The V1 type of a V0 type; of one that V0 does not have, the V1 type of that name, if any.

    Caffe stops at the latter; forks went on adding types to V0 (``memory_data``).
    """
    found = V0_TYPES.get(kind, "")
    return found or (kind.upper() if kind.upper() in V1_TYPES else "")


def v0_target(field: str, kind: str) -> tuple[str, str] | None:
    """(V1 message, field in it) for a parameter of a V0 layer; None where Caffe drops it."""
    targets = V0_MOVES[field]
    return targets.get(ANY) or targets.get(kind)


class Connection(NamedTuple):
    """What the merging of padding layers needs to know of a V0 layer."""

    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Padded:
    """The layer loses its padding layer: it reads ``bottom``, with the pad of layer ``padding``."""

    padding: int
    bottom: str


def merge_padding(
    inputs: Sequence[str],
    layers: Sequence[Connection],
    error: Callable[[int, str], Exception],
) -> dict[int, Padded]:
    """Which V0 layers take over the pad of the padding layer that feeds them.

    Raises:
        Exception: ``error(index, message)`` where Caffe stops: a bottom that nothing writes, or
            padding that feeds anything but one convolution or pooling input.
    """
    writer: dict[str, int] = dict.fromkeys(inputs, -1)
    merged: dict[int, Padded] = {}
    for index, layer in enumerate(layers):
        for bottom in layer.bottoms:
            if bottom not in writer:
                raise error(index, f"reads '{bottom}', which nothing before it writes")
            source = writer[bottom]
            if source < 0 or layers[source].type != PADDING:
                continue
            padding = layers[source]
            if layer.type not in _WINDOW:
                raise error(index, f"a padding layer feeds it, but '{layer.type}' takes no pad")
            if len(layer.bottoms) != 1:
                raise error(index, "a padding layer feeds it, so it may have one bottom only")
            if len(padding.bottoms) != 1 or len(padding.tops) != 1:
                raise error(source, "a padding layer has exactly one bottom and one top")
            merged[index] = Padded(source, padding.bottoms[0])
        writer.update(dict.fromkeys(layer.tops, index))
    return merged
