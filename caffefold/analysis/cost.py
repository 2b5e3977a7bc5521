"""What a net costs: parameters, multiply-accumulates (MACs) and memory of its blobs.

A MAC is one multiplication with the addition of its result; adding a bias is none. MACs are those
of one forward pass, for the batch that the shapes state; each type's formula is its ``macs`` in
ops/. Additions, comparisons, look-ups and functions of one element cost none. VGG-16 at 224 x 224
has 15,470,264,320 by this, LeNet at 28 x 28 has 2,293,000.

Parameters are the numbers a caffemodel holds: the statistics of BatchNorm and the factor they are
divided by count. Memory is 4 bytes (float32) for each element of the tops; what a layer writes in
place costs nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from caffefold.analysis.shapes import Shapes, infer
from caffefold.errors import TextError
from caffefold.formats.caffemodel.blob import size
from caffefold.formats.prototxt.tree import Message
from caffefold.frozen import dataclass
from caffefold.ir.net import Layer, Net
from caffefold.ops.shape import Dim, ShapeList, product, total
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
    inputs = (
        total(shape)
        for shape, version in zip(found.versions, found.graph.versions, strict=True)
        if version.producer < 0
    )
    memory = [*map(_bytes, inputs), *(cost.memory for cost in costs)]
    parameters = _parameters_once(net, found)
    macs = [cost.macs for cost in costs]
    sums = (sum(count or 0 for count in counts) for counts in (parameters, macs, memory))
    unknown = (counts.count(None) for counts in (parameters, macs, memory))
    return Totals(len(net.layers), *sums, *unknown)


def layer_costs(net: Net, shapes: Shapes) -> tuple[Cost, ...]:
    """What each layer costs, by its position."""
    costs = []
    for i, layer in enumerate(net.layers):
        bottoms, tops = shapes.bottoms[i], shapes.tops(i)
        own = [
            total(top)
            for name, top in zip(layer.tops, tops, strict=True)
            if name not in layer.bottoms
        ]
        blobs = _blobs(layer, bottoms)
        costs.append(Cost(_sum(blobs), _macs(layer, bottoms, tops), _bytes(_sum(own))))
    return tuple(costs)


def _parameters_once(net: Net, shapes: Shapes) -> list[Dim]:
    """The parameters of each layer, without blobs that a layer before shares with it.

    Shared are blobs of one ``param { name }`` (net.cpp, AppendParam).
    """
    seen: set[str] = set()
    found: list[Dim] = []
    for i, layer in enumerate(net.layers):
        blobs = _blobs(layer, shapes.bottoms[i])
        names = [m.string("name") for m in layer.body.all("param") if isinstance(m, Message)]
        shared = [name in seen for name in names]
        kept = [n for j, n in enumerate(blobs or ()) if j >= len(shared) or not shared[j]]
        found.append(None if blobs is None else _sum(kept))
        seen.update(filter(None, names))
    return found


def _sum(counts: Sequence[Dim] | None) -> Dim:
    """None where one is unknown."""
    return None if counts is None or None in counts else sum(count or 0 for count in counts)


def _bytes(count: Dim) -> Dim:
    return None if count is None else FLOAT * count


def _blobs(layer: Layer, bottoms: ShapeList) -> list[Dim] | None:
    """The number of elements of each blob: as stored, else as Caffe would make it."""
    if layer.blobs:
        return [size(blob) for blob in layer.blobs]
    if layer.record is not None:
        return []
    try:
        wanted = op(layer).weights(layer, bottoms)
    except TextError:  # a placeholder, or a missing number: infer reports it
        return None
    found = [product(spec.shape) for spec in wanted or ()]
    return None if wanted is None or any((count or 0) < 0 for count in found) else found


def _macs(layer: Layer, bottoms: ShapeList, tops: ShapeList) -> Dim:
    try:
        return op(layer).macs(layer, bottoms, tops)
    except TextError:
        return None
