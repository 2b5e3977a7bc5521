"""Structure spoiled behind the fold: the proof refuses each net that computes something else.

Random nets are folded, and the result is spoiled in one place before it is proven: a layer reads
another blob, one is dropped, one works in place where its input is needed still, two results
change places. What the proof lets pass must compute what the given net does, as torch says, which
knows nothing of this package. Formulas and conditions have their mutants in ``tests/property``.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from types import MappingProxyType
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import caffefold
from caffefold.analysis.shapes import Shapes, infer
from caffefold.errors import CaffefoldError, ProofError
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net
from caffefold.log import DEBUG
from caffefold.passes.fold.collapse import Collapse
from tests.property.test_fold_random_nets import LIMIT
from tests.reference.caffe_torch import net_outputs, run
from tests.reference.random_nets import RandomNet, nets

QUICK = 24
MANY = int(os.environ.get("CAFFEFOLD_EXAMPLES") or 200_000) // 40
PARTS = 5

Fault = Callable[[Net, Random], "Net | None"]
"""The net with one fault, or None where it has no place for one."""


def wrong_bottom(net: Net, draw: Random) -> Net | None:
    """A layer reads another blob of the same shape."""
    places = []
    shapes = infer(net)
    for at, layer in enumerate(net.layers):
        for bottom, name in enumerate(layer.bottoms):
            others = _alike(net, shapes, at, bottom) - {name}
            places += [(at, bottom, other) for other in sorted(others)]
    if not places:
        return None
    at, bottom, other = draw.choice(places)
    bottoms = list(net.layers[at].bottoms)
    bottoms[bottom] = other
    return _rewired(net, {at: (tuple(bottoms), net.layers[at].tops)})


def layer_dropped(net: Net, draw: Random) -> Net | None:
    """A layer is missing: what read its result reads what it read."""
    places = [
        at for at, layer in enumerate(net.layers) if len(layer.bottoms) == 1 == len(layer.tops)
    ]
    if not places:
        return None
    at = draw.choice(places)
    return _called(net, at, net.layers[at].tops[0], net.layers[at].bottoms[0]).without([at])


def alias_mixed_up(net: Net, draw: Random) -> Net | None:
    """A layer works in place, though what it reads is read again, or is an output."""
    places = [
        at
        for at, layer in enumerate(net.layers)
        if len(layer.bottoms) == 1 == len(layer.tops)
        and layer.bottoms != layer.tops
        and not layer.is_input
    ]
    if not places:
        return None
    at = draw.choice(places)
    return _called(net, at - 1, net.layers[at].tops[0], net.layers[at].bottoms[0])


def outputs_swapped(net: Net, draw: Random) -> Net | None:
    """Two results of one shape change places, of one layer or of two."""
    shapes = infer(net)
    results = [
        (at, top, shapes.versions[version])
        for at, versions in enumerate(shapes.graph.writes)
        for top, version in enumerate(versions)
        if net.layers[at].tops[top] not in net.layers[at].bottoms and not net.layers[at].is_input
    ]
    places = [
        (a, b)
        for a in results
        for b in results
        if a[:2] < b[:2] and a[2] == b[2] and not _is_read(shapes, a[0], a[1], b[0])
    ]
    if not places:
        return None
    (one, first, _), (other, second, _) = draw.choice(places)
    tops = {at: list(net.layers[at].tops) for at in (one, other)}
    tops[one][first], tops[other][second] = tops[other][second], tops[one][first]
    return _rewired(net, {at: (net.layers[at].bottoms, tuple(new)) for at, new in tops.items()})


def _is_read(shapes: Shapes, at: int, top: int, until: int) -> bool:
    """Whether a result is read before the layer ``until`` has run."""
    version = shapes.graph.writes[at][top]
    return any(reader <= until for reader in shapes.graph.versions[version].readers)


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {made.__name__: made for made in (wrong_bottom, layer_dropped, alias_mixed_up, outputs_swapped)}
)


def _alike(net: Net, shapes: Shapes, at: int, bottom: int) -> set[str]:
    """Blobs that are there when a layer runs, with the shape of one of its bottoms."""
    wiring = shapes.graph
    wanted = shapes.versions[wiring.reads[at][bottom]]
    there = {
        version.blob: number
        for number, version in enumerate(wiring.versions)
        if version.producer < at
    }
    return {name for name, number in there.items() if shapes.versions[number] == wanted}


def _rewired(net: Net, wires: Mapping[int, tuple[tuple[str, ...], tuple[str, ...]]]) -> Net:
    return net.substitute({at: (net.layers[at].with_wiring(*new),) for at, new in wires.items()})


def _called(net: Net, behind: int, old: str, new: str) -> Net:
    """The blob ``old`` is called ``new`` by all layers behind one."""

    def names(given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(new if name == old else name for name in given)

    def wires(layer: Layer) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return names(layer.bottoms), names(layer.tops)

    behind_it = range(behind + 1, len(net.layers))
    return _rewired(net, {at: wires(net.layers[at]) for at in behind_it})


def verdict(net: RandomNet, fault: Fault, draw: Random) -> str:
    """What became of a fault: ``nowhere``, ``caught``, ``refused``, ``harmless``, ``missed``."""
    planted: list[Net | None] = []

    def spoiled(self: Collapse, given: Net) -> object:
        result = original(self, given)
        changed = fault(result.net, draw)
        if changed is not None and graph.build(changed).problems:
            changed = None  # no net at all, which is refused as such
        planted.append(changed)
        return result if changed is None else result._replace(net=changed)

    original = Collapse.run
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prototxt, caffemodel = folder / "net.prototxt", folder / "net.caffemodel"
        prototxt.write_text(net.prototxt)
        caffemodel.write_bytes(net.caffemodel)
        quiet = {key: value for key, value in os.environ.items() if key != DEBUG}
        # Without contracts: it is the proof that has to see it.
        without = mock.patch.dict(os.environ, quiet, clear=True)
        with without, mock.patch.object(Collapse, "run", spoiled):
            try:
                caffefold.convert(prototxt, caffemodel, folder / "out")
            except ProofError:
                return "caught"
            except CaffefoldError:  # its sizes do not fit together
                assert planted != [None]
                return "refused"
        if planted == [None]:
            return "nowhere"
        given = run(prototxt, caffemodel, net.inputs)
        made = run(folder / "out.prototxt", folder / "out.caffemodel", net.inputs)
        outputs = net_outputs(prototxt)
        if sorted(net_outputs(folder / "out.prototxt")) != sorted(outputs):
            return "missed"
        for blob in given.keys() & made.keys():
            floor = max(float(np.abs(given[blob]).max()), 0.1)
            if np.abs(made[blob] - given[blob]).max() > LIMIT * floor:
                return "missed"
    return "harmless"


def hunt(name: str, examples: int, *, most_layers: int, explore: bool) -> Counter[str]:
    """Verdicts on so many random nets with a fault."""
    found: Counter[str] = Counter()

    @settings(
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=not explore,
        max_examples=examples,
    )
    @given(nets(max_layers=most_layers), st.integers(0, 2**32))
    def each(net: RandomNet, seed: int) -> None:
        said = verdict(net, FAULTS[name], Random(seed))
        assert said != "missed"
        found[said] += 1

    each()
    print(name, dict(found))
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_caught(fault: str) -> None:
    found = hunt(fault, QUICK, most_layers=10, explore=False)
    assert found["caught"] >= 3, found


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("fault", FAULTS)
def test_many_faults_are_caught(fault: str, part: int) -> None:
    examples = max(MANY // len(FAULTS) // PARTS, 1)
    hunt(fault, examples, most_layers=10 + 2 * part, explore=True)
