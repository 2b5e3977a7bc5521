"""The shape of every version of every blob, layer by layer, without running the net.

What is not known stays unknown downstream; what Caffe would stop at is a problem with the layer's
place in the prototxt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from caffefold.errors import TextError
from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.counts import check_counts
from caffefold.ops.shape import (
    LARGEST,
    Dim,
    Known,
    Shape,
    ShapeList,
    axis_of,
    rank_of,
    show,
    too_large,
)
from caffefold.ops.source import INPUT, dims
from caffefold.ops.table import op


class Shapes(NamedTuple):
    """The shapes of a net's blobs; None is an unknown shape, or an unknown extent in one."""

    graph: Graph
    versions: tuple[Shape, ...]
    """By version of ``graph``."""
    bottoms: tuple[tuple[Shape, ...], ...]
    """By layer position, what each bottom looks like."""
    loose: Mapping[str, Shape]
    """What was given for blobs that are read and that nothing makes; unknown without."""
    problems: tuple[TextError, ...]
    """Where Caffe would stop: each layer's first one; its tops are unknown."""
    failing: tuple[int, ...] = ()
    """The position of the layer of each problem; -1 for the net itself."""

    def tops(self, position: int) -> tuple[Shape, ...]:
        """The shapes a layer makes."""
        return tuple(self.versions[v] for v in self.graph.writes[position])

    def of(self, blob: str) -> Shape:
        """The shape of a blob when the net has run; unknown when there is no such blob."""
        pairs = zip(reversed(self.graph.versions), reversed(self.versions), strict=True)
        return next((shape for version, shape in pairs if version.blob == blob), None)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Blobs that come from outside and are read: legacy inputs, tops of layers without
        bottoms, and what nothing in the net makes."""
        made = dict.fromkeys(
            version.blob
            for version in self.graph.versions
            if version.readers
            and (version.producer == OUTSIDE or not self.graph.reads[version.producer])
        )
        return (*made, *sorted(self.loose))

    def of_input(self, blob: str) -> Shape:
        """The shape of a blob as it comes from outside, before anything is written in place."""
        return self.of_inputs((blob,))[0]

    def of_inputs(self, blobs: Sequence[str]) -> tuple[Shape, ...]:
        """The shapes of blobs as they come from outside."""
        found = dict(self.loose)
        pairs = zip(self.graph.versions, self.versions, strict=True)
        found.update((version.blob, shape) for version, shape in reversed([*pairs]))
        return tuple(found.get(blob) for blob in blobs)

    def channels(self, version: int) -> Dim:
        """Axis 1 of a version; None where it is unknown."""
        return axis_of(self.versions[version], 1) if version >= 0 else None

    def rank(self, version: int) -> int | None:
        """The number of axes of a version; None where it is unknown."""
        return rank_of(self.versions[version]) if version >= 0 else None


def input_shapes(net: Net) -> dict[str, tuple[int, ...]]:
    """The shape of each input by blob, as written; () for one without.

    Raises:
        TextError: an Input layer has shapes for another number of tops.
    """
    legacy = legacy_shapes(net)
    found = {name: legacy.get(name, ()) for name in net.legacy_inputs}
    for layer in net.layers:
        if layer.is_input:
            found.update(zip(layer.tops, INPUT.dims(layer), strict=True))
    return found


def legacy_shapes(net: Net) -> dict[str, tuple[int, ...]]:
    """Shapes of ``input:`` blobs: ``input_shape`` messages, or four ``input_dim`` numbers each."""
    params = net.params()
    shapes = [shape.integers("dim") for shape in params.messages("input_shape")]
    if not shapes:
        numbers = params.integers("input_dim")
        shapes = [numbers[i : i + 4] for i in range(0, len(numbers), 4)]
    return dict(zip(net.legacy_inputs, shapes, strict=False))


def infer(net: Net, inputs: Mapping[str, Sequence[int | None]] | None = None) -> Shapes:
    """The shapes of all blobs; problems are collected, not raised (see ``check``).

    Args:
        net: any net, with or without weights; a template's numbers count as missing.
        inputs: shapes of blobs from outside, by name, instead of what the net says of them: legacy
            inputs, tops of layers without bottoms, blobs that no layer makes. None is an extent
            that is not known.
    """
    if inputs:
        return _infer(net, inputs)
    known = net.derived.get("shapes")
    if not isinstance(known, Shapes):
        known = net.derived["shapes"] = _infer(net, {})
    return known


def _infer(net: Net, inputs: Mapping[str, Sequence[int | None]]) -> Shapes:
    wiring = graph.build(net)
    given: dict[str, Shape] = {name: tuple(shape) for name, shape in inputs.items()}
    found: list[Shape] = [None] * len(wiring.versions)
    reads: list[tuple[Shape, ...]] = []
    problems: list[tuple[TextError, int]] = []
    try:
        legacy: dict[str, Known] = {name: dims(s) for name, s in legacy_shapes(net).items()}
    except TextError as problem:
        legacy = {}
        problems.append((problem, -1))
    for i, version in enumerate(wiring.versions):
        if version.producer == OUTSIDE:
            shape = given.get(version.blob, legacy.get(version.blob))
            if shape is not None and too_large(shape):
                large = f"input '{version.blob}' would have more than {LARGEST} elements"
                problems.append((net.document.error(0, f"{large}: {show(shape)}"), -1))
                shape = None
            found[i] = shape
    loose: dict[str, Shape] = {}
    for position, layer in enumerate(net.layers):
        pairs = list(zip(wiring.reads[position], layer.bottoms, strict=True))
        loose.update((name, given.get(name)) for v, name in pairs if v < 0)
        bottoms = tuple(found[v] if v >= 0 else given.get(name) for v, name in pairs)
        reads.append(bottoms)
        try:
            check_counts(layer)
            tops: ShapeList = op(layer).shapes(layer, bottoms) if layer.tops else ()
            _refuse_impossible(layer, tops)
        except TextError as problem:
            problems.append((problem, position))
            tops = ()
        for j, version_made in enumerate(wiring.writes[position]):
            made = tops[j] if j < len(tops) else None
            found[version_made] = made if layer.bottoms else given.get(layer.tops[j], made)
    failing = tuple(position for _, position in problems)
    errors = tuple(problem for problem, _ in problems)
    return Shapes(wiring, tuple(found), tuple(reads), loose, errors, failing)


def _refuse_impossible(layer: Layer, tops: ShapeList) -> None:
    for top in tops:
        if top is None:
            continue
        if any(dim is not None and dim < 1 for dim in top):
            raise layer.error(f"its output would be empty: {show(top)}")
        if too_large(top):
            raise layer.error(f"its output would have more than {LARGEST} elements: {show(top)}")


def check(net: Net, inputs: Mapping[str, Sequence[int | None]] | None = None) -> Shapes:
    """The shapes of a net that Caffe would accept, as far as shapes are known.

    Raises:
        TextError: a dangling bottom, a top made twice, or the first layer whose input does not fit
            its parameters or weights; naming the layer and both numbers.
    """
    found = infer(net, inputs)
    for problem in (*found.graph.problems, *found.problems):
        raise problem
    return found


def carried(known: Shapes, before: Net, after: Net) -> Shapes:
    """The shapes of ``after``, which is ``before`` with layers gone that keep shapes.

    ``known`` are those of ``before``. What folding leaves has the shapes it had, under its name.
    """
    places = {layer.name: position for position, layer in enumerate(before.layers)}
    if len(places) < len(before.layers) or any(x.name not in places for x in after.layers):
        return infer(after)
    wiring = graph.build(after)
    found: list[Shape] = [None] * len(wiring.versions)
    given = [i for i, version in enumerate(wiring.versions) if version.producer == OUTSIDE]
    for i, shape in zip(
        given, known.of_inputs([wiring.versions[i].blob for i in given]), strict=True
    ):
        found[i] = shape
    for made, layer in zip(wiring.writes, after.layers, strict=True):
        # A data layer in place of an input has a label more.
        for version, shape in zip(made, known.tops(places[layer.name]), strict=False):
            found[version] = shape
    bottoms = tuple(known.bottoms[places[layer.name]] for layer in after.layers)
    return known._replace(graph=wiring, versions=tuple(found), bottoms=bottoms)
