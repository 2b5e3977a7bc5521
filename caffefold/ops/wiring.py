"""Layers that move numbers around: Concat, Slice, Reshape, Crop and their kind.

Source: the Reshape function of the layer of the same name in Caffe.
"""

from __future__ import annotations

import itertools

from caffefold.formats.prototxt.tree import Scalar
from caffefold.ir.net import Layer
from caffefold.ir.params import parse_int
from caffefold.ops.base import Category, ChannelFlow, Joined, Op, Same, Split, Unknown, own_message
from caffefold.ops.shape import (
    Dim,
    Known,
    Shape,
    ShapeList,
    axis_of,
    canonical,
    first,
    four_axes,
    product,
    rank_of,
    second,
    show,
    total,
    unified,
)


class Wiring(Op):
    """Learns nothing; what its tops hold are numbers of its bottoms."""

    category = Category.WIRING


class Cut(Wiring):
    """What Concat and Slice have in common: an axis, which older nets call by another name."""

    old = ""

    def axis(self, layer: Layer, rank: int | None = None) -> int:
        """The axis; counted from the front where ``rank`` is known."""
        params = self.params(layer)
        at = params.integer(self.old) if params.has(self.old) else params.integer("axis")
        return at + rank if at < 0 and rank is not None else at


class Concat(Cut):
    """Concat along ``axis`` (older: ``concat_dim``)."""

    param, old = "concat_param", "concat_dim"
    joins = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        known = _some_known(bottoms)
        if known is None:
            return [None]
        axis = canonical(layer, self.axis(layer), len(known))
        made = unified(layer, bottoms, "its inputs", free=axis)
        assert made is not None
        parts = [axis_of(shape, axis) for shape in bottoms]
        joined = None if None in parts else sum(part or 0 for part in parts)
        return [(*made[:axis], joined, *made[axis + 1 :])]

    def channels(self, layer: Layer, bottoms: ShapeList) -> ChannelFlow:
        axis = self.axis(layer, rank_of(_some_known(bottoms)))
        if axis == 1:
            return Joined()
        return Unknown() if axis < 0 else Same(tuple(range(len(layer.bottoms))))


class Slice(Cut):
    """Slice along ``axis`` (older: ``slice_dim``), at the points given or into equal parts."""

    param, old = "slice_param", "slice_dim"

    def points(self, layer: Layer) -> tuple[int, ...]:
        """Where it cuts; none: into equal parts."""
        return self.params(layer).integers("slice_point")

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        shape, count, points = first(bottoms), len(layer.tops), self.points(layer)
        if points and len(points) != count - 1:
            raise layer.error(f"{len(points)} values of slice_point for {count} tops")
        if shape is None:
            return []
        axis = canonical(layer, self.axis(layer), len(shape))
        whole = shape[axis]
        parts: list[Dim] = [None] * count
        if points:
            parts = [b - a for a, b in itertools.pairwise((0, *points))]
            parts.append(None if whole is None else whole - points[-1])
            if any(part is not None and part < 1 for part in parts):
                raise layer.error(f"slice_point {points[-1]} leaves nothing of {whole}")
        elif whole is not None:
            if whole % count:
                raise layer.error(f"{whole} cannot be cut into {count} equal parts")
            parts = [whole // count] * count
        return [(*shape[:axis], part, *shape[axis + 1 :]) for part in parts]

    def channels(self, layer: Layer, bottoms: ShapeList) -> ChannelFlow:
        shape = first(bottoms)
        axis = self.axis(layer, rank_of(shape))
        if axis == 1:
            return Split(self.points(layer), self.ranges(layer, axis_of(shape, 1)))
        return Unknown() if axis < 0 else Same()

    def ranges(self, layer: Layer, whole: Dim) -> tuple[tuple[int, int], ...] | None:
        """The range of each top along the axis, whose extent is ``whole``; None: not known."""
        count, points = len(layer.tops), list(self.points(layer))
        if whole is None:
            return None
        if not points:
            if whole % count:
                return None
            points = [whole // count * i for i in range(1, count)]
        if len(points) != count - 1:
            return None
        return tuple(itertools.pairwise([0, *points, whole]))


class Eltwise(Wiring):
    """Eltwise: all bottoms are alike."""

    param = "eltwise_param"
    joins = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return [unified(layer, bottoms, "its inputs")]

    def channels(self, layer: Layer, bottoms: ShapeList) -> ChannelFlow:
        return Same(tuple(range(len(layer.bottoms))))


class Axpy(Eltwise):
    """Axpy: a factor for each channel, x and y; the top is like x and y (SENet, axpy_layer.cpp)."""

    param = ""

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return super().shapes(layer, bottoms[1:])


class Reshape(Wiring):
    """Reshape: 0 copies an extent, -1 infers one; ``axis`` and ``num_axes`` say which are replaced.

    Source: reshape_layer.cpp.
    """

    param = "reshape_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params, shape = self.params(layer), first(bottoms)
        dims = params.sub("shape").integers("dim")
        at, span = params.integer("axis"), params.integer("num_axes")
        if dims.count(-1) > 1 or any(dim < -1 for dim in dims):
            raise layer.error(f"shape {list(dims)} is not valid; at most one -1 is allowed")
        if shape is None:
            known = (at, span) == (0, -1)
            return [tuple(dim if dim > 0 else None for dim in dims) if known else None]
        start = canonical(layer, at, len(shape), end=1)
        stop = len(shape) if span == -1 else start + span
        if stop > len(shape):
            raise layer.error(f"axis {at} with num_axes {span}, its input has {len(shape)} axes")
        made: list[Dim] = list(dims)
        for i, dim in enumerate(dims):
            if dim == 0 and start + i >= len(shape):
                raise layer.error(f"dim 0 copies axis {start + i}, its input has {len(shape)} axes")
            made[i] = shape[start + i] if dim == 0 else dim
        if -1 in dims:
            rest = [dim for i, dim in enumerate(made) if dims[i] != -1]
            made[dims.index(-1)] = _inferred(layer, shape, shape[start:stop], rest)
        result = (*shape[:start], *made, *shape[stop:])
        before, after = product(shape), product(result)
        if before is not None and after is not None and before != after:
            raise layer.error(f"{show(shape)} has {before} elements, {show(result)} has {after}")
        return [result]


def _inferred(layer: Layer, shape: Known, replaced: Known, explicit: list[Dim]) -> Dim:
    """The extent that -1 stands for; extents copied from an unknown one cancel out."""
    source = list(replaced)
    while None in explicit and None in source:  # a copy of an unknown extent
        explicit.remove(None)
        source.remove(None)
    whole, rest = product(source), product(explicit)
    if whole is None or rest is None:
        return None
    if not rest or whole % rest:
        raise layer.error(f"{whole} elements ({show(shape)}) cannot be divided by {rest}")
    return whole // rest


class Flatten(Wiring):
    """Flatten the axes from ``axis`` to ``end_axis`` into one."""

    param = "flatten_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params, shape = self.params(layer), first(bottoms)
        at, end = params.integer("axis"), params.integer("end_axis")
        if shape is None:
            return [(None, None) if (at, end) == (1, -1) else None]
        start = canonical(layer, at, len(shape))
        stop = canonical(layer, end, len(shape), field="end_axis") + 1
        if stop < start:  # one before: an axis of 1 is put in (blob.hpp, count)
            raise layer.error(f"end_axis {end} is before axis {at}")
        return [(*shape[:start], product(shape[start:stop]), *shape[stop:])]


class Permute(Wiring):
    """Permute: the axes in ``order``, then the rest as they were (SSD, permute_layer.cpp)."""

    param = "permute_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        order, shape = self.params(layer).integers("order"), first(bottoms)
        if len(set(order)) < len(order):
            raise layer.error(f"order {list(order)} names an axis twice")
        if shape is None:
            return [None]
        for axis in order:
            canonical(layer, axis, len(shape), field="order")
        rest = [axis for axis in range(len(shape)) if axis not in order]
        return [tuple(shape[axis] for axis in (*order, *rest))]


class Transpose(Wiring):
    """Transpose of OCR forks: the new order of all axes."""

    param = "transpose_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        message, shape = own_message(layer, self.param), first(bottoms)
        values = [value.raw for value in message.all("dim") if isinstance(value, Scalar)]
        order = [number for raw in values if (number := parse_int(raw)) is not None]
        if shape is None:
            return [None]
        if sorted(order) != list(range(len(shape))):
            raise layer.error(
                f"dim {order} is not a permutation of the {len(shape)} axes of its input"
            )
        return [tuple(shape[axis] for axis in order)]


class Crop(Wiring):
    """Crop the first bottom to the second one's extents from ``axis`` on (crop_layer.cpp)."""

    param = "crop_param"
    spatial = True
    separate = True
    joins = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params, shape, like = self.params(layer), first(bottoms), second(bottoms)
        at, offsets = params.integer("axis"), params.integers("offset")
        if shape is None:
            return [None]
        axis = canonical(layer, at, len(shape))
        count = len(shape) - axis
        if len(offsets) > 1 and len(offsets) != count:
            raise layer.error(f"{len(offsets)} values of offset for {count} cropped axes")
        if like is None:
            return [(*shape[:axis], *(None,) * count)]
        if len(like) != len(shape):
            raise layer.error(f"its inputs have {len(shape)} and {len(like)} axes")
        moved = offsets * count if len(offsets) == 1 else offsets or (0,) * count
        for whole, part, offset in zip(shape[axis:], like[axis:], moved, strict=True):
            if whole is not None and part is not None and part + offset > whole:
                raise layer.error(f"{part} with offset {offset} is not within {whole}")
        return [(*shape[:axis], *like[axis:])]

    def channels(self, layer: Layer, bottoms: ShapeList) -> ChannelFlow:
        return Same() if self.params(layer).integer("axis") > 1 else Unknown()


class Tile(Wiring):
    """Tile: repeat along ``axis``."""

    param = "tile_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params, shape = self.params(layer), first(bottoms)
        at, tiles = params.integer("axis"), params.integer("tiles")
        if shape is None:
            return [None]
        axis = canonical(layer, at, len(shape))
        return [(*shape[:axis], product((shape[axis], tiles)), *shape[axis + 1 :])]


class Reduction(Wiring):
    """Reduction: the axes from ``axis`` on are gone."""

    param = "reduction_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        at, shape = self.params(layer).integer("axis"), first(bottoms)
        if shape is None:
            return [(None,) * at if at >= 0 else None]
        return [shape[: canonical(layer, at, len(shape))]]


class ArgMax(Wiring):
    """ArgMax: ``top_k`` along ``axis``; without one, over the whole item (argmax_layer.cpp)."""

    param = "argmax_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params, shape = self.params(layer), first(bottoms)
        top_k, at = params.integer("top_k"), params.integer("axis")
        if top_k < 1:
            raise layer.error(f"top_k is {top_k}; it must be at least 1")
        if not params.has("axis"):
            _check_top_k(layer, top_k, total(shape, 1))
            rest = () if shape is None else (1,) * (len(shape) - 3)
            return [(axis_of(shape, 0), 2 if params.flag("out_max_val") else 1, top_k, *rest)]
        if shape is None:
            return [None]
        axis = canonical(layer, at, len(shape))
        _check_top_k(layer, top_k, shape[axis])
        return [(*shape[:axis], top_k, *shape[axis + 1 :])]


def _check_top_k(layer: Layer, top_k: int, extent: Dim) -> None:
    if extent is not None and top_k > extent:
        raise layer.error(f"top_k is {top_k}, there are only {extent} numbers to choose from")


class BatchReindex(Wiring):
    """BatchReindex: as many items as the second bottom lists."""

    flow = Same()
    separate = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        shape = first(bottoms)
        return [(axis_of(second(bottoms), 0), *shape[1:]) if shape else None]


class Filter(Wiring):
    """Filter: some of the items of each bottom but the last, which selects; how many, data say."""

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return [None if shape is None else (None, *shape[1:]) for shape in bottoms[:-1]]


class ShuffleChannel(Wiring):
    """ShuffleChannel: like the bottom, whose channels come in ``group`` equal groups."""

    param = "shuffle_channel_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        group, channels = self.params(layer).integer("group"), four_axes(layer, first(bottoms))[1]
        if channels is not None and (group < 1 or channels % group):
            raise layer.error(f"{channels} channels in {group} groups")
        return [first(bottoms)]


def _some_known(shapes: ShapeList) -> Shape:
    """The first shape that is known."""
    return next((shape for shape in shapes if shape is not None), None)


CONCAT, SLICE = Concat("Concat"), Slice("Slice")
ELTWISE, RESHAPE, FLATTEN = Eltwise("Eltwise"), Reshape("Reshape"), Flatten("Flatten")
PERMUTE = Permute("Permute")
OPS = (
    *(CONCAT, SLICE, ELTWISE, RESHAPE, FLATTEN, Axpy("Axpy"), PERMUTE),
    *(Transpose("Transpose"), Crop("Crop"), Tile("Tile"), Reduction("Reduction")),
    *(ArgMax("ArgMax"), BatchReindex("BatchReindex"), Filter("Filter")),
    ShuffleChannel("ShuffleChannel"),
)
