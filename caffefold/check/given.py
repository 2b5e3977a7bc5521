"""The net as it was given, in the phase that was asked for: which layers Caffe builds of it.

Written from net.cpp (FilterNet, StateMeetsRule) and apart from ``passes.view``: the proof would be
worth nothing if it took the choice of layers from the code it checks.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from typing import NamedTuple

from caffefold.formats.prototxt.tree import Field, Message, Scalar
from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import parse_float, parse_int
from caffefold.ops.table import op
from caffefold.options import ViewOptions

_PHASES = {"0": "TRAIN", "1": "TEST"}  # caffe.proto, enum Phase
_DEPLOY = "deploy"  # DIGITS writes one net for all uses; what it deploys has this stage
# Named in the forks' own sources; what contains none of this is known by its loss_weight.
_LOSS = re.compile(r"Loss|^Yolov3$|^YoloSeg$")
_MEASURE = re.compile(r"Accuracy|Eval")
_HUSH = ("Silence", "HDF5Output")
_HEADS = ("Softmax", "Sigmoid", "DetectionOutput")


class State(NamedTuple):
    """What rules are matched against (caffe.proto, NetState)."""

    phase: str
    level: int
    stages: frozenset[str]


def is_loss(layer: Layer) -> bool:
    """Whether a layer is there to train: by its type, by its weight (layer.hpp, SetLossWeights),
    or by the class that a Python layer names."""
    weights = [parse_float(v.raw) for v in layer.body.all("loss_weight") if isinstance(v, Scalar)]
    python = layer.body.message("python_param")
    called = python.string("layer") if python is not None else ""
    named = _LOSS.search(op(layer).name) or called.endswith(("Loss", "LossLayer"))
    return bool(layer.bottoms and (named or any(weight != 0 for weight in weights)))


def is_measure(layer: Layer) -> bool:
    """Whether a layer only reports how good a prediction is."""
    return bool(layer.bottoms and _MEASURE.search(op(layer).name))


def is_silent(layer: Layer) -> bool:
    """Whether a layer only takes blobs away from the outputs (silence_layer.cpp)."""
    return op(layer).name in _HUSH


class Given(NamedTuple):
    """The layers that take part, and how they are wired."""

    net: Net
    graph: Graph
    lent: frozenset[int]
    """Positions in ``net`` of layers of another phase, or another stage."""
    others: frozenset[tuple[str, str]]
    """Name and type of each layer that takes no part."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that take part, in the order of the file."""
        return self.net.layers

    def outside(self, version: int) -> bool:
        """Whether a version is made of nothing: by a data layer, an input, a constant."""
        maker = self.graph.maker(version)
        return maker == OUTSIDE or not self.layers[maker].bottoms


def given(net: Net, options: ViewOptions) -> Given:
    """What Caffe builds of ``net`` by ``options``, with what that needs of the rest.

    A net for training has no TEST form of what only training reads. Lent are: what makes a blob
    that is read and not made, of all that do the nearest; and losses on what is made.
    """
    layers = net.layers
    state = _state(net, options)
    kept = [i for i, layer in enumerate(layers) if takes_part(layer, state)]
    if len(kept) == len(layers):
        return Given(net, graph.build(net), frozenset(), frozenset())
    lent = _lent(net, kept, state)
    gone = set(range(len(layers))).difference(kept, lent)
    view, others = net.without(gone), frozenset((layers[i].name, layers[i].type) for i in gone)
    order = {position: new for new, position in enumerate(sorted({*kept, *lent}))}
    return Given(view, graph.build(view), frozenset(order[i] for i in lent), others)


def takes_part(layer: Layer, state: State) -> bool:
    """FilterNet: with include rules one has to be met, else none of the exclude rules."""
    include = [rule for rule in layer.body.all("include") if isinstance(rule, Message)]
    if include:
        return any(_meets(rule, state) for rule in include)
    exclude = (rule for rule in layer.body.all("exclude") if isinstance(rule, Message))
    return not any(_meets(rule, state) for rule in exclude)


def _meets(rule: Message, state: State) -> bool:
    """StateMeetsRule: phase, min_level, max_level, every stage, no not_stage."""
    phase = rule.string("phase")
    if phase and _PHASES.get(phase, phase) != state.phase:
        return False
    least, most = (parse_int(rule.string(name, "")) for name in ("min_level", "max_level"))
    if (least is not None and state.level < least) or (most is not None and state.level > most):
        return False
    stages = set(rule.strings("stage"))
    return stages <= state.stages and state.stages.isdisjoint(rule.strings("not_stage"))


def _state(net: Net, options: ViewOptions) -> State:
    own = [item.body for item in net.items if isinstance(item, Field) and item.name == "state"]
    stages = set(options.stages).union(*(message.strings("stage") for message in own))
    levels = [parse_int(message.string("level", "0")) or 0 for message in own]
    if not stages and any(_DEPLOY in _stages(layer) for layer in net.layers):
        stages = {_DEPLOY}
    return State(options.phase, options.level or (levels[-1] if levels else 0), frozenset(stages))


def _stages(layer: Layer) -> Iterator[str]:
    for field in layer.body.fields:
        if field.name in ("include", "exclude"):
            yield from field.body.strings("stage")
            yield from field.body.strings("not_stage")


def _lent(net: Net, kept: list[int], state: State) -> set[int]:
    layers = net.layers
    spare = sorted(set(range(len(layers))).difference(kept))
    spare.sort(key=lambda i: _distance(layers[i], state))
    makers: dict[str, list[int]] = {}
    for rank, i in enumerate(spare):
        for top in layers[i].tops:
            makers.setdefault(top, []).append(rank)
    made = {*net.inputs, *(top for i in kept for top in layers[i].tops)}
    lent: set[int] = set()
    queue: list[int] = []

    def want(layer: Layer) -> None:
        for blob in layer.bottoms:
            for rank in makers.get(blob, ()) if blob not in made else ():
                heapq.heappush(queue, rank)

    for i in kept:
        want(layers[i])
    while queue:
        i = spare[heapq.heappop(queue)]
        if i not in lent and not made.issuperset(layers[i].tops):
            lent.add(i)
            made.update(layers[i].tops)
            want(layers[i])
    names = {layers[i].name for i in (*kept, *lent)}
    for i in spare:
        layer = layers[i]
        if layer.name not in names and is_loss(layer) and layer.bottoms[0] in made:
            lent.add(i)
    return lent


def _distance(layer: Layer, state: State) -> int:
    """0: only its stage is off; 1: it is of the other phase; 2: both."""
    on = state._replace(stages=state.stages.union(_stages(layer)))
    if takes_part(layer, on):
        return 0
    return 1 if takes_part(layer, state._replace(phase=_other(state.phase))) else 2


def _other(phase: str) -> str:
    return "TRAIN" if phase == "TEST" else "TEST"
