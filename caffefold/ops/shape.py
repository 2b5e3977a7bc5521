"""Shapes of which only a part may be known, and the arithmetic of Caffe on them.

``None`` in place of a number is an unknown extent; ``None`` in place of a shape is a blob of which
not even the number of axes is known. Windows lie as Convolution, Deconvolution and Pooling lay
them: base_conv_layer.cpp (LayerSetUp), conv_layer.cpp and deconv_layer.cpp
(compute_output_shape), pooling_layer.cpp (Reshape).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from caffefold.ir.net import Layer
from caffefold.ir.params import Params

Dim: TypeAlias = int | None
Known: TypeAlias = tuple[Dim, ...]
Shape: TypeAlias = Known | None
ShapeList: TypeAlias = Sequence[Shape]
"""The shapes of a layer's bottoms, or of its tops."""

LARGEST = 2**31 - 1
"""Elements of a blob, at most: INT_MAX."""


def product(dims: Iterable[Dim]) -> Dim:
    """The number of elements; None when one extent is unknown."""
    total = 1
    for dim in dims:
        if dim is None:
            return None
        total *= dim
    return total


def total(shape: Shape, start: int = 0) -> Dim:
    """The number of elements of a blob, along the axes from ``start`` on; None when unknown."""
    return None if shape is None else product(shape[start:])


def too_large(shape: Known) -> bool:
    """Whether a blob cannot have this shape: it counts its elements in an int (blob.cpp, Reshape:
    CHECK_LE(shape[i], INT_MAX / count_))."""
    count = 1
    for dim in shape:
        count *= 1 if dim is None else dim
        if count > LARGEST:
            return True
    return False


def first(shapes: ShapeList) -> Shape:
    """The first shape; unknown when there is none."""
    return shapes[0] if shapes else None


def second(shapes: ShapeList) -> Shape:
    """The second shape; unknown when there is none."""
    return shapes[1] if len(shapes) > 1 else None


def rank_of(shape: Shape) -> int | None:
    """The number of axes; None when it is unknown."""
    return None if shape is None else len(shape)


def axis_of(shape: Shape, axis: int) -> Dim:
    """The extent of ``axis``, which may count from the end; None when there is none."""
    return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None


def canonical(layer: Layer, axis: int, rank: int, *, field: str = "axis", end: int = 0) -> int:
    """``axis`` counted from the front (blob.hpp, CanonicalAxisIndex); ``end`` 1 allows ``rank``.

    Raises:
        TextError: there is no such axis.
    """
    found = axis + rank + end if axis < 0 else axis
    if not 0 <= found < rank + end:
        raise layer.error(f"{field} is {axis}, its input has {rank} axes")
    return found


def four_axes(layer: Layer, shape: Shape) -> tuple[Dim, Dim, Dim, Dim]:
    """(N, C, H, W) of a blob; Caffe reads missing axes as 1 (blob.hpp, LegacyShape).

    Raises:
        TextError: the blob has more than 4 axes.
    """
    if shape is None:
        return None, None, None, None
    if len(shape) > 4:
        raise layer.error(f"it works on 4 axes, its input is {show(shape)}")
    items, channels, height, width = (*shape, 1, 1, 1, 1)[:4]
    return items, channels, height, width


def agreed(layer: Layer, one: Dim, other: Dim, what: str) -> Dim:
    """The one extent that both are.

    Raises:
        TextError: both are known and differ; ``what`` says which extents these are.
    """
    if one is not None and other is not None and one != other:
        raise layer.error(f"{what}: {one} and {other}")
    return other if one is None else one


def unified(layer: Layer, shapes: Iterable[Shape], what: str, free: int | None = None) -> Shape:
    """The one shape that all of ``shapes`` are, with what any of them knows.

    Args:
        layer: whom an error names.
        shapes: of blobs; unknown ones agree with anything.
        what: what an error calls them.
        free: an axis along which they may differ; it is unknown in the result.

    Raises:
        TextError: they differ, with the first extents that do.
    """
    found: Shape = None
    for shape in shapes:
        if shape is None:
            continue
        if found is None:
            found = shape
        elif len(found) != len(shape):
            raise layer.error(f"{what} differ in axes: {show(found)} and {show(shape)}")
        else:
            pair = f"{what} differ: {show(found)} and {show(shape)}; axis "
            found = tuple(
                a if i == free else agreed(layer, a, b, pair + str(i))
                for i, (a, b) in enumerate(zip(found, shape, strict=True))
            )
    if found is not None and free is not None:
        found = (*found[:free], None, *found[free + 1 :])
    return found


def show(shape: Shape) -> str:
    """A shape for people: ``1x3x?x?``; ``?`` when unknown, ``scalar`` without axes."""
    if shape is None:
        return "?"
    return "x".join("?" if dim is None else str(dim) for dim in shape) or "scalar"


# ---------------------------------------------------------------------------------- sliding windows


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
        count = (room // self.stride if floor else -(-room // self.stride)) + 1
        if clip and (count - 1) * self.stride >= size + self.pad:
            count -= 1
        return count

    def starts_inside(self, size: int) -> bool:
        """Whether the last window of unpadded pooling begins within the input."""
        return (self.pooled(size, floor=False, clip=False) - 1) * self.stride < size


def int_div(number: int, by: int) -> int:
    """Division as C++ has it: rounded towards 0."""
    return -(-number // by) if number < 0 else number // by


def windows_of(layer: Layer, params: Params, axes: int, without: str = "") -> tuple[Window, ...]:
    """The windows of a convolution or pooling over ``axes`` spatial axes.

    ``without`` is what an error adds about doing without a kernel.

    Raises:
        TextError: numbers for another count of axes, no kernel, or a kernel or stride of 0.
    """
    kernel = _numbers(layer, params, "kernel", axes)
    if axes and not kernel:
        raise layer.error(f"kernel_size is missing{without}")
    rest = (_numbers(layer, params, name, axes) for name in ("stride", "pad", "dilation"))
    found = tuple(map(Window._make, zip(kernel, *rest, strict=True)))
    for window in found:
        for name, number in (("kernel", window.kernel), ("stride", window.stride)):
            if number < 1:
                raise layer.error(f"its {name} is {number}; it must be at least 1")
        if window.dilation < 1 or window.pad < 0:
            raise layer.error(
                f"dilation {window.dilation} and pad {window.pad} do not make a window"
            )
    return found


def _numbers(layer: Layer, params: Params, name: str, axes: int) -> tuple[int, ...]:
    """``name_h`` and ``name_w`` when given, else the field: once for all axes or once for each."""
    field = "kernel_size" if name == "kernel" else name
    if field not in params.descriptor.fields_by_name:  # no dilation in pooling
        return (1,) * axes
    halves = [x for x in (f"{name}_h", f"{name}_w") if name != "dilation" and params.has(x)]
    if params.descriptor.name == "PoolingParameter":  # pooling_layer.cpp, LayerSetUp
        if name == "kernel" and params.has(field) and len(halves) == 1:
            halves = []
        elif name != "kernel" and len(halves) == 1 and not params.has(field):
            other = f"{name}_w" if halves[0].endswith("h") else f"{name}_h"
            raise layer.error(f"{halves[0]} is given without {other}")
    if halves:
        if params.has(field):
            both = " and ".join((field, *halves))
            raise layer.error(f"{both} are given; Caffe takes {field} or {name}_h and {name}_w")
        if axes != 2:
            raise layer.error(f"{name}_h and {name}_w are for 2 spatial axes, its input has {axes}")
        return params.integer(f"{name}_h"), params.integer(f"{name}_w")
    found = params.integers(field)
    if len(found) not in (0, 1, axes):
        raise layer.error(f"{len(found)} values of {field} for {axes} spatial axes")
    if not found and name != "kernel":
        found = (0,) if name == "pad" else (1,)
    return found * axes if len(found) == 1 else found


def swept(
    layer: Layer, extents: Known, windows: Iterable[Window], made: Callable[[Window, int], int]
) -> Known:
    """What windows make of ``extents``, each by ``made``.

    Raises:
        TextError: an output would be empty; with the window and the input.
    """
    found: list[Dim] = []
    for extent, window in zip(extents, windows, strict=True):
        count = None if extent is None else made(window, extent)
        if extent is not None and count is not None and count < 1:
            padded = f" ({extent} with pad {window.pad})" if window.pad else ""
            raise layer.error(
                f"its window of {window.extent} is larger than its input of "
                f"{extent + 2 * window.pad}{padded}; is the input shape too small?"
            )
        found.append(count)
    return tuple(found)
