"""Made-up weights for a net that comes without any, so that its structure is folded and checked.

What can be folded into what is a matter of text and shapes. With numbers of the right shapes in
place of the weights, the same passes make the same structure, and the same proof checks it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from caffefold.analysis.shapes import infer
from caffefold.errors import TextError
from caffefold.formats.caffemodel.blob import Blob, Floats
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import AffineOp, LinearOp
from caffefold.ops.shape import ShapeList
from caffefold.ops.table import op

_PERIOD = 8191  # a prime: rows of weights do not repeat each other


@dataclass(frozen=True, slots=True)
class StandIn(Blob):
    """Numbers between 0.5 and 1.5 that cost no memory; the same for the same ``seed``."""

    shape: tuple[int, ...]
    seed: int = 0

    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop`` as float32: multiples of the golden ratio, modulo 1."""
        at = (np.arange(start, stop) + 127 * self.seed) % _PERIOD
        return ((at * 0.6180339887498949) % 1.0 + 0.5).astype(np.float32)


def with_stand_ins(net: Net) -> Net:
    """The net with made-up blobs in every layer that a fold is about, where shapes are known."""
    shapes = infer(net)
    made: list[tuple[Blob, ...]] = []
    for position, layer in enumerate(net.layers):
        wanted = () if layer.blobs else _blobs(layer, shapes.bottoms[position])
        stand_ins = tuple(StandIn(shape, position + i) for i, shape in enumerate(wanted))
        made.append(stand_ins or layer.blobs)
    return _with_blobs(net, made)


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
