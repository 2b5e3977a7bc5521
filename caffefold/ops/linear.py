"""Layers whose weights multiply their input: convolutions, products, and what is built like them.

    Convolution    [Cout, Cin/g, k...]   rows = outputs, columns = inputs of a group
    Deconvolution  [Cin, Cout/g, k...]   rows = inputs, columns = outputs of a group
    InnerProduct   [N, C * inner]        rows = outputs, columns = input channels
                   [C * inner, N]        with ``transpose``: rows = inputs, columns = outputs

Sources: base_conv_layer.cpp, deconv_layer.cpp, inner_product_layer.cpp, embed_layer.cpp. The
grouped Deconvolution is the one most tools get wrong: output channel c lies in group c // (Cout/g),
column c % (Cout/g).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from caffefold.formats import schema
from caffefold.formats.caffemodel.blob import size
from caffefold.ir.net import Layer
from caffefold.ir.params import Params
from caffefold.ops.base import (
    PRODUCT_FILLERS,
    ChannelFlow,
    LinearLayout,
    LinearOp,
    Mixed,
    Op,
    Refusal,
    Same,
    SkipCode,
    Unknown,
    WeightSpec,
    bias_spec,
    missing_bias,
    own_message,
)
from caffefold.ops.shape import (
    Dim,
    Known,
    Shape,
    ShapeList,
    Window,
    axis_of,
    canonical,
    first,
    four_axes,
    product,
    show,
    swept,
    total,
    windows_of,
)

# Depthwise types of forks, which may leave ``group`` out: each input channel has its own filters.
_DEPTHWISE = frozenset({"DepthwiseConvolution", "ConvolutionDepthwise", "DepthwiseConv"})

_SPATIAL = "DHW"  # what the spatial axes are called, the last ones where there are fewer


class Convolution(LinearOp):
    """Convolution and its depthwise forms, any number of spatial axes (base_conv_layer.cpp)."""

    param = "convolution_param"
    outputs_are_rows = True
    """Whether the first axis of the weights counts outputs, and the second those of a group."""

    def groups(self, layer: Layer, channels: Dim = None) -> int:
        """How many groups; depthwise layers without ``group`` have one for each of ``channels``."""
        found = self.params(layer).integer("group")
        if found != 1 or layer.type not in _DEPTHWISE:
            return found
        if layer.blobs and layer.blobs[0].shape[1:2] != (1,):
            return found
        outputs = layer.blobs[0].shape[0] if layer.blobs else self._outputs(layer)
        return channels if channels and outputs % channels == 0 else outputs

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        outputs, named = outputs_of(layer, self.params(layer)), self._named_axes(layer)
        if named is not None:
            self.windows(layer, named)  # wrong whatever the input is
        at = self.params(layer).integer("axis")
        tops: list[Shape] = []
        for shape in bottoms[: len(layer.tops)]:
            if shape is not None:
                axis = canonical(layer, at, len(shape))
                windows = self.windows(layer, len(shape) - axis - 1)
                self._check_channels(layer, shape[axis])
                made = self._swept(layer, shape[axis + 1 :], windows)
                tops.append((*shape[:axis], outputs, *made))
            elif named is None or at < 0:
                tops.append(None)
            else:
                tops.append((*(None,) * at, outputs, *(None,) * named))
        return tops

    def _outputs(self, layer: Layer) -> int:
        return self.params(layer).integer("num_output")

    def _named_axes(self, layer: Layer) -> int | None:
        """How many spatial axes the weights or the text speak of; None when they are silent."""
        params = self.params(layer)
        if layer.blobs and len(layer.blobs[0].shape) > 2:
            return len(layer.blobs[0].shape) - 2
        if params.has("kernel_h") or params.has("kernel_w"):
            return 2
        fields = ("kernel_size", "stride", "pad", "dilation")
        named = max(len(params.integers(field)) for field in fields)
        return named if named > 1 else None

    def windows(self, layer: Layer, axes: int) -> tuple[Window, ...]:
        """Along each of ``axes`` spatial axes."""
        return windows_of(layer, self.params(layer), axes) if axes else ()

    def _swept(self, layer: Layer, extents: Known, windows: tuple[Window, ...]) -> Known:
        return swept(layer, extents, windows, Window.convolved)

    def _check_channels(self, layer: Layer, channels: Dim) -> None:
        """Refuse an input whose channels do not go with the groups and the weights."""
        if channels is None:
            return
        count, outputs = self.groups(layer, channels), self._outputs(layer)
        wanted = self._taken(layer, channels)
        if count < 1 or channels % count or outputs % count:
            raise layer.error(f"{channels} channels and {outputs} outputs in {count} groups")
        if wanted is not None and wanted != channels:
            raise layer.error(
                f"its weights expect {wanted} channels, its input has {channels}; "
                "check the input shape, or the weights"
            )

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        params, outputs = self.params(layer), self._outputs(layer)
        filters = self._filters(outputs, axis_of(first(bottoms), params.integer("axis")), layer)
        shape = (*filters, *self._kernel(layer, first(bottoms)))
        return (WeightSpec("weights", shape), *bias_spec(params, outputs))

    def _filters(self, outputs: int, channels: Dim, layer: Layer) -> tuple[Dim, Dim]:
        """The first two extents of the weights."""
        count = max(self.groups(layer, channels), 1)
        if layer.type in _DEPTHWISE and self.params(layer).integer("group") == 1 < count:
            return outputs, 1
        return outputs, None if channels is None else channels // count

    def _kernel(self, layer: Layer, shape: Shape) -> Known:
        params, axes = self.params(layer), self._named_axes(layer)
        if shape is not None:
            axes = len(shape) - canonical(layer, params.integer("axis"), len(shape)) - 1
        if axes is None:  # as many as the weights have, else those of images
            axes = max(len(layer.blobs[0].shape) - 2, 0) if layer.blobs else 2
            named = params.integers("kernel_size")
            return named * axes if len(named) == 1 else named or (None,) * axes
        return tuple(window.kernel for window in self.windows(layer, axes))

    def input_channels(self, layer: Layer, rank: int | None = None, found: Dim = None) -> Dim:
        return self._taken(layer, found) if self.params(layer).integer("axis") == 1 else None

    def _taken(self, layer: Layer, channels: Dim) -> Dim:
        """The channels that the stored weights take of an input of ``channels``."""
        if not layer.blobs or len(layer.blobs[0].shape) < 2:
            return None
        return layer.blobs[0].shape[1] * self.groups(layer, channels)

    def axes(self, layer: Layer, place: int) -> str:
        spatial = self._named_axes(layer)
        if self.params(layer).integer("axis") != 1 or (spatial or 0) > len(_SPATIAL):
            return ""
        return "NC" + _SPATIAL[len(_SPATIAL) - (2 if spatial is None else spatial) :]

    def empty_field(self, layer: Layer) -> str:
        params = self.params(layer)
        if 0 in params.integers("kernel_size"):
            return "kernel_size"
        return next((name for name in ("num_output", "group") if not params.integer(name)), "")

    def output_channels(self, layer: Layer) -> Dim:
        shape = layer.blobs[0].shape if layer.blobs else ()
        if len(shape) < 2:
            return None
        return shape[0] if self.outputs_are_rows else shape[1] * self.groups(layer)

    def stated_by_blobs(self, layer: Layer) -> dict[str, Sequence[int | str]]:
        params, shape = self.params(layer), layer.blobs[0].shape if layer.blobs else ()
        found: dict[str, Sequence[int | str]] = {}
        if len(shape) < 3:
            return found
        outputs = self.output_channels(layer)
        if not params.has("num_output") and outputs:
            found["num_output"] = (outputs,)
        kernel = shape[2:]
        if not any(map(params.has, ("kernel_size", "kernel_h", "kernel_w"))):
            found["kernel_size"] = kernel[:1] if len(set(kernel)) == 1 else kernel
        return {**found, **missing_bias(layer, params, 2)}

    def missing_groups(self, layer: Layer, channels: Dim) -> int | None:
        """``group``, where the text leaves it out and an input of ``channels`` needs another."""
        if self.params(layer).has("group") or not channels or layer.type in _DEPTHWISE:
            return None
        taken = self._taken(layer, channels)
        if not taken or not self.outputs_are_rows or channels % taken:
            return None
        return channels // taken if channels != taken else None

    def channels(self, layer: Layer, bottoms: ShapeList) -> ChannelFlow:
        params = self.params(layer)
        if params.integer("axis") == 1:
            return Mixed(axis_of(first(bottoms), 1), params.integer("num_output"))
        return Same() if params.integer("axis") > 1 else Unknown()

    def macs(self, layer: Layer, bottoms: ShapeList, tops: ShapeList) -> Dim:
        """For every input: elements of the top x (channels of the input / group) x window.

        Of a Deconvolution, elements of the bottom x (num_output / group) x window.
        """
        shape, axis = first(bottoms), self.params(layer).integer("axis")
        moved, other = (first(tops), shape) if self.outputs_are_rows else (shape, first(tops))
        stored = layer.blobs[0].shape[2:] if layer.blobs else ()
        window = product(stored or self._kernel(layer, shape))
        work = product((total(moved), axis_of(other, axis), window, len(tops)))
        return None if work is None else work // max(self.groups(layer, axis_of(shape, axis)), 1)

    def layout(self, layer: Layer, channels: Dim = None) -> LinearLayout | Refusal:
        if refusal := _no_layout(layer) or _off_channels(layer, self.params(layer)):
            return refusal
        shape, groups = layer.blobs[0].shape, self.groups(layer, channels)
        if groups < 1 or shape[0] % groups:
            rows = "outputs" if self.outputs_are_rows else "inputs"
            return Refusal(
                SkipCode.UNKNOWN_LAYOUT,
                f"'{layer.name}' has {shape[0]} {rows} in {groups} groups, "
                "which do not divide evenly",
            )
        view = (groups, shape[0] // groups, shape[1], prod(shape[2:]))
        both = (shape[0], shape[1] * groups)
        return LinearLayout(
            view, self.outputs_are_rows, *(both if self.outputs_are_rows else both[::-1])
        )

    def border(self, layer: Layer, layout: LinearLayout) -> str:
        params = self.params(layer)
        if any((*params.integers("pad"), params.integer("pad_h"), params.integer("pad_w"))):
            return f"'{layer.name}' pads its input with zeros, to which the map must not apply"
        return ""


class Deconvolution(Convolution):
    """Deconvolution (deconv_layer.cpp): weights and windows the other way round."""

    spatial = True
    outputs_are_rows = False

    def _swept(self, layer: Layer, extents: Known, windows: tuple[Window, ...]) -> Known:
        tops: list[Dim] = []
        for extent, window in zip(extents, windows, strict=True):
            made = None if extent is None else window.deconvolved(extent)
            if made is not None and made < 1:
                raise layer.error(f"its pad of {window.pad} leaves nothing of an input of {extent}")
            tops.append(made)
        return tuple(tops)

    def _filters(self, outputs: int, channels: Dim, layer: Layer) -> tuple[Dim, Dim]:
        return channels, outputs // max(self.groups(layer, channels), 1)

    def _taken(self, layer: Layer, channels: Dim) -> Dim:
        return layer.blobs[0].shape[0] if layer.blobs and layer.blobs[0].shape else None

    def border(self, layer: Layer, layout: LinearLayout) -> str:
        params = self.params(layer)
        strides = (*params.integers("stride"), *map(params.integer, ("stride_h", "stride_w")))
        if layout.view[3] == 1 and max(strides) <= 1:
            return ""  # every output meets exactly one input
        return (
            f"'{layer.name}' is a Deconvolution: at its borders only part of the kernel meets "
            "the input, so the shift cannot move behind it"
        )


class InnerProduct(LinearOp):
    """InnerProduct: axes from ``axis`` on become one (inner_product_layer.cpp)."""

    param = "inner_product_param"

    def inputs(self, layer: Layer) -> int | None:
        """K, the number of inputs that the stored weights take; None without weights."""
        outputs = self.params(layer).integer("num_output")
        if not layer.blobs or outputs < 1:
            return None
        return size(layer.blobs[0]) // outputs

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params, shape = self.params(layer), first(bottoms)
        outputs, at = outputs_of(layer, params), params.integer("axis")
        wanted = self.inputs(layer)
        if shape is None:
            return [(*(None,) * at, outputs) if at >= 0 else None]
        axis = canonical(layer, at, len(shape))
        found = product(shape[axis:])
        if wanted is not None and found is not None and found != wanted:
            raise layer.error(
                f"its weights expect {wanted} inputs, its input has {found} ({show(shape)}); "
                "check the input shape, or the weights"
            )
        return [(*shape[:axis], outputs)]

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        params, shape = self.params(layer), first(bottoms)
        outputs = params.integer("num_output")
        axis = 0 if shape is None else canonical(layer, params.integer("axis"), len(shape))
        inputs = total(shape, axis)
        both = (inputs, outputs) if params.flag("transpose") else (outputs, inputs)
        return (WeightSpec("weights", both), *bias_spec(params, outputs))

    def axes(self, layer: Layer, place: int) -> str:
        return "NC" if self.params(layer).integer("axis") == 1 else ""

    def empty_field(self, layer: Layer) -> str:
        return "" if self.params(layer).integer("num_output") else "num_output"

    def output_channels(self, layer: Layer) -> Dim:
        shape = layer.blobs[0].shape if layer.blobs else ()
        if len(shape) < 2:
            return None
        return shape[-1] if self.params(layer).flag("transpose") else shape[-2]

    def stated_by_blobs(self, layer: Layer) -> dict[str, Sequence[int | str]]:
        params, outputs = self.params(layer), self.output_channels(layer)
        found: dict[str, Sequence[int | str]] = {}
        if outputs and not params.has("num_output"):
            found["num_output"] = (outputs,)
        return {**found, **missing_bias(layer, params, 2)}

    def channels(self, layer: Layer, bottoms: ShapeList) -> ChannelFlow:
        params, shape = self.params(layer), first(bottoms)
        axis = params.integer("axis")
        if axis < 0 and shape is not None:
            axis += len(shape)
        if axis == 1:
            return Mixed(total(shape, 1), params.integer("num_output"))
        return Same() if axis > 1 else Unknown()

    def macs(self, layer: Layer, bottoms: ShapeList, tops: ShapeList) -> Dim:
        """Elements of the top x K."""
        inputs = self.inputs(layer)
        if inputs is None:
            inputs = total(first(bottoms), self.params(layer).integer("axis"))
        return product((total(first(tops)), inputs))

    def layout(self, layer: Layer, channels: Dim = None) -> LinearLayout | Refusal:
        """As stored; every pixel of a channel is an input of its own."""
        return _off_channels(layer, self.params(layer)) or self.product(layer)

    def product(self, layer: Layer) -> LinearLayout | Refusal:
        """The same on whatever axis: its outputs are the last axis, its inputs need not be
        channels."""
        params = self.params(layer)
        if refusal := _no_layout(layer):
            return refusal
        outputs, inputs = params.integer("num_output"), self.inputs(layer) or 0
        if params.flag("transpose"):
            return LinearLayout((1, inputs, outputs, 1), False, outputs, inputs)
        return LinearLayout((1, outputs, inputs, 1), True, outputs, inputs)


class Local(Op):
    """Locally connected: a convolution whose weights are not shared (LOCAL of face nets)."""

    param = "local_param"
    learned = True

    def params(self, layer: Layer) -> Params:
        kind = schema.message("ConvolutionParameter")
        return Params(layer.document, own_message(layer, self.param), kind, f"layer '{layer.name}'")

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        outputs, windows = self.params(layer).integer("num_output"), self.windows(layer)
        items, _, *spatial = four_axes(layer, first(bottoms))
        return [(items, outputs, *swept(layer, tuple(spatial), windows, Window.convolved))]

    def windows(self, layer: Layer) -> tuple[Window, ...]:
        """Kernel, stride, pad and dilation of both axes.

        Raises:
            TextError: as ``windows_of``.
        """
        return windows_of(layer, self.params(layer), 2)

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        return None  # no two forks lay them out alike

    def channels(self, layer: Layer, bottoms: ShapeList) -> ChannelFlow:
        return Mixed(axis_of(first(bottoms), 1), self.params(layer).integer("num_output"))

    def macs(self, layer: Layer, bottoms: ShapeList, tops: ShapeList) -> Dim:
        """Elements of the top x channels of the input x window."""
        window = product(window.kernel for window in self.windows(layer))
        return product((total(first(tops)), axis_of(first(bottoms), 1), window))


class Embed(Op):
    """Embed: one more axis (embed_layer.cpp)."""

    param = "embed_param"
    fillers = PRODUCT_FILLERS
    learned = True
    required = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params, shape = self.params(layer), first(bottoms)
        if params.integer("input_dim") < 1:
            raise layer.error("input_dim is missing; it must be at least 1")
        outputs = outputs_of(layer, params)
        return [None if shape is None else (*shape, outputs)]

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        params = self.params(layer)
        outputs = params.integer("num_output")
        table = WeightSpec("weights", (params.integer("input_dim"), outputs))
        return (table, *bias_spec(params, outputs))

    def stated_by_blobs(self, layer: Layer) -> dict[str, Sequence[int | str]]:
        params, shape = self.params(layer), layer.blobs[0].shape if layer.blobs else ()
        sizes = dict(zip(("input_dim", "num_output"), shape[-2:], strict=False))
        found = {name: (size,) for name, size in sizes.items() if not params.has(name)}
        return {**found, **missing_bias(layer, params, 2)}


class Im2col(Op):
    """Im2col: the windows of a convolution, one beside the other (im2col_layer.cpp)."""

    param = "convolution_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params, shape = self.params(layer), first(bottoms)
        if shape is None:
            return [None]
        axis = canonical(layer, params.integer("axis"), len(shape))
        windows = windows_of(layer, params, len(shape) - axis - 1)
        channels = product((shape[axis], *(window.kernel for window in windows)))
        made = swept(layer, shape[axis + 1 :], windows, Window.convolved)
        return [(*shape[:axis], channels, *made)]


def outputs_of(layer: Layer, params: Params) -> int:
    """``num_output``, at least 1.

    Raises:
        TextError: it is missing, or less.
    """
    number = params.integer("num_output")
    if number < 1:
        raise layer.error("num_output is missing" if not number else f"num_output is {number}")
    return number


def _no_layout(layer: Layer) -> Refusal | None:
    """Why the weights of a linear layer cannot be scaled, whatever its kind."""
    if not layer.blobs:
        return Refusal(SkipCode.NO_WEIGHTS, f"the caffemodel holds no weights for '{layer.name}'")
    if len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return Refusal(
            SkipCode.SHARED_WEIGHTS, f"'{layer.name}' applies its weights to several blobs"
        )
    return None


def _off_channels(layer: Layer, params: Params) -> Refusal | None:
    """Why its inputs and outputs are not the channels."""
    axis = params.integer("axis")
    if axis != 1:
        return Refusal(
            SkipCode.NOT_CHANNEL_AXIS,
            f"'{layer.name}' has axis {axis}, so its outputs are not on axis 1",
        )
    return None


CONVOLUTION = Convolution(
    "Convolution",
    *("DepthwiseConvolution", "ConvolutionDepthwise", "DepthwiseConv", "ConvolutionRistretto"),
)
DECONVOLUTION = Deconvolution("Deconvolution", "DeconvolutionRistretto")
INNER_PRODUCT = InnerProduct("InnerProduct", "FcRistretto")
OPS = (
    CONVOLUTION,
    DECONVOLUTION,
    INNER_PRODUCT,
    Local("LOCAL", "Local"),
    Embed("Embed"),
    Im2col("Im2col"),
)
