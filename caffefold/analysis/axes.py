"""How many axes the blob of an input must have, and what each of them counts.

Given   clip_markers -> Reshape (16 x 3) -> LSTM's second input, which has time and streams
Result  N: the Reshape cuts the items into time and streams
"""

from __future__ import annotations

from caffefold.ir.graph import Graph
from caffefold.ir.net import Net
from caffefold.ops.base import Same
from caffefold.ops.table import op
from caffefold.ops.wiring import ELTWISE, RESHAPE, SLICE


def wanted_axes(net: Net, wiring: Graph, version: int) -> str:
    """The axes of a version, a letter each (``Op.axes``), by the layers that read it, what is made
    of it in the same shape, and what a Reshape cuts it into; "" where none of them says."""
    queue, seen = [(version, False)], {version}
    for current, cut in queue:
        for reader in wiring.versions[current].readers:
            layer, made = net.layers[reader], wiring.writes[reader]
            own = op(layer)
            found = own.axes(layer, wiring.reads[reader].index(current))
            if found and not cut:
                return found
            if found.startswith("TN"):
                return found[1:]
            if own is RESHAPE or own in (ELTWISE, SLICE) or own.pointwise or own.flow == Same():
                queue += [(each, cut or own is RESHAPE) for each in made if each not in seen]
                seen.update(made)
    return ""
