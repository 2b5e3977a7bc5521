"""Which layers take part: Caffe's include / exclude rules, and the view a deploy net starts from.

Given   data (TRAIN), data (TEST), conv, accuracy (TEST), loss (TRAIN)
Result  the TEST layers; plus layers the TEST view cannot do without: a data layer when TEST has
        none for a blob that is read, a loss that tells what the results are

Source: net.cpp, FilterNet and StateMeetsRule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import field, replace
from typing import ClassVar

from caffefold.errors import Option, Text, UnknownName
from caffefold.formats.prototxt.tree import Message
from caffefold.frozen import dataclass
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import Params
from caffefold.ops.activation import SIGMOID, SOFTMAX
from caffefold.ops.detection import DETECTION_OUTPUT
from caffefold.ops.table import op
from caffefold.options import ViewOptions
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult

_HEADS = (SOFTMAX, SIGMOID, DETECTION_OUTPUT)
_DEPLOY = "deploy"  # the stage that all-in-one nets (DIGITS) keep for the deploy net


@dataclass(frozen=True, slots=True)
class State:
    """What rules are matched against (NetState)."""

    phase: str = "TEST"
    level: int = 0
    stages: frozenset[str] = frozenset()

    @classmethod
    def of(cls, options: ViewOptions) -> State:
        """The state that the options choose."""
        return cls(options.phase, options.level, frozenset(options.stages))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SelectPhase(Pass):
    """Keep the layers a deploy net is made from; drop the rules' other layers."""

    state: State = field(default_factory=State)
    name: ClassVar = "phase"

    def run(self, net: Net) -> PassResult:
        """Filter; the rules themselves are left to the strip pass.

        Raises:
            UsageError: a stage was asked for that no rule of the net names.
        """
        changes = []
        state = state_of(net, self.state)
        if _DEPLOY in state.stages - self.state.stages:
            detail = f"the net has rules for stage '{_DEPLOY}', so it is on"
            changes.append(Change(ChangeKind.STAGE_CHOSEN, (), (), detail))
        kept = select(net, state)
        makers = lent_makers(net, kept, state)
        lent = [*makers, *_lent_losses(net, [*kept, *makers], state)]
        gone = sorted(set(range(len(net.layers))).difference(kept, lent))
        if gone:
            names, detail = tuple(net.layers[i].name for i in gone), f"not part of {state.phase}"
            changes.append(Change(ChangeKind.OTHER_PHASE_DROPPED, names, (), detail))
        return PassResult(net.without(gone), tuple(changes), (), _idle(net, self.state))


def _idle(net: Net, asked: State) -> tuple[str, ...]:
    """A warning for a level that was asked for and that no rule of the net reads."""
    if not asked.level or any(_levels(layer) for layer in net.layers):
        return ()
    return (
        Text(Option("level", str(asked.level)), ": no effect; no rule of this net has a level"),
    )


def _levels(layer: Layer) -> bool:
    rules = (rule for name in ("include", "exclude") for rule in layer.body.all(name))
    return any(
        isinstance(rule, Message) and rule.last(name) is not None
        for rule in rules
        for name in ("min_level", "max_level")
    )


def state_of(net: Net, asked: State) -> State:
    """What the rules of ``net`` are matched against: what was asked for, and what it says itself.

    Raises:
        UsageError: a stage was asked for that no rule of the net names.
    """
    named = {stage for layer in net.layers for stage in _stages(layer, "stage", "not_stage")}
    for stage in sorted(asked.stages - named):
        reason = "no rule in this net names it; its stages are"
        raise UnknownName("stages", stage, reason, tuple(sorted(named)))
    own = net.params().sub("state")
    stages = asked.stages.union(own.message.strings("stage"))
    if _DEPLOY in named and not stages:
        stages = frozenset({_DEPLOY})
    return replace(asked, level=asked.level or own.integer("level"), stages=stages)


def select(net: Net, state: State) -> list[int]:
    """Positions of the layers that Caffe would build in ``state``."""
    return [i for i, layer in enumerate(net.layers) if included(layer, state)]


def _stages(layer: Layer, *fields: str) -> Iterator[str]:
    """The stages that the rules of ``layer`` name in ``fields``."""
    for name in ("include", "exclude"):
        for rule in _rules(layer, name):
            for each in fields:
                yield from rule.message.strings(each)


def included(layer: Layer, state: State) -> bool:
    """Whether Caffe would build ``layer`` in ``state``.

    Raises:
        TextError: the layer has both include and exclude rules, which Caffe refuses.
    """
    include = list(_rules(layer, "include"))
    exclude = list(_rules(layer, "exclude"))
    if include and exclude:
        raise layer.error("include and exclude together; Caffe accepts only one kind of rule")
    if include:
        return any(_meets(rule, state) for rule in include)
    return not any(_meets(rule, state) for rule in exclude)


def _rules(layer: Layer, name: str) -> Iterator[Params]:
    descriptor = layer.document.schema.message("NetStateRule")
    for rule in layer.body.fields:
        if rule.name == name:
            yield Params(layer.document, rule.body, descriptor, f"layer '{layer.name}'")


def _meets(rule: Params, state: State) -> bool:
    if rule.has("phase") and rule.enum("phase") != state.phase:
        return False
    if rule.has("min_level") and state.level < rule.integer("min_level"):
        return False
    if rule.has("max_level") and state.level > rule.integer("max_level"):
        return False
    stages = rule.message.strings
    return state.stages.issuperset(stages("stage")) and state.stages.isdisjoint(stages("not_stage"))


def lent_makers(net: Net, kept: Sequence[int], state: State) -> list[int]:
    """Layers the rules leave out that make what the layers ``kept`` read and none of them makes.

    A layer of the same phase comes first (only its stage is off), then one of the other phase.
    """
    layers, spare = net.layers, _spare(net, kept, state)
    lent: list[int] = []
    while True:
        view = [layers[i] for i in (*kept, *lent)]
        made = {top for layer in view for top in layer.tops} | set(net.inputs)
        missing = {bottom for layer in view for bottom in layer.bottoms} - made
        maker = next(
            (i for i in spare if i not in lent and missing.intersection(layers[i].tops)), None
        )
        if maker is None:
            return lent
        lent.append(maker)


def _lent_losses(net: Net, kept: Sequence[int], state: State) -> list[int]:
    """Losses the rules leave out that tell what the results are.

    Where the layers ``kept`` judge nothing, all of them. Else those on what no other layer reads;
    and those on what a Softmax or its like reads, if others of their kind compare with the same
    label: some of these results may only help training.
    """
    layers = net.layers
    names = {layers[i].name for i in kept}
    judges = [i for i in kept if layers[i].bottoms and _judges(layers[i])]
    losses = [i for i in _spare(net, kept, state) if _is_loss(layers[i], names)]
    if not losses:
        return []
    order = sorted((*kept, *losses))
    place = {position: at for at, position in enumerate(order)}
    wiring = graph.build(net.without(set(range(len(layers))).difference(order)))
    predictions = {i: wiring.reads[place[i]][0] for i in (*judges, *losses)}
    heads = {predictions[i] for i in judges if not op(layers[i]).is_loss(layers[i])}
    judged = {predictions[i] for i in judges if op(layers[i]).is_loss(layers[i])} | {-1}
    alike: dict[tuple[str, tuple[str, ...]], set[int]] = {}
    for i, prediction in predictions.items():
        alike.setdefault((layers[i].type, layers[i].bottoms[1:]), set()).add(prediction)
    lent: list[int] = []
    for i in losses:
        prediction = predictions[i]
        if prediction in judged:
            continue
        if prediction in heads:
            useful = len(alike[layers[i].type, layers[i].bottoms[1:]]) > 1
        else:
            readers = (layers[order[at]] for at in wiring.versions[prediction].readers)
            useful = not judges or all(map(_only_trains, readers))
        if useful:
            lent.append(i)
            judged.add(prediction)
    return lent


def _is_loss(layer: Layer, taken: Collection[str]) -> bool:
    """Whether this is a loss on something, and no twin of a layer of the names ``taken``."""
    return bool(layer.bottoms) and op(layer).is_loss(layer) and layer.name not in taken


def _judges(layer: Layer) -> bool:
    return op(layer).is_loss(layer) or op(layer) in _HEADS


def _only_trains(layer: Layer) -> bool:
    return op(layer).is_loss(layer) or op(layer).is_measure(layer)


def _spare(net: Net, kept: Sequence[int], state: State) -> list[int]:
    """The layers that are not kept, the nearest to taking part first."""
    spare = sorted(set(range(len(net.layers))).difference(kept))
    return sorted(spare, key=lambda i: _distance(net.layers[i], state))


def _distance(layer: Layer, state: State) -> int:
    """How far a layer is from taking part: 0 its stage is off, 1 the other phase, 2 both."""
    other = "TRAIN" if state.phase == "TEST" else "TEST"
    stages = replace(state, stages=state.stages | {*_stages(layer, "stage")})
    if included(layer, stages):
        return 0
    return 1 if included(layer, replace(state, phase=other)) else 2
