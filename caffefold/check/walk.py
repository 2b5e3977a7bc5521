"""Do two nets compute the same, fold by fold? Both are walked side by side.

Every blob holds a signal (check/signals.py): an affine map of a base. Affine layers change the map;
Concat, Slice, Dropout and average pooling hand it on; a linear layer takes it in. Everything else
is a barrier: what goes into it must be the same in both nets, and what comes out is then the same
new base.

So wherever folding moved a map to, the two nets must agree again before the next barrier, and every
linear layer is checked on numbers: with what it is fed now, it must give what it gave, mapped by
what it claims to have absorbed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from caffefold.analysis.shapes import Shapes, infer
from caffefold.check import reference
from caffefold.check.parameters import Pairs, declared_inputs, parameters
from caffefold.check.reference import AffineMap
from caffefold.check.signals import Bases, Signal
from caffefold.check.wiring import Signals, hands_on, is_identity
from caffefold.errors import ProofError
from caffefold.formats.caffemodel.precision import Precision
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.shape import Shape


class Place(NamedTuple):
    """What the walk through the original net found at a layer that folding may not remove."""

    position: int
    layer: Layer
    inputs: Signals
    shape: Shape
    """Of the first input."""
    stops: bool
    """Whether it is a linear layer or a barrier."""


LinearCheck = Callable[[Place, Layer, Signal], "AffineMap | None"]
"""Checks a linear layer of the original net against the written one and what that is fed with; the
map that it claims to have absorbed on its output."""
_Key = tuple[str, int]


class SideBySide:
    """One walk through the original net, then one through the written net.

    Layers are matched by name; of several with one name, the first that folding may not remove is
    matched with the first. A wrong match is no danger: whatever is matched must agree.
    """

    def __init__(self, check_linear: LinearCheck, precision: Precision) -> None:
        self.bases = Bases()
        self.maps: list[AffineMap | None] = []
        """The maps of the original net's affine layers, by position; None for other layers."""
        self.matches: dict[int, int] = {}
        """Position in the written net -> position in the original, where folding removes none."""
        self.outputs: dict[str, Signal] = {}
        self._check_linear = check_linear
        self._precision = precision
        self._places: dict[_Key, Place] = {}
        self._inputs: Pairs = ()

    def original(self, net: Net) -> None:
        """Walk the net that counts as right, and remember what every layer is fed with."""
        shapes = infer(net)
        self._inputs = declared_inputs(net)
        self.outputs = self._walk(net, graph.validate(net), shapes)

    def written(self, net: Net) -> None:
        """Walk the net that is checked.

        Raises:
            ProofError: some layer is missing, or fed with something else, or an output differs.
        """
        if declared_inputs(net) != self._inputs:
            raise ProofError("the written net declares other inputs than the original")
        found = self._walk(net, graph.validate(net), None)
        if found.keys() != self.outputs.keys():
            raise ProofError(
                f"the written net has the outputs {sorted(found)}, "
                f"the original {sorted(self.outputs)}"
            )
        for name, signal in found.items():
            if not self.agree(self.outputs[name], signal):
                raise ProofError(f"output '{name}' is not what the original net computes")
        matched = set(self.matches.values())
        for place in self._places.values():
            if place.stops and place.position not in matched:
                raise ProofError(f"layer '{place.layer.name}': missing from the written net")

    def agree(self, wanted: Signal, found: Signal) -> bool:
        """Whether a signal of the written net is one of the original, up to rounding."""
        return self.bases.agree(wanted, found, self._precision)

    def _walk(self, net: Net, wiring: graph.Graph, shapes: Shapes | None) -> dict[str, Signal]:
        """The signals of the net's outputs; ``shapes`` are given for the original net alone."""
        signals: dict[int, Signal] = {}
        for index, version in enumerate(wiring.versions):
            if version.producer == graph.OUTSIDE:
                shape = None if shapes is None else shapes.versions[index]
                signals[index] = self._base(("input", version.blob), shape)
        seen: Counter[str] = Counter()
        for position, layer in enumerate(net.layers):
            inputs = tuple(signals[version] for version in wiring.reads[position])
            own = reference.affine(layer, self.bases.rank(inputs[0]) if inputs else None)
            if shapes is not None:
                self.maps.append(own)
            if own is not None:
                tops: Signals = (self.bases.mapped(inputs[0], own, layer.name),)
            elif is_identity(layer):
                tops = inputs
            else:
                key = layer.name, seen[layer.name]
                seen[layer.name] += 1
                if shapes is not None:
                    tops = self._first(key, position, layer, inputs, shapes)
                else:
                    tops = self._second(key, position, layer, inputs)
            for j, version_made in enumerate(wiring.writes[position]):
                signals[version_made] = tops[min(j, len(tops) - 1)]
        return {wiring.versions[i].blob: signals[i] for i in wiring.sinks}

    def _first(
        self, key: _Key, position: int, layer: Layer, inputs: Signals, shapes: Shapes
    ) -> Signals:
        """A layer of the original net: what it hands on, or new bases."""
        shape = shapes.bottoms[position][0] if inputs else None
        passed = hands_on(layer, inputs, self.bases, shape)
        self._places[key] = Place(position, layer, inputs, shape, passed is None)
        return passed or self._fresh(key, layer, shapes.tops(position))

    def _second(self, key: _Key, position: int, layer: Layer, inputs: Signals) -> Signals:
        """A layer of the written net, compared with the one it is matched with."""
        place = self._places.get(key)
        if place is None:
            raise ProofError(f"layer '{layer.name}': not in the original net")
        self.matches[position] = place.position
        if not place.stops:
            passed = hands_on(layer, inputs, self.bases, place.shape)
            if passed is None:
                raise ProofError(f"layer '{layer.name}': handed its input on before")
            return passed
        if parameters(place.layer) != parameters(layer):
            raise ProofError(f"layer '{layer.name}': its parameters were changed")
        before = place.inputs
        if [signal.base for signal in before] != [signal.base for signal in inputs]:
            raise ProofError(f"layer '{layer.name}': reads other blobs than before")
        fresh = self._fresh(key, layer, ())
        single = len(inputs) == 1 == len(layer.tops)
        if single and reference.linear(layer, None) is not None:
            claimed = self._check_linear(place, layer, inputs[0])
            return fresh if claimed is None else (self.bases.mapped(fresh[0], claimed, layer.name),)
        for a, b in zip(before, inputs, strict=True):
            if not self.agree(a, b):
                raise ProofError(f"layer '{layer.name}': is fed with other numbers")
        return fresh

    def _fresh(self, key: _Key, layer: Layer, shapes: Sequence[Shape]) -> Signals:
        """New bases for the tops; where shapes are unknown, weights may tell the channels.

        ``shapes`` are empty for the written net, whose bases the original net has met.
        """
        linear = reference.linear(layer, None) if None in shapes else None
        channels = None if linear is None else linear.outputs
        tops = range(max(len(layer.tops), 1))
        padded = (*shapes, *(None for _ in tops))
        return tuple(self._base((key, j), padded[j], channels) for j in tops)

    def _base(self, key: object, shape: Shape, channels: int | None = None) -> Signal:
        rank = None if shape is None else len(shape)
        if shape is not None and len(shape) > 1 and shape[1] is not None:
            channels = shape[1]
        return Signal(self.bases.number(key, rank, channels))
