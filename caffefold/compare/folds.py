"""Which layers of one net were folded into which layers of the other, by structure alone.

An affine layer (BatchNorm, Scale, Bias, ...) that has no partner is looked for in the linear layers
in front of it, else in those behind it, else in a Scale beside it. Average pooling, Concat, Slice
and layers that do nothing at test time may stand in between (as in rewrite/travel.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from caffefold.compare.entries import Fold
from caffefold.compare.sides import Side
from caffefold.errors import TextError
from caffefold.formats.prototxt.tree import Message, Scalar
from caffefold.ir.net import Layer
from caffefold.ir.params import FALSE, TRUE
from caffefold.ops.kinds import is_identity
from caffefold.passes.fold.absorb import PARAMETERS
from caffefold.passes.fold.affine import is_source

_BETWEEN = frozenset({"Concat", "Slice", "Split"})


def find(plain: Side, folded: Side, partner: dict[int, int], skip: set[int]) -> tuple[Fold, ...]:
    """Folds from ``plain`` to ``folded``. ``skip``: layers that went for another reason."""
    finder = _Finder(plain, folded, partner, skip)
    return tuple(finder.explain(chain) for chain in finder.chains())


def is_affine(layer: Layer) -> bool:
    """Whether a layer may be a map per channel: its type is, and it has one input."""
    return is_source(layer) and len(layer.bottoms) == 1 == len(layer.tops)


def has_bias(layer: Layer) -> bool:
    """Whether a linear layer adds a bias: by its blobs, else by its text."""
    if layer.blobs:
        return len(layer.blobs) > 1
    params = layer.body.message(PARAMETERS[layer.type])
    value = params.last("bias_term") if params is not None else None
    return not (isinstance(value, Scalar) and value.raw in FALSE)


@dataclass(slots=True)
class _Way:
    """Linear layers that were reached, and everything on the way."""

    ends: list[int] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)


class _Finder:
    def __init__(self, plain: Side, folded: Side, partner: dict[int, int], skip: set[int]) -> None:
        self.plain, self.folded, self.partner = plain, folded, partner
        self.wired = plain.wiring
        self.gone = {
            i
            for i in range(plain.in_phase)
            if i not in partner and i not in skip and is_affine(plain.layers[i])
        }

    def chains(self) -> Iterator[list[int]]:
        """Neighbouring affine layers without a partner."""
        taken: set[int] = set()
        for first in sorted(self.gone):
            if first in taken:
                continue
            chain = [first]
            while (following := self.follower(chain[-1])) in self.gone:
                chain.append(following)
            taken.update(chain)
            yield chain

    def follower(self, at: int) -> int:
        """The one layer that reads the result of ``at``; -1 when none or several do."""
        reader = self.wired.sole_reader(self.wired.writes[at][0])
        while reader is not None and self._idle(reader):
            reader = self.wired.sole_reader(self.wired.writes[reader][0])
        return -1 if reader is None else reader

    def _idle(self, at: int) -> bool:
        return at not in self.partner and is_identity(self.plain.layers[at])

    def explain(self, chain: list[int]) -> Fold:
        """Where a chain went."""
        layers = self.plain.layers
        names = tuple(layers[i].name for i in chain)
        start, end = self.wired.reads[chain[0]][0], self.wired.writes[chain[-1]][0]
        up, down = _Way(), _Way()
        above = self._fold(names, up, chain, "output") if self._up(start, up) else None
        beside = self._beside(chain)
        # A linear layer that got a bias took the map; so did one when no Scale is there to.
        if above is not None and not above.problem and (above.bias_added or beside is None):
            return above
        if beside is not None:
            return Fold(names, (layers[beside].name,), "scale", bias_added=False)
        if self._down(end, down):
            return self._fold(names, down, chain, "input")
        nobody = "no linear layer of the other net could take it"
        return above or Fold(names, (), "", bias_added=False, problem=nobody)

    def _fold(self, names: tuple[str, ...], way: _Way, chain: list[int], kind: str) -> Fold:
        ends = list(dict.fromkeys(way.ends))
        layers, others = self.plain.layers, self.folded.layers
        pairs = [(layers[i], others[self.partner[i]]) for i in ends]
        added = any(has_bias(two) and not has_bias(one) for one, two in pairs)
        problem = ""
        bare = [two.name for _, two in pairs if not has_bias(two)]
        if bare and any(_shifts(layers[i]) for i in chain):
            problem = f"'{bare[0]}' has no bias that could hold the shift"
        elif kind == "output":
            also = [
                layers[r].name
                for i in ends
                for r in self.wired.versions[self.wired.writes[i][0]].readers
                if r in self.partner and r not in way.seen
            ]
            if also:
                problem = (
                    f"'{also[0]}' reads '{layers[ends[0]].name}' too, and would see it changed"
                )
        into = tuple(two.name for _, two in pairs)
        return Fold(names, into, kind, added, problem=problem)

    def _beside(self, chain: list[int]) -> int | None:
        """An affine layer next to the chain that is a Scale in the other net."""
        before = self.wired.versions[self.wired.reads[chain[0]][0]].producer
        for at in (self.follower(chain[-1]), before):
            if at in self.partner and is_affine(self.plain.layers[at]):
                other = self.folded.layers[self.partner[at]]
                if other.type == "Scale":
                    return at
        return None

    # ------------------------------------------------------------------------------- travel

    def _up(self, version: int, way: _Way) -> bool:
        if version < 0:
            return False
        at = self.wired.versions[version].producer
        if at < 0:
            return False
        layer = self.plain.layers[at]
        if layer.type in PARAMETERS:
            way.ends.append(at)
            return self._takes(at)
        way.seen.add(at)
        if at in self.gone or self._passes(layer):
            return bool(layer.bottoms) and all(self._up(v, way) for v in self.wired.reads[at])
        return False

    def _down(self, version: int, way: _Way) -> bool:
        readers = self.wired.versions[version].readers
        return bool(readers) and all(self._into(r, way) for r in dict.fromkeys(readers))

    def _into(self, at: int, way: _Way) -> bool:
        layer = self.plain.layers[at]
        if layer.type in PARAMETERS:
            way.ends.append(at)
            return self._takes(at)
        way.seen.add(at)
        if at in self.gone or self._passes(layer):
            return all(self._down(v, way) for v in self.wired.writes[at])
        return False

    def _takes(self, at: int) -> bool:
        other = self.partner.get(at)
        return other is not None and self.folded.layers[other].type in PARAMETERS

    def _passes(self, layer: Layer) -> bool:
        if layer.type in _BETWEEN or is_identity(layer):
            return True
        if layer.type != "Pooling":
            return False
        try:
            params = layer.params("pooling_param")
            padded = any(params.integer(name) for name in ("pad", "pad_h", "pad_w"))
            return params.enum("pool") == "AVE" and not padded
        except TextError:
            return False


def _shifts(layer: Layer) -> bool:
    """Whether an affine layer adds something, too."""
    if layer.type != "Scale":
        return True
    params = layer.body.message("scale_param") or Message(())
    value = params.last("bias_term")
    return isinstance(value, Scalar) and value.raw in TRUE
