"""Shapes behind layers that move numbers around: Concat, Slice, Reshape, Crop and their kind.

Source: the Reshape function of the layer of the same name in Caffe.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from caffefold.formats.prototxt.tree import Message, Scalar
from caffefold.ir.net import Layer
from caffefold.ir.params import parse_int
from caffefold.ops.shape import Dim, Known, Shape, Step, canonical, first, product, show, unified


def _named_axis(layer: Layer, message: str, old: str) -> int:
    params = layer.params(message)
    return params.integer(old) if params.has(old) else params.integer("axis")


def concat(layer: Layer) -> Step:
    """Concat along ``axis`` (older: ``concat_dim``)."""
    at = _named_axis(layer, "concat_param", "concat_dim")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        known = next((shape for shape in bottoms if shape is not None), None)
        if known is None:
            return [None]
        axis = canonical(layer, at, len(known))
        made = unified(layer, bottoms, "its inputs", free=axis)
        assert made is not None
        joined: Dim = 0
        for shape in bottoms:
            part = None if shape is None else shape[axis]
            joined = None if joined is None or part is None else joined + part
        return [(*made[:axis], joined, *made[axis + 1 :])]

    return step


def slice_(layer: Layer) -> Step:
    """Slice along ``axis`` (older: ``slice_dim``), at the points given or into equal parts."""
    at, count = _named_axis(layer, "slice_param", "slice_dim"), len(layer.tops)
    points = layer.params("slice_param").integers("slice_point")
    if points and len(points) != count - 1:
        raise layer.error(f"{len(points)} values of slice_point for {count} tops")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            return [None] * count
        axis = canonical(layer, at, len(shape))
        whole = shape[axis]
        parts: Sequence[Dim]
        if points:
            edges = [0, *points]
            known = [b - a for a, b in itertools.pairwise(edges)]
            parts = [*known, None if whole is None else whole - edges[-1]]
            if any(part is not None and part < 1 for part in parts):
                raise layer.error(f"slice_point {points[-1]} leaves nothing of {whole}")
        elif whole is None:
            parts = [whole if count == 1 else None] * count
        elif whole % count:
            raise layer.error(f"{whole} can not be cut into {count} equal parts")
        else:
            parts = [whole // count] * count
        return [(*shape[:axis], part, *shape[axis + 1 :]) for part in parts]

    return step


def reshape(layer: Layer) -> Step:
    """Reshape: 0 copies an extent, -1 infers one; ``axis`` and ``num_axes`` say which are replaced.

    Source: reshape_layer.cpp.
    """
    params = layer.params("reshape_param")
    dims = params.sub("shape").integers("dim")
    at, span = params.integer("axis"), params.integer("num_axes")
    if dims.count(-1) > 1 or any(dim < -1 for dim in dims):
        raise layer.error(f"shape {list(dims)} is none; one -1 at most")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            if (at, span) != (0, -1):
                return [None]
            return [tuple(dim if dim > 0 else None for dim in dims)]
        start = canonical(layer, at, len(shape), end=1)
        stop = len(shape) if span == -1 else start + span
        if stop > len(shape):
            raise layer.error(f"axis {at} with num_axes {span}, its input has {len(shape)} axes")
        made = [_copied(layer, shape, start + i) if dim == 0 else dim for i, dim in enumerate(dims)]
        if -1 in dims:
            made[dims.index(-1)] = _inferred(layer, shape, (start, stop), made, dims.index(-1))
        result = (*shape[:start], *made, *shape[stop:])
        before, after = product(shape), product(result)
        if before is not None and after is not None and before != after:
            raise layer.error(f"{show(shape)} has {before} elements, {show(result)} has {after}")
        return [result]

    return step


def _copied(layer: Layer, shape: Known, axis: int) -> Dim:
    if axis >= len(shape):
        raise layer.error(f"dim 0 copies axis {axis}, its input has {len(shape)} axes")
    return shape[axis]


def _inferred(
    layer: Layer, shape: Known, span: tuple[int, int], made: Sequence[Dim], at: int
) -> Dim:
    """The extent that -1 stands for; extents copied from an unknown one cancel out."""
    explicit = [dim for i, dim in enumerate(made) if i != at]
    source = list(shape[slice(*span)])
    while None in explicit and None in source:  # a copy of an unknown extent
        explicit.remove(None)
        source.remove(None)
    whole, rest = product(source), product(explicit)
    if whole is None or rest is None:
        return None
    if not rest or whole % rest:
        raise layer.error(f"{whole} elements ({show(shape)}) can not be divided by {rest}")
    return whole // rest


def flatten(layer: Layer) -> Step:
    """Flatten the axes from ``axis`` to ``end_axis`` into one."""
    params = layer.params("flatten_param")
    at, end = params.integer("axis"), params.integer("end_axis")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            return [(None, None) if (at, end) == (1, -1) else None]
        start = canonical(layer, at, len(shape))
        stop = canonical(layer, end, len(shape), field="end_axis") + 1
        return [(*shape[:start], product(shape[start:stop]), *shape[stop:])]

    return step


def permute(layer: Layer) -> Step:
    """Permute: the axes in ``order``, then the rest as they were (SSD, permute_layer.cpp)."""
    order = layer.params("permute_param").integers("order")
    if len(set(order)) < len(order):
        raise layer.error(f"order {list(order)} names an axis twice")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            return [None]
        for axis in order:
            canonical(layer, axis, len(shape), field="order")
        rest = [axis for axis in range(len(shape)) if axis not in order]
        return [tuple(shape[axis] for axis in (*order, *rest))]

    return step


def transpose(layer: Layer) -> Step:
    """Transpose of OCR forks: the new order of all axes."""
    message = layer.body.message("transpose_param") or Message(())
    values = [value.raw for value in message.all("dim") if isinstance(value, Scalar)]
    order = [number for raw in values if (number := parse_int(raw)) is not None]

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            return [None]
        if sorted(order) != list(range(len(shape))):
            raise layer.error(f"dim {order} is no order of the {len(shape)} axes of its input")
        return [tuple(shape[axis] for axis in order)]

    return step


def crop(layer: Layer) -> Step:
    """Crop the first bottom to the second one's extents from ``axis`` on (crop_layer.cpp)."""
    params = layer.params("crop_param")
    at, offsets = params.integer("axis"), params.integers("offset")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            return [None]
        axis = canonical(layer, at, len(shape))
        like = bottoms[1] if len(bottoms) > 1 else None
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
                raise layer.error(f"{part} with offset {offset} does not lie within {whole}")
        return [(*shape[:axis], *like[axis:])]

    return step


def tile(layer: Layer) -> Step:
    """Tile: repeat along ``axis``."""
    params = layer.params("tile_param")
    at, tiles = params.integer("axis"), params.integer("tiles")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            return [None]
        axis = canonical(layer, at, len(shape))
        return [(*shape[:axis], product((shape[axis], tiles)), *shape[axis + 1 :])]

    return step


def reduction(layer: Layer) -> Step:
    """Reduction: the axes from ``axis`` on are gone."""
    at = layer.params("reduction_param").integer("axis")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            return [(None,) * at if at >= 0 else None]
        return [shape[: canonical(layer, at, len(shape))]]

    return step


def argmax(layer: Layer) -> Step:
    """ArgMax: ``top_k`` along ``axis``; without one, over the whole item (argmax_layer.cpp)."""
    params = layer.params("argmax_param")
    top_k, pairs = params.integer("top_k"), params.flag("out_max_val")
    at = params.integer("axis") if params.has("axis") else None

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if at is None:
            rest = () if shape is None else (1,) * (len(shape) - 3)
            return [((shape or (None,))[0], 2 if pairs else 1, top_k, *rest)]
        if shape is None:
            return [None]
        axis = canonical(layer, at, len(shape))
        return [(*shape[:axis], top_k, *shape[axis + 1 :])]

    return step


def batch_reindex(layer: Layer) -> Step:
    """BatchReindex: as many items as the second bottom lists."""
    del layer

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        listed = bottoms[1] if len(bottoms) > 1 else None
        if not shape:
            return [None]
        return [((listed or (None,))[0], *shape[1:])]

    return step


def filter_(layer: Layer) -> Step:
    """Filter: some of the items of each bottom but the last, which selects; how many, data say."""
    del layer
    return lambda bottoms: [
        None if shape is None else (None, *shape[1:]) for shape in bottoms[: len(bottoms) - 1]
    ]
