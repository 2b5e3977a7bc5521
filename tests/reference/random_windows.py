"""Random kernels, strides, pads and dilations that fit an image and keep it small."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from caffefold._proto import caffe_pb2 as pb
from tests.reference.random_builder import Builder, Shape

MAX_SIDE = 9


class Window(NamedTuple):
    kernel: int
    stride: int
    pad: int
    dilation: int


WINDOWS = [
    Window(kernel, stride, pad, dilation)
    for dilation in (1, 2)
    for pad in (0, 1, 2)
    for stride in (1, 2)
    for kernel in (1, 2, 3)
    if kernel > 1 or dilation == 1
]


def convolved(size: int, window: Window) -> int:
    room = size + 2 * window.pad - window.dilation * (window.kernel - 1) - 1
    return room // window.stride + 1 if room >= 0 else 0


def deconvolved(size: int, window: Window) -> int:
    extent = window.dilation * (window.kernel - 1) + 1
    return window.stride * (size - 1) + extent - 2 * window.pad


def pooled(size: int, window: Window) -> int:
    room = size + 2 * window.pad - window.kernel
    if room < 0 or window.dilation > 1 or not window.pad < window.kernel >= window.stride:
        return 0
    count = math.ceil(room / window.stride) + 1
    # Caffe leaves out a last window that starts beyond the image.
    return count - 1 if window.pad and (count - 1) * window.stride >= size + window.pad else count


def draw_windows(
    b: Builder, sides: Sequence[int], output: Callable[[int, Window], int]
) -> tuple[list[Window], Shape]:
    """A window per spatial axis (often the same one for all), and the output's extents."""

    def fits(window: Window, *sizes: int) -> bool:
        return all(1 <= output(size, window) <= MAX_SIDE for size in sizes)

    if b.one_in(3):
        windows = [b.pick([w for w in WINDOWS if fits(w, side)]) for side in sides]
    else:
        windows = [b.pick([w for w in WINDOWS if fits(w, *sides)])] * len(sides)
    return windows, tuple(output(side, w) for side, w in zip(sides, windows, strict=True))


def write_windows(b: Builder, param: pb.ConvolutionParameter, windows: Sequence[Window]) -> None:
    """The window's fields: one number, one per axis, or _h and _w. Defaults are mostly left out."""
    for name in Window._fields:
        values = [getattr(window, name) for window in windows]
        if name != "kernel" and set(values) == {0 if name == "pad" else 1} and not b.one_in(3):
            continue
        whole = "kernel_size" if name == "kernel" else name
        if name != "dilation" and b.one_in(4):
            setattr(param, f"{name}_h", values[0])
            setattr(param, f"{name}_w", values[1])
        else:
            getattr(param, whole).extend(values[:1] if len(set(values)) == 1 else values)
