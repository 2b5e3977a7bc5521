"""Numbers to feed a net with: seeded, in the range of its preprocessing, and of the right kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffefold.check.reference import uniform
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op

Array = NDArray[Any]


def images(shape: Sequence[int], seed: int) -> Array:
    """Random uint8 images of (N, H, W, C) for an input of (N, C, H, W)."""
    items, channels, height, width = shape
    numbers = (uniform(seed, prod(shape)) + 1) * 128
    return numbers.reshape(items, height, width, channels).astype(np.uint8)


def preprocessed(pixels: Array, known: Mapping[str, Any]) -> Array:
    """What a training net makes of RGB images: its channel order, less the mean, times the scale
    (data_transformer.cpp). ``mean_image`` is one of (H, W, C), in the net's order."""
    made = pixels.astype(np.float64)
    if known.get("color_order") == "BGR":
        made = made[..., ::-1]
    names = ("mean_image", "mean_value", "mean_file_channels")
    mean = next((known[name] for name in names if len(known.get(name, ()))), (0.0,))
    made = (made - np.asarray(mean)) * known.get("scale", 1.0)
    return np.ascontiguousarray(made.transpose(0, 3, 1, 2))


def numbers(
    net: Net, shapes: Mapping[str, Sequence[int]], known: Sequence[Mapping[str, Any]], seed: int
) -> dict[str, Array]:
    """Numbers for each input, float32.

    Images are random pixels, preprocessed as ``known`` says; what is read as an index, a marker or
    a region is one; anything else lies between -1 and 1.
    """
    stated = {each["blob"]: each for each in known}
    found: dict[str, Array] = {}
    for i, (blob, shape) in enumerate(shapes.items()):
        if blob in stated and len(shape) == 4:
            made = preprocessed(images(shape, seed + i), stated[blob])
        else:
            made = _of_kind(net, blob, tuple(shape), seed + i, shapes)
        found[blob] = made.astype(np.float32)
    return found


def _of_kind(
    net: Net, blob: str, shape: tuple[int, ...], seed: int, shapes: Mapping[str, Sequence[int]]
) -> Array:
    plain = uniform(seed, prod(shape)).reshape(shape)
    share: Array = (plain + 1) / 2
    for layer in net.layers:
        for at, bottom in enumerate(layer.bottoms):
            if bottom == blob:
                return _read_as(layer, at, plain, share, shapes)
    return plain


def _read_as(
    layer: Layer, at: int, plain: Array, share: Array, shapes: Mapping[str, Sequence[int]]
) -> Array:
    """The numbers as bottom ``at`` of ``layer`` wants them."""
    kind, last = op(layer).name, len(layer.bottoms) - 1
    if kind == "Embed":
        return np.asarray(np.floor(share * layer.params("embed_param").integer("input_dim")))
    if kind in ("LSTM", "RNN") and at == 1:
        return np.where(np.arange(len(share))[:, None] == 0, 0.0, (share > 0.2) * 1.0)
    if (kind == "LSTMUnit" and at == 2) or (kind == "Filter" and at == last):
        return (share > 0.3) * 1.0
    if kind == "BatchReindex" and at == 1:
        return np.asarray(np.floor(share * shapes.get(layer.bottoms[0], (1,))[0]))
    if kind == "DetectionOutput" and at == 1:
        return share
    if kind == "DetectionOutput" and at == 2:
        boxes, variances = share.reshape(2, -1, 4)
        low, size = boxes[:, :2] * 0.7, boxes[:, 2:] * 0.3
        return np.stack([np.concatenate([low, low + size], 1), variances]).reshape(share.shape)
    if kind == "Upsample" and at == 1:
        count = prod(share.shape[2:])
        places = np.arange(count) * 4
        return np.broadcast_to(places.reshape(share.shape[2:]), share.shape).astype(np.float64)
    image = next((s for s in shapes.values() if len(s) == 4), (1, 1, 1, 1))
    if kind == "Proposal" and at == 2:
        return np.resize([image[2], image[3], 1.0], share.shape)
    if kind in ("ROIPooling", "PSROIPooling") and at == 1:
        return _regions(share)
    return plain


def _regions(share: Array) -> Array:
    """(image 0, x1, y1, x2, y2) in pixels."""
    rows = share.reshape(-1, 5)
    low = np.floor(rows[:, 1:3] * 100)
    made = np.concatenate([np.zeros((len(rows), 1)), low, low + np.floor(rows[:, 3:] * 120)], 1)
    return made.reshape(share.shape)
