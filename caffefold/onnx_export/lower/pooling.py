"""Pooling and what resizes maps, without operators that runtimes compute differently.

ONNX's own ``ceil_mode`` and ``count_include_pad`` are never used: what they give depends on the
runtime and its version. All padding is explicit.
"""

from __future__ import annotations

from math import prod

import numpy as np

from caffefold.ir.blob import Doubles
from caffefold.onnx_export.site import Site
from caffefold.ops.pooling import Pooling
from caffefold.ops.shape import Window

_LOWEST = float(np.finfo(np.float32).min)


def pooling(site: Site) -> None:
    """MaxPool, AveragePool or their global forms; a second top says where each maximum stood."""
    own, layer = site.op, site.layer
    assert isinstance(own, Pooling)
    kind = site.params.enum("pool")
    if kind == "STOCHASTIC":
        raise site.error("stochastic pooling has no ONNX operator; use AVE or MAX")
    made = site.made[0]
    mean = kind == "AVE"
    windows = own.windows(layer, site.rank - 2)
    if len(site.tops) > 1 and not mean:
        _with_mask(site, windows)
        return
    if len(site.tops) > 1:
        raise site.error("a mask of average pooling is never filled in; drop its second top")
    if not windows:
        site.add("GlobalAveragePool" if mean else "GlobalMaxPool", site.x, top=0)
        return
    assert made is not None
    sizes, outputs = site.extents(0, 2), tuple(dim or 0 for dim in made[2:])
    pool = average if mean else maximum
    pool(site, site.x, sizes, outputs, windows, top=0)


def maximum(
    site: Site, value: str, sizes: tuple[int, ...], outputs: tuple[int, ...],
    windows: tuple[Window, ...], top: int | None = None,
) -> str:  # fmt: skip
    """The largest number of each window; of an empty one the smallest there is."""
    filled = _filled(sizes, outputs, windows)
    missing = [out - some for out, some in zip(outputs, filled, strict=True)]
    direct = not any(missing)
    value = site.add("MaxPool", value, top=top if direct else None, **_pool(sizes, filled, windows))
    if direct:
        return value
    return site.padded(value, [0] * len(windows), missing, _LOWEST, top=top)


def _pool(
    sizes: tuple[int, ...], outputs: tuple[int, ...], windows: tuple[Window, ...]
) -> dict[str, list[int]]:
    """MaxPool's attributes; padding at the end as far as the last window reaches."""
    return {
        "kernel_shape": [window.kernel for window in windows],
        "strides": [window.stride for window in windows],
        "pads": [*(window.pad for window in windows), *_ends(sizes, outputs, windows)],
    }


def _ends(
    sizes: tuple[int, ...], outputs: tuple[int, ...], windows: tuple[Window, ...]
) -> list[int]:
    return [
        max((out - 1) * window.stride + window.kernel - size - window.pad, 0)
        for size, out, window in zip(sizes, outputs, windows, strict=True)
    ]


def _filled(
    sizes: tuple[int, ...], outputs: tuple[int, ...], windows: tuple[Window, ...]
) -> tuple[int, ...]:
    """How many windows along each axis start within the input: the others are empty."""
    return tuple(
        min(out, -(-(size + window.pad) // window.stride))
        for size, out, window in zip(sizes, outputs, windows, strict=True)
    )


def average(
    site: Site, value: str, sizes: tuple[int, ...], outputs: tuple[int, ...],
    windows: tuple[Window, ...], top: int | None = None,
) -> str:  # fmt: skip
    """The sum of each window by its size: padding counts, but not beyond ``size + pad``.

    An empty window gives 0 / its size, which is NaN where it starts at the edge
    (pooling_layer.cpp).
    """
    filled = _filled(sizes, outputs, windows)
    site.afford(*outputs)
    counted = [
        _counts(size, out, window)
        for size, out, window in zip(sizes, outputs, windows, strict=True)
    ]
    full = all((c == w.kernel).all() for c, w in zip(counted, windows, strict=True))
    whole = filled == outputs and full
    value = site.padded(value, [window.pad for window in windows], _ends(sizes, filled, windows))
    value = site.add(
        "AveragePool",
        value,
        top=top if whole else None,
        kernel_shape=[window.kernel for window in windows],
        strides=[window.stride for window in windows],
    )
    if whole:
        return value
    missing = [out - some for out, some in zip(outputs, filled, strict=True)]
    if any(missing):
        value = site.padded(value, [0] * len(windows), missing)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = _outer([w.kernel / c for c, w in zip(counted, windows, strict=True)])
        empty = np.where(np.isinf(factors), np.nan, 0.0)
    factors = np.where(np.isinf(factors) | (factors < 0), 0.0, factors)
    last = top if not np.isnan(empty).any() else None
    value = site.add("Mul", value, site.const(factors[None, None], "counts"), top=last)
    if np.isnan(empty).any():
        value = site.add("Add", value, site.const(empty[None, None], "empty"), top=top)
    return value


def _counts(size: int, outputs: int, window: Window) -> Doubles:
    """The numbers of each window along one axis; 0 or less of an empty one."""
    start = np.arange(outputs) * window.stride - window.pad
    return (np.minimum(start + window.kernel, size + window.pad) - start).astype(np.float64)


def _outer(
    factors: list[Doubles],
) -> Doubles:
    made = np.ones(())
    for factor in factors:
        made = made[..., None] * factor
    return made


def _with_mask(site: Site, windows: tuple[Window, ...]) -> None:
    """The maxima, and for each where it stands in its channel (row * width + column)."""
    sizes, made = site.extents(0, 2), site.made[0]
    assert made is not None
    outputs = tuple(dim or 0 for dim in made[2:])
    if not windows:
        windows, outputs = tuple(Window(size) for size in sizes), (1,) * len(sizes)
    if _filled(sizes, outputs, windows) != outputs:
        raise site.error("some of its windows are empty (stride > kernel), so they have no mask")
    _, places = site.add_many("MaxPool", (site.x,), (0, None), **_pool(sizes, outputs, windows))
    within = site.add("Mod", places, site.ints(prod(sizes), "size"))
    site.add("Cast", within, top=1, to=1)


def spp(site: Site) -> None:
    """A pyramid: level i pools into 2^i x 2^i bins (spp_layer.cpp)."""
    params = site.layer.params("spp_param")
    if params.enum("pool") == "STOCHASTIC":
        raise site.error("stochastic pooling has no ONNX operator; use AVE or MAX")
    pool = average if params.enum("pool") == "AVE" else maximum
    height, sizes = params.integer("pyramid_height"), site.extents(0, 2)
    levels = []
    for level in range(height):
        bins = 1 << level
        kernels = [-(-size // bins) for size in sizes]
        windows = tuple(
            Window(kernel, kernel, (kernel * bins - size + 1) // 2)
            for kernel, size in zip(kernels, sizes, strict=True)
        )
        if any(window.pad >= window.kernel for window in windows):
            raise site.error(f"Caffe stops at {bins} bins of an input of {sizes[0]}x{sizes[1]}")
        value = pool(site, site.x, sizes, (bins, bins), windows, top=0 if height == 1 else None)
        levels.append(value if height == 1 else site.add("Flatten", value, axis=1))
    if height > 1:
        site.joined(levels, 1, top=0)


def interp(site: Site) -> None:
    """Resize with corners on corners; negative padding crops first (interp_layer.cpp)."""
    params = site.params
    begin, end = params.integer("pad_beg"), params.integer("pad_end")
    if begin > 0 or end > 0:
        raise site.error("its padding is positive, which Caffe does not take either")
    value, sizes = site.x, site.extents(0, 2)
    if begin or end:
        ends = [size + end for size in sizes]
        value = site.slice(value, [2, 3], [-begin, -begin], ends)
    _resized(site, value, mode="linear", coordinate_transformation_mode="align_corners")


def _resized(site: Site, value: str, **attributes: str) -> None:
    """``value`` in the spatial size of the top."""
    made = site.made[0]
    if made is None or None in made[1:]:
        raise site.unknown(site.layer.bottoms[-1], made)
    inner = [dim or 0 for dim in made[1:]]
    if made[0] is None:
        size = site.joined([site.extent(site.x, 0, None), site.ints(inner, "size")], 0)
    else:
        size = site.ints([made[0], *inner], "size")
    site.add("Resize", value, "", "", size, top=0, **attributes)


def upsample(site: Site) -> None:
    """Each number repeated; SegNet's, with a mask, puts each where its maximum stood."""
    if len(site.bottoms) > 1:
        _unpooled(site)
        return
    _resized(
        site,
        site.x,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _unpooled(site: Site) -> None:
    """Numbers scattered by the mask into zeros, a channel at a time.

    Unlike MaxUnpool it takes sizes that are no multiples, and masks of any origin.
    """
    items, channels, height, width = site.made[0] or (None,) * 4
    if channels is None or height is None or width is None:
        raise site.unknown(site.layer.bottoms[0], site.made[0])
    rows = (items, channels, prod(site.extents(0, 2)))
    places = site.add("Cast", site.reshape(site.bottoms[1], rows), to=7)
    numbers = site.reshape(site.x, rows)
    lead = site.extent(site.x, 0, items)
    size = site.joined([lead, site.ints([channels, height * width], "size")], 0)
    blank = site.add("Expand", site.const([[[0.0]]], "zero"), size)
    found = site.add("ScatterElements", blank, places, numbers, axis=2)
    site.reshape(found, (items, channels, height, width), top=0)


def reorg(site: Site) -> None:
    """Space to depth as Darknet has it, which is not ONNX's SpaceToDepth; or back."""
    step = site.params.integer("stride")
    items, made = site.batch(), site.made[0]
    channels, height, width = site.extents(0, 1)
    assert made is not None
    lead = -1 if items is None else items
    if site.params.flag("reverse"):
        split, order = [lead, step, step, channels // step**2, height, width], [0, 3, 4, 1, 5, 2]
    else:
        split = [lead, channels // step**2, height, step, width, step]
        order = [0, 3, 5, 1, 2, 4]
    value = site.add("Reshape", site.x, site.ints(split, "split"))
    site.reshape(site.add("Transpose", value, perm=order), made, top=0)
