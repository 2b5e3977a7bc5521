"""What a pass is: a pure step from one net to the next, with a list of what it did and why not."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import Enum
from typing import ClassVar, NamedTuple, Protocol

from caffefold import log
from caffefold.frozen import dataclass
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import SkipCode
from caffefold.passes.contracts import Condition, ContractError, text_agrees


class LayerRef(NamedTuple):
    """One layer of a net, where several may have one name: the ``nth``, from 0, of its name and
    type. Dropping layers of other types leaves the reference valid."""

    name: str
    type: str
    nth: int = 0


def references(layers: Iterable[Layer]) -> tuple[LayerRef, ...]:
    """The reference to each layer, by position."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for layer in layers:
        key = layer.name, layer.type
        found.append(LayerRef(*key, seen[key]))
        seen[key] += 1
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Absorbed:
    """A claim for the proof: on its output, ``layer`` now also computes a part of a map.

    The map is that of the affine layers ``chain`` of the net before the fold, one after another;
    its channels ``start:stop`` go to the outputs of ``layer`` from ``at`` on.
    """

    layer: LayerRef
    chain: tuple[LayerRef, ...]
    start: int
    stop: int
    at: int


class ChangeKind(str, Enum):
    """What a change is: what reports and the command line dispatch on."""

    PLACEHOLDER_FILLED = "PLACEHOLDER_FILLED"
    STAGE_CHOSEN = "STAGE_CHOSEN"
    """The net is for several stages; the one for deployment was chosen."""
    LAYER_NAMED = "LAYER_NAMED"
    """Layers without a name, or with that of another, got one of their own."""
    OTHER_PHASE_DROPPED = "OTHER_PHASE_DROPPED"
    LABELS_DROPPED = "LABELS_DROPPED"
    """Layers that separate labels from images, or pair images, were dropped."""
    BYPASSED = "BYPASSED"
    """A layer that only training needs was taken out of the trunk."""
    HEAD_CONVERTED = "HEAD_CONVERTED"
    """A loss was replaced by the layers that compute its prediction, or dropped."""
    USELESS_DROPPED = "USELESS_DROPPED"
    """No output needs these layers."""
    INPUT_CONVERTED = "INPUT_CONVERTED"
    SEQUENCE_FITTED = "SEQUENCE_FITTED"
    PHASE_SET = "PHASE_SET"
    """The parameters of a Python layer named the phase TRAIN."""
    WEIGHTS_FILLED = "WEIGHTS_FILLED"
    """Weights that the caffemodel does not have were filled in as Caffe does."""
    TRAINING_STRIPPED = "TRAINING_STRIPPED"
    """Parameters that only training reads were dropped."""
    IDENTITY_DROPPED = "IDENTITY_DROPPED"
    FOLDED = "FOLDED"
    COLLAPSED = "COLLAPSED"
    """Affine layers were merged into one Scale."""
    FORK_FIELDS_DROPPED = "FORK_FIELDS_DROPPED"
    REWRITTEN = "REWRITTEN"
    """Layers were written in a form that a consumer takes."""
    SLIMMED = "SLIMMED"
    """Layers lost channels."""
    UNIT_DROPPED = "UNIT_DROPPED"
    """Affine layers that change nothing were dropped."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing a pass did. ``removed`` and ``modified`` are layer names."""

    kind: ChangeKind
    removed: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    detail: str = ""
    absorbed: tuple[Absorbed, ...] = ()
    fields: tuple[str, ...] = ()
    """Paths of fields that were dropped, such as ``/convolution_param/engine``."""


@dataclass(frozen=True, slots=True)
class Skip:
    """One thing a pass did not do, with the reason in one sentence."""

    rule: str
    layers: tuple[str, ...]
    code: SkipCode
    message: str


class PassResult(NamedTuple):
    """The new net and the account of how it came about."""

    net: Net
    changes: tuple[Change, ...] = ()
    skips: tuple[Skip, ...] = ()
    warnings: tuple[str, ...] = ()


Predicate = Callable[[str], bool]
"""Whether something holds for the layer of this name."""


def nothing(name: str) -> bool:
    """The predicate that holds of no layer."""
    del name
    return False


class Pass(Protocol):
    """A named step. ``run`` returns a new net and leaves its input as it was."""

    name: ClassVar[str]
    requires: ClassVar[tuple[Condition, ...]] = (text_agrees,)
    """What must hold of the net it is given."""
    ensures: ClassVar[tuple[Condition, ...]] = (text_agrees,)
    """What holds of the net it makes."""

    def run(self, net: Net) -> PassResult:
        """Rewrite ``net``."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one pass of a pipeline did, for the report."""

    name: str
    layers_before: int
    layers_after: int
    changes: tuple[Change, ...] = ()
    skips: tuple[Skip, ...] = ()
    warnings: tuple[str, ...] = ()


def run(passes: tuple[Pass, ...], net: Net) -> tuple[Net, tuple[Step, ...]]:
    """Run ``passes`` in order; the final net and one Step each.

    Where the environment has ``CAFFEFOLD_DEBUG`` (``caffefold --debug``, and the tests), what each
    pass requires and ensures is checked.

    Raises:
        ContractError: a condition does not hold; the pass is named.
    """
    steps = []
    checked = bool(os.environ.get(log.DEBUG))
    for step in passes:
        if checked:
            _check(step.requires, net, f"pass '{step.name}' requires")
        result = step.run(net)
        if checked:
            _check(step.ensures, result.net, f"pass '{step.name}' ensures")
        before, after = len(net.layers), len(result.net.layers)
        steps.append(Step(step.name, before, after, result.changes, result.skips, result.warnings))
        _log(steps[-1])
        net = result.net
        if result.changes:
            net = replace(net, history=(*net.history, *result.changes))
    return net, tuple(steps)


def _check(conditions: tuple[Condition, ...], net: Net, what: str) -> None:
    for condition in conditions:
        try:
            condition(net)
        except ContractError as error:
            raise ContractError(f"{what} {condition.__name__}: {error}") from error


def _log(step: Step) -> None:
    log.info(
        __name__,
        "%s: %d layers -> %d; %d changes, %d left alone",
        *(step.name, step.layers_before, step.layers_after, len(step.changes), len(step.skips)),
    )
    for change in step.changes:
        subject = ", ".join(change.removed or change.modified)
        log.debug(__name__, "%s: %s: %s", step.name, subject, change.detail or change.kind.value)
    for skip in step.skips:
        log.debug(__name__, "%s: left %s: %s", step.name, ", ".join(skip.layers), skip.message)
