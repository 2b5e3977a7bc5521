"""Layers in the trunk that only training needs give way: what read their output reads their input.

Given   c1 -> AssistedExcitation(c1, label) -> AE -> c2
Result  c1 -> c2

Some types are known to pass their input on at test time (``Op.assists``); of others the user says
so. Every layer that stays reads the value it read before; that has the name in front of the layer,
unless only the one behind it is free, or that is an output.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, TypeAlias

from caffefold.errors import Option, UnknownName, UsageError
from caffefold.frozen import dataclass
from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult

_Value: TypeAlias = str | tuple[int, int]
"""A version, whatever it is called: an input, or which top of which layer it is."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bypass(Pass):
    """Take out the layers of these names, and those that are known to do nothing."""

    names: Sequence[str] = ()
    name: ClassVar = "bypass"

    def run(self, net: Net) -> PassResult:
        """Take them out, one by one.

        Raises:
            UsageError: the net has no layer of a name, or a layer cannot be taken out.
        """
        known = tuple(layer.name for layer in net.layers if layer.bottoms and layer.tops)
        for name in self.names:
            if name not in known:
                reason = "no layer of that name has a bottom and a top; the layers that have are"
                raise UnknownName("bypass", name, reason, known)
        going = self._going(net)
        together = _without(net, going) if len(going) > 1 else None
        if together is not None:
            shared = set(_useless(net, going))
            own = [shared.intersection(_useless(net, [position])) for position in going]
            own[0] |= shared.difference(*own)
            return PassResult(together, tuple(map(_change, [net] * len(going), going, own)))
        changes = []
        while going:  # from the last on
            useless = _useless(net, going[-1:])
            changes.append(_change(net, going[-1], useless))
            net = _around(net, going[-1], useless)
            going = self._going(net)
        return PassResult(net, tuple(reversed(changes)))

    def _going(self, net: Net) -> list[int]:
        """Positions of the layers to take out."""
        return [
            i
            for i, layer in enumerate(net.layers)
            if layer.bottoms and layer.tops and (layer.name in self.names or op(layer).assists)
        ]


def _change(net: Net, position: int, useless: Collection[int]) -> Change:
    layer = net.layers[position]
    names = (layer.name, *(net.layers[i].name for i in sorted(useless)))
    blobs = ", ".join(f"'{name}'" for name in layer.bottoms[: len(layer.tops)])
    detail = f"{layer.type} -> nothing, {blobs} is passed on as it is"
    return Change(ChangeKind.BYPASSED, names, (), detail)


def _useless(net: Net, positions: Collection[int]) -> list[int]:
    """The layers that only serve what the layers at ``positions`` read and do not pass on."""
    wiring = graph.build(net)
    going = set(positions)
    kept: set[int] = set()
    queue: list[int] = []
    for position in positions:
        reads, passed = wiring.reads[position], len(wiring.writes[position])
        kept.update(map(wiring.maker, reads[:passed]))
        queue += reads[passed:]
    while queue:
        maker = wiring.maker(queue.pop())
        if maker == OUTSIDE or maker in going | kept or not net.layers[maker].bottoms:
            continue
        if all(going.issuperset(wiring.versions[v].readers) for v in wiring.writes[maker]):
            going.add(maker)
            queue += wiring.reads[maker]
    return sorted(going.difference(positions))


def _without(net: Net, positions: Sequence[int]) -> Net | None:
    """The net without all of these layers at once; None where one of them needs more care: an
    output, a name that is written again, an input that nothing makes."""
    wiring = graph.build(net)
    instead: dict[int, int] = {}
    for position in positions:
        reads, writes = wiring.reads[position], wiring.writes[position]
        for place, after in enumerate(writes):
            if place >= len(reads) or reads[place] < 0 or not wiring.versions[after].readers:
                return None
            instead[after] = instead.get(reads[place], reads[place])
    going = {*positions, *_useless(net, positions)}
    names = {(before, after): wiring.versions[before].blob for after, before in instead.items()}
    made = _renamed(net, wiring, going, names)
    same = _read(made, graph.build(made), {}) == _read(net, wiring, instead, going)
    return made if same else None


def _around(net: Net, position: int, useless: Collection[int]) -> Net:
    """The net without one layer, whose j-th input takes the place of its j-th output, and without
    what only served it."""
    going = (position, *useless)
    wiring, layer = graph.build(net), net.layers[position]
    reads, writes = wiring.reads[position], wiring.writes[position]
    for top, version in zip(layer.tops[len(reads) :], writes[len(reads) :], strict=True):
        if wiring.versions[version].readers:
            reason = f": its output '{top}' is read, and no input of it can take its place"
            raise UsageError(Option("bypass", layer.name), reason)
    pairs = list(zip(reads, writes, strict=False))
    wanted = _read(net, wiring, dict(zip(writes, reads, strict=False)), going)
    for names in itertools.product(*(_names(net, wiring, *pair) for pair in pairs)):
        made = _renamed(net, wiring, going, dict(zip(pairs, names, strict=True)))
        if _read(made, graph.build(made), {}) == wanted:
            return made
    reason = ": no name is free for what it passes on; rename its output in the prototxt"
    raise UsageError(Option("bypass", layer.name), reason)


def _names(net: Net, wiring: Graph, before: int, after: int) -> Sequence[str]:
    """What input and output may be called together, the better name first."""
    if before < 0:
        return ()
    front, behind = wiring.versions[before], wiring.versions[after]
    if front.producer == OUTSIDE or not net.layers[front.producer].bottoms:
        return (front.blob,)
    # An output keeps its name.
    return (front.blob, behind.blob) if behind.readers else (behind.blob, front.blob)


def _renamed(
    net: Net, wiring: Graph, going: Collection[int], names: Mapping[tuple[int, int], str]
) -> Net:
    """The net without the layers ``going``; what passes them is called as in ``names``."""
    called = {version: name for pair, name in names.items() for version in pair}
    new: dict[int, tuple[Layer, ...]] = dict.fromkeys(going, ())
    for position, layer in enumerate(net.layers):
        reads, writes = wiring.reads[position], wiring.writes[position]
        if position not in new and not called.keys().isdisjoint((*reads, *writes)):
            bottoms = map(called.get, reads, layer.bottoms)
            tops = map(called.get, writes, layer.tops)
            new[position] = (layer.with_wiring(tuple(bottoms), tuple(tops)),)
    return net.substitute(new)


def _read(
    net: Net, wiring: Graph, instead: Mapping[int, int], going: Collection[int] = ()
) -> list[list[_Value]]:
    """What each layer but ``going`` reads, where some versions stand ``instead`` of others."""
    staying = [i for i in range(len(net.layers)) if i not in going]
    places = {position: place for place, position in enumerate(staying)}

    def value(version: int, name: str) -> _Value:
        version = instead.get(version, version)
        producer = wiring.maker(version)
        if producer == OUTSIDE:
            return name if version < 0 else wiring.versions[version].blob
        return places[producer], wiring.writes[producer].index(version)

    return [
        [value(v, name) for v, name in zip(wiring.reads[i], net.layers[i].bottoms, strict=True)]
        for i in staying
    ]
