"""Which layers take part: Caffe's include / exclude rules, and the view a deploy net starts from.

Given   data (TRAIN), data (TEST), conv, accuracy (TEST), loss (TRAIN)
Result  the TEST layers; plus layers the TEST view cannot do without: a data layer when TEST has
        none for a blob that is read, a loss on what no loss of TEST reads

Source: net.cpp, FilterNet and StateMeetsRule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from caffefold.errors import UnknownName
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
        layers = net.layers
        named = {stage for layer in layers for stage in _stages(layer, "stage", "not_stage")}
        for stage in sorted(self.state.stages - named):
            reason = "no rule in this net names it; its stages are"
            raise UnknownName("stages", stage, reason, tuple(sorted(named)))
        own = net.params().sub("state")
        stages = self.state.stages.union(own.message.strings("stage"))
        state = replace(self.state, level=self.state.level or own.integer("level"), stages=stages)
        changes = []
        if _DEPLOY in named and not stages:
            state = replace(state, stages=frozenset({_DEPLOY}))
            detail = f"the net has rules for stage '{_DEPLOY}', so it is on"
            changes.append(Change(ChangeKind.STAGE_CHOSEN, (), (), detail))
        kept = [i for i, layer in enumerate(layers) if included(layer, state)]
        lent = _lent(layers, kept, state, net.inputs)
        gone = sorted(set(range(len(layers))).difference(kept, lent))
        if gone:
            names, detail = tuple(layers[i].name for i in gone), f"not part of {state.phase}"
            changes.append(Change(ChangeKind.OTHER_PHASE_DROPPED, names, (), detail))
        return PassResult(net.without(gone), tuple(changes))


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


def _lent(
    layers: tuple[Layer, ...], kept: list[int], state: State, inputs: tuple[str, ...]
) -> list[int]:
    """Layers the rules leave out that the kept ones need: makers of what is read but not made,
    and losses on what no kept loss reads.

    A layer of the same phase comes first (only its stage is off), then one of the other phase.
    """
    spare = sorted(set(range(len(layers))).difference(kept))
    spare.sort(key=lambda i: _distance(layers[i], state))
    lent: list[int] = []
    while True:
        view = [layers[i] for i in (*kept, *lent)]
        made = {top for layer in view for top in layer.tops} | set(inputs)
        missing = {bottom for layer in view for bottom in layer.bottoms} - made
        maker = next(
            (i for i in spare if i not in lent and missing.intersection(layers[i].tops)), None
        )
        if maker is None:
            break
        lent.append(maker)
    names = {layer.name for layer in view}
    judged = {x.bottoms[0] for x in view if x.bottoms and (op(x).is_loss(x) or op(x) in _HEADS)}
    for i in spare:
        layer = layers[i]
        prediction = layer.bottoms[0] if op(layer).is_loss(layer) and layer.bottoms else ""
        if prediction in made - judged and layer.name not in names:
            lent.append(i)
            judged.add(prediction)
    return lent


def _distance(layer: Layer, state: State) -> int:
    """How far a layer is from taking part: 0 its stage is off, 1 the other phase, 2 both."""
    other = "TRAIN" if state.phase == "TEST" else "TEST"
    stages = replace(state, stages=state.stages | {*_stages(layer, "stage")})
    if included(layer, stages):
        return 0
    return 1 if included(layer, replace(state, phase=other)) else 2
