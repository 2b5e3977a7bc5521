"""Take branches out of sums that are the same numbers wherever you look.

Given   x, and conv -> BatchNorm -> Scale (every gamma 0) -> y; Eltwise SUM of x and y
Result  x -> Scale, which adds what y was; a fold absorbs it, or drops it where that is 0

Residual nets trained with an L1 penalty end up with such blocks. A sum of three or more loses a
branch that is 0; one that adds something stays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np

from caffefold.analysis.shapes import Shapes, infer
from caffefold.formats.prototxt.tree import drop, set_values
from caffefold.frozen import dataclass
from caffefold.humanize import counted
from caffefold.ir.affine import Affine
from caffefold.ir.blob import Doubles
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op
from caffefold.ops.wiring import ELTWISE
from caffefold.passes.contracts import blobs_fit, text_agrees, wired
from caffefold.passes.fold.collapse import as_scale
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult
from caffefold.passes.slim.flow import Content, Keeps, walk
from caffefold.passes.slim.gammas import Sizes

Name = tuple[str, str]
"""Name and type of a layer."""


class Sum(NamedTuple):
    """What becomes of an Eltwise."""

    stays: tuple[int, ...]
    """Which bottoms."""
    map: Affine | None
    """Of one bottom: what is computed of it; of several, None."""


@dataclass(frozen=True, slots=True)
class Branches:
    """What goes, and the sums that it goes from."""

    sums: Mapping[Name, Sum]
    gone: frozenset[Name]
    gammas: tuple[Sizes, ...] = ()
    """Those of the layers that go."""

    def out_of(self, net: Net) -> Net:
        """The net without them: the one they were found in, or one with layers of its names."""
        new: dict[int, tuple[Layer, ...]] = {}
        for position, layer in enumerate(net.layers):
            name = layer.name, op(layer).name
            if name in self.gone:
                new[position] = ()
            elif name in self.sums:
                new[position] = (_summing(layer, self.sums[name]),)
        return net.substitute(new) if new else net


def find(net: Net, keeps: Keeps) -> Branches:
    """The branches of a net that add the same for every input whatsoever.

    Args:
        net: a deploy net with weights.
        keeps: layers and blobs that stay.
    """
    names = [(layer.name, op(layer).name) for layer in net.layers]
    places = [i for i, layer in enumerate(net.layers) if _adds(layer)]
    if not places or len(set(names)) < len(names):  # twins cannot be told apart
        return Branches({}, frozenset())
    shapes = infer(net)
    flow = walk(net, shapes, keeps, largest=np.inf)
    pruning = _Pruning(net, shapes, keeps)
    sums: dict[Name, Sum] = {}
    for position in reversed(places):  # from the end: what goes takes sums in it along
        bottoms = [flow.contents[v] if v >= 0 else None for v in shapes.graph.reads[position]]
        made = _sum(
            net.layers[position], bottoms, shapes.channels(shapes.graph.writes[position][0])
        )
        if made is None or position in pruning.gone or net.layers[position].name in keeps.layers:
            continue
        if pruning.without(position, set(range(len(bottoms))).difference(made.stays)):
            sums[names[position]] = made
    gammas = tuple(
        Sizes(names[g.position][0], g.sizes, np.ones(g.sizes.size, bool))
        for g in flow.gammas
        if g.position in pruning.gone
    )
    return Branches(sums, frozenset(names[i] for i in pruning.gone), gammas)


def _adds(layer: Layer) -> bool:
    return op(layer) is ELTWISE and layer.params(ELTWISE.param).word("operation") == "SUM"


def _sum(layer: Layer, bottoms: list[Content | None], channels: int | None) -> Sum | None:
    """What becomes of an Eltwise with these bottoms; None: nothing."""
    factors = layer.params(ELTWISE.param).numbers("coeff") or (1.0,) * len(bottoms)
    values = [None if content is None else _constant(content) for content in bottoms]
    stays = tuple(i for i, value in enumerate(values) if value is None)
    if not 0 < len(stays) < len(bottoms) == len(factors) or channels is None:
        return None
    shift = np.zeros(channels)
    for factor, value in zip(factors, values, strict=True):
        if value is not None:
            shift = shift + factor * value
    if len(stays) == 1:
        return Sum(stays, Affine(np.full(channels, factors[stays[0]]), shift))
    return None if shift.any() else Sum(stays, None)


def _constant(content: Content) -> Doubles | None:
    """What each channel is, if that is one number each."""
    low, high = content.range
    if not (low == high).all() or any(extent > 1 for extent in low.shape[1:]):
        return None
    return low.reshape(-1)


class _Pruning:
    """Which layers nobody reads any more, as readers go."""

    def __init__(self, net: Net, shapes: Shapes, keeps: Keeps) -> None:
        self.net, self.graph, self.keeps = net, shapes.graph, keeps
        self.left = [len(version.readers) for version in self.graph.versions]
        self.gone: set[int] = set()

    def without(self, position: int, bottoms: Collection[int]) -> bool:
        """Let a layer no longer read these bottoms; False, and nothing changes, where a layer or a
        blob that stays would have no reader then."""
        left, gone = self.left.copy(), set(self.gone)
        waiting = [self.graph.reads[position][bottom] for bottom in bottoms]
        while waiting:
            version = waiting.pop()
            left[version] -= 1
            maker = self.graph.maker(version)
            if left[version]:
                continue
            if maker < 0 or not self.net.layers[maker].bottoms:
                return False  # an input that would be an output
            made = self.graph.writes[maker]
            stays = any(self.graph.versions[v].blob in self.keeps.blobs for v in made)
            if stays or len(made) > 1 or self.net.layers[maker].name in self.keeps.layers:
                return False
            gone.add(maker)
            waiting += self.graph.reads[maker]
        self.left, self.gone = left, gone
        return True


def _summing(layer: Layer, made: Sum) -> Layer:
    """An Eltwise with some of its bottoms, or the Scale that does the same."""
    layer = layer.with_wiring(tuple(layer.bottoms[i] for i in made.stays), layer.tops)
    if made.map is not None:
        fields = drop(layer.body.fields, lambda field: field.name == ELTWISE.param)
        return as_scale(layer.edited(replace(layer.body, fields=fields)), made.map)
    params = layer.body.message(ELTWISE.param)
    factors = [str(value) for value in params.all("coeff")] if params is not None else []
    if params is None or not factors:
        return layer
    new = set_values(params, "coeff", tuple(factors[i] for i in made.stays))
    fields = tuple(
        field.with_body(new) if field.name == ELTWISE.param else field
        for field in layer.body.fields
    )
    return layer.edited(replace(layer.body, fields=fields))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DropBranches(Pass):
    """What ``find`` found is gone."""

    branches: Branches
    name: ClassVar = "branches"
    requires: ClassVar = (text_agrees, wired, blobs_fit)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Rewrite the sums and drop what led to them."""
        if not self.branches.sums:
            return PassResult(net)
        made = self.branches.out_of(net)
        left = {layer.name for layer in made.layers}
        removed = tuple(layer.name for layer in net.layers if layer.name not in left)
        sums = tuple(name for name, _ in self.branches.sums if name in left)
        detail = f"{counted(len(removed), 'layer')} that only added a constant taken out"
        return PassResult(made, (Change(ChangeKind.SLIMMED, removed, sums, detail),))
