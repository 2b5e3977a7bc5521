"""What a pass is: a pure step from one net to the next, with a list of what it did and why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from caffefold import log
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import SkipCode


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


@dataclass(frozen=True, slots=True)
class Change:
    """One thing a pass did. ``removed`` and ``modified`` are layer names."""

    rule: str
    removed: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    detail: str = ""
    absorbed: tuple[Absorbed, ...] = ()


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


class Pass(Protocol):
    """A named step. ``run`` returns a new net and leaves its input as it was."""

    @property
    def name(self) -> str:
        """The name reports use."""
        ...

    def run(self, net: Net) -> PassResult:
        """Rewrite ``net``."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """What one pass of a pipeline did, for the report."""

    name: str
    layers_before: int
    layers_after: int
    changes: tuple[Change, ...] = ()
    skips: tuple[Skip, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def run(passes: tuple[Pass, ...], net: Net) -> tuple[Net, tuple[Step, ...]]:
    """Run ``passes`` in order; the final net and one Step each."""
    steps = []
    for step in passes:
        result = step.run(net)
        before, after = len(net.layers), len(result.net.layers)
        steps.append(Step(step.name, before, after, result.changes, result.skips, result.warnings))
        _tell(steps[-1])
        net = result.net
    return net, tuple(steps)


def _tell(step: Step) -> None:
    log.info(
        __name__,
        "%s: %d layers -> %d; %d changes, %d left alone",
        *(step.name, step.layers_before, step.layers_after, len(step.changes), len(step.skips)),
    )
    for change in step.changes:
        subject = ", ".join(change.removed or change.modified)
        log.debug(__name__, "%s: %s: %s", step.name, subject, change.detail or change.rule)
    for skip in step.skips:
        log.debug(__name__, "%s: left %s: %s", step.name, ", ".join(skip.layers), skip.message)
