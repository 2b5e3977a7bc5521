"""Which channels hang together, and between which numbers each lies: one walk through a net.

A blob's elements are labelled, for one item: an array with an axis for each axis behind the items,
of extent 1 where labels do not vary along it. Layers that move elements move labels; those that
meet channels with one another tie them (``Units``); those that are not understood pin them.

    Convolution   new labels for its outputs; a depthwise one hands those of its inputs on
    Eltwise, Scale by a second bottom   the channels of all bottoms are tied
    Concat, Slice, Flatten, Reshape, Permute, SPP   labels are joined, cut, laid out anew
    ShuffleChannel   the channels at one place of each group are tied, so groups stay even
    Normalize   hands labels on, if the channel is 0: it adds nothing to the norm of the others
    anything else, net inputs and outputs   pinned
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from caffefold.analysis.shapes import Shapes
from caffefold.formats.caffemodel.blob import array, size
from caffefold.ir.affine import Affine
from caffefold.ir.blob import Doubles
from caffefold.ir.net import Layer, Net
from caffefold.ops import ranges
from caffefold.ops.activation import Normalize
from caffefold.ops.affine import Normalization, Scale, affine_map
from caffefold.ops.base import AffineOp, LinearLayout, LinearOp, Refusal, Same, SkipCode
from caffefold.ops.linear import INNER_PRODUCT
from caffefold.ops.pooling import POOLING, SPP, ROIPooling, Upsample
from caffefold.ops.ranges import Range
from caffefold.ops.shape import Known, Shape, product
from caffefold.ops.table import op
from caffefold.ops.wiring import (
    FLATTEN,
    PERMUTE,
    RESHAPE,
    Axpy,
    Concat,
    Eltwise,
    ShuffleChannel,
    Slice,
)
from caffefold.passes.slim.shared import Family
from caffefold.passes.slim.units import Labels, Mask, Units

Array = NDArray[Any]
_MOST = 1 << 22  # labels of one blob: no small text may ask for much memory
_BLOCK = 1 << 22  # weights that are looked at together


class Content(NamedTuple):
    """What is known of a blob, in arrays of one shape."""

    labels: Labels
    range: Range

    def each(self, change: Callable[[Array], Array]) -> Content:
        """All arrays changed alike."""
        return Content(change(self.labels), Range(*map(change, self.range)))


class Gamma(NamedTuple):
    """The factors that scale what a BatchNorm made."""

    position: int
    labels: Labels
    sizes: Doubles


class Reader(NamedTuple):
    """A linear layer."""

    position: int
    layout: LinearLayout
    content: Content
    """Its inputs: (groups, inputs of a group)."""
    outputs: Labels
    """(groups, outputs of a group)."""
    border: str
    """Why some outputs see fewer inputs than others; "" when none do."""
    sums: bool
    """Whether outputs are made of several channels: what a constant adds is a bias then. A
    depthwise one hands its channels on."""
    bias: Affine
    """What becomes of 1 and of the bias in the affine layers right behind it, by output: the bias
    as it is after folding."""

    @property
    def constants(self) -> Doubles:
        """What each input is taken to be once it is gone: the middle of what it may be."""
        low, high = self.content.range
        with np.errstate(invalid="ignore"):
            middle = np.where(low == high, low, (low + high) / 2)
        return np.where(np.isfinite(middle), middle, 0.0)


@dataclass(slots=True)
class Flow:
    """What the walk found."""

    units: Units = field(default_factory=Units)
    contents: list[Content | None] = field(default_factory=list)
    """By version; None where the blob is not followed."""
    gammas: list[Gamma] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    zeros: list[tuple[Labels, Range, str]] = field(default_factory=list)
    """Channels that may only go where they are 0, with the layer that wants it."""


class Keeps(NamedTuple):
    """What stays as it is, with the reason: layers, and blobs; and layers that go alike."""

    layers: Mapping[str, Refusal]
    blobs: Mapping[str, Refusal]
    families: Sequence[Family] = ()


def walk(
    net: Net, shapes: Shapes, keeps: Keeps, without: Mapping[int, Mask] | None = None,
    largest: float = ranges.INPUT,
) -> Flow:  # fmt: skip
    """Walk through a net that has weights and whose shapes are known.

    Args:
        net: a deploy net.
        shapes: those of ``net``.
        keeps: what stays as it is.
        without: by position of a layer with a gamma, True for each channel whose gamma is taken
            for 0.
        largest: the largest size of a number that comes from outside.
    """
    return _Walk(net, shapes, keeps, without or {}, largest).run()


class _Walk:
    def __init__(
        self, net: Net, shapes: Shapes, keeps: Keeps, without: Mapping[int, Mask], largest: float
    ) -> None:
        self.net, self.shapes, self.keeps, self.without = net, shapes, keeps, without
        self.largest = largest
        self.learned: dict[int, tuple[Labels, ...]] = {}  # by position, what its numbers are for
        self.behind: dict[int, int] = {}  # by version, the reader that makes it but for affine maps
        self.flow = Flow(contents=[None] * len(shapes.versions))
        self.units = self.flow.units

    def run(self) -> Flow:
        graph = self.shapes.graph
        for i, version in enumerate(graph.versions):
            if version.producer < 0:
                self.flow.contents[i] = self.outside(self.shapes.versions[i])
        for position, layer in enumerate(self.net.layers):
            bottoms = [self.flow.contents[v] if v >= 0 else None for v in graph.reads[position]]
            tops = self.visit(position, layer, bottoms)
            kept = self.keeps.layers.get(layer.name)
            if kept is not None:
                self.pin([*bottoms, *tops], kept)
            for made, content in zip(graph.writes[position], tops, strict=True):
                self.flow.contents[made] = content
                stays = self.keeps.blobs.get(graph.versions[made].blob)
                if stays is not None:
                    self.pin([content], stays)
        for family in self.keeps.families:
            self.alike(family)
        for sink in graph.sinks:
            reason = f"'{graph.versions[sink].blob}' is an output of the net"
            self.pin([self.flow.contents[sink]], Refusal(SkipCode.NET_OUTPUT, reason))
        return self.flow

    def alike(self, family: Family) -> None:
        """Tie the channels of layers that share weights."""
        known = [self.learned.get(position, ()) for position in family.positions]
        shapes = [[labels.shape for labels in each] for each in known]
        if known[0] and all(shape == shapes[0] for shape in shapes):
            for each in known[1:]:
                for one, other in zip(known[0], each, strict=True):
                    self.units.tie(one, other)
            return
        reason = f"its weights are shared as param '{family.name}' with layers not alike"
        for each in known:
            for labels in each:
                self.units.pin(labels, Refusal(SkipCode.SHARED_WEIGHTS, reason))

    # ------------------------------------------------------------------------------ contents

    def outside(self, shape: Shape) -> Content | None:
        """A blob whose channels stay."""
        reason = Refusal(SkipCode.NOT_FOLLOWED, "it comes from outside")
        made = self.one(shape, self.largest)
        self.pin([made], reason)
        return made

    def one(self, shape: Shape, most: float = np.inf) -> Content | None:
        """A blob with one label for all."""
        if shape is None or len(shape) < 2:
            return None
        ends = np.full((1,) * (len(shape) - 1), most)
        labels = self.units.fresh(1).reshape(ends.shape)
        return Content(labels, Range(-ends, ends))

    def pin(self, contents: Sequence[Content | None], reason: Refusal) -> None:
        for content in contents:
            if content is not None:
                self.units.pin(content.labels, reason)

    def strange(
        self, position: int, layer: Layer, bottoms: Sequence[Content | None], why: str = ""
    ) -> list[Content | None]:
        """Pin what a layer reads; what it makes is not cut either."""
        why = why or f"'{layer.name}' ({layer.type}) reads it, which may mix channels"
        reason = Refusal(SkipCode.NOT_FOLLOWED, why)
        return self.stopped(position, bottoms, reason)

    def stopped(
        self, position: int, bottoms: Sequence[Content | None], reason: Refusal
    ) -> list[Content | None]:
        self.pin(bottoms, reason)
        tops = [self.one(shape) for shape in self.shapes.tops(position)]
        self.pin(tops, reason)
        return tops

    # -------------------------------------------------------------------------------- layers

    def visit(
        self, position: int, layer: Layer, bottoms: list[Content | None]
    ) -> Sequence[Content | None]:
        """What the layer's tops hold."""
        own = op(layer)
        if not bottoms:
            return [self.outside(shape) for shape in self.shapes.tops(position)]
        known = [content for content in bottoms if content is not None]
        if len(known) < len(bottoms) or not layer.tops:
            return self.strange(position, layer, bottoms, "a blob of unknown shape is on its way")
        flow = own.channels(layer, self.shapes.bottoms[position])
        if isinstance(own, LinearOp):
            return self.linear(position, layer, own, known)
        if isinstance(own, Scale) and len(known) == 2:
            return self.gate(position, layer, known)
        if isinstance(own, Axpy):
            return self.axpy(known)
        if isinstance(own, Eltwise):
            return self.eltwise(layer, known)
        if isinstance(own, Concat):
            return [self.concat(own.axis(layer, known[0].labels.ndim + 1), position, known)]
        if isinstance(own, Slice):
            return self.slice(
                own.axis(layer, known[0].labels.ndim + 1), position, layer, own, known
            )
        if own in (FLATTEN, RESHAPE):
            return self.reshape(position, layer, known)
        if own is PERMUTE:
            return self.permute(position, layer, known)
        if isinstance(own, ShuffleChannel):
            return self.shuffle(position, layer, own, known)
        if isinstance(own, SPP):
            return self.spp(position, layer, own, known)
        if flow == Same() and len(known) == 1 and (own.pointwise or isinstance(own, Normalize)):
            return self.same(position, layer, known)
        if flow == Same() and own.separate and _simple(known[0]):
            return self.separate(position, layer, known)
        return self.strange(position, layer, known)

    def same(self, position: int, layer: Layer, bottoms: list[Content]) -> Sequence[Content | None]:
        """A layer that hands the channels of one bottom on, with numbers learned for each."""
        own, given = op(layer), bottoms[0]
        count, channels = _learned(layer), given.labels.shape[0]
        if count > 1 and (count != _extent(self.shapes.bottoms[position][0]) or not _simple(given)):
            return self.strange(position, layer, bottoms, f"'{layer.name}' has other numbers")
        if count > 1 and channels == 1:
            given = given.each(lambda a: np.repeat(a, count, axis=0))
        if count > 1:
            self.learned[position] = (given.labels,)
        made = given
        if isinstance(own, AffineOp):
            found = self.affine(position, layer, own, given)
            if found is None:
                return self.strange(position, layer, bottoms, f"'{layer.name}' is no fixed map")
            made = found
        elif isinstance(own, Normalize):
            self.flow.zeros.append((given.labels, given.range, layer.name))
            zero = (given.range.low == 0) & (given.range.high == 0)
            wide = np.where(zero, 0.0, np.inf)
            made = Content(given.labels, Range(-wide, wide))
        else:
            made = made._replace(range=ranges.pointwise(layer, given.range))
        return [made] * len(layer.tops)

    def affine(self, position: int, layer: Layer, own: AffineOp, given: Content) -> Content | None:
        """The map of an affine layer."""
        found = affine_map(own, layer, given.labels.ndim + 1)
        if isinstance(found, Refusal):
            return None
        lie = (-1, *(1,) * (given.labels.ndim - 1))
        scale, shift = found.scale.reshape(lie), found.shift.reshape(lie)
        made, middle = given.range.mapped(scale, shift), shift
        if isinstance(own, Normalization):
            roles = own.blob_roles(layer)
            if roles is not None and roles.gamma is not None and roles.beta is not None:
                gamma, beta = (array(layer.blobs[i]).reshape(-1) for i in (roles.gamma, roles.beta))
                self.gamma(position, given, gamma.astype(np.float64))
                middle = beta.reshape(lie).astype(np.float64)
        elif isinstance(own, Scale) and self.normalised(position):
            self.gamma(position, given, found.scale)
        gone = self.without.get(position)
        if gone is not None:
            at = gone.reshape(lie)
            made = Range(*(np.where(at, middle, end) for end in made))
        self.follow(position, found)
        return Content(given.labels, made)

    def follow(self, position: int, found: Affine) -> None:
        """A layer that folding merges into the linear layer right in front of it."""
        graph = self.shapes.graph
        (read,), (made,) = graph.reads[position], graph.writes[position]
        at = self.behind.get(read)
        if at is None or len(graph.versions[read].readers) > 1:
            return
        reader = self.flow.readers[at]
        if found.channels in (1, reader.layout.outputs):
            self.flow.readers[at] = reader._replace(bias=reader.bias.then(found))
            self.behind[made] = at

    def gamma(self, position: int, given: Content, sizes: Doubles) -> None:
        if sizes.size == given.labels.shape[0] and _simple(given):
            self.flow.gammas.append(Gamma(position, given.labels.reshape(-1), np.abs(sizes)))

    def normalised(self, position: int) -> bool:
        """Whether what a Scale reads comes from statistics."""
        maker = self.shapes.graph.maker(self.shapes.graph.reads[position][0])
        return maker >= 0 and isinstance(op(self.net.layers[maker]), Normalization)

    def separate(
        self, position: int, layer: Layer, bottoms: list[Content]
    ) -> Sequence[Content | None]:
        """Pooling and its kind: each channel by itself."""
        own, given = op(layer), bottoms[0]
        made = given._replace(range=given.range.hull(0.0))
        if own is POOLING:
            found = ranges.pooled(layer, given.range, self.shapes.bottoms[position])
            made = given._replace(range=found)
        elif isinstance(own, Upsample) and len(bottoms) > 1:
            self.tie(bottoms[0], bottoms[1])
        elif isinstance(own, ROIPooling):
            self.pin(bottoms[1:], Refusal(SkipCode.NOT_FOLLOWED, f"'{layer.name}' reads regions"))
        mask = given._replace(range=ranges.anything(given.range))
        return [made, *[mask] * (len(layer.tops) - 1)]

    def linear(
        self, position: int, layer: Layer, own: LinearOp, bottoms: list[Content]
    ) -> Sequence[Content | None]:
        """A layer that multiplies by weights."""
        shape, given = self.shapes.bottoms[position][0], bottoms[0]
        channels = _extent(shape)
        layout = own.layout(layer, channels)
        if isinstance(layout, Refusal):
            return self.stopped(position, bottoms, layout)
        top = self.shapes.tops(position)[0]
        flat = own is INNER_PRODUCT
        whole = None if shape is None or channels is None else shape[1:] if flat else (channels,)
        if top is None or not (flat or _simple(given)) or whole is None:
            return self.strange(position, layer, bottoms)
        spread = given.each(lambda a: _full(a if flat else a.reshape(-1), whole))
        if spread.labels.size != layout.inputs:
            return self.strange(position, layer, bottoms, f"'{layer.name}' has other weights")
        groups = layout.view[0]
        inputs = spread.each(lambda a: a.reshape(groups, -1))
        border = own.border(layer, layout)
        each = layout.outputs // groups
        low, high = _answers(layer, layout, inputs.range.hull(0.0) if border else inputs.range)
        sums = groups == 1 or inputs.labels.shape[1] > 1
        if sums:
            labels = self.units.fresh(layout.outputs)
        else:
            labels = np.repeat(inputs.labels.reshape(-1), each)
        self.learned[position] = inputs.labels, labels
        self.behind[self.shapes.graph.writes[position][0]] = len(self.flow.readers)
        bias = Affine(np.ones(layout.outputs), bias_of(layer, layout.outputs))
        self.flow.readers.append(
            Reader(position, layout, inputs, labels.reshape(groups, -1), border, sums, bias)
        )
        lie = (-1, *(1,) * (len(top) - 2))
        made = Content(labels, Range(low, high)).each(lambda a: a.reshape(lie))
        return [made]

    def tie(self, one: Content, other: Content) -> Content:
        """Tie elements at one place; ``one``, with labels along all axes either has."""
        shape = np.broadcast_shapes(one.labels.shape, other.labels.shape)
        pairs = (np.broadcast_to(each.labels, shape) for each in (one, other))
        self.units.tie(*pairs)
        return one.each(lambda a: np.broadcast_to(a, shape))

    def eltwise(self, layer: Layer, bottoms: list[Content]) -> Sequence[Content | None]:
        made = bottoms[0]
        for other in bottoms[1:]:
            made = self.tie(made, other)
        alike = [Range(*np.broadcast_arrays(*b.range, made.labels)[:2]) for b in bottoms]
        return [Content(made.labels, ranges.joined(layer, alike))]

    def gate(self, position: int, layer: Layer, bottoms: list[Content]) -> Sequence[Content | None]:
        """Scale and Bias by a second bottom; along the channels these are tied."""
        image, factor = bottoms
        params = op(layer).params(layer)
        axis, rank = params.integer("axis"), image.labels.ndim + 1
        axis += rank if axis < 0 else 0
        covered = factor.labels.ndim + 1
        if layer.blobs or axis > 0 or covered < 2 or not (_simple(image) and _simple(factor)):
            return self.strange(position, layer, bottoms)
        lie = (-1, *(1,) * (rank - 2))
        gate = factor.each(lambda a: a.reshape(lie))
        made = self.tie(image, gate)
        alike = [Range(*np.broadcast_arrays(*b.range, made.labels)[:2]) for b in (image, gate)]
        both = (
            alike[0].product(alike[1])
            if op(layer).macs(layer, self.shapes.bottoms[position], self.shapes.tops(position))
            else alike[0].plus(alike[1])
        )
        return [Content(made.labels, both)]

    def axpy(self, bottoms: list[Content]) -> Sequence[Content | None]:
        lie = (-1, *(1,) * (bottoms[1].labels.ndim - 1))
        gate = bottoms[0].each(lambda a: a.reshape(lie))
        made = self.tie(self.tie(bottoms[1], gate), bottoms[2])
        a, x, y = (
            Range(*np.broadcast_arrays(*b.range, made.labels)[:2])
            for b in (gate, bottoms[1], bottoms[2])
        )
        return [Content(made.labels, a.product(x).plus(y))]

    # ------------------------------------------------------------------------------- layouts

    def laid(
        self, position: int, layer: Layer, given: list[Content], made: Content | None
    ) -> Content | None:
        """``made``, if it can be cut: its labels vary along one axis at most."""
        if made is None:
            return self.strange(position, layer, given, "a blob too large to be followed")[0]
        made = _compressed(made)
        if sum(extent > 1 for extent in made.labels.shape) > 1:
            why = f"'{layer.name}' lays its channels out along several axes"
            self.pin([made], Refusal(SkipCode.NOT_FOLLOWED, why))
        return made

    def concat(self, axis: int, position: int, bottoms: list[Content]) -> Content | None:
        layer, shapes = self.net.layers[position], self.shapes.bottoms[position]
        if axis < 0:
            return self.strange(position, layer, bottoms)[0]
        if axis == 0 or all(b.labels.shape[axis - 1] == 1 for b in bottoms):
            made = bottoms[0]
            for other in bottoms[1:]:
                made = self.tie(made, other)
                hull = Range(
                    np.minimum(made.range.low, other.range.low),
                    np.maximum(made.range.high, other.range.high),
                )
                made = made._replace(range=hull)
            if axis == 0 or any(b.labels.size > 1 for b in bottoms):
                return made
        at = axis - 1
        extents = [None if shape is None else shape[axis] for shape in shapes]
        others = np.broadcast_shapes(
            *((*b.labels.shape[:at], 1, *b.labels.shape[at + 1 :]) for b in bottoms)
        )
        if None in extents or sum(e or 0 for e in extents) * prod(others) > _MOST:
            return self.laid(position, layer, bottoms, None)
        parts = []
        for bottom, extent in zip(bottoms, extents, strict=True):
            full = (*others[:at], extent or 1, *others[at + 1 :])
            parts.append(bottom.each(partial(np.broadcast_to, shape=full)))
        return self.laid(position, layer, bottoms, _stacked(parts, at))

    def slice(
        self, axis: int, position: int, layer: Layer, own: Slice, bottoms: list[Content]
    ) -> Sequence[Content | None]:
        shape, given = self.shapes.bottoms[position][0], bottoms[0]
        whole = None if shape is None else shape[axis]
        cuts = own.ranges(layer, whole)
        if axis < 1 or cuts is None or whole is None:
            return (
                [given] * len(layer.tops) if axis == 0 else self.strange(position, layer, bottoms)
            )
        if given.labels.shape[axis - 1] == 1:
            return [given] * len(layer.tops)

        def part(start: int, stop: int) -> Content:
            return given.each(lambda a: np.take(a, np.arange(start, stop), axis - 1))

        return [part(*cut) for cut in cuts]

    def reshape(
        self, position: int, layer: Layer, bottoms: list[Content]
    ) -> Sequence[Content | None]:
        before, after = self.shapes.bottoms[position][0], self.shapes.tops(position)[0]
        if before is None or after is None or len(after) < 2 or before[0] != after[0]:
            return self.strange(position, layer, bottoms)
        one, other = product(before[1:]), product(after[1:])
        if one is None or one != other:
            return self.strange(position, layer, bottoms)
        if bottoms[0].labels.size == 1:
            return [bottoms[0].each(lambda a: a.reshape((1,) * (len(after) - 1)))]
        if one > _MOST:
            return [self.laid(position, layer, bottoms, None)]
        made = bottoms[0].each(lambda a: _full(a, before[1:]).reshape(after[1:]))
        return [self.laid(position, layer, bottoms, made)]

    def permute(
        self, position: int, layer: Layer, bottoms: list[Content]
    ) -> Sequence[Content | None]:
        order = list(op(layer).params(layer).integers("order"))
        order += [axis for axis in range(bottoms[0].labels.ndim + 1) if axis not in order]
        if order[0] != 0:
            return self.strange(position, layer, bottoms)
        return [bottoms[0].each(lambda a: a.transpose([axis - 1 for axis in order[1:]]))]

    def shuffle(
        self, position: int, layer: Layer, own: ShuffleChannel, bottoms: list[Content]
    ) -> Sequence[Content | None]:
        given, groups = bottoms[0], own.params(layer).integer("group")
        if not _simple(given) or groups < 1 or given.labels.size % groups:
            if given.labels.size == 1:
                return [given]
            return self.strange(position, layer, bottoms)
        table = given.labels.reshape(groups, -1)
        for row in table[1:]:
            self.units.tie(table[0], row)

        def shuffled(a: Array) -> Array:
            made: Array = a.reshape(groups, -1).T.reshape(a.shape)
            return made

        return [given.each(shuffled)]

    def spp(
        self, position: int, layer: Layer, own: SPP, bottoms: list[Content]
    ) -> Sequence[Content | None]:
        top, levels = self.shapes.tops(position)[0], own.params(layer).integer("pyramid_height")
        given = bottoms[0]._replace(range=bottoms[0].range.hull(0.0))
        if top is None or not _simple(given) or (product(top[1:]) or _MOST + 1) > _MOST:
            return self.strange(position, layer, bottoms)
        channels = _extent(self.shapes.bottoms[position][0]) or 1
        flat = given.each(lambda a: np.broadcast_to(a.reshape(-1), (channels,)))
        parts = [flat.each(partial(np.repeat, repeats=4**level)) for level in range(levels)]
        made = _stacked(parts, 0).each(lambda a: a.reshape(-1, *(1,) * (len(top) - 2)))
        return [_compressed(made)]


def _learned(layer: Layer) -> int:
    """How many numbers the largest blob has; 0 without any."""
    return max(map(size, layer.blobs), default=0)


def _extent(shape: Shape) -> int | None:
    return shape[1] if shape is not None and len(shape) > 1 else None


def _simple(content: Content) -> bool:
    """Whether labels vary along the channels alone."""
    return all(extent == 1 for extent in content.labels.shape[1:])


def _full(a: Array, extents: Known) -> Array:
    """``a`` with all its elements, extent by extent."""
    full: Array = np.broadcast_to(a, tuple(extent or 1 for extent in extents))
    return full


def _stacked(parts: Sequence[Content], axis: int) -> Content:
    return Content(
        np.concatenate([p.labels for p in parts], axis),
        Range(*(np.concatenate([p.range[i] for p in parts], axis) for i in (0, 1))),
    )


def _compressed(content: Content) -> Content:
    """Extent 1 along axes on which labels do not vary; ranges are widened to all there."""
    labels, (low, high) = content
    for axis in range(labels.ndim):
        if labels.shape[axis] > 1 and (labels == labels.take([0], axis)).all():
            labels = labels.take([0], axis)
            low, high = low.min(axis, keepdims=True), high.max(axis, keepdims=True)
    return Content(labels, Range(low, high))


def weight_blocks(
    layer: Layer, layout: LinearLayout
) -> Iterator[tuple[int, slice, slice, Doubles]]:
    """The weights in blocks: (group, outputs, inputs, numbers of (outputs, inputs, inner))."""
    groups, rows, columns, inner = layout.view
    step = max(1, _BLOCK // max(1, columns * inner))
    every = slice(None)
    for group in range(groups):
        for row in range(0, rows, step):
            stop = min(row + step, rows)
            start = (group * rows + row) * columns * inner
            block = layer.blobs[0].read(start, start + (stop - row) * columns * inner)
            numbers = block.reshape(stop - row, columns, inner).astype(np.float64)
            if layout.outputs_are_rows:
                yield group, slice(row, stop), every, numbers
            else:
                yield group, every, slice(row, stop), numbers.transpose(1, 0, 2)


def bias_of(layer: Layer, outputs: int) -> Doubles:
    """The bias; zeros when the layer has none."""
    if len(layer.blobs) < 2:
        return np.zeros(outputs)
    return array(layer.blobs[1]).reshape(-1).astype(np.float64)


def _answers(layer: Layer, layout: LinearLayout, given: Range) -> Range:
    """Between which numbers the outputs lie; ``given`` are (groups, inputs of a group)."""
    groups = layout.view[0]
    low, high = np.zeros((2, groups, layout.outputs // groups))
    infinite = [np.isinf(end) for end in given]
    plain = [np.where(far, 0.0, end) for far, end in zip(infinite, given, strict=True)]
    for group, outs, ins, numbers in weight_blocks(layer, layout):
        up, down = np.maximum(numbers, 0).sum(2), np.minimum(numbers, 0).sum(2)
        low[group, outs] += up @ plain[0][group, ins] + down @ plain[1][group, ins]
        high[group, outs] += up @ plain[1][group, ins] + down @ plain[0][group, ins]
        far = [end[group, ins] * 1.0 for end in infinite]
        low[group, outs] -= np.where(up @ far[0] - down @ far[1] > 0, np.inf, 0.0)
        high[group, outs] += np.where(up @ far[1] - down @ far[0] > 0, np.inf, 0.0)
    bias = bias_of(layer, layout.outputs)
    return Range(low.reshape(-1) + bias, high.reshape(-1) + bias)
