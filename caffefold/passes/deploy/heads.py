"""Losses become the inference heads that stand for them; what only trains goes.

Given   SoftmaxWithLoss(ip, label), Accuracy(ip, label)
Result  Softmax(ip), unless the net has that Softmax already

What a single loss becomes is in rewrite/head.py, which losses leave nothing in
rewrite/auxiliary.py; here the net is put together and pruned backwards from its outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from caffefold.errors import UnknownName
from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.loss import SILENCE
from caffefold.ops.table import op
from caffefold.options import DeployOptions
from caffefold.passes.contracts import text_agrees, without_losses
from caffefold.passes.deploy.auxiliary import auxiliary
from caffefold.passes.deploy.head import Head, HeadMaker
from caffefold.passes.deploy.prune import prune
from caffefold.passes.deploy.training import Roles, roles
from caffefold.passes.infra import Change, ChangeKind, PassResult
from caffefold.passes.view.phase import State

RULE = "heads"


@dataclass(frozen=True, slots=True)
class ConvertHeads:
    """Replace losses by heads; drop what only trains or measures; prune behind the outputs."""

    options: DeployOptions = field(default_factory=DeployOptions)
    state: State = field(default_factory=State)
    """What tells a loss for TRAIN only from one that TEST has as well."""
    name: str = RULE
    requires: ClassVar = (text_agrees,)
    ensures: ClassVar = (text_agrees, without_losses)

    def run(self, net: Net) -> PassResult:
        """Convert every loss of the net.

        Raises:
            UsageError: an option names a loss or an output that the net does not have.
        """
        wiring = graph.build(net)
        found = roles(net, wiring)
        helpers = {
            position: why
            for position, why in auxiliary(found, self.state).items()
            if net.layers[position].name not in self.options.heads  # asked for, so wanted
        }
        maker = HeadMaker(found, self.options, frozenset(helpers))
        new: dict[int, tuple[Layer, ...]] = {}
        changes: list[Change] = []
        notes: list[str] = []
        outputs: dict[str, None] = {}
        dropped: set[str] = set()  # what a loss that leaves nothing predicts
        for position in sorted(found.training):
            layer = net.layers[position]
            if op(layer) is SILENCE:
                dropped.update(layer.bottoms)
                continue
            new[position] = ()
            dropped.update(wiring.versions[v].blob for v in found.scores_of(position))
            if position in helpers:
                dropped.update(wiring.versions[v].blob for v in found.predictions(position))
                detail = f"{layer.type} -> nothing ({helpers[position]})"
                changes.append(Change(ChangeKind.HEAD_CONVERTED, (layer.name,), (), detail))
            elif found.judges(position):
                head = maker.head(position)
                new[position] = head.layers
                outputs.update(dict.fromkeys(head.outputs))
                dropped.update(head.dropped)
                notes += head.notes
                names = tuple(item.name for item in head.layers)
                detail = f"{layer.type} -> {_shown(head)}"
                changes.append(Change(ChangeKind.HEAD_CONVERTED, (layer.name,), names, detail))
            else:
                why = (
                    "it only measures" if op(layer).is_measure(layer) else "only training needs it"
                )
                detail = f"{layer.type} -> nothing, {why}"
                changes.append(Change(ChangeKind.HEAD_CONVERTED, (layer.name,), (), detail))
        made = net.substitute(new)
        if self.options.outputs:
            wanted = _chosen(made, self.options.outputs)
        else:
            # An output that something drops as well (a Silence, a lighter loss) stays one.
            silent = dropped - set(outputs)
            wanted = [*outputs, *_results(made, found, wiring, silent)]
        pruned, useless = prune(made, wanted)
        if useless:
            changes.append(
                Change(ChangeKind.USELESS_DROPPED, useless, (), _why(bool(self.options.outputs)))
            )
        return PassResult(pruned, tuple(changes), (), (*notes, *maker.unused()))


def _shown(head: Head) -> str:
    kinds = ", ".join(layer.type for layer in head.layers)
    if kinds:
        return kinds
    if head.there:
        return f"'{', '.join(head.outputs)}', which the net computes already"
    if head.twin:
        return "nothing, another loss predicts with the same shared weights"
    kind = "output " if len(head.outputs) < 2 else "outputs "
    return kind + ", ".join(head.outputs) if head.outputs else "nothing, it predicts nothing"


def _why(chosen: bool) -> str:
    return "no chosen output needs them" if chosen else "only losses or labels needed them"


def _results(made: Net, found: Roles, before: Graph, silent: set[str]) -> list[str]:
    """Blobs nobody reads any more: results of the net. In a net that was trained, only those that
    hold something learned; what was read off labels is none."""
    wiring = graph.build(made)
    pure = {before.versions[v].blob for v in found.pure} if found.training else set()
    learned = {v.blob for i, v in enumerate(before.versions) if i not in found.pure}
    results = []
    for sink in wiring.sinks:
        version = wiring.versions[sink]
        if version.producer == OUTSIDE or not made.layers[version.producer].bottoms:
            continue
        if version.blob not in silent and (version.blob in learned or version.blob not in pure):
            results.append(version.blob)
    return results


def _chosen(made: Net, wanted: Sequence[str]) -> list[str]:
    wiring = graph.build(made)
    known = {version.blob for version in wiring.versions}
    for name in wanted:
        if name not in known:
            sinks = [wiring.versions[i] for i in wiring.sinks]
            results = [
                v.blob for v in sinks if v.producer != OUTSIDE and made.layers[v.producer].bottoms
            ]
            reason = "the deploy net has no blob of that name; its outputs are"
            raise UnknownName("outputs", name, reason, tuple(results))
    return list(wanted)
