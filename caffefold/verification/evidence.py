"""What decides in place of an output that says nothing: the blobs that it is computed from.

Layers that are alike in both nets make the same of the same; so an output is as equal as what
they read. A layer that differs, or that a runtime does not run and that differs, ends the search.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from caffefold.compare.settings import is_training, settings
from caffefold.formats.caffemodel.blob import array
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op


def alike(first: Layer, second: Layer) -> bool:
    """Whether two layers compute the same of the same: type, parameters and weights."""
    if first.type != second.type or len(first.blobs) != len(second.blobs):
        return False
    texts = [
        {
            path: value
            for path, value in settings(layer.body, layer.type).items()
            if not is_training(path, value)
        }
        for layer in (first, second)
    ]
    return texts[0] == texts[1] and all(
        a.shape == b.shape and np.array_equal(array(a), array(b))
        for a, b in zip(first.blobs, second.blobs, strict=True)
    )


def moving(net: Net) -> frozenset[str]:
    """The blobs whose numbers depend on those of the inputs; prior boxes know shapes alone."""
    wiring = graph.build(net)
    found = {i for i in range(len(wiring.versions)) if wiring.maker(i) < 0}
    for position, layer in enumerate(net.layers):
        if layer.is_input or (
            op(layer).name != "PriorBox" and found.intersection(wiring.reads[position])
        ):
            found.update(wiring.writes[position])
    return frozenset(wiring.versions[i].blob for i in found)


def fronts(a: Net, b: Net, blob: str, stops: Iterable[str]) -> tuple[str, ...] | None:
    """The blobs among ``stops`` that ``blob`` is computed from by layers that are alike.

    None where one of the layers between has no twin in ``b``, or reads something else there.
    """
    wiring, other = graph.build(a), graph.build(b)
    last = {version.blob: i for i, version in enumerate(wiring.versions)}
    twins = {layer.name: i for i, layer in enumerate(b.layers)}
    ends = frozenset(stops) & last.keys()
    found: dict[str, None] = {}
    theirs = {version.blob: i for i, version in enumerate(other.versions)}
    if blob not in last or blob not in theirs:
        return None
    waiting = [(last[blob], theirs[blob])]
    seen = set(waiting)
    while waiting:
        mine, their = waiting.pop()
        name = wiring.versions[mine].blob
        if (
            name in ends
            and name != blob
            and last[name] == mine
            and other.versions[their].blob == name
            and theirs[name] == their
        ):
            found[name] = None
            continue
        maker, twin = wiring.maker(mine), other.maker(their)
        if maker < 0 or twin < 0:
            if maker >= 0 or twin >= 0 or other.versions[their].blob != name:
                return None
            continue
        layer = a.layers[maker]
        if layer.is_input and b.layers[twin].is_input:
            if other.versions[their].blob != name:
                return None
            continue
        if twins.get(layer.name) != twin or not alike(layer, b.layers[twin]):
            return None
        if wiring.writes[maker].index(mine) != other.writes[twin].index(their):
            return None
        pairs = list(zip(wiring.reads[maker], other.reads[twin], strict=False))
        if len(wiring.reads[maker]) != len(other.reads[twin]):
            return None
        waiting += [pair for pair in pairs if pair not in seen]
        seen.update(pairs)
    return tuple(found)
