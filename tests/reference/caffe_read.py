"""Reads Caffe nets and weights for the reference evaluator, the way Caffe's own loader does.

Uses protobuf alone: nothing of caffefold's readers, so that a mistake in those cannot hide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from caffefold._proto import caffe_pb2 as pb

Array: TypeAlias = npt.NDArray[np.float64]

V1_NAMES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
"""V1 types whose name is not simply the enum's in camel case."""

RAW_TYPES = {pb.DOUBLE: "<f8", pb.FLOAT: "<f4", pb.FLOAT16: "<f2"}


class InvalidNetError(ValueError):
    """Caffe would stop at this net, or at these weights for it."""


# ------------------------------------------------------------------------------------------ the net


def read_net(prototxt: str | Path) -> pb.NetParameter:
    """The layers of the TEST phase, in today's format.

    A str with a line break or a brace is the text itself, any other a path.
    """
    if isinstance(prototxt, str) and ("\n" in prototxt or "{" in prototxt):
        text = prototxt
    else:
        text = Path(prototxt).read_text(encoding="utf-8-sig")
    net = pb.NetParameter()
    text_format.Parse(text, net, allow_unknown_field=True)
    if net.layer and net.layers:
        raise InvalidNetError("the net mixes `layer` and `layers`")
    layers = [_from_v1(old) for old in net.layers] or list(net.layer)
    layers = [*_legacy_input(net), *layers]
    state = pb.NetState(phase=pb.TEST, level=net.state.level, stage=net.state.stage)
    result = pb.NetParameter(name=net.name)
    result.layer.extend(layer for layer in layers if _included(layer, state))
    return result


def _from_v1(old: pb.V1LayerParameter) -> pb.LayerParameter:
    if old.HasField("layer"):
        raise NotImplementedError("V0 nets")
    kind = pb.V1LayerParameter.LayerType.Name(old.type)
    new = pb.LayerParameter(
        name=old.name,
        type=V1_NAMES.get(kind, kind.title().replace("_", "")),
        bottom=old.bottom,
        top=old.top,
        include=old.include,
        exclude=old.exclude,
        blobs=old.blobs,
        loss_weight=old.loss_weight,
    )
    for index in range(max(len(old.param), len(old.blobs_lr), len(old.weight_decay))):
        spec = new.param.add()
        if index < len(old.param):
            spec.name = old.param[index]
        if index < len(old.blobs_lr):
            spec.lr_mult = old.blobs_lr[index]
        if index < len(old.weight_decay):
            spec.decay_mult = old.weight_decay[index]
    for descriptor, value in old.ListFields():
        if descriptor.name.endswith("_param"):
            getattr(new, descriptor.name).CopyFrom(value)
    return new


def _legacy_input(net: pb.NetParameter) -> Iterator[pb.LayerParameter]:
    """`input` with `input_shape` or with four `input_dim` each, as one Input layer in front."""
    if not net.input:
        return
    layer = pb.LayerParameter(name="input", type="Input", top=net.input)
    if net.input_shape:
        layer.input_param.shape.extend(net.input_shape)
    else:
        for index in range(len(net.input)):
            dims = net.input_dim[4 * index : 4 * index + 4]
            layer.input_param.shape.add(dim=list(dims))
    yield layer


def _included(layer: pb.LayerParameter, state: pb.NetState) -> bool:
    if layer.include and layer.exclude:
        raise InvalidNetError(f"{layer.name}: include and exclude rules together")
    if layer.include:
        return any(_meets(rule, state) for rule in layer.include)
    return not any(_meets(rule, state) for rule in layer.exclude)


def _meets(rule: pb.NetStateRule, state: pb.NetState) -> bool:
    return (
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and all(stage in state.stage for stage in rule.stage)
        and not any(stage in state.stage for stage in rule.not_stage)
    )


# -------------------------------------------------------------------------------------- the weights


@dataclass
class Blob:
    """The numbers of one learned blob with the shape its file declares."""

    values: Array
    dims: tuple[int, ...]
    legacy: bool

    def shaped(self, shape: Sequence[int]) -> Array | None:
        """The values in this shape, or None where Caffe finds the declared shape another one."""
        wanted = tuple(shape)
        if self.legacy:
            fits = len(wanted) <= 4 and (1,) * (4 - len(wanted)) + wanted == self.dims
        else:
            fits = wanted == self.dims
        if not fits or self.values.size != int(np.prod(wanted)):
            return None
        return self.values.reshape(wanted)


@dataclass
class Learned:
    """What the caffemodel gives to one layer; `count` is None where it has no such layer."""

    count: int | None = None
    blobs: dict[int, Blob] = field(default_factory=dict)


def load_weights(net: pb.NetParameter, caffemodel: str | Path | bytes) -> list[Learned]:
    """Per layer of the net, its blobs: found by layer name, shared ones by `param` name."""
    data = caffemodel if isinstance(caffemodel, bytes) else Path(caffemodel).read_bytes()
    source = pb.NetParameter()
    source.ParseFromString(data)
    found = [Learned() for _ in net.layer]
    first_named: dict[str, int] = {}
    for index, layer in enumerate(net.layer):
        first_named.setdefault(layer.name, index)
    owners = _owners(net)
    shared: dict[tuple[int, int], Blob] = {}
    for name, blobs in _source_layers(source):
        target = first_named.get(name)
        if target is None:
            continue
        found[target].count = len(blobs)
        for index, blob in enumerate(blobs):
            place = (target, index)
            shared[owners.get(place, place)] = _read_blob(blob, name)
    for target, learned in enumerate(found):
        names = len(net.layer[target].param)
        for index in range(max(names, learned.count or 0)):
            place = (target, index)
            blob_found = shared.get(owners.get(place, place))
            if blob_found is not None:
                learned.blobs[index] = blob_found
    return found


def _source_layers(source: pb.NetParameter) -> Iterator[tuple[str, Sequence[pb.BlobProto]]]:
    for layer in source.layer:
        yield layer.name, layer.blobs
    for old in source.layers:
        if old.HasField("layer"):
            raise NotImplementedError("V0 weights")
        yield old.name, old.blobs


def _owners(net: pb.NetParameter) -> dict[tuple[int, int], tuple[int, int]]:
    """For each blob with a `param` name, the place (layer, blob) that has the name first."""
    first: dict[str, tuple[int, int]] = {}
    result: dict[tuple[int, int], tuple[int, int]] = {}
    for index, layer in enumerate(net.layer):
        for position, spec in enumerate(layer.param):
            if spec.name:
                result[index, position] = first.setdefault(spec.name, (index, position))
    return result


def _read_blob(blob: pb.BlobProto, layer: str) -> Blob:
    legacy = any(blob.HasField(name) for name in ("num", "channels", "height", "width"))
    dims: Iterable[int] = (
        (blob.num, blob.channels, blob.height, blob.width) if legacy else blob.shape.dim
    )
    if blob.raw_data:
        values = np.frombuffer(blob.raw_data, dtype=RAW_TYPES[blob.raw_data_type])
    elif blob.double_data:
        values = np.array(blob.double_data, dtype=np.float64)
    else:
        values = np.array(blob.data, dtype=np.float64)
    result = Blob(values.astype(np.float64), tuple(dims), legacy)
    if values.size != int(np.prod(result.dims)):
        raise InvalidNetError(f"{layer}: {values.size} values for the shape {result.dims}")
    return result
