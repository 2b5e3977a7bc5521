"""What a net costs: parameters, multiply-accumulates (MACs) and memory of its blobs.

A MAC is one multiplication with the addition that takes its result up; adding a bias is none.
One forward pass, for the batch that the shapes state:

| layer                     | MACs                                                              |
|---------------------------|-------------------------------------------------------------------|
| Convolution, all kinds    | elements of the top x (channels of the input / group) x window    |
| Deconvolution             | elements of the bottom x (num_output / group) x window            |
| LOCAL                     | elements of the top x channels of the input x window              |
| InnerProduct              | elements of the top x K                                           |
| LSTM                      | time x streams x 4 D x (I + D), with D outputs and I inputs       |
| RNN                       | time x streams x D x (I + 2 D)                                    |
| BatchNorm, BN, Scale      | elements of the top                                               |
| everything else           | 0: additions, comparisons, look-ups, functions of one element     |

VGG-16 at 224 x 224 has 15,470,264,320 by this, LeNet at 28 x 28 has 2,293,000.

Parameters are the numbers a caffemodel holds: the statistics of BatchNorm and the factor they are
divided by count. Memory is 4 bytes (float32) for each element of the tops; what a layer writes in
place costs nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from caffefold.analysis.shapes import Shapes, infer
from caffefold.errors import TextError
from caffefold.formats.caffemodel.blob import size
from caffefold.formats.prototxt.tree import Message
from caffefold.ir.net import Layer, Net
from caffefold.ops.shape import Dim, Shape, product, total
from caffefold.ops.table import op

FLOAT = 4  # bytes


class Cost(NamedTuple):
    """What one layer costs; None where its shapes are not known."""

    parameters: Dim
    """Numbers in its blobs, shared ones included."""
    macs: Dim
    memory: Dim
    """Bytes of its tops, those apart that it writes in place."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What a net costs. Unknown layers count as 0 in the sums; ``unknown_...`` says how many."""

    layers: int
    parameters: int
    """Numbers in all blobs; a blob that layers share counts once."""
    macs: int
    memory: int
    """Bytes of all blobs as float32."""
    unknown_parameters: int = 0
    unknown_macs: int = 0
    unknown_memory: int = 0


def totals(net: Net, shapes: Shapes | None = None) -> Totals:
    """What the whole net costs, Input layers among its layers.

    Args:
        net: any net; without weights, parameters are counted from shapes.
        shapes: of its blobs; inferred when not given.
    """
    found = shapes or infer(net)
    costs = layer_costs(net, found)
    memory = [total(s) for s, v in zip(found.versions, found.graph.versions, strict=True)
              if v.producer < 0]  # fmt: skip
    memory = [None if count is None else FLOAT * count for count in memory]
    memory += [cost.memory for cost in costs]
    parameters = _parameters_once(net, found)
    return Totals(
        len(net.layers),
        _sum(parameters),
        _sum(cost.macs for cost in costs),
        _sum(memory),
        sum(count is None for count in parameters),
        sum(cost.macs is None for cost in costs),
        sum(count is None for count in memory),
    )


def layer_costs(net: Net, shapes: Shapes) -> tuple[Cost, ...]:
    """What each layer costs, by its position."""
    return tuple(
        Cost(
            _known_sum(_blobs(layer, shapes.bottoms[i])),
            _macs(layer, shapes.bottoms[i], shapes.tops(i)),
            _memory(layer, shapes.tops(i)),
        )
        for i, layer in enumerate(net.layers)
    )


def _parameters_once(net: Net, shapes: Shapes) -> list[Dim]:
    """The parameters of each layer, without blobs that a layer before shares with it.

    Shared are blobs of one ``param { name }`` (net.cpp, AppendParam).
    """
    seen: set[str] = set()
    found: list[Dim] = []
    for i, layer in enumerate(net.layers):
        blobs = _blobs(layer, shapes.bottoms[i])
        names = [m.string("name") for m in layer.body.all("param") if isinstance(m, Message)]
        if blobs is not None:
            kept = [
                count
                for j, count in enumerate(blobs)
                if j >= len(names) or not names[j] or names[j] not in seen
            ]
            found.append(_known_sum(kept))
        else:
            found.append(None)
        seen.update(name for name in names if name)
    return found


def _sum(counts: Iterable[Dim]) -> int:
    return sum(count for count in counts if count is not None)


def _known_sum(counts: Sequence[Dim] | None) -> Dim:
    if counts is None or None in counts:
        return None
    return _sum(counts)


def _memory(layer: Layer, tops: Sequence[Shape]) -> Dim:
    counts = [total(top) for name, top in zip(layer.tops, tops, strict=True)
              if name not in layer.bottoms]  # fmt: skip
    count = _known_sum(counts)
    return None if count is None else FLOAT * count


def _blobs(layer: Layer, bottoms: Sequence[Shape]) -> list[Dim] | None:
    """The number of elements of each blob: as stored, else as Caffe would make it."""
    if layer.blobs:
        return [size(blob) for blob in layer.blobs]
    if layer.record is not None:
        return []
    try:
        wanted = op(layer).weights(layer, bottoms)
    except TextError:  # a placeholder, or a missing number: infer reports it
        return None
    if wanted is None:
        return None
    found = [product(spec.shape) for spec in wanted]
    return None if any(count is not None and count < 0 for count in found) else found


def _macs(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Dim:
    try:
        return op(layer).macs(layer, bottoms, tops)
    except TextError:
        return None
