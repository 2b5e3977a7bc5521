"""Layers that change the size of maps: pooling and its kind, Interp, Upsample, Reorg."""

from __future__ import annotations

from caffefold.ir.net import Layer
from caffefold.ir.params import TRUE
from caffefold.ops.base import ChannelFlow, Mixed, Op, Same, number_in, own_message, word_in
from caffefold.ops.shape import (
    Dim,
    ShapeList,
    Window,
    axis_of,
    first,
    four_axes,
    product,
    second,
    show,
    swept,
    windows_of,
)


class Pooling(Op):
    """Pooling over all axes behind the channels (pooling_layer.cpp, Reshape); masks are alike."""

    param = "pooling_param"
    flow = Same()
    separate = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        shape, floor = first(bottoms), self.floor(layer)
        if shape is None:
            return []
        if len(shape) < 3:
            raise layer.error(f"it pools over height and width, its input is {show(shape)}")
        windows = self.windows(layer, len(shape) - 2)
        if not windows:
            return [(*shape[:2], *(1,) * (len(shape) - 2))] * len(layer.tops)
        for window in windows:
            if window.pad >= window.kernel:
                raise layer.error(f"its pad of {window.pad} must be less than its {window.kernel}")
        clip = any(window.pad for window in windows)

        def pooled(window: Window, extent: int) -> int:
            return window.pooled(extent, floor=floor, clip=clip)

        return [(*shape[:2], *swept(layer, shape[2:], windows, pooled))] * len(layer.tops)

    def axes(self, layer: Layer, place: int) -> str:
        return "NCHW"

    def windows(self, layer: Layer, axes: int) -> tuple[Window, ...]:
        """Along each axis; none where one covers each map."""
        params = self.params(layer)
        if params.flag("global_pooling"):
            self._check_global(layer)
            return ()
        return windows_of(layer, params, axes, "; give it, or global_pooling: true")

    def _check_global(self, layer: Layer) -> None:
        """Refuse another window than the whole map (LayerSetUp)."""
        params = self.params(layer)
        for name in ("kernel_size", "kernel_h", "kernel_w"):
            if params.has(name):
                raise layer.error(f"global_pooling and {name} are given; Caffe takes one of them")
        for name, plain in (("pad", 0), ("stride", 1)):
            for field in (name, f"{name}_h", f"{name}_w"):
                if params.has(field) and params.integer(field) != plain:
                    raise layer.error(
                        f"global_pooling goes with {name} {plain}, {field} is "
                        f"{params.integer(field)}"
                    )

    def floor(self, layer: Layer) -> bool:
        """Whether sizes round down: ``round_mode: FLOOR``, or ``ceil_mode: false`` of forks."""
        params = self.params(layer)
        return params.enum("round_mode") == "FLOOR" or not params.flag("ceil_mode")

    def commutes(self, layer: Layer, bottoms: ShapeList) -> bool:
        """Averages commute with every map where the divisor counts neither padding nor nothing.

        A stride larger than the kernel may leave the last window behind the input; it gives 0,
        whatever the input is mapped by (pooling_layer.cpp).
        """
        params = self.params(layer)
        padded = any(params.integer(name) for name in ("pad", "pad_h", "pad_w"))
        if params.word("pool") != "AVE" or padded or len(layer.tops) != 1:
            return False
        if params.flag("global_pooling") or self.floor(layer):
            return True
        sizes = (first(bottoms) or (None,) * 4)[2:]
        return all(
            window.stride <= window.kernel or (size is not None and window.starts_inside(size))
            for size, window in zip(sizes, self.windows(layer, len(sizes)), strict=True)
        )


class SPP(Op):
    """SPP: level i of the pyramid has 4^i bins of each channel (spp_layer.cpp)."""

    param = "spp_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        height = self.params(layer).integer("pyramid_height")
        if height < 1:
            raise layer.error(f"pyramid_height is {height}; it must be at least 1")
        items, channels, *spatial = four_axes(layer, first(bottoms))
        for extent in spatial:
            self._check_level(layer, extent, 2 ** (height - 1))
        if height == 1:
            return [(items, channels, 1, 1)]
        return [(items, product((channels, (4**height - 1) // 3)))]

    @staticmethod
    def _check_level(layer: Layer, extent: Dim, bins: int) -> None:
        """Refuse a map that windows cannot cut into ``bins``: their padding reaches over them.

        The finest level is the first to fail (GetPoolingParam, and the check of pooling_layer.cpp).
        """
        if extent is None:
            return
        kernel = -(-extent // bins)
        pad = (kernel * bins - extent + 1) // 2
        if pad >= kernel:
            raise layer.error(
                f"an input of {extent} cannot be pooled into {bins} bins: windows of {kernel} "
                f"would be padded by {pad}; is the input too small for its pyramid_height?"
            )


class ROIPooling(Op):
    """ROIPooling and ROIAlign: one item for each region (roi_pooling_layer.cpp)."""

    param = "roi_pooling_param"
    flow = Same()
    separate = True

    def aligns(self, layer: Layer) -> bool:
        """Whether it interpolates (ROIAlign) instead of taking maxima."""
        return layer.type == "ROIAlign"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        own, params = layer.body.message("roi_align_param"), self.params(layer)
        params = params if own is None else params._replace(message=own)
        height, width = params.integer("pooled_h"), params.integer("pooled_w")
        if height < 1 or width < 1:
            raise layer.error(f"pooled_h {height} and pooled_w {width} must be at least 1")
        channels = four_axes(layer, first(bottoms))[1]
        return [(axis_of(second(bottoms), 0), channels, height, width)]


class PSROIPooling(Op):
    """PSROIPooling of R-FCN: output_dim maps of group_size x group_size for each region."""

    param = "psroi_pooling_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params = self.params(layer)
        outputs, side = params.integer("output_dim"), params.integer("group_size")
        if outputs < 1 or side < 1:
            raise layer.error(f"output_dim {outputs} and group_size {side} must be at least 1")
        channels = four_axes(layer, first(bottoms))[1]
        if channels not in (None, outputs * side * side):
            raise layer.error(
                f"it takes {outputs} x {side} x {side} channels, its input has {channels}"
            )
        return [(axis_of(second(bottoms), 0), outputs, side, side)]

    def channels(self, layer: Layer, bottoms: ShapeList) -> ChannelFlow:
        return Mixed(axis_of(first(bottoms), 1), self.params(layer).integer("output_dim"))


class Interp(Op):
    """Interp of PSPNet and DeepLab (interp_layer.cpp): zoom, shrink, both, or a given size.

    A second bottom without any of these gives the size.
    """

    param = "interp_param"
    spatial = True
    flow = Same()
    separate = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params = self.params(layer)
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

        items, channels, *spatial = four_axes(layer, first(bottoms))
        if zoom is not None or shrink is not None:
            return [(items, channels, *map(resized, spatial))]
        if all(size):
            return [(items, channels, *size)]
        if len(bottoms) > 1:
            return [(items, channels, *four_axes(layer, bottoms[1])[2:])]
        raise layer.error("interp_param gives no size; give height and width, or zoom_factor")


class Upsample(Op):
    """Upsample: times ``scale``; SegNet's with a mask doubles, or makes ``upsample_h`` x ``_w``.

    Sources: upsample_layer.cpp of MobileNet-YOLO and of caffe-segnet.
    """

    param = "upsample_param"
    spatial = True
    flow = Same()
    separate = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params, message = self.params(layer), own_message(layer, self.param)
        given = number_in(message, "upsample_h"), number_in(message, "upsample_w")
        scales = number_in(message, "scale_h"), number_in(message, "scale_w")
        if params.has("scale"):
            factors = (params.number("scale"),) * 2
        elif all(scales):
            factors = scales
        elif params.has("stride_h"):
            factors = (params.integer("stride_h"), params.integer("stride_w"))
        elif params.has("stride"):
            factors = (params.integer("stride"),) * 2
        else:
            factors = (2.0 if len(layer.bottoms) > 1 else params.number("scale"),) * 2
        items, channels, *spatial = four_axes(layer, first(bottoms))
        if all(given):
            return [(items, channels, *map(int, given))]
        less = (word_in(message, name, TRUE) for name in ("pad_out_h", "pad_out_w"))
        made = (
            None if extent is None else int(extent * factor) - off
            for extent, factor, off in zip(spatial, factors, less, strict=True)
        )
        return [(items, channels, *made)]


class Reorg(Op):
    """Reorg of YOLO: space to depth, ``reverse`` the other way."""

    param = "reorg_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params = self.params(layer)
        stride = params.integer("stride")
        if stride < 1:
            raise layer.error(f"stride is {stride}; it must be at least 1")

        def cut(dim: Dim, by: int) -> Dim:
            if dim is not None and dim % by:
                raise layer.error(f"{dim} cannot be divided by {by}")
            return None if dim is None else dim // by

        items, channels, height, width = four_axes(layer, first(bottoms))
        if params.flag("reverse"):
            channels = cut(channels, stride * stride)
            return [(items, channels, product((height, stride)), product((width, stride)))]
        channels = product((channels, stride * stride))
        return [(items, channels, cut(height, stride), cut(width, stride))]


POOLING = Pooling("Pooling")
OPS = (
    *(POOLING, SPP("SPP"), ROIPooling("ROIPooling", "ROIAlign"), PSROIPooling("PSROIPooling")),
    *(Interp("Interp"), Upsample("Upsample"), Reorg("Reorg")),
)
