"""Layers that resize maps: Interp, Upsample, Reorg."""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.ir.net import Layer
from caffefold.ir.params import TRUE
from caffefold.ops.base import ChannelFlow, Op, Same, number_in, own_message, word_in
from caffefold.ops.linear import four_axes
from caffefold.ops.shape import Dim, Shape, Step, first


class Interp(Op):
    """Interp of PSPNet and DeepLab (interp_layer.cpp): zoom, shrink, both, or a given size.

    A second bottom without any of these gives the size.
    """

    param = "interp_param"
    spatial = True

    def prepare(self, layer: Layer) -> Step:
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

        def step(bottoms: Sequence[Shape]) -> list[Shape]:
            items, channels = four_axes(layer, first(bottoms))[:2]
            if zoom is not None or shrink is not None:
                spatial = four_axes(layer, first(bottoms))[2:]
                return [(items, channels, resized(spatial[0]), resized(spatial[1]))]
            if all(size):
                return [(items, channels, *size)]
            if len(bottoms) > 1:
                return [(items, channels, *four_axes(layer, bottoms[1])[2:])]
            raise layer.error("interp_param names no size; give height and width, or zoom_factor")

        return step

    def channels(self, layer: Layer, bottoms: Sequence[Shape]) -> ChannelFlow:
        return Same()


class Upsample(Op):
    """Upsample: times ``scale``; SegNet's with a mask doubles, or makes ``upsample_h`` x ``_w``.

    Sources: upsample_layer.cpp of MobileNet-YOLO and of caffe-segnet.
    """

    param = "upsample_param"
    spatial = True

    def prepare(self, layer: Layer) -> Step:
        params = self.params(layer)
        message = own_message(layer, self.param)
        given = number_in(message, "upsample_h"), number_in(message, "upsample_w")
        if params.has("scale"):
            factors = (params.number("scale"),) * 2
        elif number_in(message, "scale_h") and number_in(message, "scale_w"):
            factors = (number_in(message, "scale_h"), number_in(message, "scale_w"))
        elif params.has("stride_h"):
            factors = (float(params.integer("stride_h")), float(params.integer("stride_w")))
        elif params.has("stride"):
            factors = (float(params.integer("stride")),) * 2
        else:
            factors = (2.0, 2.0) if len(layer.bottoms) > 1 else (params.number("scale"),) * 2
        less = tuple(int(word_in(message, name, TRUE)) for name in ("pad_out_h", "pad_out_w"))

        def step(bottoms: Sequence[Shape]) -> list[Shape]:
            items, channels = four_axes(layer, first(bottoms))[:2]
            made: list[Dim] = []
            for extent, wanted, factor, off in zip(
                four_axes(layer, first(bottoms))[2:], given, factors, less, strict=True
            ):
                if all(given):
                    made.append(int(wanted))
                else:
                    made.append(None if extent is None else int(extent * factor) - off)
            return [(items, channels, *made)]

        return step

    def channels(self, layer: Layer, bottoms: Sequence[Shape]) -> ChannelFlow:
        return Same()


class Reorg(Op):
    """Reorg of YOLO: space to depth, ``reverse`` the other way."""

    param = "reorg_param"

    def prepare(self, layer: Layer) -> Step:
        params = self.params(layer)
        stride, reverse = params.integer("stride"), params.flag("reverse")
        if stride < 1:
            raise layer.error(f"stride is {stride}; it must be at least 1")

        def step(bottoms: Sequence[Shape]) -> list[Shape]:
            items, channels = four_axes(layer, first(bottoms))[:2]
            area = stride * stride

            def grown(dim: Dim, by: int) -> Dim:
                return None if dim is None else dim * by

            def cut(dim: Dim, by: int) -> Dim:
                if dim is not None and dim % by:
                    raise layer.error(f"{dim} cannot be divided by {by}")
                return None if dim is None else dim // by

            inward, outward = (cut, grown) if reverse else (grown, cut)
            spatial = four_axes(layer, first(bottoms))[2:]
            return [(items, inward(channels, area), *(outward(dim, stride) for dim in spatial))]

        return step


OPS = (Interp("Interp"), Upsample("Upsample"), Reorg("Reorg"))
