"""Convolutions, products and what is built like them: weights go as they are stored."""

from __future__ import annotations

from math import prod

import numpy as np

from caffefold.onnx_export.site import Site
from caffefold.ops.linear import Convolution, Im2col, Local
from caffefold.ops.shape import Window, canonical, show, windows_of


def convolution(site: Site) -> None:
    """Conv, or ConvTranspose of a Deconvolution; axes in front of ``axis`` become the batch."""
    own, layer = site.op, site.layer
    assert isinstance(own, Convolution)
    weights: dict[str, str] = {}
    for i, bottom in enumerate(site.bottoms):
        shape = site.rank_known(i)
        axis = canonical(layer, site.params.integer("axis"), len(shape))
        spatial = site.extents(i, axis + 1)
        windows = own.windows(layer, len(spatial))
        for index, spec in enumerate(own.weights(layer, site.shapes[i : i + 1]) or ()):
            known = [dim for dim in spec.shape if dim is not None]
            if spec.role not in weights:
                weights[spec.role] = site.weight(index, known, spec.role)
        groups = own.groups(layer, shape[axis])
        value = bottom
        if axis != 1:
            value = site.reshape(value, (_product(site, i, axis), *shape[axis:]), like=())
        if own.outputs_are_rows:
            value = _framed(site, value, spatial, windows)
            pads = _pads(spatial, windows)
        else:
            pads = [window.pad for window in windows] * 2
        value = site.add(
            "Conv" if own.outputs_are_rows else "ConvTranspose",
            value,
            *weights.values(),
            top=i if axis == 1 else None,
            kernel_shape=[window.kernel for window in windows],
            strides=[window.stride for window in windows],
            pads=pads,
            dilations=[window.dilation for window in windows],
            group=groups,
        )
        if axis != 1:
            site.reshape(value, site.made[i] or (), top=i, like=shape)


def _product(site: Site, bottom: int, axis: int) -> int | None:
    """The items of all axes in front of ``axis``; None, to be inferred, of a dynamic batch."""
    lead = site.rank_known(bottom)[:axis]
    return None if None in lead else prod(dim or 0 for dim in lead)


def _ends(spatial: tuple[int, ...], windows: tuple[Window, ...]) -> list[int]:
    """Padding at the end: more than in front where the window alone would not fit once."""
    return [
        window.pad + max(window.extent - size - 2 * window.pad, 0)
        for size, window in zip(spatial, windows, strict=True)
    ]


def _bare(windows: tuple[Window, ...]) -> bool:
    """Whether a 1x1 kernel is padded: OpenCV 5 reads outside of the input then."""
    return all(w.kernel == 1 == w.stride for w in windows) and any(w.pad for w in windows)


def _framed(site: Site, value: str, spatial: tuple[int, ...], windows: tuple[Window, ...]) -> str:
    if not _bare(windows):
        return value
    return site.padded(value, [window.pad for window in windows], _ends(spatial, windows))


def _pads(spatial: tuple[int, ...], windows: tuple[Window, ...]) -> list[int]:
    if _bare(windows):
        return [0] * 2 * len(windows)
    return [*(window.pad for window in windows), *_ends(spatial, windows)]


def inner_product(site: Site) -> None:
    """Gemm on the axes in front of ``axis`` times those behind."""
    layer, params, shape = site.layer, site.params, site.shape
    axis, outputs = canonical(layer, params.integer("axis"), len(shape)), site.made[0] or ()
    inputs = prod(site.extents(0, axis))
    transposed = params.flag("transpose")
    count = params.integer("num_output")
    kept = (inputs, count) if transposed else (count, inputs)
    value = site.x if (len(shape), axis) == (2, 1) else site.add("Flatten", site.x, axis=axis)
    weights = [site.weight(0, kept, "weights")]
    if params.flag("bias_term"):
        weights.append(site.weight(1, (count,), "bias"))
    value = site.add(
        "Gemm", value, *weights, top=0 if axis == 1 else None, transB=0 if transposed else 1
    )
    if axis != 1:
        site.reshape(value, outputs, top=0)


def embed(site: Site) -> None:
    """Gather of rows; fractions of indices are cut off."""
    params = site.params
    rows, outputs = params.integer("input_dim"), params.integer("num_output")
    table = site.weight(0, (rows, outputs), "weights")
    at = site.add("Cast", site.x, to=7)
    if not params.flag("bias_term"):
        site.add("Gather", table, at, top=0, axis=0)
        return
    found = site.add("Gather", table, at, axis=0)
    site.add("Add", found, site.weight(1, (outputs,), "bias"), top=0)


def im2col(site: Site) -> None:
    """The windows of a convolution along the channels."""
    layer, shape = site.layer, site.shape
    assert isinstance(site.op, Im2col)
    axis = canonical(layer, site.params.integer("axis"), len(shape))
    spatial, channels = site.extents(0, axis + 1), site.extents(0, axis)[0]
    windows = windows_of(layer, site.params, len(spatial))
    value = site.x
    if axis != 1:
        value = site.reshape(value, (_product(site, 0, axis), *shape[axis:]), like=())
    value = _unfolded(site, value, channels, spatial, windows, top=0 if axis == 1 else None)
    if axis != 1:
        site.reshape(value, site.made[0] or (), top=0)


def _unfolded(
    site: Site, value: str, channels: int, spatial: tuple[int, ...], windows: tuple[Window, ...],
    top: int | None = None,
) -> str:  # fmt: skip
    """A Conv whose filters each pick one number of the window, (items, channels x window, ...)."""
    kernel = [window.kernel for window in windows]
    site.afford(channels, *kernel, *kernel)
    picks = np.eye(prod(kernel)).reshape(prod(kernel), 1, *kernel)
    return site.add(
        "Conv",
        _framed(site, value, spatial, windows),
        site.const(np.tile(picks, (channels, *(1,) * (1 + len(kernel)))), "picks"),
        top=top,
        kernel_shape=kernel,
        strides=[window.stride for window in windows],
        pads=_pads(spatial, windows),
        dilations=[window.dilation for window in windows],
        group=channels,
    )


def local(site: Site) -> None:
    """Each place has weights of its own: windows times (outputs, 1, window, places)."""
    own, layer, made = site.op, site.layer, site.made[0] or ()
    assert isinstance(own, Local)
    outputs = site.params.integer("num_output")
    channels, *spatial = site.extents(0, 1)
    places, windows = made[2:], own.windows(layer)
    window, count = channels * prod(w.kernel for w in windows), prod(dim or 0 for dim in places)
    laid = (outputs, 1, window, count)
    if layer.blobs and layer.blobs[0].shape != laid:
        raise site.error(
            f"its weights are {show(layer.blobs[0].shape)}, not {show(laid)}: another fork's layout"
        )
    value = _unfolded(site, site.x, channels, tuple(spatial), windows)
    value = site.reshape(value, (site.batch(), window, count))
    weights = site.weight(0, (outputs, window, count), "weights")
    value = site.add("Einsum", value, weights, equation="nkp,okp->nop")
    if site.params.flag("bias_term"):
        value = site.add("Add", value, site.weight(1, (outputs, count), "bias"))
    site.reshape(value, made, top=0)
