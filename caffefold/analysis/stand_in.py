"""Made-up weights for a net that comes without any, so that its structure is folded and checked.

What can be folded into what is a matter of text and shapes. With numbers of the right shapes in
place of the weights, the same passes make the same structure, and the same proof checks it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from math import prod

import numpy as np

from caffefold.analysis.shapes import infer
from caffefold.errors import TextError
from caffefold.formats.caffemodel.blob import CHUNK, Blob, Floats
from caffefold.frozen import dataclass
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import AffineOp, LinearOp
from caffefold.ops.shape import ShapeList
from caffefold.ops.table import op

_PERIOD = 8191  # a prime: rows of weights do not repeat each other
# No small text may ask for much time or memory; ordinary nets have far less.
_MOST_WEIGHTS = 1 << 28  # of all layers: to be read takes time
_MOST_NUMBERS = 1 << 20  # of all layers, of biases, statistics, scales: they are kept
_WIDEST = 1 << 18  # outputs of a layer, or inputs of an output


@dataclass(frozen=True, slots=True)
class StandIn(Blob):
    """Numbers between 0.5 and 1.5 that cost no memory; the same for the same ``seed``."""

    shape: tuple[int, ...]
    seed: int = 0

    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop`` as float32: multiples of the golden ratio, modulo 1."""
        first, count = (start + 127 * self.seed) % _PERIOD, stop - start
        numbers = _numbers()
        if first + count <= numbers.size:
            return numbers[first : first + count]
        return numbers[(first + np.arange(count)) % _PERIOD]


@cache
def _numbers() -> Floats:
    """Whole periods of them, for more than a chunk."""
    at = np.arange(_PERIOD * (CHUNK // _PERIOD + 2)) % _PERIOD
    numbers: Floats = ((at * 0.6180339887498949) % 1.0 + 0.5).astype(np.float32)
    numbers.flags.writeable = False
    return numbers


def with_stand_ins(net: Net) -> Net:
    """The net with made-up blobs in every layer that a fold is about, where shapes are known."""
    return _with_blobs(net, _stand_ins(net)[0])


def too_large(net: Net) -> tuple[Layer, ...]:
    """The layers that ``with_stand_ins`` leaves alone for their size, or that of all before."""
    return _stand_ins(net)[1]


def _stand_ins(net: Net) -> tuple[list[tuple[Blob, ...]], tuple[Layer, ...]]:
    """The blobs of each layer, and the layers whose blobs would be too large."""
    shapes = infer(net)
    made: list[tuple[Blob, ...]] = []
    left: list[Layer] = []
    weights, numbers = _MOST_WEIGHTS, _MOST_NUMBERS
    for position, layer in enumerate(net.layers):
        wanted = () if layer.blobs else _blobs(layer, shapes.bottoms[position])
        matrix = sum(prod(shape) for shape in wanted if len(shape) > 1)
        vectors = sum(prod(shape) for shape in wanted if len(shape) < 2)
        widest = max((max(shape[0], prod(shape[1:])) for shape in wanted if shape), default=0)
        if matrix > weights or vectors > numbers or widest > _WIDEST:
            left.append(layer)
            wanted, matrix, vectors = (), 0, 0
        weights, numbers = weights - matrix, numbers - vectors
        stand_ins = tuple(StandIn(shape, position + i) for i, shape in enumerate(wanted))
        made.append(stand_ins or layer.blobs)
    return made, tuple(left)


def with_blobs_of(net: Net, other: Net) -> Net:
    """``net`` with the blobs that the layers of the same place have in ``other``."""
    return _with_blobs(net, (layer.blobs for layer in other.layers))


def _with_blobs(net: Net, blobs: Iterable[tuple[Blob, ...]]) -> Net:
    """The net with these blobs, layer by layer."""
    given = iter(blobs)
    items = (x.with_blobs(next(given)) if isinstance(x, Layer) else x for x in net.items)
    return replace(net, items=tuple(items))


def _blobs(layer: Layer, bottoms: ShapeList) -> tuple[tuple[int, ...], ...]:
    """The shapes Caffe gives a layer's blobs; none where they are unknown, or do not matter."""
    if not isinstance(op(layer), (AffineOp, LinearOp)) or not bottoms or bottoms[0] is None:
        return ()
    try:
        wanted = op(layer).weights(layer, bottoms) or ()
    except TextError:  # a number is missing: shape inference reports it
        return ()
    known = tuple(tuple(dim for dim in spec.shape if dim is not None) for spec in wanted)
    whole = all(len(a) == len(b.shape) and prod(a) > 0 for a, b in zip(known, wanted, strict=True))
    return known if whole else ()
