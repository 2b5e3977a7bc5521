"""Shapes behind layers that change height and width: pooling, resizing, regions of interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from caffefold.formats import schema
from caffefold.formats.prototxt.tree import Message, Scalar
from caffefold.ir.net import Layer
from caffefold.ir.params import TRUE, Params, parse_float
from caffefold.ops.shape import Dim, Known, Shape, Step, first, product, show
from caffefold.ops.window import Window, convolution_windows, fitted, pooling_windows


def is_floor(layer: Layer) -> bool:
    """Whether pooling rounds down: ``round_mode: FLOOR``, or ``ceil_mode: false`` of forks."""
    params = layer.params("pooling_param")
    return params.enum("round_mode") == "FLOOR" or not params.flag("ceil_mode")


def pooling(layer: Layer) -> Step:
    """Pooling over all axes behind the channels (pooling_layer.cpp, Reshape); masks are alike."""
    params, count = layer.params("pooling_param"), len(layer.tops)
    whole, floor = params.flag("global_pooling"), is_floor(layer)
    windows: dict[int, tuple[Window, ...]] = {}

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            return [None] * count
        if len(shape) < 3:
            raise layer.error(f"it pools over height and width, its input is {show(shape)}")
        axes = len(shape) - 2
        if whole:
            return [(*shape[:2], *(1,) * axes)] * count
        if axes not in windows:
            windows[axes] = _pads_checked(layer, pooling_windows(layer, params, axes))
        clip = any(window.pad for window in windows[axes])
        made = (
            None
            if extent is None
            else fitted(layer, extent, window.pooled(extent, floor=floor, clip=clip), window)
            for extent, window in zip(shape[2:], windows[axes], strict=True)
        )
        return [(*shape[:2], *made)] * count

    return step


def _pads_checked(layer: Layer, windows: tuple[Window, ...]) -> tuple[Window, ...]:
    for window in windows:
        if window.pad >= window.kernel:
            raise layer.error(f"its pad of {window.pad} must be less than its {window.kernel}")
    return windows


def spp(layer: Layer) -> Step:
    """SPP: level i of the pyramid has 4^i bins of each channel (spp_layer.cpp)."""
    height = layer.params("spp_param").integer("pyramid_height")
    if height < 1:
        raise layer.error(f"pyramid_height is {height}; it must be at least 1")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        items, channels = _items_channels(first(bottoms))
        if height == 1:
            return [(items, channels, 1, 1)]
        return [(items, product((channels, (4**height - 1) // 3)))]

    return step


def interp(layer: Layer) -> Step:
    """Interp of PSPNet and DeepLab (interp_layer.cpp): zoom, shrink, both, or a given size.

    A second bottom without any of these gives the size.
    """
    params = layer.params("interp_param")
    pads = params.integer("pad_beg") + params.integer("pad_end")
    zoom = params.integer("zoom_factor") if params.has("zoom_factor") else None
    shrink = params.integer("shrink_factor") if params.has("shrink_factor") else None
    size = params.integer("height"), params.integer("width")

    def resized(extent: Dim) -> Dim:
        if extent is None:
            return None
        made = extent + pads
        if shrink is not None:
            made = (made - 1) // max(shrink, 1) + 1
        if zoom is not None:
            made += (made - 1) * (zoom - 1)
        if made < 1:
            raise layer.error(f"an output of {made} from an input of {extent}")
        return made

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        items, channels = _items_channels(first(bottoms))
        if zoom is not None or shrink is not None:
            spatial = _spatial(layer, first(bottoms))
            return [(items, channels, resized(spatial[0]), resized(spatial[1]))]
        if all(size):
            return [(items, channels, *size)]
        if len(bottoms) > 1:
            return [(items, channels, *_spatial(layer, bottoms[1]))]
        raise layer.error("interp_param names no size; give height and width, or zoom_factor")

    return step


def upsample(layer: Layer) -> Step:
    """Upsample: times ``scale``; SegNet's with a mask doubles, or makes ``upsample_h`` x ``_w``.

    Sources: upsample_layer.cpp of MobileNet-YOLO and of caffe-segnet.
    """
    params = layer.params("upsample_param")
    message = layer.body.message("upsample_param") or Message(())
    given = _loose(message, "upsample_h"), _loose(message, "upsample_w")
    if params.has("scale"):
        factors = (params.number("scale"),) * 2
    elif _loose(message, "scale_h") and _loose(message, "scale_w"):
        factors = (_loose(message, "scale_h"), _loose(message, "scale_w"))
    elif params.has("stride_h"):
        factors = (float(params.integer("stride_h")), float(params.integer("stride_w")))
    elif params.has("stride"):
        factors = (float(params.integer("stride")),) * 2
    else:
        factors = (2.0, 2.0) if len(layer.bottoms) > 1 else (params.number("scale"),) * 2
    less = tuple(int(_is_true(message, name)) for name in ("pad_out_h", "pad_out_w"))

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        items, channels = _items_channels(first(bottoms))
        made: list[Dim] = []
        for extent, wanted, factor, off in zip(
            _spatial(layer, first(bottoms)), given, factors, less, strict=True
        ):
            if all(given):
                made.append(int(wanted))
            else:
                made.append(None if extent is None else int(extent * factor) - off)
        return [(items, channels, *made)]

    return step


def reorg(layer: Layer) -> Step:
    """Reorg of YOLO: space to depth, ``reverse`` the other way."""
    params = layer.params("reorg_param")
    stride, reverse = params.integer("stride"), params.flag("reverse")
    if stride < 1:
        raise layer.error(f"stride is {stride}; it must be at least 1")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        items, channels = _items_channels(first(bottoms))
        area = stride * stride

        def grown(dim: Dim, by: int) -> Dim:
            return None if dim is None else dim * by

        def cut(dim: Dim, by: int) -> Dim:
            if dim is not None and dim % by:
                raise layer.error(f"{dim} can not be divided by {by}")
            return None if dim is None else dim // by

        inward, outward = (cut, grown) if reverse else (grown, cut)
        spatial = _spatial(layer, first(bottoms))
        return [(items, inward(channels, area), *(outward(dim, stride) for dim in spatial))]

    return step


def shuffle_channel(layer: Layer) -> Step:
    """ShuffleChannel: like the bottom, whose channels come in ``group`` equal groups."""
    group = layer.params("shuffle_channel_param").integer("group")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        _, channels = _items_channels(first(bottoms))
        if channels is not None and (group < 1 or channels % group):
            raise layer.error(f"{channels} channels in {group} groups")
        return [first(bottoms)]

    return step


def roi_pooling(layer: Layer) -> Step:
    """ROIPooling and ROIAlign: one item for each region (roi_pooling_layer.cpp)."""
    own = layer.body.message("roi_align_param")
    params = layer.params("roi_pooling_param")
    params = params if own is None else replace(params, message=own)
    height, width = params.integer("pooled_h"), params.integer("pooled_w")
    if height < 1 or width < 1:
        raise layer.error(f"pooled_h {height} and pooled_w {width} must be at least 1")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        return [(_regions(bottoms), _items_channels(first(bottoms))[1], height, width)]

    return step


def psroi_pooling(layer: Layer) -> Step:
    """PSROIPooling of R-FCN: output_dim maps of group_size x group_size for each region."""
    params = layer.params("psroi_pooling_param")
    outputs, side = params.integer("output_dim"), params.integer("group_size")
    if outputs < 1 or side < 1:
        raise layer.error(f"output_dim {outputs} and group_size {side} must be at least 1")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        channels = _items_channels(first(bottoms))[1]
        if channels is not None and channels != outputs * side * side:
            raise layer.error(
                f"it takes {outputs} x {side} x {side} channels, its input has {channels}"
            )
        return [(_regions(bottoms), outputs, side, side)]

    return step


def local(layer: Layer) -> Step:
    """Locally connected: a convolution whose weights are not shared (LOCAL of face nets)."""
    outputs, windows = _local_params(layer).integer("num_output"), local_windows(layer)

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        items, _ = _items_channels(first(bottoms))
        made = (
            None if extent is None else fitted(layer, extent, window.convolved(extent), window)
            for extent, window in zip(_spatial(layer, first(bottoms)), windows, strict=True)
        )
        return [(items, outputs, *made)]

    return step


def local_windows(layer: Layer) -> tuple[Window, ...]:
    """The windows of a LOCAL layer."""
    return convolution_windows(layer, _local_params(layer), 2)


def _local_params(layer: Layer) -> Params:
    message = layer.body.message("local_param") or Message(())
    kind = schema.message("ConvolutionParameter")
    return Params(layer.document, message, kind, f"layer '{layer.name}'")


def _items_channels(shape: Shape) -> tuple[Dim, Dim]:
    if shape is None:
        return None, None
    padded: Known = (*shape, 1, 1)  # Caffe reads missing axes as 1 (blob.hpp, LegacyShape)
    return padded[0], padded[1]


def _spatial(layer: Layer, shape: Shape) -> tuple[Dim, Dim]:
    if shape is None:
        return None, None
    if len(shape) > 4:
        raise layer.error(f"it works on 4 axes, its input is {show(shape)}")
    padded = (*shape, 1, 1, 1, 1)[:4] if len(shape) < 4 else shape
    return padded[2], padded[3]


def _regions(bottoms: Sequence[Shape]) -> Dim:
    regions = bottoms[1] if len(bottoms) > 1 else None
    return regions[0] if regions else None


def _loose(message: Message, name: str) -> float:
    """A number of a fork's field that the schema has not; 0 when it is absent or no number."""
    value = message.last(name)
    return (parse_float(value.raw) or 0.0) if isinstance(value, Scalar) else 0.0


def _is_true(message: Message, name: str) -> bool:
    value = message.last(name)
    return isinstance(value, Scalar) and value.raw in TRUE
