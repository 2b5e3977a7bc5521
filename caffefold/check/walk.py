"""Do two nets compute the same, fold by fold? Both are walked side by side.

Every blob holds a signal (check/signals.py): an affine map of a base. Affine layers change the map;
Concat, Slice, Dropout and average pooling hand it on; a linear layer takes it in. Everything else
is a barrier: what goes into it must be the same in both nets, and what comes out is then the same
new base.

So wherever folding moved a map to, the two nets must agree again before the next barrier, and every
linear layer is checked on numbers: with what it is fed now, it must give what it gave, mapped by
what it claims to have absorbed. A blob name that is still there holds what it held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from caffefold.analysis.shapes import infer, input_shapes
from caffefold.check import reference, wiring
from caffefold.check.reference import AffineMap
from caffefold.check.signals import Base, Signal
from caffefold.check.wiring import Handed, Signals, Tops
from caffefold.errors import ProofError
from caffefold.formats.caffemodel.precision import Precision
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.shape import Shape
from caffefold.ops.table import op

_Key = tuple[str, int]
_TRIED = 64  # maps on one base; no net has as many behind a product of another axis


class Place(NamedTuple):
    """What the walk through the original net found at a layer that folding may not remove."""

    position: int
    layer: Layer
    inputs: Signals
    stops: bool
    """Whether it is a linear layer or a barrier."""


class Blobs(NamedTuple):
    """What a walk through a net found in its blobs."""

    signals: dict[str, Signal]
    """By name, what a blob holds when the net has run."""
    outputs: tuple[str, ...]


LinearCheck = Callable[[Place, Layer, Signal], "AffineMap | None"]
"""Checks a linear layer of the original net against the written one and what that is fed with; the
map that it claims to have absorbed on its output."""


class SideBySide:
    """One walk through the original net, then one through the written net.

    Layers are matched by name; of several with one name, the first that folding may not remove is
    matched with the first. A wrong match is no danger: whatever is matched must agree.
    """

    def __init__(
        self,
        original: Net,
        check_linear: LinearCheck,
        precision: Precision,
        dropped: Iterable[str] = (),
    ) -> None:
        self.maps: list[AffineMap | None] = []
        """The maps of the original net's affine layers, by position; None for other layers."""
        self.matches: dict[int, int] = {}
        """Position in the written net -> position in the original, where folding removes none."""
        self._original = original
        self._check_linear = check_linear
        self._precision = precision
        self._dropped = wiring.may_go(dropped)
        self._bases: dict[object, Base] = {}
        self._wholes: dict[Base, list[Base]] = {}
        self._on: dict[Base, list[Signal]] = {}  # of the original net, on bases that are wholes
        self._places: dict[_Key, Place] = {}

    def compare(self, written: Net) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Walk both nets; the names of their outputs, and of the blobs that are gone.

        Raises:
            ProofError: some layer is missing, or fed with something else; or a blob that both nets
                have differs.
        """
        wanted = self._walk(self._original, infer(self._original).versions)
        same = input_shapes(written) == input_shapes(self._original)
        if not same or wiring.declared_inputs(written) != wiring.declared_inputs(self._original):
            raise ProofError("the written net declares different inputs than the original")
        found = self._walk(written, None)
        if set(found.outputs) != set(wanted.outputs):
            raise ProofError(
                f"the written net has the outputs {sorted(found.outputs)}, "
                f"the original {sorted(wanted.outputs)}"
            )
        for name, signal in found.signals.items():
            before = wanted.signals.get(name)
            if before is not None and not before.agrees(signal, self._precision):
                what = "output" if name in found.outputs else "blob"
                raise ProofError(f"{what} '{name}' is not what the original net computes")
        matched = set(self.matches.values())
        for place in self._places.values():
            if place.stops and place.position not in matched:
                raise ProofError(f"layer '{place.layer.name}': missing from the written net")
        gone = tuple(name for name in wanted.signals if name not in found.signals)
        return wanted.outputs, gone

    def _walk(self, net: Net, shapes: tuple[Shape, ...] | None) -> Blobs:
        """The signals of the blobs; ``shapes``, by version, are given for the original net."""
        edges = graph.validate(net)
        signals: dict[int, Signal] = {}

        def set_up(version: int, top: Handed, *, product: bool = False) -> None:
            shape = None if shapes is None else shapes[version]
            base = self._bases.setdefault(top.key, Base(shape, top.channels, product=product))
            signals[version] = Signal(base, top.map)

        for index, version in enumerate(edges.versions):
            if version.producer == graph.OUTSIDE:
                set_up(index, Handed(("input", version.blob)))
        seen: Counter[str] = Counter()
        for position, layer in enumerate(net.layers):
            inputs = tuple(signals[version] for version in edges.reads[position])
            writes = edges.writes[position]
            key = layer.name, seen[layer.name]
            own = self._map(layer, inputs)
            if shapes is not None:
                self.maps.append(own)
            elif own is None and key not in self._places:  # an affine layer in another form
                own = reference.pointwise(layer)
            if layer.is_input:
                for made in writes:
                    set_up(made, Handed(("input", edges.versions[made].blob)))
            elif own is not None:
                mapped = self._taking(inputs[0], own).mapped(own, layer.name)
                signals[writes[0]] = mapped
                if shapes is not None and mapped.base.whole is not None:
                    self._on.setdefault(mapped.base, [Signal(mapped.base)]).append(mapped)
            elif wiring.is_identity(layer):
                signals.update(dict.fromkeys(writes, inputs[0]))
            else:
                seen[layer.name] += 1
                place = self._places.get(key) if shapes is None else None
                if place is not None and len(place.inputs) == len(inputs):
                    inputs = tuple(map(self._as, place.inputs, inputs))
                handed = wiring.hands_on(layer, inputs)
                claimed = None
                if shapes is not None:
                    self._places[key] = Place(position, layer, inputs, handed is None)
                else:
                    handed, claimed = self._matched(key, position, layer, inputs, handed)
                unknown = shapes is not None and any(shapes[made] is None for made in writes)
                linear = reference.linear(layer, None) if unknown else None
                outputs = reference.outputs_axis(layer, inputs[0].base.rank if inputs else None)
                channels = None if linear is None or outputs != 1 else linear.outputs
                for j, made in enumerate(writes):
                    made_by = op(layer).name == "InnerProduct"
                    top = handed[j] if handed else Handed((key, j), channels)
                    set_up(made, top, product=made_by)
                    if claimed is not None:
                        signals[made] = signals[made].mapped(claimed, layer.name)
        # Of the versions of a name, the last one counts.
        held = {version.blob: signals[i] for i, version in enumerate(edges.versions)}
        return Blobs(held, edges.outputs)

    def _map(self, layer: Layer, inputs: Signals) -> AffineMap | None:
        """The map of an affine layer."""
        if not inputs:
            return None
        base = inputs[0].base
        own = reference.affine(layer, base.rank)
        return reference.along_outputs(layer, base.rank) if own is None and base.product else own

    def _taking(self, signal: Signal, after: AffineMap) -> Signal:
        """``signal``, or a base that stands for it where its map lies along outputs and ``after``
        does not: what follows is a map of that."""
        if signal.map.takes(after) and (signal.map.axis == 1 or after.channels > 1):
            return signal
        known = self._wholes.setdefault(signal.base, [])
        for base in known[:_TRIED]:
            assert base.whole is not None
            if base.whole.agrees(signal, self._precision):
                return Signal(base)
        base = signal.base
        known.append(Base(base.shape, base.channels, product=base.product, whole=signal))
        return Signal(known[-1])

    def _as(self, before: Signal, found: Signal) -> Signal:
        """``found``, told by the base of ``before`` if it can be."""
        if before.base is found.base:
            return found
        known = (before, *self._on.get(before.base, [])[:_TRIED])
        return next((each for each in known if each.agrees(found, self._precision)), found)

    def _matched(
        self, key: _Key, position: int, layer: Layer, inputs: Signals, handed: Tops
    ) -> tuple[Tops, AffineMap | None]:
        """A layer of the written net, compared with the one it is matched with: what it hands on,
        or the map that it claims to have absorbed on its output."""
        place = self._places.get(key)
        if place is None:
            raise ProofError(f"layer '{layer.name}': not in the original net")
        self.matches[position] = place.position
        if not place.stops:
            if handed is None:
                raise ProofError(f"layer '{layer.name}': passed its input through before")
            return handed, None
        old, new = wiring.parameters(place.layer, self._dropped), wiring.parameters(layer)
        if old != new and (
            wiring.without_layout(place.layer, old) != wiring.without_layout(layer, new)
            or not _meets_alike(place.layer, layer, inputs)
        ):
            raise ProofError(f"layer '{layer.name}': its parameters were changed")
        if [signal.base for signal in place.inputs] != [signal.base for signal in inputs]:
            raise ProofError(f"layer '{layer.name}': reads different blobs than before")
        if len(inputs) == 1 == len(layer.tops) and reference.linear(layer, None) is not None:
            return None, self._check_linear(place, layer, inputs[0])
        for before, after in zip(place.inputs, inputs, strict=True):
            if not before.agrees(after, self._precision):
                raise ProofError(f"layer '{layer.name}': is fed different values")
        return None, None


def _meets_alike(before: Layer, after: Layer, inputs: Signals) -> bool:
    """Whether two linear layers meet their input alike, however their weights lie in the file and
    their windows are written.

    A depthwise type of a fork may leave ``group`` out; written as another type, it may not.
    """
    channels = inputs[0].base.channels if inputs else None
    old, new = reference.linear(before, channels), reference.linear(after, channels)
    if old is None or new is None:
        return old is new
    if (old.outputs, old.meets_border) != (new.outputs, new.meets_border):
        return False
    windows = wiring.windows(before), wiring.windows(after)
    if windows[0] != windows[1]:
        taps = reference.taps(before), reference.taps(after)
        if taps[0] is None or taps[1] is None or taps[0].steps_in(taps[1]) is None:
            return False
    groups = [wiring.groups(layer) for layer in (before, after)]
    renamed = before.body.string("type") != after.body.string("type")
    return groups[1] == old.view[0] or (groups[0] == groups[1] and not renamed)
