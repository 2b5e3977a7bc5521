"""Which blobs are data, which are labels, and which layers only training can compute.

Given   data, label (Data) -> conv(data) -> margin(conv, label) -> SoftmaxWithLoss(margin, label)
Result  label is a label; margin and the loss are training; conv is what training predicts with

A blob is a label when nothing learned reads it as its input, and it is what a loss or a measure
compares with (or is called so). A layer that reads a label needs an answer nobody has at test time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import Category, LinearOp, loss_weight
from caffefold.ops.linear import INNER_PRODUCT
from caffefold.ops.loss import MULTIBOX_LOSS, SILENCE, Loss
from caffefold.ops.source import DUMMY_DATA
from caffefold.ops.table import op
from caffefold.ops.wiring import CONCAT, ELTWISE, SLICE
from caffefold.passes.view.phase import State, included

_LABEL_NAME = re.compile(r"(^|.*[_\-/.])(labels?|gt|truth|targets?)([_\-/.\d].*)?$", re.IGNORECASE)


class TrainingAnalysis:
    """The roles of the versions (ir/graph.py) and layers of one training net."""

    def __init__(self, net: Net, wiring: Graph) -> None:
        self.net, self.wiring = net, wiring
        self.pure = self._pure()
        """Versions that come from data layers and inputs without a learned layer in between."""
        trains = any(map(_compares, net.layers))
        self.labels = frozenset(v for v in self.pure if trains and self._is_label(v))
        """Pure versions that are answers, not questions."""
        self.going: set[int] = set()
        """Positions of layers a deploy net cannot have: losses, measures, readers of labels."""
        positions = range(len(net.layers))
        for position in positions:
            if _compares(net.layers[position]) or self._needs_answer(position):
                self.going.add(position)
        for position in reversed(positions):
            if self._is_mask(position):
                self.going.add(position)
        for position in positions:
            if self._needs_answer(position):
                self.going.add(position)

    def trained_only(self, version: int) -> bool:
        """Whether a version exists in training only: a label, or made by a training layer."""
        return version < 0 or version in self.labels or self.wiring.maker(version) in self.going

    def severing(self) -> tuple[int, str] | None:
        """The first layer that training alone can compute and that others learn behind, and the
        blob it cannot be without; None when nothing but losses stands behind such layers."""
        learns: set[int] = set()
        for position in reversed(range(len(self.net.layers))):
            made = self.wiring.writes[position]
            behind = {r for version in made for r in self.wiring.versions[version].readers}
            if any(_learns(self.net.layers[r]) for r in behind) or behind & learns:
                learns.add(position)
        for position in sorted(self.going):
            layer, reads = self.net.layers[position], self.wiring.reads[position]
            if _compares(layer) or self.pure.issuperset(self.wiring.writes[position]):
                continue
            trained = _learns(layer) and self.wiring.maker(reads[0]) in self.going
            if trained or position in learns:
                pairs = zip(reads, layer.bottoms, strict=True)
                return position, next(name for v, name in pairs if self.trained_only(v))
        return None

    def predictions(self, position: int) -> tuple[int, ...]:
        """What a training layer reads of the deploy net: learned versions, found backwards
        through other training layers where it does not read them itself."""
        found = self._direct(position)
        queue, seen = [position], {position}
        while queue and not found:
            for version in self.wiring.reads[queue.pop(0)]:
                producer = self.wiring.maker(version)
                if producer not in self.going or producer in seen:
                    continue
                seen.add(producer)
                queue.append(producer)
                behind = self._direct(producer)
                found = tuple(dict.fromkeys(self._feature(producer, v) for v in behind))
                if found:
                    break  # the first bottom is the prediction
        return found

    def scores_of(self, position: int) -> tuple[int, ...]:
        """What a margin layer reads that is no result: scores of the training classes."""
        return tuple(v for v in self._direct(position) if self._feature(position, v) != v)

    def depth(self, versions: Iterable[int], without: Collection[int] = ()) -> int:
        """How many learned layers stand one behind another up to ``versions``, not counting those
        at the positions ``without``."""
        positions = sorted(self.wiring.ancestors(versions).difference(without))
        depths: dict[int, int] = {}
        for position in positions:
            makers = map(self.wiring.maker, self.wiring.reads[position])
            before = max((depths.get(maker, 0) for maker in makers), default=0)
            depths[position] = before + _learns(self.net.layers[position])
        return max(depths.values(), default=0)

    def behind(self, versions: Iterable[int]) -> set[int]:
        """``versions``, and all that are made of them."""
        queue = list(versions)
        found = set(queue)
        while queue:
            for reader in self.wiring.versions[queue.pop()].readers:
                made = found.symmetric_difference(found.union(self.wiring.writes[reader]))
                queue += made
                found |= made
        return found

    def filtered(self, position: int) -> bool:
        """Whether a loss compares two tops of one layer: pairs of prediction and label that a
        layer in between has chosen (mtcnn's Python layers)."""
        made = [self.wiring.maker(v) for v in self.wiring.reads[position][:2] if v >= 0]
        return len(made) == 2 and made[0] == made[1] and made[0] in self.going

    def judges(self, position: int) -> bool:
        """Whether a layer is a loss, by its kind or because it only compares with a label."""
        layer = self.net.layers[position]
        if position not in self.going or op(layer).is_measure(layer):
            return False
        if op(layer).is_loss(layer):
            return True
        compares = not self.wiring.is_read(position) and self._reads_label(position)
        return compares and bool(self._direct(position))

    def without_twins(self, versions: tuple[int, ...]) -> tuple[int, ...]:
        """Of the predictions of one loss, those that a deploy net needs.

        Nets may look at several images at once only to train: of siamese twins, computed with the
        same shared weights, one is the output; of a triplet cut from the batch, what was cut.
        """
        producers = {self.wiring.maker(v) for v in versions}
        if len(versions) > 1 and len(producers) == 1 and OUTSIDE not in producers:
            position = producers.pop()
            layer = self.net.layers[position]
            if op(layer) is SLICE and SLICE.axis(layer) == 0:
                return (self.wiring.reads[position][0],)
        kept: list[int] = []
        for version in versions:
            if not any(self.same_function(version, other) for other in kept):
                kept.append(version)
        return tuple(kept)

    def same_function(self, one: int, other: int) -> bool:
        """Whether two blobs are computed by different layers that share all their weights."""
        if one not in self._sharing or other not in self._sharing:
            return False
        first, second = (self.wiring.ancestors([version]) for version in (one, other))
        layers = self.net.layers
        if any(op(layers[i]).is_learned(layers[i]) for i in first & second):
            return False  # one image behind both: levels of a pyramid with one head
        mine = _shared([layers[i] for i in first - second])
        return bool(mine) and mine == _shared([layers[i] for i in second - first])

    # ------------------------------------------------------------------------------ internals

    def _pure(self) -> frozenset[int]:
        found = {i for i, v in enumerate(self.wiring.versions) if v.producer == OUTSIDE}
        for position, layer in enumerate(self.net.layers):
            if op(layer).is_learned(layer) or _compares(layer):
                continue
            if found.issuperset(self.wiring.reads[position]):
                found.update(self.wiring.writes[position])
        return frozenset(found)

    @cached_property
    def _sharing(self) -> frozenset[int]:
        """The versions that layers compute whose weights have names, by which others share them."""
        found: set[int] = set()
        for position, layer in enumerate(self.net.layers):
            if _named(layer) or not found.isdisjoint(self.wiring.reads[position]):
                found.update(self.wiring.writes[position])
        return frozenset(found)

    def _is_label(self, version: int) -> bool:
        if self._feeds(version):
            return False
        value = self.wiring.versions[version]
        for reader in value.readers:
            layer = self.net.layers[reader]
            own = op(layer)
            if not _compares(layer) or own is SILENCE:
                continue
            reads = self.wiring.reads[reader]
            predicted = reads.index(version) < (own.predictions if isinstance(own, Loss) else 1)
            if not (predicted and self.pure.issuperset(reads)):
                return True
        # What is only taken apart is no label by its name: each part has a role of its own.
        return _LABEL_NAME.match(value.blob) is not None and any(
            op(self.net.layers[reader]) is not SLICE for reader in value.readers
        )

    def _feeds(self, version: int) -> bool:
        """Whether something learned takes the version, or what is made of it alone, as input."""
        queue, seen = [version], {version}
        while queue:
            current = queue.pop()
            for reader in self.wiring.versions[current].readers:
                layer = self.net.layers[reader]
                reads = self.wiring.reads[reader]
                if _compares(layer):
                    continue
                if op(layer).is_learned(layer):
                    if reads[0] == current or op(layer).recurrent:
                        return True
                elif self.pure.issuperset(reads):
                    queue += [made for made in self.wiring.writes[reader] if made not in seen]
                    seen.update(self.wiring.writes[reader])
                elif op(layer) is CONCAT:
                    return True  # joined with features: nobody does that to an answer
        return False

    def _is_mask(self, position: int) -> bool:
        """Whether an Eltwise only weighs a prediction, just before a loss, with what the data set
        says (pose nets mask people without annotation)."""
        if op(self.net.layers[position]) is not ELTWISE:
            return False
        reads = self.wiring.reads[position]
        masks = [v for v in reads if v in self.pure and not self._is_constant(v)]
        if not masks or len(masks) == len(reads) or any(map(self._feeds, masks)):
            return False
        readers = {r for v in self.wiring.writes[position] for r in self.wiring.versions[v].readers}
        return bool(readers) and readers <= self.going

    def _is_constant(self, version: int) -> bool:
        producer = self.wiring.maker(version)
        return producer != OUTSIDE and op(self.net.layers[producer]) is DUMMY_DATA

    def _needs_answer(self, position: int) -> bool:
        """Whether a layer reads a label, or what a training layer makes."""
        return self._reads_label(position) or any(
            self.wiring.maker(version) in self.going for version in self.wiring.reads[position]
        )

    def _reads_label(self, position: int) -> bool:
        return not self.labels.isdisjoint(self.wiring.reads[position])

    def _direct(self, position: int) -> tuple[int, ...]:
        """Learned versions that the deploy net has and the layer at ``position`` reads."""
        reads = dict.fromkeys(self.wiring.reads[position])
        return tuple(v for v in reads if v not in self.pure and not self.trained_only(v))

    def _feature(self, margin: int, version: int) -> int:
        """Behind a margin on class scores, the feature: scores of the training classes serve
        only the margin (ArcFace, AMSoftmax)."""
        maker = self.wiring.maker(version)
        layer = self.net.layers[margin]
        if maker == OUTSIDE or not op(layer).margin or not self._reads_label(margin):
            return version
        if op(layer).is_learned(layer) or op(layer).is_loss(layer):
            return version  # it holds the scores of the classes itself (SphereFace)
        scores = op(self.net.layers[maker]) is INNER_PRODUCT
        if scores and self.going.issuperset(self.wiring.versions[version].readers):
            before = self.wiring.reads[maker][0]
            return before if before >= 0 and before not in self.pure else version
        return version


def _compares(layer: Layer) -> bool:
    """Whether a layer is a loss or a measure."""
    return op(layer).is_loss(layer) or op(layer).is_measure(layer)


def _named(layer: Layer) -> bool:
    """Whether some of its weights have a name, by which others may share them."""
    return any(f.name == "param" and f.body.string("name") for f in layer.body.fields)


def _shared(layers: Sequence[Layer]) -> list[tuple[str, ...]] | None:
    """The names of the weights of every linear layer; None when one has weights of its own."""
    found = []
    for layer in layers:
        if isinstance(op(layer), LinearOp):
            params = [f.body.string("name") for f in layer.body.fields if f.name == "param"]
            if not params or not params[0]:
                return None
            found.append(tuple(params))
    return sorted(found)


def _learns(layer: Layer) -> bool:
    """Whether a layer mixes its inputs by weights: part of the trunk or of a branch of its own."""
    own = op(layer)
    learned = own.category is not Category.AFFINE and own.is_learned(layer) and not own.margin
    return learned and (isinstance(own, LinearOp) or own.recurrent or not own.known)


# ------------------------------------------------------------------------------ auxiliary losses


class Helper(NamedTuple):
    """Why a loss leaves no output, and whether that is no more than likely."""

    reason: str
    likely: bool = False


def auxiliary(training: TrainingAnalysis, state: State) -> Mapping[int, Helper]:
    """Positions of losses that only help training along and leave no output, with the reason.

    Given   loss1 (weight 0.3), loss2 (weight 0.3), loss3 (weight 1), all against the same label
    Result  loss1 and loss2 are auxiliary: GoogLeNet's side classifiers

    Of losses of one kind against one label, the one that weighs most is the main one; of equal ones
    the one that TEST (``state``) has, then the deepest. Another one is auxiliary where it is for
    TRAIN only and the main one is not, or where its branch leaves the trunk before the main one's
    and it weighs less; or as much, if both classify. A detector's losses are never: they are about
    objects of different sizes.

    Auxiliary are, too: a loss that shapes a feature (CenterLoss), behind which a classifier of the
    training classes is no result; a detector that refines the boxes.
    """
    layers = training.net.layers
    groups: dict[tuple[str, frozenset[int | str]], list[int]] = {}
    for position, layer in enumerate(layers):
        own = op(layer)
        if not own.is_loss(layer) or (isinstance(own, Loss) and own.detects):
            continue
        targets = frozenset(_targets(training, position))
        if targets and (own.probability or own.plain):  # else it compares with nothing we know
            groups.setdefault((own.probability or own.name, targets), []).append(position)
    found: dict[int, Helper] = {}
    for members in groups.values():
        in_both = [p for p in members if included(layers[p], state)]
        depths = {p: training.depth(training.predictions(p)) for p in members}
        main = max(members, key=lambda p: (loss_weight(layers[p]), p in in_both, depths[p]))
        for position in members:
            if position != main:
                reason = _reason(training, position, main, in_both)
                if reason is not None:
                    found[position] = reason
    return {**found, **_behind_features(training), **_refined(training)}


def _reason(
    training: TrainingAnalysis, position: int, main: int, in_both: Sequence[int]
) -> Helper | None:
    """Why the loss at ``position`` is auxiliary to the one at ``main``; None when it is not."""
    layer, other = training.net.layers[position], training.net.layers[main]
    mine, others = training.predictions(position), training.predictions(main)
    if set(mine) == set(others):
        return None
    if in_both and position not in in_both:
        first = training.net.layers[in_both[0]]
        return Helper(f"auxiliary: in TRAIN only, '{first.name}' is not")
    weight, most = loss_weight(layer), loss_weight(other)
    wiring = training.wiring
    behind, trunk = wiring.ancestors(mine), wiring.ancestors(others)
    own, rest = (training.depth(a, b) for a, b in ((mine, trunk), (others, behind)))
    if own >= rest:
        return None
    if weight < most:
        return Helper(f"auxiliary: weighs {weight:g}, '{other.name}' {most:g}")
    if own and op(layer).probability == "Softmax":
        return Helper(f"auxiliary: branches off before '{other.name}', same label", likely=True)
    return None


def _targets(training: TrainingAnalysis, position: int) -> Iterator[int | str]:
    """What a loss compares with: the labels it reads, by name where nothing here makes them."""
    pairs = zip(training.wiring.reads[position], training.net.layers[position].bottoms, strict=True)
    for version, name in pairs:
        if version in training.labels:
            yield _origin(training, version)
        elif version < 0:
            yield name


def _origin(training: TrainingAnalysis, version: int) -> int:
    """The label a label is only another form of: resized, reshaped, but not cut."""
    wiring, layers = training.wiring, training.net.layers
    while True:
        producer = wiring.maker(version)
        if producer == OUTSIDE or op(layers[producer]) is SLICE:
            return version
        if len(wiring.reads[producer]) != 1 or len(wiring.writes[producer]) != 1:
            return version
        version = wiring.reads[producer][0]


def _behind_features(training: TrainingAnalysis) -> Mapping[int, Helper]:
    """Classification losses behind the feature of a CenterLoss."""
    layers, wiring = training.net.layers, training.wiring
    centers = [
        i for i, x in enumerate(layers) if isinstance(own := op(x), Loss) and own.shapes_feature
    ]
    found = {}
    for center in centers:
        features = {wiring.maker(v) for v in training.predictions(center)}
        for position, layer in enumerate(layers):
            if position in centers or op(layer).probability != "Softmax":
                continue
            if features & wiring.ancestors(training.predictions(position)):
                name = layers[center].name
                reason = f"classes of the training set, after the feature of '{name}'"
                found[position] = Helper(reason)
    return found


def _refined(training: TrainingAnalysis) -> Mapping[int, Helper]:
    """Detection losses whose boxes another one refines (RefineDet: they stand behind its label)."""
    layers, reads = training.net.layers, training.wiring.reads
    detectors = [i for i, layer in enumerate(layers) if op(layer) is MULTIBOX_LOSS]
    return {
        position: Helper(f"auxiliary: '{layers[other].name}' refines its boxes")
        for position in detectors
        for other in detectors
        if reads[position][0] in reads[other][4:]
    }
