"""Sliding windows: where they stand, as Convolution, Deconvolution and Pooling lay them.

Sources: base_conv_layer.cpp (LayerSetUp), conv_layer.cpp and deconv_layer.cpp
(compute_output_shape), pooling_layer.cpp (Reshape).
"""

from __future__ import annotations

from typing import NamedTuple

from caffefold.ir.net import Layer
from caffefold.ir.params import Params
from caffefold.ops.shape import Dim


class Window(NamedTuple):
    """A window along one axis, in elements."""

    kernel: int
    stride: int = 1
    pad: int = 0
    dilation: int = 1

    @property
    def extent(self) -> int:
        """From the first to the last element it touches."""
        return self.dilation * (self.kernel - 1) + 1

    def convolved(self, size: int) -> int:
        """The output of a convolution; below 1 where the window does not fit.

        The division rounds towards 0, as C++ does: an input that is less than a stride too small
        still gives one output.
        """
        return int_div(size + 2 * self.pad - self.extent, self.stride) + 1

    def deconvolved(self, size: int) -> int:
        """The output of a deconvolution."""
        return self.stride * (size - 1) + self.extent - 2 * self.pad

    def pooled(self, size: int, *, floor: bool, clip: bool) -> int:
        """The output of pooling: rounded up, and no window starts beyond the image.

        ``clip`` is whether any axis is padded: Caffe drops a last window that starts in the padding
        only then.
        """
        room = size + 2 * self.pad - self.kernel
        count = (int_div(room, self.stride) if floor else -(-room // self.stride)) + 1
        if clip and (count - 1) * self.stride >= size + self.pad:
            count -= 1
        return count

    def starts_inside(self, size: int) -> bool:
        """Whether the last window of unpadded pooling begins within the input."""
        return (self.pooled(size, floor=False, clip=False) - 1) * self.stride < size


def int_div(number: int, by: int) -> int:
    """Division as C++ has it: rounded towards 0."""
    return -(-number // by) if number < 0 else number // by


def convolution_windows(layer: Layer, params: Params, axes: int | None) -> tuple[Window, ...]:
    """The windows of a convolution over ``axes`` spatial axes.

    ``axes`` None: as many as the text names, which is one when it names each number once.

    Raises:
        TextError: numbers for another count of axes, no kernel, or a kernel or stride of 0.
    """
    kernel = _numbers(layer, params, "kernel", "kernel_size", axes, ())
    if not kernel:
        raise layer.error("kernel_size is missing")
    stride = _numbers(layer, params, "stride", "stride", axes, (1,))
    pad = _numbers(layer, params, "pad", "pad", axes, (0,))
    dilation = _numbers(layer, params, "", "dilation", axes, (1,))
    count = axes or max(map(len, (kernel, stride, pad, dilation)))
    return _windows(layer, count, kernel, stride, pad, dilation)


def pooling_windows(layer: Layer, params: Params, axes: int | None) -> tuple[Window, ...]:
    """The windows of pooling, as ``convolution_windows``; repeated numbers as N-D forks have it."""
    kernel = _numbers(layer, params, "kernel", "kernel_size", axes, ())
    if not kernel:
        raise layer.error("kernel_size is missing; give it, or global_pooling: true")
    stride = _numbers(layer, params, "stride", "stride", axes, (1,))
    pad = _numbers(layer, params, "pad", "pad", axes, (0,))
    return _windows(layer, axes or max(map(len, (kernel, stride, pad))), kernel, stride, pad, (1,))


def named_axes(layer: Layer, params: Params) -> int | None:
    """How many spatial axes the text or the weights speak of; None when they do not tell."""
    if layer.blobs and len(layer.blobs[0].shape) > 2:
        return len(layer.blobs[0].shape) - 2
    if params.has("kernel_h") or params.has("kernel_w"):
        return 2
    fields = ("kernel_size", "stride", "pad", "dilation")
    named = max(len(params.integers(field)) for field in fields)
    return named if named > 1 else None


def _windows(
    layer: Layer,
    count: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pad: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[Window, ...]:
    lists = [values * count if len(values) == 1 else values for values in (kernel, stride, pad)]
    spread = dilation * count if len(dilation) == 1 else dilation
    found = tuple(Window(*numbers) for numbers in zip(*lists, spread, strict=True))
    for window in found:
        for name, number in (("kernel", window.kernel), ("stride", window.stride)):
            if number < 1:
                raise layer.error(f"its {name} is {number}; it must be at least 1")
        if window.dilation < 1 or window.pad < 0:
            raise layer.error(f"dilation {window.dilation} and pad {window.pad} make no window")
    return found


def _numbers(
    layer: Layer, params: Params, pair: str, name: str, axes: int | None, default: tuple[int, ...]
) -> tuple[int, ...]:
    """``pair_h`` and ``pair_w`` when given, else ``name``: once for all axes or once for each."""
    if pair and (params.has(f"{pair}_h") or params.has(f"{pair}_w")):
        if axes not in (None, 2):
            raise layer.error(f"{pair}_h and {pair}_w are for 2 spatial axes, its input has {axes}")
        return params.integer(f"{pair}_h"), params.integer(f"{pair}_w")
    found = params.integers(name)
    if axes is not None and len(found) not in (0, 1, axes):
        raise layer.error(f"{len(found)} values of {name} for {axes} spatial axes")
    return found or default


def fitted(layer: Layer, size: Dim, made: Dim, window: Window) -> Dim:
    """``made`` unless no window fits.

    Raises:
        TextError: the output would be empty; with the window and the input.
    """
    if made is None or made >= 1:
        return made
    padded = f" ({size} with pad {window.pad})" if window.pad and size is not None else ""
    whole = (size or 0) + 2 * window.pad
    raise layer.error(
        f"its window of {window.extent} is larger than its input of {whole}{padded}; "
        "is the input shape too small?"
    )
