"""Made-up weights for a net that comes without any, so that its structure is folded and checked.

What can be folded into what is a matter of text and shapes. With numbers of the right shapes in
place of the weights, the same passes make the same structure, and the same proof checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from caffefold.analysis.shapes import infer
from caffefold.errors import TextError
from caffefold.formats.caffemodel.blob import Blob, Floats
from caffefold.formats.prototxt.tree import Field
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import AffineOp, LinearOp
from caffefold.ops.shape import Shape
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
    items: list[Field | Layer] = []
    position = -1
    for item in net.items:
        if isinstance(item, Layer):
            position += 1
            wanted = () if item.blobs else _blobs(item, shapes.bottoms[position])
            blobs: tuple[Blob, ...] = tuple(StandIn(s, position + i) for i, s in enumerate(wanted))
            items.append(replace(item, blobs=blobs) if blobs else item)
        else:
            items.append(item)
    return replace(net, items=tuple(items))


def with_blobs_of(net: Net, other: Net) -> Net:
    """``net`` with the blobs that the layers of the same place have in ``other``."""
    given = iter(other.layers)
    items = [
        replace(item, blobs=next(given).blobs) if isinstance(item, Layer) else item
        for item in net.items
    ]
    return replace(net, items=tuple(items))


def _blobs(layer: Layer, bottoms: Sequence[Shape]) -> tuple[tuple[int, ...], ...]:
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
