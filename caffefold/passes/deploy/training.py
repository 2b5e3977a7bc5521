"""Which blobs are data, which are labels, and which layers only training can compute.

Given   data, label (Data) -> conv(data) -> margin(conv, label) -> SoftmaxWithLoss(margin, label)
Result  label is a label; margin and the loss are training; conv is what training predicts with

A blob is a label when nothing learned reads it as its input, and it is what a loss or a measure
compares with (or is called so). A layer that reads a label needs an answer nobody has at test time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Net
from caffefold.ops.linear import INNER_PRODUCT
from caffefold.ops.loss import SILENCE, Loss
from caffefold.ops.source import DUMMY_DATA
from caffefold.ops.table import op
from caffefold.ops.wiring import CONCAT, ELTWISE, SLICE

_LABEL_NAME = re.compile(r"(^|.*[_\-/.])(labels?|gt|truth|targets?)([_\-/.\d].*)?$", re.IGNORECASE)


class Roles(NamedTuple):
    """The roles of the versions (model/graph.py) and layers of one training net."""

    net: Net
    wiring: Graph
    pure: frozenset[int]
    """Versions that come from data layers and inputs without a learned layer in between."""
    labels: frozenset[int]
    """Pure versions that are answers, not questions."""
    training: frozenset[int]
    """Positions of layers a deploy net can not have: losses, measures, readers of labels."""

    def trained_only(self, version: int) -> bool:
        """Whether a version exists in training only: a label, or made by a training layer."""
        if version < 0 or version in self.labels:
            return True
        return self.wiring.versions[version].producer in self.training

    def predictions(self, position: int) -> tuple[int, ...]:
        """What a training layer reads of the deploy net: learned versions, found backwards
        through other training layers where it does not read them itself."""
        found = self._direct(position)
        queue = [] if found else [position]
        seen = {position}
        while queue and not found:
            for version in self.wiring.reads[queue.pop(0)]:
                producer = self.wiring.versions[version].producer if version >= 0 else OUTSIDE
                if producer not in self.training or producer in seen:
                    continue
                seen.add(producer)
                queue.append(producer)
                behind = self._direct(producer)
                found = tuple(dict.fromkeys(self._feature(producer, v) for v in behind))
                if found:
                    break  # the first bottom is the prediction
        return found

    def _direct(self, position: int) -> tuple[int, ...]:
        """Learned versions that the deploy net has and the layer at ``position`` reads."""
        reads = dict.fromkeys(self.wiring.reads[position])
        return tuple(v for v in reads if v >= 0 and v not in self.pure and not self.trained_only(v))

    def _feature(self, margin: int, version: int) -> int:
        """Behind a margin on class scores, the feature: scores of the training classes serve
        only the margin (ArcFace, AMSoftmax)."""
        maker = self.wiring.versions[version].producer
        layer = self.net.layers[margin]
        if maker == OUTSIDE or not op(layer).margin or not self.reads_label(margin):
            return version
        if op(layer).is_learned(layer) or op(layer).is_loss(layer):
            return version  # it holds the scores of the classes itself (SphereFace)
        scores = op(self.net.layers[maker]) is INNER_PRODUCT
        if scores and set(self.wiring.versions[version].readers) <= self.training:
            before = self.wiring.reads[maker][0]
            return before if before >= 0 and before not in self.pure else version
        return version

    def scores_of(self, position: int) -> tuple[int, ...]:
        """What a margin layer reads that is no result: scores of the training classes."""
        return tuple(v for v in self._direct(position) if self._feature(position, v) != v)

    def filtered(self, position: int) -> bool:
        """Whether a loss compares two tops of one layer: pairs of prediction and label that a
        layer in between has chosen (mtcnn's Python layers)."""
        made = [self.wiring.versions[v].producer for v in self.wiring.reads[position][:2] if v >= 0]
        return len(made) == 2 and made[0] == made[1] and made[0] in self.training

    def judges(self, position: int) -> bool:
        """Whether a layer is a loss, by its kind or because it only compares with a label."""
        layer = self.net.layers[position]
        if position not in self.training or op(layer).is_measure(layer):
            return False
        unread = not any(self.wiring.versions[v].readers for v in self.wiring.writes[position])
        return op(layer).is_loss(layer) or (
            unread and self.reads_label(position) and bool(self._direct(position))
        )

    def reads_label(self, position: int) -> bool:
        """Whether the layer itself reads a label."""
        return any(version in self.labels for version in self.wiring.reads[position])


def roles(net: Net, wiring: Graph) -> Roles:
    """Work out the roles of a net in its training form."""
    layers = net.layers
    pure = _pure(net, wiring)
    trains = any(op(layer).is_loss(layer) or op(layer).is_measure(layer) for layer in layers)
    labels = frozenset(v for v in pure if trains and _is_label(net, wiring, pure, v))
    training: set[int] = set()
    for position, layer in enumerate(layers):
        reads = wiring.reads[position]
        answered = any(
            v in labels or (v >= 0 and wiring.versions[v].producer in training) for v in reads
        )
        if answered or op(layer).is_loss(layer) or op(layer).is_measure(layer):
            training.add(position)
    for position in reversed(range(len(layers))):
        if position not in training and _is_mask(net, wiring, pure, training, position):
            training.add(position)
    for position in range(len(layers)):
        if any(v >= 0 and wiring.versions[v].producer in training for v in wiring.reads[position]):
            training.add(position)
    return Roles(net, wiring, pure, labels, frozenset(training))


def _pure(net: Net, wiring: Graph) -> frozenset[int]:
    found = {i for i, version in enumerate(wiring.versions) if version.producer == OUTSIDE}
    for position, layer in enumerate(net.layers):
        if op(layer).is_learned(layer) or op(layer).is_loss(layer) or op(layer).is_measure(layer):
            continue
        if all(v in found for v in wiring.reads[position]):
            found.update(wiring.writes[position])
    return frozenset(found)


def _is_label(net: Net, wiring: Graph, pure: frozenset[int], version: int) -> bool:
    if _feeds(net, wiring, pure, version):
        return False
    for reader in wiring.versions[version].readers:
        layer = net.layers[reader]
        if (op(layer).is_loss(layer) or op(layer).is_measure(layer)) and op(layer) is not SILENCE:
            reads = wiring.reads[reader]
            own = op(layer)
            first = reads.index(version) < (own.predictions if isinstance(own, Loss) else 1)
            if not (first and all(v in pure for v in reads)):  # else it is what is predicted
                return True
    named = _LABEL_NAME.match(wiring.versions[version].blob) is not None
    return named and bool(wiring.versions[version].readers) and not _only_cut(net, wiring, version)


def _only_cut(net: Net, wiring: Graph, version: int) -> bool:
    """Whether a version is only taken apart: then each part has a role of its own."""
    readers = wiring.versions[version].readers
    return all(op(net.layers[r]) is SLICE for r in readers)


def _feeds(net: Net, wiring: Graph, pure: frozenset[int], version: int) -> bool:
    """Whether something learned takes the version, or what is made of it alone, as its input."""
    queue, seen = [version], {version}
    while queue:
        current = queue.pop()
        for reader in wiring.versions[current].readers:
            layer = net.layers[reader]
            reads = wiring.reads[reader]
            if op(layer).is_loss(layer) or op(layer).is_measure(layer):
                continue
            if op(layer).is_learned(layer):
                if reads[0] == current or op(layer).recurrent:
                    return True
            elif all(v in pure for v in reads):
                queue += [made for made in wiring.writes[reader] if made not in seen]
                seen.update(wiring.writes[reader])
            elif op(layer) is CONCAT:
                return True  # joined with features: nobody does that to an answer
    return False


def _is_mask(
    net: Net, wiring: Graph, pure: frozenset[int], training: set[int], position: int
) -> bool:
    """Whether an Eltwise only weighs a prediction, just before a loss, with what the data set
    says (pose nets mask people without annotation)."""
    if op(net.layers[position]) is not ELTWISE:
        return False
    masks = [
        v
        for v in wiring.reads[position]
        if v in pure and not _is_constant(net, wiring.versions[v].producer)
    ]
    if not masks or len(masks) == len(wiring.reads[position]):
        return False
    if any(_feeds(net, wiring, pure, v) for v in masks):
        return False
    readers = {r for v in wiring.writes[position] for r in wiring.versions[v].readers}
    return bool(readers) and readers <= training


def _is_constant(net: Net, producer: int) -> bool:
    return producer != OUTSIDE and op(net.layers[producer]) is DUMMY_DATA


def ancestors(wiring: Graph, version: int) -> set[int]:
    """Positions of all layers ``version`` is computed by."""
    found: set[int] = set()
    queue = [version]
    while queue:
        producer = wiring.versions[queue.pop()].producer
        if producer != OUTSIDE and producer not in found:
            found.add(producer)
            queue += [v for v in wiring.reads[producer] if v >= 0]
    return found
