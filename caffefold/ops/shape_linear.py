"""Shapes behind layers with weights: convolutions, products, look-up tables, recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.formats.caffemodel.blob import size
from caffefold.ir.net import Layer
from caffefold.ops.shape import Dim, Known, Shape, Step, agreed, canonical, first, product, show
from caffefold.ops.window import Window, convolution_windows, fitted, named_axes


def convolution(layer: Layer) -> Step:
    """Convolution and its depthwise forms, any number of spatial axes (base_conv_layer.cpp)."""
    return _convolution(layer, transposed=False)


def deconvolution(layer: Layer) -> Step:
    """Deconvolution (deconv_layer.cpp, compute_output_shape)."""
    return _convolution(layer, transposed=True)


def _convolution(layer: Layer, *, transposed: bool) -> Step:
    params = layer.params("convolution_param")
    outputs = _outputs(layer, params.integer("num_output"))
    at = params.integer("axis")
    named = named_axes(layer, params)
    windows = {} if named is None else {named: convolution_windows(layer, params, named)}

    def one(shape: Shape) -> Shape:
        if shape is None:
            if named is None or at < 0:
                return None
            return (*(None,) * at, outputs, *(None,) * named)
        axis = canonical(layer, at, len(shape))
        axes = len(shape) - axis - 1
        if axes not in windows:
            windows[axes] = convolution_windows(layer, params, axes) if axes else ()
        check_channels(layer, shape[axis])
        made = (
            _slid(layer, extent, window, transposed=transposed)
            for extent, window in zip(shape[axis + 1 :], windows[axes], strict=True)
        )
        return (*shape[:axis], outputs, *made)

    return lambda bottoms: [one(bottom) for bottom in bottoms[: len(layer.tops)]]


def _slid(layer: Layer, extent: Dim, window: Window, *, transposed: bool) -> Dim:
    if extent is None:
        return None
    if transposed:
        made = window.deconvolved(extent)
        if made < 1:
            raise layer.error(f"its pad of {window.pad} leaves nothing of an input of {extent}")
        return made
    return fitted(layer, extent, window.convolved(extent), window)


def groups(layer: Layer) -> int:
    """How many groups a convolution has; depthwise forks do not say so in the text."""
    found = layer.params("convolution_param").integer("group")
    depthwise = layer.type not in ("Convolution", "Deconvolution")
    if depthwise and layer.blobs and layer.blobs[0].shape[1:2] == (1,):
        return layer.blobs[0].shape[0]
    if layer.type == "ConvolutionDepthwise":
        return layer.params("convolution_param").integer("num_output")
    return found


def input_channels(layer: Layer) -> int | None:
    """The channels that the weights of a convolution or deconvolution take; None without any."""
    if not layer.blobs or len(layer.blobs[0].shape) < 2:
        return None
    shape = layer.blobs[0].shape
    return shape[0] if layer.type == "Deconvolution" else shape[1] * groups(layer)


def check_channels(layer: Layer, channels: Dim) -> None:
    """Refuse an input whose channels do not go with the groups and the weights.

    Raises:
        TextError: with both numbers.
    """
    if channels is None:
        return
    count = groups(layer)
    outputs = layer.params("convolution_param").integer("num_output")
    if count < 1 or channels % count or outputs % count:
        raise layer.error(f"{channels} channels and {outputs} outputs in {count} groups")
    wanted = input_channels(layer)
    if wanted is not None and wanted != channels:
        raise layer.error(
            f"its weights take {wanted} channels, its input has {channels}; "
            "check the input shape, or the weights"
        )


def inner_product(layer: Layer) -> Step:
    """InnerProduct: axes from ``axis`` on become one (inner_product_layer.cpp)."""
    params = layer.params("inner_product_param")
    outputs, at = _outputs(layer, params.integer("num_output")), params.integer("axis")
    wanted = inner_size(layer)

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            return [(*(None,) * at, outputs) if at >= 0 else None]
        axis = canonical(layer, at, len(shape))
        found = product(shape[axis:])
        if wanted is not None and found is not None and found != wanted:
            raise layer.error(
                f"its weights take {wanted} inputs, its input has {found} ({show(shape)}); "
                "check the input shape, or the weights"
            )
        return [(*shape[:axis], outputs)]

    return step


def inner_size(layer: Layer) -> int | None:
    """K, the number of inputs that the weights of an InnerProduct take; None without weights."""
    outputs = layer.params("inner_product_param").integer("num_output")
    if not layer.blobs or outputs < 1:
        return None
    return size(layer.blobs[0]) // outputs


def _outputs(layer: Layer, number: int) -> int:
    if number < 1:
        raise layer.error("num_output is missing" if not number else f"num_output is {number}")
    return number


def embed(layer: Layer) -> Step:
    """Embed: one more axis (embed_layer.cpp)."""
    outputs = _outputs(layer, layer.params("embed_param").integer("num_output"))

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        return [None if shape is None else (*shape, outputs)]

    return step


def recurrent(layer: Layer) -> Step:
    """LSTM and RNN: time x streams x num_output; ``expose_hidden`` adds the states at the end."""
    params = layer.params("recurrent_param")
    outputs = _outputs(layer, params.integer("num_output"))

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape: Known = first(bottoms) or (None, None)
        if len(shape) < 2:
            raise layer.error(f"its input {show(shape)} has no axes of time and streams")
        streams = shape[1]
        if len(bottoms) > 1 and bottoms[1] is not None:
            marks = bottoms[1]
            if len(marks) != 2:
                raise layer.error(f"its sequence marks {show(marks)} must have 2 axes")
            streams = agreed(layer, streams, marks[1], "streams of its inputs")
        time = shape[0]
        return [(time, streams, outputs), *[(1, streams, outputs)] * (len(layer.tops) - 1)]

    return step


def im2col(layer: Layer) -> Step:
    """Im2col (im2col_layer.cpp)."""
    params = layer.params("convolution_param")
    at = params.integer("axis")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        if shape is None:
            return [None]
        axis = canonical(layer, at, len(shape))
        windows = convolution_windows(layer, params, len(shape) - axis - 1)
        channels = product((shape[axis], *(window.kernel for window in windows)))
        made = (
            _slid(layer, extent, window, transposed=False)
            for extent, window in zip(shape[axis + 1 :], windows, strict=True)
        )
        return [(*shape[:axis], channels, *made)]

    return step
