"""The part of a net that a runtime can run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from caffefold.check.verdict import Unrun
from caffefold.errors import Option, UsageError
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net
from caffefold.verification.runtimes.base import Array, Batch, CannotRun, Runtime, Session


class DoesNotRun(UsageError):  # noqa: N818
    """Nothing of a net runs in a runtime."""


Wanted = Callable[[Net], Sequence[str]]


class Started(NamedTuple):
    """A net that runs."""

    session: Session
    net: Net
    """What of the net runs."""
    cut: tuple[Unrun, ...]
    """The layers it was cut in front of."""
    first: Mapping[str, Array]
    """What it made of the first batch."""


def outputs(net: Net) -> tuple[str, ...]:
    """The blobs that a net hands out, computed ones."""
    wiring = graph.build(net)
    return tuple(
        wiring.versions[i].blob
        for i in wiring.sinks
        if wiring.maker(i) >= 0 and not net.layers[wiring.maker(i)].is_input
    )


def kept(net: Net, part: Net) -> frozenset[str]:
    """The blobs that hold in a part of a net what they hold in the net."""
    makers, those = ({top: x.name for x in each.layers for top in x.tops} for each in (net, part))
    return frozenset(blob for blob, name in those.items() if makers.get(blob) == name)


def without(net: Net, names: Mapping[str, str]) -> Net:
    """The net without the layers of these names and all that is computed from what they make."""
    wiring = graph.build(net)
    gone: set[int] = set()
    lost: set[int] = set()
    for position, layer in enumerate(net.layers):
        if layer.name in names or lost.intersection(wiring.reads[position]):
            gone.add(position)
            lost.update(wiring.writes[position])
    return net.without(gone)


def start(
    name: str, runtime: Runtime, net: Net, wanted: Wanted, folder: Path, batch: Batch
) -> Started:
    """Start ``net`` and run the first batch; cut in front of layers that the runtime does not run.

    Raises:
        DoesNotRun: nothing of the net runs there.
    """
    cut: dict[str, str] = {}
    part = net
    while True:
        place = Path(tempfile.mkdtemp(dir=folder))
        try:
            session = runtime.start(part, wanted(part), place)
            found = session.run(batch)
            return Started(session, part, tuple(Unrun(*each) for each in cut.items()), found)
        except CannotRun as refusal:
            new = {layer: why for layer, why in refusal.layers.items() if layer in part}
            if not new:
                new = _first_refused(runtime, part, wanted, folder, batch, refusal.reason)
            part = without(part, new)
            if not new or not any(layer.bottoms for layer in part.layers):
                reason = "; ".join(f"layer '{k}': {v}" for k, v in new.items()) or refusal.reason
                raise DoesNotRun(
                    Option("runtime", name), f": it does not run '{net.name}': {reason}"
                ) from None
            cut |= new


def _first_refused(
    runtime: Runtime, net: Net, wanted: Wanted, folder: Path, batch: Batch, reason: str
) -> dict[str, str]:
    """The layer up to which a runtime runs a net that it refused without naming one."""
    positions = [i for i, layer in enumerate(net.layers) if layer.bottoms]
    runs, stops = 0, len(positions)
    while stops - runs > 1:
        middle = (runs + stops) // 2
        part = net.without(positions[middle:])
        try:
            place = Path(tempfile.mkdtemp(dir=folder))
            runtime.start(part, wanted(part), place).run(batch)
            runs = middle
        except CannotRun as refusal:
            stops, reason = middle, refusal.reason or reason
    return {net.layers[positions[stops - 1]].name: reason} if positions else {}


def expanded(net: Net) -> Net:
    """The net with a name of its own for what each layer in place reads: ``blob@layer``.

    Runtimes hand out the last value of a name; behind a ReLU in place, half of it would be hidden.
    """
    wiring = graph.build(net)
    names = [version.blob for version in wiring.versions]
    taken = set(names)
    for position, layer in enumerate(net.layers):
        for read, top in zip(wiring.reads[position], layer.tops, strict=False):
            maker = wiring.maker(read)
            name = f"{top}@{layer.name}"
            given = maker < 0 or net.layers[maker].is_input
            if names[read] == top and not given and name not in taken:
                names[read] = name
                taken.add(name)
    changed: dict[int, tuple[Layer, ...]] = {}
    for position, layer in enumerate(net.layers):
        bottoms = tuple(names[i] for i in wiring.reads[position])
        tops = tuple(names[i] for i in wiring.writes[position])
        if (bottoms, tops) != (layer.bottoms, layer.tops):
            changed[position] = (layer.with_wiring(bottoms, tops),)
    return net.substitute(changed)
