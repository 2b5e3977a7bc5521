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
PADDED = frozenset(_WINDOW)  # V0 types that padding may feed

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
# V0 fields that a V1 layer has under the same name; the last one only of its own type.
_V0_KEPT = frozenset({"name", "blobs", "blobs_lr", "weight_decay", "hdf5_output_param"})
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
    return field in V0_MOVES or field in _V0_KEPT


def v0_target(field: str, kind: str) -> Target | None:
    """Where a field of a V0 layer of type ``kind`` goes; None where Caffe drops it."""
    if field in _V0_KEPT:
        kept = field != "hdf5_output_param" or kind == "hdf5_output"
        return Target("", field) if kept else None
    targets = V0_MOVES[field]
    found = targets.get(ANY) or targets.get(kind)
    return None if found is None else Target(*found)
