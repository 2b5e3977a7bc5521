"""What is spoiled: real files, and small ones written here, each kind of which is there for sure.

Files come from the repository and, where it is, from ``CAFFEFOLD_SHARED``.
"""

from __future__ import annotations

import os
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from caffefold._proto import caffe_pb2
from caffefold.testing import net_weights

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
FOLDERS = (ROOT / "sample_models", SHARED / "models", SHARED / "corpus")
THIN = 8  # numbers left of each blob
LARGEST = 300_000  # bytes of a weight file that is used whole
LARGEST_PAIR = 20_000  # bytes of weights that are converted


class Pair(NamedTuple):
    """A net that converts."""

    prototxt: bytes
    caffemodel: bytes


TINY = b"""\
name: "tiny"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 2 dim: 5 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 group: 2 bias_term: false } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { eps: 1e-3 } }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 5 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 3 } }
layer { name: "bn2" type: "BatchNorm" bottom: "fc" top: "bn2" }
layer { name: "prob" type: "Softmax" bottom: "bn2" top: "prob" }
"""
TINY_SHAPES: dict[str, list[tuple[int, ...]]] = {
    "conv": [(4, 1, 3, 3)],
    "bn": [(4,), (4,), (1,)],
    "scale": [(4,), (4,)],
    "fc": [(3, 4), (3,)],
    "bn2": [(3,), (3,), (1,)],
}
FORKS = b"""\
name: "forks"
layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "db" }
  transform_param { crop_size: 9 scale: 0.5 mean_value: 1 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: cls2x kernel_size: 1 } }
layer { name: "bn" type: "BN" bottom: "conv" top: "bn" bn_param { eps: 1e-4 } }
layer { name: "dw" type: "DepthwiseConvolution" bottom: "bn" top: "dw" convolution_param {
  num_output: 4 kernel_h: 1 kernel_w: 3 stride: 2 } }
layer { name: "nv" type: "BatchNorm" bottom: "dw" top: "nv" batch_norm_param { scale_bias: true } }
layer { name: "drop" type: "Dropout" bottom: "nv" top: "nv" include { phase: TRAIN } }
layer { name: "slice" type: "Slice" bottom: "nv" top: "s1" top: "s2"
  slice_param { slice_point: 1 axis: 1 } }
layer { name: "up" type: "Deconvolution" bottom: "s2" top: "up" convolution_param {
  num_output: 3 group: 3 kernel_size: 2 stride: 2 } }
layer { name: "power" type: "Power" bottom: "up" top: "power" power_param { scale: 2 shift: -1 } }
layer { name: "bias" type: "Bias" bottom: "power" top: "bias" }
layer { name: "prelu" type: "PReLU" bottom: "bias" top: "bias" }
layer { name: "scale1" type: "Scale" bottom: "s1" top: "scale1" scale_param { axis: -3 } }
layer { name: "fc" type: "InnerProduct" bottom: "bias" top: "fc" inner_product_param {
  num_output: 2 transpose: true } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
FORKS_SHAPES: dict[str, list[tuple[int, ...]]] = {
    "conv": [(4, 3, 1, 1), (4,)],
    "bn": [(1, 4, 1, 1)] * 4,
    "dw": [(4, 1, 1, 3), (4,)],
    "nv": [(4,), (4,), (1,), (4,), (4,)],
    "up": [(3, 1, 2, 2), (3,)],
    "bias": [(3,)],
    "prelu": [(3,)],
    "scale1": [(1,)],
    "fc": [(240, 2), (2,)],
}
V0 = b"""\
name: "V0"
input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "data" top: "pad" }
layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 3 biasterm: false
    weight_filler { type: "gaussian" std: 0.01 } blobs_lr: 1. blobs_lr: 2. weight_decay: 1. }
  bottom: "pad" top: "conv" }
layers { layer { name: "data2" type: "data" source: "db" scale: 0.1 meanfile: "m" batchsize: 2 }
  top: "data2" top: "label" }
"""
V1 = b"""\
name: 'V1' # with data
layers { name: "mnist" type: DATA top: "data" data_param { source: "db" scale: .1 mirror: true }
  include: { phase: TRAIN } };
layers < name: "ip" type: INNER_PRODUCT bottom: "data" top: "ip" blobs_lr: [1, 2]
  param: "w" weight_decay: 1 inner_product_param: { num_output: 0x3 } >
layers { bottom: "ip" top: "loss" name: "loss" type: SOFTMAX_LOSS }
"""
SOLVER = b"""\
net_param {
  # inline
  layers { name: "a" type: RELU bottom: "x" top: "y" } input: "x" input_shape { dim: 3 }
}
base_lr: 0.01 solver_type: ADAM
"""


@cache
def texts() -> tuple[bytes, ...]:
    """Every prototxt there is."""
    paths = sorted(path for folder in FOLDERS for path in folder.rglob("*.prototxt"))
    return (TINY, V0, V1, SOLVER, *(path.read_bytes() for path in paths))


@cache
def weights() -> tuple[bytes, ...]:
    """Every caffemodel there is, large ones with few numbers, and one in every encoding."""
    found = [tiny_weights(), *encodings()]
    for path in sorted(path for folder in FOLDERS for path in folder.rglob("*.caffemodel")):
        data = path.read_bytes()
        if len(data) <= LARGEST:
            found.append(data)
        found += thin(data)
    return tuple(found)


@cache
def pairs() -> tuple[Pair, ...]:
    """TINY, and every small model there is."""
    found = [Pair(TINY, tiny_weights()), Pair(FORKS, _weights(FORKS_SHAPES))]
    for path in sorted(path for folder in FOLDERS for path in folder.rglob("*.caffemodel")):
        prototxts = sorted(path.parent.glob("*.prototxt"))
        if len(prototxts) == 1 and path.stat().st_size <= LARGEST_PAIR:
            found.append(Pair(prototxts[0].read_bytes(), path.read_bytes()))
    return tuple(found)


def tiny_weights() -> bytes:
    """The weights of TINY."""
    return _weights(TINY_SHAPES)


def _weights(layers: dict[str, list[tuple[int, ...]]]) -> bytes:
    def numbers(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        return (np.arange(prod(shape)) % 7 / 4 + 0.5).reshape(shape)

    return net_weights({name: list(map(numbers, shapes)) for name, shapes in layers.items()})


def encodings() -> list[bytes]:
    """double_data; raw_data of every type; legacy 4-D shapes in V1; V0; unpacked floats."""
    double, raw, old, oldest = (caffe_pb2.NetParameter(name="x") for _ in range(4))
    double.layer.add(name="a", type="Scale").blobs.add(double_data=[1, 2, 3]).shape.dim.append(3)
    for kind, dtype in (
        (caffe_pb2.DOUBLE, "<f8"),
        (caffe_pb2.FLOAT, "<f4"),
        (caffe_pb2.FLOAT16, "<f2"),
    ):
        blob = raw.layer.add(name=f"r{kind}").blobs.add(raw_data=np.ones(6, dtype).tobytes())
        blob.raw_data_type = kind
        blob.shape.dim.extend((2, 3))
    layer = old.layers.add(name="v1", blobs_lr=[1, 2])
    layer.type = caffe_pb2.V1LayerParameter.CONVOLUTION
    layer.blobs.add(num=1, channels=1, height=2, width=2, data=[1, 2, 3, 4])
    inner = oldest.layers.add(bottom=["data"], top=["a"]).layer
    inner.name, inner.type, inner.num_output, inner.biasterm = "a", "innerproduct", 2, False
    inner.blobs.add(num=1, channels=1, height=2, width=2, data=[1, 2, 3, 4])
    oldest.input.append("data")
    oldest.input_dim.extend((1, 2, 1, 1))
    number = np.float32(1.5).tobytes()
    unpacked = b"\xa2\x06\x19\x0a\x01a\x3a\x14" + (b"\x2d" + number) * 3 + b"\x3a\x03\x0a\x01\x03"
    made = [net.SerializeToString() for net in (double, raw, old, oldest)]
    return [*made, b"\x0a\x01x" + unpacked]


def thin(data: bytes) -> list[bytes]:
    """The file with few numbers in each blob, so that mutations hit its structure."""
    try:
        net = caffe_pb2.NetParameter.FromString(data)
    except DecodeError:
        return []
    blobs = [blob for layer in net.layer for blob in layer.blobs]
    for blob in blobs + [blob for layer in net.layers for blob in layer.blobs]:
        kept = list(blob.data[:THIN])
        if len(kept) < THIN or blob.raw_data:
            continue
        blob.data[:] = kept
        if blob.shape.dim:
            blob.shape.dim[:] = (THIN,)
        else:
            blob.num, blob.channels, blob.height, blob.width = 1, 1, 1, THIN
    return [net.SerializeToString()]
