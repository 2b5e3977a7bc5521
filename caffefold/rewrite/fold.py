"""Folds chains of affine layers into the linear layer that feeds them.

Given   conv1 -> BatchNorm -> Scale -> ReLU
Result  conv1 -> ReLU, with other weights and a bias

The chain must hang on one thread: each value in it is read by the next layer of the chain and by
nothing else. Versions (model/graph.py) make an in-place layer in between visible.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from caffefold.formats.blob import array
from caffefold.model import graph
from caffefold.model.graph import Graph
from caffefold.model.net import Layer, Net
from caffefold.rewrite import affine, linear
from caffefold.rewrite.affine import Affine
from caffefold.rewrite.base import Change, PassResult, Refusal, Skip, SkipCode
from caffefold.rewrite.linear import Linear

RULE = "fold"


@dataclass(frozen=True, slots=True)
class Fold:
    """Every linear layer absorbs the affine layers that follow it."""

    name: str = RULE

    def run(self, net: Net) -> PassResult:
        """Fold wherever it is exact; one Skip for each affine layer that stays."""
        folder = _Folder(net)
        for position in range(len(folder.layers)):
            if folder.layers[position].type in linear.PARAMETERS:
                folder.fold_behind(position)
        folder.explain_rest()
        return PassResult(
            net.substitute(folder.replaced),
            tuple(folder.changes),
            tuple(folder.skips),
            tuple(folder.warnings),
        )


class _Folder:
    """The work of one run; layer positions are those of the net that was given."""

    def __init__(self, net: Net) -> None:
        self.layers = net.layers
        self.wiring: Graph = graph.validate(net)
        self.shared = _shared(self.layers)
        self.replaced: dict[int, tuple[Layer, ...]] = {}
        self.changes: list[Change] = []
        self.skips: list[Skip] = []
        self.warnings: list[str] = []
        self.explained: set[int] = set()

    def fold_behind(self, position: int) -> None:
        """Absorb the chain of affine layers behind the linear layer at ``position``."""
        layer = self.layers[position]
        first = self.next_affine(position)
        if first is None:
            return
        absorber = self.refuse_absorber(layer) or linear.of_layer(layer)
        if isinstance(absorber, Refusal):
            self.skip(first, absorber)
            return
        total: Affine | None = None
        chain: list[int] = []
        follower: int | None = first
        while follower is not None:
            step = self.step(follower, absorber)
            if isinstance(step, Refusal):
                self.skip(follower, step)
                break
            total = step if total is None else total.then(step)
            chain.append(follower)
            follower = self.next_affine(follower)
        if total is not None:
            self.absorb(position, absorber, total, chain)

    def step(self, position: int, absorber: Linear) -> Affine | Refusal:
        """The map of one affine layer, if it fits the absorbing layer."""
        layer = self.layers[position]
        found = affine.of_layer(layer, absorber.rank)
        if isinstance(found, Affine) and found.channels not in (1, absorber.outputs):
            raise layer.error(
                f"it holds {found.channels} channels, its input has {absorber.outputs}; "
                "the caffemodel belongs to another net"
            )
        if isinstance(found, Affine) and layer.type == "BatchNorm":
            self.warn_factor(layer)
        return found

    def warn_factor(self, layer: Layer) -> None:
        if not array(layer.blobs[2]).any():
            self.warnings.append(
                f"layer '{layer.name}': the scale factor of its statistics is 0, so Caffe takes "
                "mean and variance as 0; folded as Caffe computes it"
            )

    def absorb(self, position: int, absorber: Linear, total: Affine, chain: list[int]) -> None:
        layer = self.layers[position]
        with np.errstate(over="ignore"):
            folded = linear.absorb_output(layer, absorber, total)
        folded = folded.with_tops(self.layers[chain[-1]].tops)
        self.replaced[position] = (folded,)
        for member in chain:
            self.replaced[member] = ()
            self.explained.add(member)
        names = tuple(self.layers[member].name for member in chain)
        created = "" if len(layer.blobs) > 1 else ", bias added"
        detail = f"{', '.join(names)} folded into {layer.name}{created}"
        self.changes.append(Change(RULE, names, (layer.name,), detail))

    def next_affine(self, position: int) -> int | None:
        """The affine layer that alone reads what the layer at ``position`` writes."""
        if len(self.wiring.writes[position]) != 1:
            return None
        reader = self.wiring.sole_reader(self.wiring.writes[position][0])
        return reader if reader is not None and affine.is_affine_type(self.layers[reader]) else None

    def refuse_absorber(self, layer: Layer) -> Refusal | None:
        if layer.name in self.shared:
            return Refusal(SkipCode.SHARED_WEIGHTS, self.shared[layer.name])
        return None

    # ---------------------------------------------------------------------------- reasons

    def skip(self, position: int, refusal: Refusal) -> None:
        layer = self.layers[position]
        self.explained.add(position)
        self.skips.append(Skip(RULE, (layer.name,), refusal.code, refusal.message))

    def explain_rest(self) -> None:
        """A reason for every affine layer that no chain reached."""
        for position, layer in enumerate(self.layers):
            if affine.is_affine_type(layer) and position not in self.explained:
                self.skip(position, self.reason(position))
        order = {layer.name: i for i, layer in enumerate(self.layers)}
        self.skips.sort(key=lambda skip: order[skip.layers[0]])

    def reason(self, position: int) -> Refusal:
        layer = self.layers[position]
        if len(layer.bottoms) != 1:
            found = affine.of_layer(layer, 4)
            assert isinstance(found, Refusal)
            return found
        version = self.wiring.versions[self.wiring.reads[position][0]]
        if version.producer == graph.OUTSIDE:
            return Refusal(SkipCode.NOT_LINEAR, "its input is the net's input")
        source = self.layers[version.producer]
        if len(version.readers) > 1:
            others = sorted({f"'{self.layers[r].name}'" for r in version.readers if r != position})
            return Refusal(
                SkipCode.SEVERAL_READERS,
                f"what '{source.name}' computes is also read by {', '.join(others)}",
            )
        if affine.is_affine_type(source):
            return Refusal(SkipCode.NOT_LINEAR, f"it follows '{source.name}', which stays as it is")
        return Refusal(
            SkipCode.NOT_LINEAR,
            f"its input comes from '{source.name}' ({source.type}), which holds no linear weights",
        )


def _shared(layers: tuple[Layer, ...]) -> dict[str, str]:
    """Layer name -> why its weights also serve another layer (net.cpp: ParamSpec.name)."""
    owners: dict[str, list[str]] = {}
    for layer in layers:
        for field in layer.body.fields:
            if field.name == "param" and field.body.string("name"):
                owners.setdefault(field.body.string("name"), []).append(layer.name)
    found = {
        name: f"the weights of '{name}' are shared as param '{param}' with another layer"
        for param, names in owners.items()
        if len(set(names)) > 1 or len(names) > 1
        for name in names
    }
    for name, times in Counter(layer.name for layer in layers if layer.blobs).items():
        if times > 1:
            found.setdefault(name, f"{times} layers are called '{name}' and share its weights")
    return found
