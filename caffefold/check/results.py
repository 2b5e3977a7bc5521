"""Is what the given net computes still there? No branch is cut but those that only train.

Two kinds of results must have survived: blobs that nothing reads and that hold something learned,
and what losses and measures judge. A layer that reads a blob which the deploy net has no input for
(an answer) cannot be computed any more; behind it, what it judges are its other bottoms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from caffefold.check import reference
from caffefold.check.given import is_loss, is_measure, is_silent
from caffefold.check.heads import probability
from caffefold.check.sides import Sides
from caffefold.errors import ProofError
from caffefold.formats.prototxt.tree import Scalar
from caffefold.ir.graph import OUTSIDE
from caffefold.ir.net import Layer
from caffefold.ir.params import parse_float
from caffefold.ops.table import op

# They make the score of the right class worse; the scores are those of the training classes.
_DETECTS = re.compile(r"Yolo|Region|Grid|MultiBox|Detect")
_MARGIN = re.compile(r"Margin|LabelSpecific|Arc|Cosin|Angular")


def check_results(walk: Sides) -> None:
    """Check that no result of the given net was lost.

    Raises:
        ProofError: one was; what judged it, or made it, is named.
    """
    _Results(walk).check()


class _Results:
    """What became of the versions of the given net."""

    def __init__(self, walk: Sides) -> None:
        self.walk = walk
        self.layers, self.graph = walk.given.layers, walk.given.graph
        self.alive = {value for value in walk.found if value >= 0}
        """Values that the deploy net has."""
        self.pure: list[bool] = []
        """By version, whether nothing learned is in it."""
        self.computable: list[bool] = []
        """By version, whether it could be computed from the inputs of the deploy net."""
        for version, made in enumerate(self.graph.versions):
            reads = () if made.producer == OUTSIDE else self.graph.reads[made.producer]
            learned = made.producer != OUTSIDE and _learns(self.layers[made.producer])
            self.pure.append(not learned and all(v < 0 or self.pure[v] for v in reads))
            here = walk.values[version] in self.alive
            through = walk.values[version] != version and self.computable[walk.values[version]]
            made_of = bool(reads) and all(v >= 0 and self.computable[v] for v in reads)
            self.computable.append(here or through or made_of)
        self.excused: set[int] = set()
        """Values that are no results: of branches that only train."""

    def check(self) -> None:
        if self.walk.options.outputs:
            self._chosen(self.walk.options.outputs)
            return
        dead = [p for p in range(len(self.layers)) if p not in self.walk.alive]
        judges = [p for p in dead if self._judges(p)]
        lost = {p: cut for p in judges if (cut := self._cut(self.graph.reads[p]))}
        for position, cut in lost.items():
            if self._excuse(position, cut, judges, lost):
                self.excused.update(cut)
        for position, cut in lost.items():
            if not self.excused.issuperset(cut):
                self._fail(position, next(iter(cut - self.excused)))
        for position in dead:
            if position in judges or is_silent(self.layers[position]):
                continue
            unread = [v for v in self.graph.writes[position] if not self.graph.versions[v].readers]
            cut = self._cut(unread)
            if cut and not self._behind_excused(cut) and not self._twins(cut):
                self._fail(position, next(iter(cut)))

    def _fail(self, position: int, value: int) -> None:
        layer, blob = self.layers[position], self.graph.versions[value].blob
        what = f"its result '{blob}'" if blob in layer.tops else f"'{blob}', which it judges,"
        raise ProofError(f"layer '{layer.name}': {what} is lost", layer=layer.name)

    def _chosen(self, outputs: Sequence[str]) -> None:
        """The outputs that were asked for are there, and no others."""
        wiring = self.walk.graph
        made = {version.blob for version in wiring.versions}
        for blob in outputs:
            if blob not in made:
                raise ProofError(f"output '{blob}': was asked for, and is lost", layer=blob)

    # ------------------------------------------------------------------------------- judges

    def _judges(self, position: int) -> bool:
        """Whether a layer that is gone compares something with an answer."""
        layer = self.layers[position]
        if is_loss(layer) or is_measure(layer):
            return True
        return not self.graph.is_read(position) and self._answers(position) != []

    def _answers(self, position: int) -> list[int]:
        """The bottoms of a layer that the deploy net has no input for."""
        reads = self.graph.reads[position]
        return [v for v in reads if v >= 0 and self.pure[v] and not self.computable[v]]

    def _cut(self, versions: tuple[int, ...] | list[int]) -> set[int]:
        """Values that are learned and lost, of those that some versions are made of where only
        training can make them."""
        walk, queue, seen, found = self.walk, list(versions), set(), set()
        while queue:
            value = walk.value(queue.pop())
            if value < 0 or value in seen or value in self.alive or self.pure[value]:
                continue
            seen.add(value)
            maker = self.graph.maker(value)
            layer, reads = self.layers[maker], self.graph.reads[maker]
            if self.computable[value]:
                if _cuts_batch(layer):
                    queue.append(reads[0])
                else:
                    found.add(value)
            elif _learns(layer) and not self._answers(maker):
                found.add(value)
            elif _MARGIN.search(op(layer).name):
                for read in reads:  # not the scores, but what they are made of
                    scores = self.graph.maker(walk.value(read))
                    product = scores >= 0 and op(self.layers[scores]).name == "InnerProduct"
                    queue += self.graph.reads[scores] if product else [read]
            else:
                queue += reads
        return found

    # ------------------------------------------------------------------------------ excuses

    def _excuse(
        self, position: int, cut: set[int], judges: list[int], lost: dict[int, set[int]]
    ) -> bool:
        """Whether what a loss or a measure judged need not be there."""
        layer = self.layers[position]
        if self._twins(cut):
            return True
        mine = self._origins(position)
        for other in judges:
            if other == position or other in lost:
                continue
            if mine and mine & self._origins(other) and self._outweighs(other, position, cut):
                return True
            if op(layer).name == "MultiBoxLoss" and op(self.layers[other]).name == "MultiBoxLoss":
                refines = self.graph.reads[other][4:]  # RefineDet
                if self.graph.reads[position][0] in refines:
                    return True
        return False

    def _outweighs(self, other: int, position: int, cut: set[int]) -> bool:
        """Whether a loss against the same answers makes this one auxiliary: one of its kind that
        TEST has as well while this one is for TRAIN alone, or one further down the trunk that
        weighs more, or of two classifiers as much. Detectors have a loss for each size."""
        layer, main = self.layers[position], self.layers[other]
        if is_measure(layer) and not is_loss(layer):
            return True
        if "Center" in op(main).name:  # the feature is the result, not the training classes
            made = self.graph.ancestors(self.graph.reads[other][:1])
            return bool(made & self.graph.ancestors(cut))
        kinds = [probability(each) or op(each).name for each in (layer, main)]
        if kinds[0] != kinds[1] or _DETECTS.search(kinds[0]):
            return False
        lent = self.walk.given.lent
        if position in lent and other not in lent:
            return True
        mine, most = _weight(layer), _weight(main)
        behind, trunk = self.graph.ancestors(cut), self.graph.ancestors(self.graph.reads[other])
        if self._depth(behind - trunk) >= self._depth(trunk - behind):
            return False
        return mine < most or (mine == most and kinds[0] == "Softmax")

    def _depth(self, positions: set[int]) -> int:
        """How many learned layers stand one behind another among some."""
        depths: dict[int, int] = {}
        for position in sorted(positions):
            makers = (self.graph.maker(version) for version in self.graph.reads[position])
            before = max((depths.get(maker, 0) for maker in makers), default=0)
            depths[position] = before + _learns(self.layers[position])
        return max(depths.values(), default=0)

    def _origins(self, position: int) -> set[int]:
        """The answers that a layer compares with, as they come from outside."""
        queue, found = self._answers(position), set()
        while queue:
            version = queue.pop()
            maker = self.graph.maker(version)
            reads = () if maker == OUTSIDE else self.graph.reads[maker]
            if not reads or op(self.layers[maker]).name == "Slice":
                found.add(version)
            queue += reads if len(reads) == 1 and op(self.layers[maker]).name != "Slice" else ()
        return found

    def _behind_excused(self, cut: set[int]) -> bool:
        """Whether results lie behind, or in front of, what an auxiliary loss judges."""
        if not self.excused:
            return False
        makers = {self.graph.maker(value) for value in self.excused}
        behind = self.graph.ancestors(cut)
        return bool(makers & behind) or bool(
            {self.graph.maker(v) for v in cut} & self.graph.ancestors(self.excused)
        )

    def _twins(self, cut: set[int]) -> bool:
        """Whether what is lost is computed by shared weights alone, which other layers have."""
        walk = self.walk
        names = {name for position in walk.alive for name in _shared(self.layers[position]) or ()}
        if not names:
            return False
        gone = [self.layers[p] for p in self.graph.ancestors(cut) if p not in walk.alive]
        weighted = [layer for layer in gone if _learns(layer)]
        return bool(weighted) and all(
            (shared := _shared(layer)) and names.issuperset(shared) for layer in weighted
        )


def _learns(layer: Layer) -> bool:
    """Whether a layer computes with numbers that training found."""
    if not layer.bottoms:
        return False
    return bool(layer.blobs or any(layer.body.all("param")) or reference.learns(layer))


def _cuts_batch(layer: Layer) -> bool:
    """Whether a Slice takes images of one batch apart."""
    return (
        op(layer).name == "Slice"
        and reference.axis_of(layer, "slice_param", None, old="slice_dim") == 0
    )


def _shared(layer: Layer) -> tuple[str, ...]:
    """The names of the blobs that a layer shares; () where it has one of its own."""
    params = [f.body.string("name") for f in layer.body.fields if f.name == "param"]
    return tuple(params) if params and params[0] else ()


def _weight(layer: Layer) -> float:
    """The weight of a loss (layer.hpp): 1 unless written, of several the largest."""
    found = (v.raw for v in layer.body.all("loss_weight") if isinstance(v, Scalar))
    return max((parse_float(raw) or 0.0 for raw in found), default=1.0)
