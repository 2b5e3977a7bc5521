"""No layer works in place on an output, for consumers that stop at the first of its name.

Given   conv -> prob    relu: prob -> prob
Result  conv -> prob2  relu: prob2 -> prob
"""

from __future__ import annotations

from typing import ClassVar

from caffefold.frozen import dataclass
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net
from caffefold.passes.contracts import text_agrees, wired
from caffefold.passes.deploy.newlayer import Names
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class OwnOutputs(Pass):
    """An output's name is made once: earlier versions of it are called otherwise."""

    name: ClassVar = "outputs"
    requires: ClassVar = (text_agrees, wired)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Rename the earlier versions, where they are made and where they are read."""
        wiring = graph.build(net)
        last = {wiring.versions[at].blob: at for at in wiring.sinks}
        free = Names(net, ())
        names: dict[int, str] = {}  # inputs keep theirs
        for at, version in enumerate(wiring.versions):
            outside = version.producer == graph.OUTSIDE or net.layers[version.producer].is_input
            if last.get(version.blob, at) > at and not outside:
                names[at] = free.free(version.blob)
        if not names:
            return PassResult(net)
        new: dict[int, tuple[Layer, ...]] = {}
        for position, layer in enumerate(net.layers):
            bottoms = tuple(map(names.get, wiring.reads[position], layer.bottoms))
            tops = tuple(map(names.get, wiring.writes[position], layer.tops))
            if (bottoms, tops) != (layer.bottoms, layer.tops):
                new[position] = (layer.with_wiring(bottoms, tops),)
        changed = tuple(made.name for (made,) in new.values())
        detail = "outputs are not written in place"
        change = Change(ChangeKind.REWRITTEN, (), changed, detail)
        return PassResult(net.substitute(new), (change,))
