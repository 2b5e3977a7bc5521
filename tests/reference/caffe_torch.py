"""Evaluates a Caffe net with torch in float64, phase TEST: an independent witness for the tests.

Written from Caffe's behaviour (BVLC 9b8915401 and the SSD branch) and checked against golden
outputs of real Caffe in test_caffe_torch.py. It shares nothing with caffefold but the protobuf
bindings. Like Caffe it refuses a net with wrong wiring, and weights whose blobs do not have exactly
the number and shapes that the net asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from caffefold._proto import caffe_pb2 as pb
from tests.reference.caffe_detection import DETECTION
from tests.reference.caffe_layers import FiveBlobs, Function, Layer, Tensor
from tests.reference.caffe_learned import LEARNED, SOURCES
from tests.reference.caffe_losses import LOSSES
from tests.reference.caffe_ops import PLAIN
from tests.reference.caffe_pooling import POOLING
from tests.reference.caffe_read import InvalidNetError, load_weights, read_net
from tests.reference.caffe_recurrent import RECURRENT

__all__ = ["InvalidNetError", "net_outputs", "run", "unsupported"]

AnyArray: TypeAlias = npt.NDArray[Any]
FUNCTIONS: dict[str, Function] = {
    **PLAIN, **POOLING, **LEARNED, **RECURRENT, **DETECTION, **LOSSES,
}  # fmt: skip


def run(
    prototxt: str | Path,
    caffemodel: str | Path | bytes,
    inputs: Mapping[str, AnyArray],
    blobs: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float64,
    *,
    five_blobs: FiveBlobs = "nvcaffe",
) -> dict[str, AnyArray]:
    """The named blobs (all, if None) after one forward pass; a name's value is the last written.

    Only the layers these blobs need are computed, so they may stand before an unsupported layer.
    `prototxt` and `caffemodel` are paths, or the text and the bytes. The shapes of `inputs` count,
    not the net's. `five_blobs` says whose BatchNorm has five blobs: Intel's order cannot be told
    from NVCaffe's two.
    """
    net = read_net(prototxt)
    needed = _needed(net, blobs)
    learned = load_weights(net, caffemodel)
    given = {name: torch.tensor(np.asarray(value), dtype=dtype) for name, value in inputs.items()}
    known = {top for layer in net.layer if not layer.bottom for top in layer.top}
    if not given.keys() <= known:
        raise KeyError(f"not inputs of the net: {sorted(given.keys() - known)}")
    values: dict[str, Tensor] = {}
    for spec, weights, wanted in zip(net.layer, learned, needed, strict=True):
        if not wanted:
            continue
        made = spec.type in SOURCES and not given.keys() & set(spec.top)
        if not spec.bottom and not made:
            values.update(_feed(spec, given))
            continue
        function = (SOURCES if made else FUNCTIONS).get(spec.type)
        if function is None:
            raise NotImplementedError(f"{spec.name}: {spec.type}")
        layer = Layer(spec, weights, dtype, five_blobs)
        tops = function(layer, [values[name] for name in spec.bottom])
        values.update(zip(spec.top, tops, strict=True))
    names = list(values) if blobs is None else list(blobs)
    return {name: np.array(values[name].numpy()) for name in names}


def net_outputs(prototxt: str | Path) -> list[str]:
    """The net's outputs: the tops that no layer reads, in Caffe's (alphabetical) order."""
    available: set[str] = set()
    for layer in read_net(prototxt).layer:
        available.difference_update(layer.bottom)
        available.update(layer.top)
    return sorted(available)


def unsupported(prototxt: str | Path) -> set[str]:
    """The layer types of this net that `run` does not know."""
    return {
        layer.type
        for layer in read_net(prototxt).layer
        if layer.bottom and layer.type not in FUNCTIONS
    }


def _feed(spec: pb.LayerParameter, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tops of an input or data layer, from the caller. A data layer's may be left out."""
    missing = [top for top in spec.top if top not in given]
    if missing and (spec.type == "Input" or len(missing) == len(spec.top)):
        raise KeyError(f"no input given for {missing}")
    return {top: given[top] for top in spec.top if top in given}


def _needed(net: pb.NetParameter, blobs: Sequence[str] | None) -> list[bool]:
    """Which layers are needed for these blobs. Wiring is checked as Net::Init does it."""
    writer: dict[str, int] = {}  # of the current version of each blob
    reads: list[list[int]] = []  # per layer, the layers whose tops it reads
    readers: dict[tuple[str, int], int] = {}
    replaced: list[tuple[str, int]] = []  # versions that an in-place layer overwrites
    for index, layer in enumerate(net.layer):
        for name in layer.bottom:
            if name not in writer:
                raise InvalidNetError(f"{layer.name}: Unknown bottom blob '{name}'")
            version = (name, writer[name])
            readers[version] = readers.get(version, 0) + 1
        reads.append([writer[name] for name in layer.bottom])
        for position, name in enumerate(layer.top):
            if name in writer:
                if position >= len(layer.bottom) or layer.bottom[position] != name:
                    raise InvalidNetError(f"{layer.name}: Top blob '{name}' has another source")
                replaced.append((name, writer[name]))
            writer[name] = index
    for version in replaced:
        # A second reader would make Caffe insert a Split, whose tops have other names.
        if readers[version] != 1:
            raise InvalidNetError(f"'{version[0]}' is overwritten in place but has other readers")
    if blobs is None:
        return [True] * len(net.layer)
    needed = [False] * len(net.layer)
    for name in blobs:
        needed[writer[name]] = True
    for index in reversed(range(len(needed))):
        if needed[index]:
            for source in reads[index]:
                needed[source] = True
    return needed
