"""Numbers that no caffemodel had: are they those that Caffe fills in? Written from filler.hpp."""

from __future__ import annotations

import math

import numpy as np

from caffefold.formats.caffemodel.blob import Blob, chunks
from caffefold.formats.prototxt.tree import Message
from caffefold.ir.net import Layer
from caffefold.ir.params import parse_float

_MAIN = ("weight_filler", "filler", "scale_filler")


def as_filled(before: Layer, after: Layer) -> bool:
    """Whether the blobs of ``after`` are what the fillers in the text of ``before`` say."""
    messages = [f.body for f in before.body.fields if f.name.endswith("_param")]
    found: dict[str, Message] = {}
    for message in messages:
        for field in message.fields:
            if field.name.endswith("filler"):
                found[field.name] = field.body
    main = next((found[n] for n in _MAIN if n in found), None)
    if main is None or not after.blobs or len(after.blobs) > 2:
        return False
    fillers = (main, found.get("bias_filler", Message(())))
    return all(_is_filled(*pair) for pair in zip(fillers, after.blobs, strict=False))


def _is_filled(filler: Message, blob: Blob) -> bool:
    kind = filler.string("type", "constant")
    if kind == "constant":
        value = np.float32(parse_float(filler.string("value", "0")) or 0.0)
        return all(bool((numbers == value).all()) for numbers in chunks(blob))
    if kind != "bilinear" or len(blob.shape) != 4 or blob.shape[2] != blob.shape[3]:
        return False
    width = blob.shape[3]
    half = math.ceil(width / 2.0)
    middle = (width - 1) / (2.0 * half)
    steps = [1 - abs(x / half - middle) for x in range(width)]
    wanted = np.array([[y * x for x in steps] for y in steps]).reshape(-1)
    start = 0
    for numbers in chunks(blob):
        expected = wanted[np.arange(start, start + numbers.size) % wanted.size]
        if not np.allclose(numbers, expected, rtol=0, atol=2.0**-22):
            return False
        start += numbers.size
    return True
