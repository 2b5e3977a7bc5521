"""Caffe's UpgradeNetAsNeeded on parsed messages: an independent witness for the tests.

Written from upgrade_proto.cpp's behaviour, sharing nothing with caffefold but the bindings. Where
caffefold reads on and Caffe stops (unknown type words, mixed nets) the tests do not ask this.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from caffefold._proto import caffe_pb2 as pb

_DATA = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}
_LINEAR = {"conv": "convolution_param", "innerproduct": "inner_product_param"}
_WINDOW = {"conv": "convolution_param", "pool": "pooling_param"}
_SOURCE = {
    "data": "data_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "window_data": "window_data_param",
}
_BATCH = dict(_SOURCE)
_CAMEL = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "TANH": "TanH",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "NONE": "",
}
_SHORT = {
    "conv": "CONVOLUTION",
    "pool": "POOLING",
    "innerproduct": "INNER_PRODUCT",
    "images": "IMAGE_DATA",
}
# V0 field: the messages it may go to by type, and its name there.
_V0: list[tuple[str, dict[str, str], str]] = [
    ("num_output", _LINEAR, "num_output"),
    ("biasterm", _LINEAR, "bias_term"),
    ("weight_filler", _LINEAR, "weight_filler"),
    ("bias_filler", _LINEAR, "bias_filler"),
    ("pad", _WINDOW, "pad"),
    ("kernelsize", _WINDOW, "kernel_size"),
    ("group", {"conv": "convolution_param"}, "group"),
    ("stride", _WINDOW, "stride"),
    ("pool", {"pool": "pooling_param"}, "pool"),
    ("dropout_ratio", {"dropout": "dropout_param"}, "dropout_ratio"),
    *((name, {"lrn": "lrn_param"}, name) for name in ("local_size", "alpha", "beta", "k")),
    ("source", {**_SOURCE, "infogain_loss": "infogain_loss_param"}, "source"),
    ("batchsize", _BATCH, "batch_size"),
    ("rand_skip", {"data": "data_param", "images": "image_data_param"}, "rand_skip"),
    ("shuffle_images", {"images": "image_data_param"}, "shuffle"),
    ("new_height", {"images": "image_data_param"}, "new_height"),
    ("new_width", {"images": "image_data_param"}, "new_width"),
    ("concat_dim", {"concat": "concat_param"}, "concat_dim"),
    *(
        (f"det_{name}", {"window_data": "window_data_param"}, name)
        for name in ("fg_threshold", "bg_threshold", "fg_fraction", "context_pad", "crop_mode")
    ),
]
_ALWAYS = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}


def upgrade(net: pb.NetParameter) -> pb.NetParameter:
    """The net as Caffe has it after reading: V0, transformations, V1, inputs, BatchNorm."""
    if any(layer.HasField("layer") for layer in net.layers):
        net = _from_v0(_without_padding(net))
    _transformations(net)
    if net.layers:
        assert not net.layer, "Caffe refuses both"
        net = _from_v1(net)
    if net.input:
        net = _inputs(net)
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for spec in layer.param:
                spec.lr_mult = spec.decay_mult = 0
    return net


def _without_padding(net: pb.NetParameter) -> pb.NetParameter:
    found = pb.NetParameter()
    found.CopyFrom(net)
    del found.layers[:]
    writer = dict.fromkeys(net.input, -1)
    for index, layer in enumerate(net.layers):
        if layer.layer.type != "padding":
            found.layers.add().CopyFrom(layer)
        for place, bottom in enumerate(layer.bottom):
            source = net.layers[writer[bottom]] if writer[bottom] >= 0 else None
            if source is not None and source.layer.type == "padding":
                assert layer.layer.type in ("conv", "pool")
                found.layers[-1].layer.pad = source.layer.pad
                found.layers[-1].bottom[place] = source.bottom[0]
        writer.update(dict.fromkeys(layer.top, index))
    return found


def _set(message: Message, name: str, value: object) -> None:
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.message_type is not None:
        getattr(message, name).CopyFrom(value)
    elif isinstance(getattr(message, name), (int, float, str)):
        setattr(message, name, value)
    else:
        getattr(message, name).append(value)


def _from_v0(net: pb.NetParameter) -> pb.NetParameter:
    found = pb.NetParameter(input=net.input, input_dim=net.input_dim)
    for name in ("name", "force_backward"):
        if net.HasField(name):
            setattr(found, name, getattr(net, name))
    for layer in net.layers:
        new = found.layers.add(bottom=layer.bottom, top=layer.top)
        old = layer.layer
        if old.HasField("name"):
            new.name = old.name
        if old.HasField("type"):
            kind = _SHORT.get(old.type, old.type.upper())
            new.MergeFrom(pb.V1LayerParameter(type=kind))
        new.blobs.extend(old.blobs)
        new.blobs_lr.extend(old.blobs_lr)
        new.weight_decay.extend(old.weight_decay)
        for name, targets, target in _V0:
            if old.HasField(name) and old.type in targets:
                _set(getattr(new, targets[old.type]), target, getattr(old, name))
        for name, target in _ALWAYS.items():
            if old.HasField(name):
                setattr(new.transform_param, target, getattr(old, name))
        if old.HasField("hdf5_output_param") and old.type == "hdf5_output":
            new.hdf5_output_param.CopyFrom(old.hdf5_output_param)
    return found


def _transformations(net: pb.NetParameter) -> None:
    names = ("scale", "mean_file", "crop_size", "mirror")
    layers = [
        (layer, getattr(layer, _DATA[kind]))
        for layer in net.layers
        if (kind := pb.V1LayerParameter.LayerType.Name(layer.type)) in _DATA
    ]
    if not any(data.HasField(name) for _, data in layers for name in names):
        return
    for layer, data in layers:
        data.SetInParent()
        layer.transform_param.SetInParent()
        for name in names:
            if data.HasField(name):
                setattr(layer.transform_param, name, getattr(data, name))
                data.ClearField(name)


def v2_type(number: int) -> str:
    """The string V2 has for a V1 type."""
    name = pb.V1LayerParameter.LayerType.Name(number)
    return _CAMEL.get(name, "".join(map(str.title, name.split("_"))))


def _from_v1(net: pb.NetParameter) -> pb.NetParameter:
    found = pb.NetParameter()
    found.CopyFrom(net)
    del found.layers[:]
    special = ("type", "param", "blob_share_mode", "blobs_lr", "weight_decay", "layer")
    for layer in net.layers:
        new = found.layer.add()
        for field, value in layer.ListFields():
            if field.name in special:
                continue
            if isinstance(value, Message):
                getattr(new, field.name).CopyFrom(value)
            elif isinstance(value, str):
                setattr(new, field.name, value)
            else:
                getattr(new, field.name).extend(value)
        if layer.HasField("type"):
            new.type = v2_type(layer.type)
        columns: dict[str, Iterable[object]] = {
            "name": layer.param,
            "share_mode": layer.blob_share_mode,
            "lr_mult": layer.blobs_lr,
            "decay_mult": layer.weight_decay,
        }
        for name, values in columns.items():
            for index, value in enumerate(values):
                while len(new.param) <= index:
                    new.param.add()
                setattr(new.param[index], name, value)
    return found


def _inputs(net: pb.NetParameter) -> pb.NetParameter:
    found = pb.NetParameter()
    if net.input_shape or net.input_dim:
        layer = found.layer.add(name="input", type="Input", top=net.input)
        for index in range(len(net.input)):
            if net.input_shape:
                layer.input_param.shape.add().CopyFrom(net.input_shape[index])
            else:
                layer.input_param.shape.add(dim=net.input_dim[4 * index : 4 * index + 4])
    rest = pb.NetParameter()
    rest.CopyFrom(net)
    for name in ("input", "input_shape", "input_dim"):
        rest.ClearField(name)
    found.MergeFrom(rest)
    return found
