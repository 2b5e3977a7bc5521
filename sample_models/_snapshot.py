"""Writes a caffemodel as `caffe train` leaves one behind, with seeded random weights.

The records are those of a real snapshot: the layers of the TRAIN phase with their parameters,
learning rates and blobs, and the Split layers Caffe inserts. For a net that real Caffe trained,
every byte but the numbers in the blobs comes out as Caffe wrote it.

The weights are not trained, but they behave: a BatchNorm's statistics are about those of its
input, channels differ in magnitude, and activations stay of order one. They are generated a chunk
at a time while the file is written, so memory does not grow with it. Of caffefold only the
protobuf bindings are used, so that these files also check its reader.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from caffefold._proto import caffe_pb2 as pb

Array = npt.NDArray[np.float32]
Blob = tuple[tuple[int, ...], Iterable[Array]]  # a shape and its numbers, in chunks
_CHUNK = 1 << 19  # numbers generated at a time
_BN_FACTOR = np.float32(999.8975)  # of the moving averages, after some thousand iterations


def write_snapshot(path: Path, prototxt: str, seed: int) -> None:
    """Write a training snapshot for the net in `prototxt` to `path`."""
    net = text_format.Parse(prototxt, pb.NetParameter())
    noise = Noise(seed)
    signals: dict[str, Signal] = {}
    with path.open("wb") as stream:
        stream.write(pb.NetParameter(name=net.name).SerializeToString())
        for layer in with_splits(training_layers(net)):
            stream.writelines(record(layer, weights(layer, signals, noise)))


def training_layers(net: pb.NetParameter) -> list[pb.LayerParameter]:
    """The layers of the TRAIN phase as Caffe completes them before training."""
    kept = [x for x in net.layer if all(rule.phase == pb.TRAIN for rule in x.include)]
    for layer in kept:
        layer.phase = pb.TRAIN
        if layer.type == "BatchNorm":  # its statistics are never trained, whatever the text says
            del layer.param[:]
            layer.param.extend([pb.ParamSpec(lr_mult=0)] * 3)
        if layer.type.endswith("Loss"):
            layer.loss_weight.append(1)
    return kept


def with_splits(layers: list[pb.LayerParameter]) -> Iterator[pb.LayerParameter]:
    """The layers, with a Split behind each top that several read (insert_splits.cpp)."""
    latest: dict[str, list[tuple[pb.LayerParameter, int]]] = {}  # readers, and which bottom it is
    readers = {}
    for layer in layers:
        for place, blob in enumerate(layer.bottom):
            latest[blob].append((layer, place))
        for blob in layer.top:
            readers[layer.name, blob] = latest[blob] = []
    for layer in layers:
        yield layer
        for position, blob in enumerate(layer.top):
            if len(served := readers[layer.name, blob]) > 1:
                name = f"{blob}_{layer.name}_{position}_split"
                split = pb.LayerParameter(name=name, type="Split", bottom=[blob], phase=pb.TRAIN)
                for number, (reader, place) in enumerate(served):
                    reader.bottom[place] = f"{name}_{number}"
                    split.top.append(f"{name}_{number}")
                yield split


def record(layer: pb.LayerParameter, given: list[Blob]) -> Iterator[bytes]:
    """The bytes of a layer. Its blobs stand where protobuf puts them: by number, as field 7."""
    fields = layer.SerializeToString()
    for field, _ in layer.ListFields():
        if field.number > pb.LayerParameter.BLOBS_FIELD_NUMBER:
            layer.ClearField(field.name)
    before, size, frames = layer.ByteSize(), len(fields), []
    for shape, chunks in given:
        count = 4 * math.prod(shape)
        end = pb.BlobProto(shape=pb.BlobShape(dim=shape)).SerializeToString()
        data = _header(pb.BlobProto.DATA_FIELD_NUMBER, count)
        start = _header(pb.LayerParameter.BLOBS_FIELD_NUMBER, len(data) + count + len(end)) + data
        frames.append((start, chunks, end))
        size += len(start) + count + len(end)
    yield _header(pb.NetParameter.LAYER_FIELD_NUMBER, size) + fields[:before]
    for start, chunks, end in frames:
        yield start
        yield from (part.astype("<f4", copy=False).tobytes() for part in chunks)
        yield end
    yield fields[before:]


def _header(field: int, size: int) -> bytes:
    """What stands before `size` bytes of a field: its tag and the size, as base-128 numbers."""
    out = bytearray()
    for value in (field << 3 | 2, size):
        out += bytes(value >> at & 0x7F | 0x80 for at in range(0, max(1, value.bit_length()), 7))
        out[-1] &= 0x7F
    return bytes(out)


class Noise:
    """Random float32 numbers from the raw words of PCG64, with exact arithmetic.

    NumPy promises that those never change: a seed gives the same bytes with every NumPy.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def normal(self, count: int) -> Array:
        """Numbers of mean 0 and variance 1: the sum of four uniform ones, so |x| < 3.5."""
        words = self._bits.random_raw(count).astype("<u8").view("<u2").reshape(count, 4)
        total = words.sum(axis=1, dtype=np.int32) - np.int32(2 * 65535)
        return np.asarray(total.astype(np.float32) * np.float32(math.sqrt(3) / 65536))

    def rows(self, shape: tuple[int, ...], deviation: Array) -> Iterator[Array]:
        """Normal numbers for a blob, some rows at a time; row i has `deviation[i]`."""
        size = math.prod(shape[1:])
        step = max(1, _CHUNK // size)
        for start in range(0, shape[0], step):
            part = deviation[start : start + step, None]
            yield self.normal(len(part) * size).reshape(-1, size) * part

    def uniform(self, count: int, low: float, high: float) -> Array:
        """Numbers between `low` and `high`."""
        words = self._bits.random_raw(count) >> np.uint64(40)
        unit = words.astype(np.float32) * np.float32(2.0**-24)
        return np.asarray(np.float32(low) + np.float32(high - low) * unit)


class Signal(NamedTuple):
    """What is known about a blob of the net: its shape and roughly its statistics."""

    channels: int
    height: int = 1
    width: int = 1
    moment: float = 1.0  # mean square of the values
    mean: Array | float = 0.0  # of each channel, where a linear layer made the blob
    variance: Array | float = 1.0


def weights(layer: pb.LayerParameter, signals: dict[str, Signal], noise: Noise) -> list[Blob]:
    """The blobs of a layer; its tops are added to `signals`. To be called layer by layer."""
    made: list[Array] = []
    signal = source = signals[layer.bottom[0]] if layer.bottom else _image(layer.transform_param)
    count = source.channels
    match layer.type:
        case "Convolution" | "InnerProduct":
            signals[layer.top[0]], blobs = _linear(layer, source, noise)
            return blobs
        case "BatchNorm":
            shift = noise.normal(count) * np.float32(0.1 * math.sqrt(2 * source.moment))
            variance = source.variance * noise.uniform(count, 0.8, 1.25)
            made = [np.asarray(x * _BN_FACTOR) for x in (source.mean + shift, variance, np.ones(1))]
            signal = source._replace(moment=1.0)
        case "Scale":
            made = [noise.uniform(count, 0.6, 1.4), noise.normal(count) * np.float32(0.2)]
            signal = source._replace(moment=1.1)
        case "ReLU":
            signal = source._replace(moment=source.moment / 2)
        case "Pooling":  # the largest of four values has about twice their mean square
            height, width = (-(-side // layer.pooling_param.stride) for side in source[1:3])
            signal = Signal(count, height, width, 2 * source.moment, source.mean, source.variance)
    signals.update((top, signal) for top in layer.top)
    return [(array.shape, [array]) for array in made]


def _image(p: pb.TransformationParameter) -> Signal:
    """The images of a data layer: 8-bit values less their mean, times `scale`."""
    height, width = (p.crop_size or side for side in (p.resize_param.height, p.resize_param.width))
    return Signal(3, height, width, (p.scale * 127.5) ** 2 / 3)


def _linear(layer: pb.LayerParameter, source: Signal, noise: Noise) -> tuple[Signal, list[Blob]]:
    """Weights as the msra filler makes them, times a gain for each output channel."""
    if layer.type == "Convolution":
        p = layer.convolution_param
        kernel, stride, pad = p.kernel_size[0], sum(p.stride) or 1, sum(p.pad)  # one each, or none
        height, width = ((side + 2 * pad - kernel) // stride + 1 for side in source[1:3])
        outputs, bias = p.num_output, p.bias_term
        shape: tuple[int, ...] = (outputs, source.channels // p.group, kernel, kernel)
    else:
        height = width = 1
        outputs, bias = layer.inner_product_param.num_output, layer.inner_product_param.bias_term
        shape = (outputs, source.channels * source.height * source.width)
    gain = noise.uniform(outputs, 0.4, 1.6)
    deviation = gain * np.float32(math.sqrt(2 / math.prod(shape[1:])))
    variance = gain * gain * np.float32(2 * source.moment)
    mean = noise.normal(outputs) * np.float32(0.1 if bias else 0.0)
    signal = Signal(outputs, height, width, 2 * source.moment, mean, variance)
    blobs = [(shape, noise.rows(shape, deviation)), ((outputs,), [mean])]
    return signal, blobs if bias else blobs[:1]
