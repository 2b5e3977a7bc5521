"""Weights in half precision: how coarse that makes a net is a noise of its own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from caffefold.formats.caffemodel.blob import StoredBlob, array
from caffefold.formats.caffemodel.precision import FLOAT16, of_layer
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.net import Layer, Net

_HALF = 10  # TensorProto.FLOAT16 (onnx.proto)


def is_half(net: Net) -> bool:
    """Whether weights of the net are stored in half precision."""
    return any(
        np.dtype(piece.dtype).itemsize == 2
        for layer in net.layers
        for blob in layer.blobs
        if isinstance(blob, StoredBlob)
        for piece in blob.pieces
    )


def is_half_model(path: Path) -> bool:
    """Whether weights of an ONNX model are; False where nobody can look."""
    if find_spec("onnx") is None:
        return False
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError:  # a damaged file: the runtime tells
        return False
    return any(tensor.data_type == _HALF for tensor in model.graph.initializer)


def halved(net: Net) -> Net:
    """The net with its weights rounded as they would be stored."""
    return net.substitute({i: (_halved(x),) for i, x in enumerate(net.layers) if x.blobs})


def _halved(layer: Layer) -> Layer:
    precision = of_layer(layer.type, FLOAT16)
    blobs = (array(blob).astype(precision.dtype) for blob in layer.blobs)
    return layer.with_blobs(tuple(ArrayBlob(each.astype(np.float64)) for each in blobs))
