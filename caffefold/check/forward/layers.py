"""What the layers of the reference have in common: weights, axes, and the shape of a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from caffefold.errors import TextError
from caffefold.formats.caffemodel.blob import array, size
from caffefold.ir.net import Layer

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = list[Array]
Function: TypeAlias = Callable[[Layer, Arrays], Arrays]


class NotEvaluated(Exception):  # noqa: N818
    """The reference does not know this layer, or this setting of it; the message says which."""


def stored(layer: Layer, index: int, shape: Sequence[int] | None = None) -> Array:
    """A blob of the layer in float64.

    Raises:
        TextError: it is not stored, or holds another number of elements.
    """
    if index >= len(layer.blobs):
        raise absent(layer, index)
    blob = layer.blobs[index]
    if shape is not None and size(blob) != prod(shape):
        raise layer.error(f"blob {index} holds {size(blob)} numbers where {prod(shape)} are due")
    values: Array = array(blob).astype(np.float64)
    return values if shape is None else values.reshape(tuple(shape))


def absent(layer: Layer, index: int) -> TextError:
    """The error for a blob that is not stored."""
    return layer.error(f"blob {index} is not stored")


def front(axis: int, dims: int) -> int:
    """An axis counted from the front."""
    return axis + dims if axis < 0 else axis


def along(values: Array, axis: int, dims: int) -> Array:
    """``values`` laid along the axes from ``axis`` on, ready to broadcast over ``dims`` axes."""
    after = dims - axis - values.ndim
    return values.reshape((1,) * axis + values.shape + (1,) * max(after, 0))
