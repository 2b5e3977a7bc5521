"""What Caffe's two older formats call things, and what each became: the facts of every upgrade.

V0 (2013): ``layers { layer { name type ... } bottom top }``, types are lower-case strings, all
parameters lie side by side. V1 (2014): ``layers { type: CONVOLUTION ... }``, types are an enum,
parameters have messages. V2 (today): ``layer { type: "Convolution" ... }``.

``text`` and ``binary`` carry these facts out on prototxts and on caffemodels. Field numbers are
those of the schema. Source: BVLC/caffe, src/caffe/util/upgrade_proto.cpp.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from caffefold.formats import schema

# V2 spells a V1 type in CamelCase; these are the exceptions.
_V2_SPELLINGS = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}


@cache
def v1_types() -> dict[str, str]:
    """V1LayerParameter.LayerType: each name, and the string that V2 has for it."""
    kinds = schema.message("V1LayerParameter").enum_types_by_name["LayerType"]
    camel = {name: name.title().replace("_", "") for name in kinds.values_by_name}
    return {**camel, **_V2_SPELLINGS}


# Types that forks added to V1's enum, with numbers of their own, as they are spelled now:
# FCN and HED (Crop), SegNet (Upsample, BN), DeepLab (Interp ...), Fast R-CNN (ROIPooling ...).
FORK_TYPES = (
    "BN BatchNorm Bias Crop DenseImageData Embed ImageSegData Input Interp LSTM Local "
    "Log LSTMUnit Normalize PReLU Parameter Permute PriorBox ROIPooling Reduction Reshape "
    "SPP Scale SegAccuracy SmoothL1Loss Tile Upsample"
)


def _bare(word: str) -> str:
    """A type without what V1 and V2 spell differently."""
    return word.upper().replace("_", "")


_OF_FORKS = {_bare(kind): kind for kind in FORK_TYPES.split()}


def v2_type(word: str) -> str:
    """The V2 type of a V1 type by its name, those of forks included; ``""`` for an unknown one."""
    if word != word.upper():
        return ""
    return v1_types().get(word) or _OF_FORKS.get(_bare(word), "")


def v1_name(number: int) -> str:
    """The V1 type of this number; ``""`` when V1 has none."""
    kinds = schema.message("V1LayerParameter").enum_types_by_name["LayerType"]
    found = kinds.values_by_number.get(number)
    return "" if found is None else str(found.name)


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
PADDING = "padding"  # a V0 type without successor: its pad goes to the layers it feeds

PADDED = frozenset({"conv", "pool"})  # V0 types that padding may feed

# V0 type -> (V1 message, the fields that go there); of any other type Caffe drops these fields.
_V0_MOVES = {
    "concat": ("concat_param", "concat_dim"),
    "conv": (
        "convolution_param",
        "num_output biasterm weight_filler bias_filler pad kernelsize group stride",
    ),
    "data": ("data_param", "source batchsize rand_skip"),
    "dropout": ("dropout_param", "dropout_ratio"),
    "hdf5_data": ("hdf5_data_param", "source batchsize"),
    "hdf5_output": ("", "hdf5_output_param"),
    "images": (
        "image_data_param",
        "source batchsize rand_skip shuffle_images new_height new_width",
    ),
    "infogain_loss": ("infogain_loss_param", "source"),
    "innerproduct": ("inner_product_param", "num_output biasterm weight_filler bias_filler"),
    "lrn": ("lrn_param", "local_size alpha beta k"),
    "pool": ("pooling_param", "pad kernelsize stride pool"),
    "window_data": (
        "window_data_param",
        (
            "source batchsize det_context_pad det_crop_mode "
            "det_bg_threshold det_fg_fraction det_fg_threshold"
        ),
    ),
}
_V0_KEPT = frozenset({"name", "blobs", "blobs_lr", "weight_decay"})  # of any type
_V0_TRANSFORMATIONS = frozenset({"scale", "meanfile", "cropsize", "mirror"})  # of any type
_V0_RENAMED = {
    "batchsize": "batch_size",
    "biasterm": "bias_term",
    "cropsize": "crop_size",
    "kernelsize": "kernel_size",
    "meanfile": "mean_file",
    "shuffle_images": "shuffle",
}
V0_NET_KEPT = frozenset({"name", "layers", "input", "input_dim", "force_backward"})

# V1 fields, one value per blob, that became fields of ``param`` (ParamSpec), one message per blob.
SPECS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}
MAX_SPECS = 4_096  # of one kind, in one layer; a real one has two

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
    return found or (kind.upper() if kind.upper() in v1_types() else "")


class Target(NamedTuple):
    """Where a V1 layer has a field of a V0 layer: ``message`` is ``""`` for the layer itself."""

    message: str
    field: str


def is_v0_field(field: str) -> bool:
    """Whether V0 layers have this field."""
    return field in schema.message("V0LayerParameter").fields_by_name


def v0_target(field: str, kind: str) -> Target | None:
    """Where a field of a V0 layer of type ``kind`` goes; None where Caffe drops it."""
    if field in _V0_KEPT:
        return Target("", field)
    message, moving = _V0_MOVES.get(kind, ("", ""))
    if field in _V0_TRANSFORMATIONS:
        message = "transform_param"
    elif field not in moving.split():
        return None
    return Target(message, _V0_RENAMED.get(field, field.removeprefix("det_")))
