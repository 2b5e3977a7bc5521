"""Layers that move, join, cut or sum up numbers."""

from __future__ import annotations

from math import prod

from caffefold.formats.prototxt.tree import Scalar
from caffefold.ir.params import parse_int
from caffefold.onnx_export.site import Site
from caffefold.ops.base import own_message
from caffefold.ops.shape import canonical
from caffefold.ops.wiring import Cut, Slice


def concat(site: Site) -> None:
    """Concat along the axis."""
    own = site.op
    assert isinstance(own, Cut)
    site.joined(site.bottoms, canonical(site.layer, own.axis(site.layer), site.rank), top=0)


def slices(site: Site) -> None:
    """Split into parts of the sizes that the points leave."""
    own, layer = site.op, site.layer
    assert isinstance(own, Slice)
    axis = canonical(layer, own.axis(layer), site.rank)
    ranges = own.ranges(layer, site.extents(0, axis)[0])
    if ranges is None:
        raise site.unknown(layer.bottoms[0], site.shapes[0])
    if len(site.tops) == 1:
        site.add("Identity", site.x, top=0)
        return
    sizes = site.ints([stop - start for start, stop in ranges], "sizes")
    site.add_many("Split", (site.x, sizes), range(len(site.tops)), axis=axis)


def eltwise(site: Site) -> None:
    """SUM with coefficients, PROD or MAX of all bottoms."""
    params = site.params
    kind, coefficients = params.enum("operation"), params.numbers("coeff")
    values = list(site.bottoms)
    if kind == "SUM":
        if coefficients and len(coefficients) != len(values):
            raise site.error(f"{len(coefficients)} values of coeff for {len(values)} bottoms")
        if coefficients:
            values = [site.scaled(v, c) for v, c in zip(values, coefficients, strict=True)]
        site.add("Sum", *values, top=0)
    elif kind == "MAX":
        site.add("Max", *values, top=0)
    else:
        made = values[0]
        for i, value in enumerate(values[1:], 2):
            made = site.add("Mul", made, value, top=0 if i == len(values) else None)


def axpy(site: Site) -> None:
    """A factor for each channel, times x, plus y (SENet)."""
    shape = site.rank_known(1)
    gate = site.reshape(site.x, (*shape[:2], *(1,) * (len(shape) - 2)))
    site.add("Add", site.add("Mul", gate, site.bottoms[1]), site.bottoms[2], top=0)


def reshape(site: Site) -> None:
    """Reshape and Flatten: Reshape to the inferred shape, whatever the fields say."""
    made = site.made[0]
    if made is None:
        raise site.unknown(site.layer.bottoms[0], site.shapes[0])
    if site.batch() is None and (not made or made[0] is not None):
        raise site.unknown(site.layer.bottoms[0], site.shapes[0])
    site.reshape(site.x, made, top=0)


def permute(site: Site) -> None:
    """Transpose; axes that ``order`` leaves out follow."""
    order = list(site.params.integers("order"))
    order += (axis for axis in range(site.rank) if axis not in order)
    site.add("Transpose", site.x, top=0, perm=order)


def transpose(site: Site) -> None:
    """Transpose of OCR forks."""
    values = own_message(site.layer, site.op.param).all("dim")
    order = [parse_int(value.raw) for value in values if isinstance(value, Scalar)]
    site.add("Transpose", site.x, top=0, perm=[axis or 0 for axis in order])


def crop(site: Site) -> None:
    """Slice from ``axis`` on, to the extents of the second bottom."""
    axis = canonical(site.layer, site.params.integer("axis"), site.rank)
    wanted, offsets = site.extents(1, axis), site.params.integers("offset")
    starts = offsets * len(wanted) if len(offsets) == 1 else offsets or (0,) * len(wanted)
    ends = [start + size for start, size in zip(starts, wanted, strict=True)]
    site.slice(site.x, range(axis, site.rank), starts, ends, top=0)


def tile(site: Site) -> None:
    """Tile along one axis."""
    repeats = [1] * site.rank
    repeats[canonical(site.layer, site.params.integer("axis"), site.rank)] = site.params.integer(
        "tiles"
    )
    site.add("Tile", site.x, site.ints(repeats, "repeats"), top=0)


def reduction(site: Site) -> None:
    """SUM, ASUM, SUMSQ or MEAN of the axes from ``axis`` on, times a coefficient."""
    params = site.params
    axis = canonical(site.layer, params.integer("axis"), site.rank)
    kind, factor = params.enum("operation"), params.number("coeff")
    value = site.x
    if kind == "ASUM":
        value = site.add("Abs", value)
    elif kind == "SUMSQ":
        value = site.add("Mul", value, value)
    name = "ReduceMean" if kind == "MEAN" else "ReduceSum"
    axes = list(range(axis, site.rank))
    if factor == 1:
        site.reduce(name, value, axes, keep=False, top=0)
    elif axis:
        site.scaled(site.reduce(name, value, axes, keep=False), factor, top=0)
    else:  # OpenCV 5 does not multiply a number without axes
        site.reshape(site.scaled(site.reduce(name, value, axes), factor), (), top=0)


def argmax(site: Site) -> None:
    """The places of the largest numbers, the last of equal ones; or the numbers (argmax_layer)."""
    params = site.params
    count, values = params.integer("top_k"), params.flag("out_max_val")
    given = params.has("axis")
    axis = canonical(site.layer, params.integer("axis"), site.rank) if given else 1
    value = site.x
    if not given and site.rank != 2:
        value = site.add("Flatten", value, axis=1)
    extent = prod(site.extents(0, axis)) if not given else site.extents(0, axis)[0]
    if not given:
        found = [_places(site, value, count, 1, extent)]
        if values:
            found.append(_largest(site, value, count, 1)[0])
        lead = site.batch()
        rows = [site.reshape(each, (lead, 1, count)) for each in found]
        site.reshape(site.joined(rows, 1), site.made[0] or (), top=0)
    elif values:
        _largest(site, value, count, axis, top=0)
    else:
        _places(site, value, count, axis, extent, top=0)


def _largest(
    site: Site, value: str, count: int, axis: int, top: int | None = None
) -> tuple[str, ...]:
    wanted = site.ints([count], "top_k")
    return site.add_many("TopK", (value, wanted), (top, None), axis=axis, largest=1, sorted=1)


def _places(
    site: Site, value: str, count: int, axis: int, extent: int, top: int | None = None
) -> str:
    """Of equal numbers Caffe takes the later ones first, so it looks from behind."""
    if count == 1:
        found = site.add("ArgMax", value, axis=axis, keepdims=1, select_last_index=1)
        return site.add("Cast", found, top=top, to=1)
    site.afford(extent)
    behind = site.ints([extent - 1 - i for i in range(extent)], "behind")
    turned = site.add("Gather", value, behind, axis=axis)
    _, found = _largest(site, turned, count, axis)
    at = site.add("Sub", site.ints([extent - 1], "last"), found)
    return site.add("Cast", at, top=top, to=1)


def batch_reindex(site: Site) -> None:
    """Items by their numbers, repeated or left out."""
    places = site.add("Cast", site.bottoms[1], to=7)
    site.add("Gather", site.x, places, top=0, axis=0)


def select(site: Site) -> None:
    """Filter: the items whose selector is not 0."""
    selector = site.reshape(site.bottoms[-1], (None,), like=())
    wanted = site.add("Cast", selector, to=9)
    for top in range(len(site.tops)):
        site.add("Compress", site.bottoms[top], wanted, top=top, axis=0)


def shuffle_channel(site: Site) -> None:
    """Channels of groups in turn: Reshape, Transpose, Reshape."""
    group, shape = site.params.integer("group"), site.shape
    channels, *rest = site.extents(0, 1)
    lead = -1 if shape[0] is None else shape[0]
    split = site.ints([lead, group, channels // group, *rest], "split")
    order = [0, 2, 1, *range(3, site.rank + 1)]
    value = site.add("Transpose", site.add("Reshape", site.x, split), perm=order)
    site.reshape(value, shape, top=0)
