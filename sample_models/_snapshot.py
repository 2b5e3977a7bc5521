"""Writes a caffemodel as `caffe train` leaves one behind, with seeded random weights.

The records are those of a real snapshot: V2 layers (field 100) with name, type, bottoms, tops,
learning rates, blobs, phase and the layer's own parameters, the Split layers Caffe inserts, the
data and the loss layer. From the template of a net that real Caffe trained, every byte but the
numbers in the blobs comes out as Caffe wrote it.

The weights are not trained, but they behave: a BatchNorm's mean and variance are about those of
what arrives there, channels differ in magnitude, and activations stay of order one.

Random numbers are made from the raw 64-bit words of PCG64 with exact arithmetic. NumPy promises
that those words never change, which it does not promise for `Generator.standard_normal`: the
same seed gives the same bytes with every NumPy and on every machine.

Values are made a chunk at a time while the file is written, so memory does not grow with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt
from _netfile import Layer, insert_splits, read_net, training_net
from _schema import encode_layer_fields
from _wire import float_field, header, int_field, packed_ints, string_field

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Array = npt.NDArray[np.float32]

_CHUNK = 1 << 19  # values made at a time
_BN_FACTOR = np.float32(999.8975)  # of the moving averages, after some thousand iterations
_LAYER, _NAME, _TYPE, _BOTTOM, _TOP, _BLOB, _PHASE = 100, 1, 2, 3, 4, 7, 10
_BLOB_DATA, _BLOB_SHAPE, _SHAPE_DIM = 5, 7, 1
_LOSS_WEIGHT = 5


class Noise:
    """Random float32 numbers, the same everywhere for the same seed."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def normal(self, count: int) -> Array:
        """Return numbers of mean 0 and variance 1: the sum of four uniform ones, so |x| < 3.5."""
        words = self._bits.random_raw(count).astype("<u8").view("<u2").reshape(count, 4)
        total = words.sum(axis=1, dtype=np.int32) - np.int32(2 * 65535)
        scale = np.float32(math.sqrt(3) / 65536)
        return np.asarray(total.astype(np.float32) * scale, dtype=np.float32)

    def uniform(self, count: int, low: float, high: float) -> Array:
        """Return numbers between `low` and `high`."""
        words = self._bits.random_raw(count) >> np.uint64(40)
        unit = words.astype(np.float32) * np.float32(2.0**-24)
        return np.asarray(np.float32(low) + np.float32(high - low) * unit, dtype=np.float32)


@dataclass(frozen=True)
class Signal:
    """What is known about a blob of the net: its shape and roughly its statistics."""

    channels: int
    height: int = 1
    width: int = 1
    moment: float = 1.0  # mean square of the values
    mean: Array | None = None  # of each channel, where a linear layer made the blob
    variance: Array | None = None


@dataclass(frozen=True)
class Given:
    """A blob whose numbers exist already."""

    values: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the blob's dimensions."""
        return self.values.shape

    def chunks(self, noise: Noise) -> Iterator[Array]:
        """Return the numbers."""
        del noise
        yield self.values


@dataclass(frozen=True)
class RandomRows:
    """A weight blob that is made while it is written: row i has the deviation `deviation[i]`."""

    shape: tuple[int, ...]
    deviation: Array

    def chunks(self, noise: Noise) -> Iterator[Array]:
        """Return the numbers, some rows at a time."""
        row = math.prod(self.shape[1:])
        step = max(1, _CHUNK // row)
        for start in range(0, self.shape[0], step):
            part = self.deviation[start : start + step, None]
            yield noise.normal(len(part) * row).reshape(-1, row) * part


Blob = Given | RandomRows


@dataclass
class Weights:
    """Makes each layer's blobs, following shapes and statistics through the net."""

    noise: Noise
    signals: dict[str, Signal] = field(default_factory=dict)

    def blobs(self, layer: Layer) -> list[Blob]:
        """Return the blobs of `layer`. Call it for every layer, in order."""
        if not layer.bottoms:
            self._data(layer)
            return []
        source = self.signals[layer.bottoms[0]]
        result, blobs = self._apply(layer, source)
        self.signals.update((top, result) for top in layer.tops)
        return blobs

    def _data(self, layer: Layer) -> None:
        transform = layer.message.message("transform_param")
        resize = transform.message("resize_param")
        crop = transform.text("crop_size")
        height, width = (int(crop or resize.text(side)) for side in ("height", "width"))
        moment = (float(transform.text("scale", "1")) * 127.5) ** 2 / 3
        image, *others = layer.tops
        self.signals[image] = Signal(3, height, width, moment)
        self.signals.update((top, Signal(1)) for top in others)

    def _apply(self, layer: Layer, source: Signal) -> tuple[Signal, list[Blob]]:
        match layer.type:
            case "Convolution":
                return self._convolution(layer, source)
            case "InnerProduct":
                return self._inner_product(layer, source)
            case "BatchNorm":
                return replace(source, moment=1.0), self._batch_norm(source)
            case "Scale":
                return replace(source, moment=1.1), self._scale(source)
            case "ReLU":
                return replace(source, moment=source.moment / 2), []
            case "Pooling":
                return _pooled(layer, source), []
        return source, []

    def _convolution(self, layer: Layer, source: Signal) -> tuple[Signal, list[Blob]]:
        parameters = layer.message.message("convolution_param")
        outputs, kernel = int(parameters.text("num_output")), int(parameters.text("kernel_size"))
        group, stride, pad = (
            int(parameters.text(key, default))
            for key, default in (("group", "1"), ("stride", "1"), ("pad", "0"))
        )
        height, width = (
            (side + 2 * pad - kernel) // stride + 1 for side in (source.height, source.width)
        )
        shape = (outputs, source.channels // group, kernel, kernel)
        signal, blobs = self._linear(shape, source, bias=parameters.text("bias_term") != "false")
        return replace(signal, height=height, width=width), blobs

    def _inner_product(self, layer: Layer, source: Signal) -> tuple[Signal, list[Blob]]:
        parameters = layer.message.message("inner_product_param")
        inputs = source.channels * source.height * source.width
        shape = (int(parameters.text("num_output")), inputs)
        return self._linear(shape, source, bias=parameters.text("bias_term") != "false")

    def _linear(
        self, shape: tuple[int, ...], source: Signal, *, bias: bool
    ) -> tuple[Signal, list[Blob]]:
        """Weights as the msra filler makes them, times a gain for each output channel."""
        outputs = shape[0]
        gain = self.noise.uniform(outputs, 0.4, 1.6)
        deviation = gain * np.float32(math.sqrt(2 / math.prod(shape[1:])))
        variance = gain * gain * np.float32(2 * source.moment)
        mean = self.noise.normal(outputs) * np.float32(0.1 if bias else 0.0)
        signal = Signal(outputs, moment=2 * source.moment, mean=mean, variance=variance)
        return signal, [RandomRows(shape, deviation), *([Given(mean)] if bias else [])]

    def _batch_norm(self, source: Signal) -> list[Blob]:
        if source.mean is None or source.variance is None:
            raise ValueError("BatchNorm does not follow a linear layer")
        count = source.channels
        shift = self.noise.normal(count) * np.float32(0.1 * math.sqrt(2 * source.moment))
        variance = source.variance * self.noise.uniform(count, 0.8, 1.25)
        stored = [(source.mean + shift) * _BN_FACTOR, variance * _BN_FACTOR]
        return [*map(Given, stored), Given(np.full(1, _BN_FACTOR, np.float32))]

    def _scale(self, source: Signal) -> list[Blob]:
        gamma = self.noise.uniform(source.channels, 0.6, 1.4)
        beta = self.noise.normal(source.channels) * np.float32(0.2)
        return [Given(gamma), Given(beta)]


def _pooled(layer: Layer, source: Signal) -> Signal:
    """Follow max pooling: the largest of four values has about twice their mean square."""
    stride = int(layer.message.message("pooling_param").text("stride"))
    height, width = (-(-side // stride) for side in (source.height, source.width))
    return replace(source, height=height, width=width, moment=source.moment * 2)


def write_snapshot(path: Path, prototxt: str, seed: int) -> None:
    """Write a training snapshot for the net in `prototxt` to `path`."""
    name, layers = read_net(prototxt)
    noise = Noise(seed)
    weights = Weights(noise)
    with path.open("wb") as stream:
        stream.write(string_field(1, name))
        for layer in insert_splits(training_net(layers)):
            _write_layer(stream, layer, weights.blobs(layer), noise)


def _write_layer(stream: BinaryIO, layer: Layer, blobs: list[Blob], noise: Noise) -> None:
    before, after = _layer_fields(layer)
    heads = [_blob_head(blob) for blob in blobs]
    tails = [_blob_tail(blob) for blob in blobs]
    sizes = [
        len(head) + 4 * math.prod(blob.shape) + len(tail)
        for head, blob, tail in zip(heads, blobs, tails, strict=True)
    ]
    starts = [header(_BLOB, size) for size in sizes]
    stream.write(header(_LAYER, len(before) + len(after) + sum(sizes) + sum(map(len, starts))))
    stream.write(before)
    for start, head, blob, tail in zip(starts, heads, blobs, tails, strict=True):
        stream.write(start + head)
        stream.writelines(part.astype("<f4", copy=False).tobytes() for part in blob.chunks(noise))
        stream.write(tail)
    stream.write(after)


def _layer_fields(layer: Layer) -> tuple[bytes, bytes]:
    """Return what stands before a layer's blobs and what stands after them."""
    parts = [(_NAME, string_field(_NAME, layer.name)), (_TYPE, string_field(_TYPE, layer.type))]
    parts += [(_BOTTOM, string_field(_BOTTOM, blob)) for blob in layer.bottoms]
    parts += [(_TOP, string_field(_TOP, blob)) for blob in layer.tops]
    parts += encode_layer_fields(layer.message)
    parts.append((_PHASE, int_field(_PHASE, 0)))
    if layer.type.endswith("Loss"):
        parts.append((_LOSS_WEIGHT, float_field(_LOSS_WEIGHT, 1.0)))
    parts.sort(key=lambda part: part[0])
    before = b"".join(part for number, part in parts if number < _BLOB)
    return before, b"".join(part for number, part in parts if number > _BLOB)


def _blob_head(blob: Blob) -> bytes:
    """Return what stands before the numbers; Caffe writes them first and the shape last."""
    return header(_BLOB_DATA, 4 * math.prod(blob.shape))


def _blob_tail(blob: Blob) -> bytes:
    shape = packed_ints(_SHAPE_DIM, blob.shape)
    return header(_BLOB_SHAPE, len(shape)) + shape
