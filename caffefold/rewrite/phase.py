"""Which layers take part: Caffe's include / exclude rules, and the view a deploy net starts from.

Given   data (TRAIN), data (TEST), conv, accuracy (TEST), loss (TRAIN)
Result  the TEST layers; plus TRAIN layers the TEST view can not do without: a data layer when TEST
        has none for a blob that is read, a loss that alone reads what would else be left dangling

Source: net.cpp, FilterNet and StateMeetsRule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from caffefold.model.net import Layer, Net
from caffefold.model.params import Params
from caffefold.rewrite.base import Change, PassResult
from caffefold.rewrite.kinds import is_loss

RULE = "phase"


@dataclass(frozen=True, slots=True)
class State:
    """What rules are matched against (NetState)."""

    phase: str = "TEST"
    level: int = 0
    stages: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SelectPhase:
    """Keep the layers a deploy net is made from; drop the rules' other layers."""

    state: State = field(default_factory=State)
    name: str = RULE

    def run(self, net: Net) -> PassResult:
        """Filter; the rules themselves are left to the strip pass."""
        layers = net.layers
        state = _with_own(net, self.state)
        kept = [i for i, layer in enumerate(layers) if included(layer, state)]
        other = replace(state, phase="TRAIN" if state.phase == "TEST" else "TEST")
        spare = [
            i for i, layer in enumerate(layers) if i not in set(kept) and included(layer, other)
        ]
        lent = list(_lent(layers, kept, spare, net.inputs))
        gone = sorted(set(range(len(layers))) - set(kept) - set(lent))
        changes = []
        if gone:
            names = tuple(layers[i].name for i in gone)
            changes.append(Change(RULE, names, (), f"not part of {state.phase}"))
        return PassResult(net.without(gone), tuple(changes))


def _with_own(net: Net, state: State) -> State:
    """``state`` with the level and stages that the net itself names (NetParameter.state)."""
    if not net.params().has("state"):
        return state
    own = net.params().sub("state")
    level = state.level or own.integer("level")
    return replace(state, level=level, stages=state.stages | {*own.message.strings("stage")})


def included(layer: Layer, state: State) -> bool:
    """Whether Caffe would build ``layer`` in ``state``.

    Raises:
        TextError: the layer has both include and exclude rules, which Caffe refuses.
    """
    include = list(_rules(layer, "include"))
    exclude = list(_rules(layer, "exclude"))
    if include and exclude:
        raise layer.error("include and exclude together; Caffe takes one kind of rule only")
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
    if not all(stage in state.stages for stage in rule.message.strings("stage")):
        return False
    return not any(stage in state.stages for stage in rule.message.strings("not_stage"))


def _lent(
    layers: tuple[Layer, ...], kept: list[int], spare: list[int], inputs: tuple[str, ...]
) -> Iterator[int]:
    """Layers of the other phase that the kept ones need: makers of what is read but not made,
    readers of what is made but not read."""
    made = {top for i in kept for top in layers[i].tops} | set(inputs)
    read = {bottom for i in kept for bottom in layers[i].bottoms}
    missing = read - made
    dangling = {top for i in kept for top in layers[i].tops} - read
    for i in spare:
        layer = layers[i]
        makes_missing = not layer.bottoms and missing.intersection(layer.tops)
        if makes_missing or (is_loss(layer) and dangling.intersection(layer.bottoms)):
            yield i
