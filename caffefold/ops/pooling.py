"""Layers that sum up windows: Pooling, its pyramid, and its forms over regions of interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from caffefold.ir.net import Layer
from caffefold.ops.base import ChannelFlow, Mixed, Op, Same, axis_of
from caffefold.ops.linear import four_axes
from caffefold.ops.shape import Dim, Shape, Step, first, product, show
from caffefold.ops.window import Window, fitted, pooling_windows


class Pooling(Op):
    """Pooling over all axes behind the channels (pooling_layer.cpp, Reshape); masks are alike."""

    param = "pooling_param"

    def prepare(self, layer: Layer) -> Step:
        params, count = self.params(layer), len(layer.tops)
        whole, floor = self.whole(layer), self.floor(layer)
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

    def channels(self, layer: Layer, bottoms: Sequence[Shape]) -> ChannelFlow:
        return Same()

    def floor(self, layer: Layer) -> bool:
        """Whether sizes round down: ``round_mode: FLOOR``, or ``ceil_mode: false`` of forks."""
        params = self.params(layer)
        return params.enum("round_mode") == "FLOOR" or not params.flag("ceil_mode")

    def whole(self, layer: Layer) -> bool:
        """Whether one window covers each map."""
        return self.params(layer).flag("global_pooling")

    def commutes(self, layer: Layer) -> bool:
        """Average pooling whose divisor counts no padding commutes with every map."""
        params = self.params(layer)
        padded = any(params.integer(name) for name in ("pad", "pad_h", "pad_w"))
        return params.enum("pool") == "AVE" and not padded and len(layer.tops) == 1


def _pads_checked(layer: Layer, windows: tuple[Window, ...]) -> tuple[Window, ...]:
    for window in windows:
        if window.pad >= window.kernel:
            raise layer.error(f"its pad of {window.pad} must be less than its {window.kernel}")
    return windows


class SPP(Op):
    """SPP: level i of the pyramid has 4^i bins of each channel (spp_layer.cpp)."""

    param = "spp_param"

    def prepare(self, layer: Layer) -> Step:
        height = self.params(layer).integer("pyramid_height")
        if height < 1:
            raise layer.error(f"pyramid_height is {height}; it must be at least 1")

        def step(bottoms: Sequence[Shape]) -> list[Shape]:
            items, channels = four_axes(layer, first(bottoms))[:2]
            if height == 1:
                return [(items, channels, 1, 1)]
            return [(items, product((channels, (4**height - 1) // 3)))]

        return step


class ROIPooling(Op):
    """ROIPooling and ROIAlign: one item for each region (roi_pooling_layer.cpp)."""

    param = "roi_pooling_param"

    def prepare(self, layer: Layer) -> Step:
        own = layer.body.message("roi_align_param")
        params = self.params(layer)
        params = params if own is None else replace(params, message=own)
        height, width = params.integer("pooled_h"), params.integer("pooled_w")
        if height < 1 or width < 1:
            raise layer.error(f"pooled_h {height} and pooled_w {width} must be at least 1")

        def step(bottoms: Sequence[Shape]) -> list[Shape]:
            return [(_regions(bottoms), four_axes(layer, first(bottoms))[:2][1], height, width)]

        return step

    def channels(self, layer: Layer, bottoms: Sequence[Shape]) -> ChannelFlow:
        return Same()


class PSROIPooling(Op):
    """PSROIPooling of R-FCN: output_dim maps of group_size x group_size for each region."""

    param = "psroi_pooling_param"

    def prepare(self, layer: Layer) -> Step:
        params = self.params(layer)
        outputs, side = params.integer("output_dim"), params.integer("group_size")
        if outputs < 1 or side < 1:
            raise layer.error(f"output_dim {outputs} and group_size {side} must be at least 1")

        def step(bottoms: Sequence[Shape]) -> list[Shape]:
            channels = four_axes(layer, first(bottoms))[:2][1]
            if channels is not None and channels != outputs * side * side:
                raise layer.error(
                    f"it takes {outputs} x {side} x {side} channels, its input has {channels}"
                )
            return [(_regions(bottoms), outputs, side, side)]

        return step

    def channels(self, layer: Layer, bottoms: Sequence[Shape]) -> ChannelFlow:
        return Mixed(axis_of(first(bottoms), 1), self.params(layer).integer("output_dim"))


def _regions(bottoms: Sequence[Shape]) -> Dim:
    regions = bottoms[1] if len(bottoms) > 1 else None
    return regions[0] if regions else None


POOLING = Pooling("Pooling")
OPS = (
    POOLING,
    SPP("SPP"),
    ROIPooling("ROIPooling", "ROIAlign"),
    PSROIPooling("PSROIPooling"),
)
