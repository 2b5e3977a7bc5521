"""Do two nets compute the same, fold by fold? Both are walked side by side.

Every value is written as ``scale * base + shift`` per channel, where ``base`` is something that is
no affine map of something else. Affine layers change scale and shift; Concat, Slice, Dropout and
average pooling pass them on; a linear layer takes them in. Everything else is a barrier: what goes
into it must be the same in both nets, and what comes out is then the same new base.

So wherever folding moved a map to, the two nets must agree again before the next barrier, and every
linear layer is checked on numbers: with what it is fed now, it must give what it gave, mapped by
what it claims to have absorbed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from caffefold.analysis.channels import along_channels, extents, slice_ranges
from caffefold.check.reference import LINEAR, Doubles, Map, affine
from caffefold.check.settings import settings
from caffefold.errors import ProofError
from caffefold.formats.caffemodel.precision import FLOAT32, Precision
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net

SUFFIX = "; nothing was put in place"
NOISE = 2.0**-44  # of float64 arithmetic in another order

LinearCheck = Callable[[Layer, Layer, "Value", "Value"], "Map | None"]


class Sum(NamedTuple):
    """Affine layers put together: their map, and what rounding may have done to it."""

    scale: Doubles
    shift: Doubles
    magnitude: Doubles
    """Sum of the sizes of all that was added up to ``shift``."""
    slack: Doubles
    """What storing next to nothing as zero may have moved scale and shift by, in the smallest
    numbers there are."""
    layers: int

    def then(self, after: Map) -> Sum:
        """One more affine layer."""
        return Sum(
            self.scale * after.scale,
            self.shift * after.scale + after.shift,
            self.magnitude * np.abs(after.scale) + np.abs(after.shift),
            self.slack * np.abs(after.scale) + np.abs(self.scale) + self.magnitude + 1,
            self.layers + 1,
        )

    def over(self, channels: int) -> Sum:
        """Written out for all channels."""
        scale, shift, magnitude, slack = (np.broadcast_to(a, (channels,)) for a in self[:4])
        return Sum(scale, shift, magnitude, slack, self.layers)

    def part(self, start: int, stop: int) -> Sum:
        """The channels ``start:stop`` of a sum that is written out."""
        scale, shift, magnitude, slack = (array[start:stop] for array in self[:4])
        return Sum(scale, shift, magnitude, slack, self.layers)


IDENTITY = Sum(np.ones(1), np.zeros(1), np.zeros(1), np.zeros(1), 0)


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """``scale * base + shift``; ``channels`` where known. No map is the identity."""

    base: object
    channels: int | None
    map: Sum | None = None

    def mapped(self, after: Map) -> Value:
        """This value, mapped once more."""
        joined = (self.map or IDENTITY).then(after)
        length = max(joined.scale.size, joined.shift.size)
        return Value(self.base, self.channels or (length if length > 1 else None), joined)

    def full_map(self) -> Sum:
        """The map written out for all channels (length 1 when they are unknown)."""
        found = self.map or IDENTITY
        return found.over(self.channels or max(found.scale.size, found.shift.size))


class Comparison:
    """One walk through the original net, one through the written net."""

    def __init__(self, check_linear: LinearCheck, precision: Precision = FLOAT32) -> None:
        self._check_linear = check_linear
        self._precision = precision
        self._fed: dict[tuple[str, int], tuple[Layer, tuple[Value, ...]]] = {}
        self.outputs: dict[str, Value] = {}
        self.maps: dict[str, Map | None] = {}
        """The maps of the original net's affine layers, by name; None for other layers."""

    def original(self, net: Net) -> None:
        """Walk the net that counts as right, and remember what every layer is fed with."""
        self.outputs = self._walk(net, remember=True)

    def written(self, net: Net) -> None:
        """Walk the net that is checked.

        Raises:
            ProofError: some layer is fed with something else, or an output differs.
        """
        found = self._walk(net, remember=False)
        if found.keys() != self.outputs.keys():
            raise ProofError(
                f"the written net has the outputs {sorted(found)}, "
                f"the original {sorted(self.outputs)}" + SUFFIX
            )
        for name, value in found.items():
            if not same(value, self.outputs[name], self._precision):
                raise ProofError(f"output '{name}' is not what the original net computes" + SUFFIX)

    def _walk(self, net: Net, *, remember: bool) -> dict[str, Value]:
        wiring = graph.validate(net)
        sizes = extents(net, wiring)
        values: dict[int, Value] = {}
        for index, given in enumerate(wiring.versions):
            if given.producer == graph.OUTSIDE:
                values[index] = Value(("input", given.blob), sizes[index].channels)
        seen: dict[str, int] = {}
        for position, layer in enumerate(net.layers):
            key = (layer.name, seen.setdefault(layer.name, 0))
            seen[layer.name] += 1
            inputs = tuple(values[v] for v in wiring.reads[position])
            made = wiring.writes[position]
            first = next(iter((*wiring.reads[position], *made)), None)
            rank = None if first is None else sizes[first].rank
            own = affine(layer, rank)
            if remember:
                self.maps.setdefault(layer.name, own)
            passed = _pass_on(layer, inputs, rank, own)
            if passed is None:
                passed = self._stop(key, layer, inputs, remember)
            for j, version in enumerate(made):
                value = passed[min(j, len(passed) - 1)]
                if value.channels is None:
                    value = Value(value.base, sizes[version].channels, value.map)
                values[version] = value
        return {wiring.versions[i].blob: values[i] for i in wiring.sinks}

    def _stop(
        self, key: tuple[str, int], layer: Layer, inputs: tuple[Value, ...], remember: bool
    ) -> tuple[Value, ...]:
        """A layer that maps do not pass: linear layers and barriers."""
        tops = range(max(len(layer.tops), 1))
        fresh = tuple(Value((key, j), None) for j in tops)
        if remember:
            self._fed[key] = (layer, inputs)
            return fresh
        if key not in self._fed:
            raise ProofError(f"layer '{layer.name}': not in the original net" + SUFFIX)
        original, before = self._fed[key]
        if settings(original) != settings(layer):
            raise ProofError(f"layer '{layer.name}': its parameters were changed" + SUFFIX)
        if len(before) != len(inputs) or any(
            a.base != b.base for a, b in zip(before, inputs, strict=True)
        ):
            raise ProofError(f"layer '{layer.name}': reads other blobs than before" + SUFFIX)
        if layer.type in LINEAR and layer.blobs and len(inputs) == 1 == len(layer.tops):
            claimed = self._check_linear(original, layer, before[0], inputs[0])
            return fresh if claimed is None else (fresh[0].mapped(claimed),)
        for a, b in zip(before, inputs, strict=True):
            if not same(a, b, self._precision):
                raise ProofError(f"layer '{layer.name}': is fed with other numbers" + SUFFIX)
        return fresh


def _pass_on(
    layer: Layer, inputs: tuple[Value, ...], rank: int | None, own: Map | None
) -> tuple[Value, ...] | None:
    """The tops of a layer that passes maps on; None for one that does not."""
    if own is not None:
        return (inputs[0].mapped(own),)
    if layer.type == "Split" or (layer.type == "Dropout" and not _acts_in_test(layer)):
        return inputs[:1]
    if layer.type == "Pooling" and len(layer.tops) == 1 and _commutes(layer):
        base = ("pool", settings(layer), inputs[0].base)
        return (Value(base, inputs[0].channels, inputs[0].map),)
    if layer.type == "Concat" and along_channels(layer, rank):
        return _concat(inputs)
    if layer.type == "Slice" and along_channels(layer, rank):
        return _slice(layer, inputs[0])
    return None


def _concat(inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    base = ("concat", tuple(value.base for value in inputs))
    channels = [value.channels for value in inputs]
    if all(value.map is None for value in inputs):
        known = None if None in channels else sum(c for c in channels if c)
        return (Value(base, known),)
    if None in channels:
        return None
    maps = [value.full_map() for value in inputs]
    scale, shift, magnitude, slack = (np.concatenate([m[i] for m in maps]) for i in range(4))
    joined = Sum(scale, shift, magnitude, slack, max(m.layers for m in maps))
    return (Value(base, joined.scale.size, joined),)


def _slice(layer: Layer, value: Value) -> tuple[Value, ...] | None:
    ranges = slice_ranges(layer, value.channels)
    if ranges is None:
        return None
    found = []
    for start, stop in ranges:
        part = None
        if value.map is not None:
            part = value.full_map().part(start, stop)
        found.append(Value(("slice", start, stop, value.base), stop - start, part))
    return tuple(found)


def _commutes(layer: Layer) -> bool:
    """Average pooling without padding: its divisor is the number of pixels (pooling_layer.cpp)."""
    params = layer.params("pooling_param")
    padded = any(params.integer(name) for name in ("pad", "pad_h", "pad_w"))
    return params.enum("pool") == "AVE" and not padded


def _acts_in_test(layer: Layer) -> bool:
    """Dropout of forks that is no identity: SegNet samples in TEST too, DeepLab scales there."""
    pairs = dict(settings(layer))
    samples = pairs.get("/dropout_param/sample_weights_test", "false")
    scales = pairs.get("/dropout_param/scale_train", "true")
    return samples not in ("false", "0", "False") or scales in ("false", "0", "False")


def same(a: Value, b: Value, precision: Precision = FLOAT32) -> bool:
    """Whether ``b``, as it was written, equals ``a`` up to rounding: a Scale layer may have taken
    the place of others, and its numbers are stored in ``precision``."""
    if a.base != b.base:
        return False
    if a.map is None and b.map is None:
        return True
    one, two = a.full_map(), b.full_map()
    if 1 not in (one.scale.size, two.scale.size) and one.scale.size != two.scale.size:
        return False
    allowed, tiny = rounding(b, precision), precision.tiny * (1 + two.slack)
    return bool(
        (np.abs(one.scale - two.scale) <= np.abs(one.scale) * allowed + tiny).all()
        and (np.abs(one.shift - two.shift) <= one.magnitude * allowed + tiny).all()
    )


def rounding(value: Value, precision: Precision = FLOAT32) -> float:
    """How far rounding may have moved a value's map: each affine layer holds rounded numbers."""
    return (value.map.layers if value.map else 0) * precision.unit * 1.1 + NOISE
