"""Data layers become Input layers, one for each blob that is still read.

Given   AnnotatedData -> data, label, with transform_param { resize_param { height: 300 ... } }
Result  Input -> data, shape 1 x 3 x 300 x 300

The shape is decided in rewrite/input_shape.py; what the layer did to its images is handed on by
rewrite/preprocessing.py; how inputs are written is in rewrite/input_style.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from caffefold.errors import UnknownInput
from caffefold.formats.prototxt.tree import Field, block, quote, scalar
from caffefold.ir import graph
from caffefold.ir.graph import Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.source import DUMMY_DATA
from caffefold.ops.table import op
from caffefold.ops.wiring import SLICE
from caffefold.options import DeployOptions
from caffefold.passes.contracts import text_agrees
from caffefold.passes.deploy.input_shape import Source, decide
from caffefold.passes.deploy.input_style import restyle, shape_field, with_inputs
from caffefold.passes.infra import Change, ChangeKind, PassResult

RULE = "inputs"


@dataclass(frozen=True, slots=True)
class ConvertInputs:
    """Replace each data layer by Input layers."""

    options: DeployOptions = field(default_factory=DeployOptions)
    """``layer``: Input layers; ``legacy``: ``input:`` fields; "": as the net has them."""
    trained: bool = True
    """Whether the net came with data layers or losses: then inputs nobody reads go, too."""
    name: str = RULE
    requires: ClassVar = (text_agrees,)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Convert every data layer.

        Raises:
            UsageError: a shape was given for a blob that is no input, or is missing.
        """
        wiring = graph.build(net)
        sources = [
            i
            for i, x in enumerate(net.layers)
            if op(x).is_data(x) or self.stands_in(net, wiring, i)
        ]
        new: dict[int, tuple[Layer, ...]] = {}
        changes: list[Change] = []
        warnings: list[str] = []
        made: set[str] = set()
        taken = {x.name for i, x in enumerate(net.layers) if i not in sources}
        for position in sources:
            layer = net.layers[position]
            layers, shown = [], []
            for source in _read(net, wiring, position, new):
                decided = decide(net, wiring, source, self.options)
                warnings += [decided.warning] if decided.warning else []
                name = source.blob
                if name in taken:
                    name = layer.name if layer.name not in taken else f"{name}_input"
                taken.add(name)
                made.add(source.blob)
                layers.append(_input_layer(net, layer, name, source.blob, decided.dims))
                shown.append(f"{source.blob} {'x'.join(map(str, decided.dims))}")
                shown[-1] += f" ({decided.why})" if decided.why else ""
            new[position] = tuple(layers)
            detail = f"{layer.type} -> " + (f"Input {', '.join(shown)}" if shown else "nothing")
            names = tuple(item.name for item in layers)
            changes.append(Change(ChangeKind.INPUT_CONVERTED, (layer.name,), names, detail))
        unread = _unread(net, wiring) if self.trained else frozenset()
        known = (set(net.inputs) - unread) | made
        for blob in sorted(set(self.options.input_shapes) - known):
            raise UnknownInput(blob, tuple(sorted(known)))
        result, told = with_inputs(net.substitute(new), self.options, unread, frozenset(made))
        changes += [Change(ChangeKind.INPUT_CONVERTED, (), (), detail) for detail in told]
        return PassResult(
            restyle(result, self.options.input_style), tuple(changes), (), tuple(warnings)
        )

    def stands_in(self, net: Net, wiring: Graph, position: int) -> bool:
        """Whether a DummyData stands for data: it is the only thing the net reads, or it gives
        random numbers to a training net. Beside other inputs it is a part of the net, and stays.
        """
        layer = net.layers[position]
        if op(layer) is not DUMMY_DATA:
            return False
        if not _is_read(wiring, position):
            return self.trained
        read = [x for i, x in enumerate(net.layers) if not x.bottoms and _is_read(wiring, i)]
        given = bool(net.legacy_inputs) or any(op(x).is_data(x) or x.is_input for x in read)
        if not DUMMY_DATA.constant(layer):
            return self.trained or not given
        return not given and all(DUMMY_DATA.constant(x) for x in read if op(x) is DUMMY_DATA)


def _is_read(wiring: Graph, position: int) -> bool:
    return any(wiring.versions[v].readers for v in wiring.writes[position])


def _read(
    net: Net, wiring: Graph, position: int, new: dict[int, tuple[Layer, ...]]
) -> list[Source]:
    """What the net still reads of a data layer. A Slice of which only parts are read goes (into
    ``new``): each part is an input of its own, as of one image of a siamese pair."""
    layer = net.layers[position]
    found = []
    for top, version in enumerate(wiring.writes[position]):
        readers = wiring.versions[version].readers
        if not readers:
            continue
        cuts = [r for r in readers if _cuts(net, wiring, r)]
        if len(cuts) < len(readers):
            found.append(Source(layer, top, wiring.versions[version].blob, version))
            continue
        for reader in cuts:
            new[reader] = ()
            slicer = net.layers[reader]
            points = SLICE.points(slicer)
            ranges = SLICE.ranges(slicer, points[-1] + 1 if points else None) or ()
            for j, part in enumerate(wiring.writes[reader]):
                if wiring.versions[part].readers:
                    # The last part reaches to the end, which only the data set knows.
                    known = j < len(ranges) - 1
                    count = ranges[j][1] - ranges[j][0] if known else 0
                    blob = wiring.versions[part].blob
                    found.append(Source(layer, top, blob, part, count))
    return found


def _cuts(net: Net, wiring: Graph, position: int) -> bool:
    """Whether this is a Slice of which some part is not read any more."""
    if op(net.layers[position]) is not SLICE:
        return False
    return any(not wiring.versions[v].readers for v in wiring.writes[position])


def _unread(net: Net, wiring: Graph) -> frozenset[str]:
    """Inputs from outside that no layer reads: labels, when training was fed from outside."""
    read = {
        version.blob
        for version in wiring.versions
        if version.readers
        and (version.producer == graph.OUTSIDE or net.layers[version.producer].is_input)
    }
    return frozenset(net.inputs) - read


def _input_layer(net: Net, old: Layer, name: str, blob: str, dims: tuple[int, ...]) -> Layer:
    fields = [
        scalar("name", quote(name), "  "),
        scalar("type", '"Input"', "  "),
        scalar("top", quote(blob), "  "),
        block("input_param", [shape_field("shape", dims, "    ")], "  "),
    ]
    lead = old.field.lead
    lead = lead[: lead.rfind("\n") + 1] if not lead.rpartition("\n")[2].strip() else lead
    return Layer.of(Field("layer", block("", fields, "").value, lead, " "), net.document)
