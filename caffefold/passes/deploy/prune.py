"""Backwards from the outputs: what no output is computed from goes.

Given   conv -> fc -> prob, conv -> aux, and the output prob
Result  conv -> fc -> prob
"""

from __future__ import annotations

from collections.abc import Iterable

from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.loss import SILENCE
from caffefold.ops.table import op
from caffefold.ops.wiring import SLICE


def prune(net: Net, wanted: Iterable[str]) -> tuple[Net, tuple[str, ...]]:
    """``net`` without the layers that no blob in ``wanted`` is made of, and their names.

    A name stands for the last value the blob takes. Layers without bottoms stay: whether a data
    layer is still read is for the inputs pass to see.
    """
    wiring = graph.build(net)
    last = {version.blob: i for i, version in enumerate(wiring.versions)}
    queue = [last[name] for name in wanted if name in last]
    needed: set[int] = set()
    while queue:
        producer = wiring.versions[queue.pop()].producer
        if producer != OUTSIDE and producer not in needed:
            needed.add(producer)
            queue += [version for version in wiring.reads[producer] if version >= 0]
    new: dict[int, tuple[Layer, ...]] = {}
    for position, layer in enumerate(net.layers):
        if op(layer) is SILENCE:
            new[position] = _quieter(net, position, wiring, needed)
        elif layer.bottoms and position not in needed:
            new[position] = ()
    useless = tuple(net.layers[i].name for i, layers in new.items() if not layers)
    return net.substitute(new), useless


def _quieter(net: Net, position: int, wiring: Graph, needed: set[int]) -> tuple[Layer, ...]:
    """A Silence for those of its bottoms that would be outputs without it: other tops of layers
    that stay. Nothing when there are none."""
    layer = net.layers[position]
    bottoms = []
    for name, read in zip(layer.bottoms, wiring.reads[position], strict=True):
        if read < 0 or set(wiring.versions[read].readers) != {position}:
            continue
        producer = wiring.versions[read].producer
        if producer in needed and not _of_data(net, wiring, producer):
            bottoms.append(name)
    return (layer.with_wiring(tuple(bottoms), ()),) if bottoms else ()


def _of_data(net: Net, wiring: Graph, position: int) -> bool:
    """Whether a layer reads a data set, or cuts what a data layer reads: the inputs pass sees to
    what nobody reads of that."""
    layer = net.layers[position]
    if op(layer) is SLICE:
        read = wiring.reads[position][0]
        maker = wiring.versions[read].producer if read >= 0 else OUTSIDE
        return maker != OUTSIDE and op(net.layers[maker]).is_data(net.layers[maker])
    return not layer.bottoms
