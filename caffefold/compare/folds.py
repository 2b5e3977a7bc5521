"""Which layers of one net were folded into which layers of the other, by structure alone.

An affine layer (BatchNorm, Scale, Bias, ...) that has no partner is looked for in the linear layers
in front of it, else in those behind it, else in a Scale beside it. Average pooling, Concat, Slice
and layers that do nothing at test time may stand in between (as in passes/fold/propagate.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from caffefold.compare.entries import FoldMatch
from caffefold.compare.load import ComparedNet
from caffefold.errors import TextError
from caffefold.ir.net import Layer
from caffefold.ir.params import FALSE, TRUE
from caffefold.ops.activation import SPLIT
from caffefold.ops.affine import SCALE
from caffefold.ops.base import AffineOp, LinearOp, own_message, word_in
from caffefold.ops.table import op
from caffefold.ops.wiring import CONCAT, SLICE


def is_affine(layer: Layer) -> bool:
    """Whether a layer may be a map per channel: its type is, and it has one input."""
    return isinstance(op(layer), AffineOp) and len(layer.bottoms) == 1 == len(layer.tops)


def _has_bias(layer: Layer) -> bool:
    """Whether a linear layer adds a bias: by its blobs, else by its text."""
    if layer.blobs:
        return len(layer.blobs) > 1
    return not word_in(own_message(layer, op(layer).param), "bias_term", FALSE)


def _shifts(layer: Layer) -> bool:
    """Whether an affine layer adds something, too."""
    return op(layer) is not SCALE or word_in(own_message(layer, SCALE.param), "bias_term", TRUE)


class Finder:
    """Folds from ``plain`` to ``folded``. ``skip``: layers that went for another reason."""

    def __init__(
        self, plain: ComparedNet, folded: ComparedNet, partner: dict[int, int], skip: set[int]
    ) -> None:
        self.plain, self.folded, self.partner = plain, folded, partner
        self.wired = plain.wiring
        self.gone = {
            i
            for i in range(plain.in_phase)
            if i not in partner and i not in skip and is_affine(plain.layers[i])
        }

    def find(self) -> Iterator[FoldMatch]:
        """Where the chains of neighbouring affine layers without a partner went."""
        taken: set[int] = set()
        for first in sorted(self.gone):
            if first not in taken:
                chain = [first]
                while (following := self._follower(chain[-1])) in self.gone:
                    chain.append(following)
                taken.update(chain)
                yield self._explained(chain)

    def _follower(self, at: int) -> int:
        """The one layer that reads the result of ``at``; -1 when none or several do."""
        while True:
            reader = self.wired.sole_reader(self.wired.writes[at][0])
            if reader is None:
                return -1
            layer = self.plain.layers[reader]
            if reader in self.partner or not op(layer).is_identity(layer):
                return reader
            at = reader

    def _explained(self, chain: list[int]) -> FoldMatch:
        names = tuple(self.plain.layers[i].name for i in chain)
        above = self._fold(names, chain, upward=True)
        beside = self._beside(chain)
        # A linear layer that got a bias absorbed the map; so did one when no Scale is there to.
        if above is not None and not above.problem and (above.bias_added or beside is None):
            return above
        if beside is not None:
            into = (self.plain.layers[beside].name,)
            return FoldMatch(names, into, "scale", bias_added=False)
        beneath = self._fold(names, chain, upward=False)
        nobody = "no linear layer of the other net could absorb it"
        return beneath or above or FoldMatch(names, (), "", bias_added=False, problem=nobody)

    def _fold(self, names: tuple[str, ...], chain: list[int], *, upward: bool) -> FoldMatch | None:
        """The fold into linear layers in front of the chain, or behind it; None without those."""
        start = self.wired.reads[chain[0]] if upward else self.wired.writes[chain[-1]]
        between: set[int] = set()
        found = self._linear(start[:1], between, upward=upward)
        if found is None:
            return None
        ends = list(dict.fromkeys(found))
        layers, others = self.plain.layers, self.folded.layers
        pairs = [(layers[i], others[self.partner[i]]) for i in ends]
        added = any(_has_bias(two) and not _has_bias(one) for one, two in pairs)
        problem = ""
        bare = [two.name for _, two in pairs if not _has_bias(two)]
        if bare and any(_shifts(layers[i]) for i in chain):
            problem = f"'{bare[0]}' has no bias that could hold the shift"
        elif upward:
            readers = (
                r for i in ends for r in self.wired.versions[self.wired.writes[i][0]].readers
            )
            also = [layers[r].name for r in readers if r in self.partner and r not in between]
            if also:
                first = layers[ends[0]].name
                problem = f"'{also[0]}' also reads '{first}', and its input would change"
        into = tuple(two.name for _, two in pairs)
        return FoldMatch(names, into, "output" if upward else "input", added, problem=problem)

    def _beside(self, chain: list[int]) -> int | None:
        """An affine layer next to the chain that is a Scale in the other net."""
        beside = (self._follower(chain[-1]), self.plain.maker(self.wired.reads[chain[0]][0]))
        for at in (at for at in beside if at in self.partner):
            other = self.folded.layers[self.partner[at]]
            if is_affine(self.plain.layers[at]) and op(other) is SCALE:
                return at
        return None

    def _linear(
        self, versions: tuple[int, ...], between: set[int], *, upward: bool
    ) -> list[int] | None:
        """The linear layers of both nets that make (downward: read) ``versions``, looking through
        what a map per channel passes, which is added to ``between``; None when others do, too."""
        ends = []
        for version in versions:
            places = [self.plain.maker(version)] if upward else self.wired.versions[version].readers
            if not places or -1 in places:
                return None
            for at in dict.fromkeys(places):
                layer = self.plain.layers[at]
                if isinstance(op(layer), LinearOp):
                    other = self.partner.get(at)
                    if other is None or not isinstance(op(self.folded.layers[other]), LinearOp):
                        return None
                    ends.append(at)
                    continue
                between.add(at)
                further = self.wired.reads[at] if upward else self.wired.writes[at]
                passes = at in self.gone or _lets_pass(layer)
                found = self._linear(further, between, upward=upward) if passes else None
                if found is None:
                    return None
                ends += found
        return ends or None


def _lets_pass(layer: Layer) -> bool:
    """Whether a map per channel is the same before and behind this layer."""
    own = op(layer)
    if own in (CONCAT, SLICE, SPLIT):
        return True
    try:
        return own.commutes(layer, [None] * len(layer.bottoms))
    except TextError:
        return False
