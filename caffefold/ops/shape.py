"""Shapes of which only a part may be known, and the arithmetic on them.

``None`` in place of a number is an unknown extent; ``None`` in place of a shape is a blob of which
not even the number of axes is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from caffefold.ir.net import Layer

Dim: TypeAlias = int | None
Known: TypeAlias = tuple[Dim, ...]
Shape: TypeAlias = Known | None
Step: TypeAlias = Callable[[Sequence[Shape]], Sequence[Shape]]
"""The shapes of a layer's bottoms -> those of its tops; raises TextError where Caffe would stop."""
Rule: TypeAlias = Callable[[Layer], Step]
"""Reads the text of a layer once; what it returns may be asked for many inputs."""


def product(dims: Iterable[Dim]) -> Dim:
    """The number of elements; None when one extent is unknown."""
    total = 1
    for dim in dims:
        if dim is None:
            return None
        total *= dim
    return total


def total(shape: Shape) -> Dim:
    """The number of elements of a blob; None when it is unknown."""
    return None if shape is None else product(shape)


def canonical(layer: Layer, axis: int, rank: int, *, field: str = "axis", end: int = 0) -> int:
    """``axis`` counted from the front (blob.hpp, CanonicalAxisIndex); ``end`` 1 allows ``rank``.

    Raises:
        TextError: there is no such axis.
    """
    found = axis + rank + end if axis < 0 else axis
    if not 0 <= found < rank + end:
        raise layer.error(f"{field} is {axis}, its input has {rank} axes")
    return found


def first(bottoms: Sequence[Shape]) -> Shape:
    """The shape of the first bottom; unknown when there is none."""
    return bottoms[0] if bottoms else None


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
