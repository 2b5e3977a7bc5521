"""Plain, stable text of a prototxt or a caffemodel, for ``git diff`` and other line-wise tools.

    caffemodel "LeNet"
    layer "conv1" Convolution
      blob 0: 20 x 1 x 5 x 5 float32 sha256:1f0e...
      blob 1: 20 float32 sha256:77aa...

One line for each layer and each blob, in file order. The digest is of the numbers alone (C order,
little-endian), so packed, unpacked and legacy encodings of the same numbers read alike. A prototxt
comes without comments, one field a line, in the order of the file: what protobuf would see.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from math import prod

from caffefold.formats.caffemodel.blob import Blob, StoredBlob, chunks
from caffefold.formats.caffemodel.index import WeightsFile
from caffefold.formats.caffemodel.open import open_snapshot
from caffefold.formats.prototxt.parse import read_if_text
from caffefold.formats.prototxt.tree import Field, ListValue, Message, quote, unquote
from caffefold.humanize import visible
from caffefold.options import PathLike

_TYPES = {"<f2": "float16", "<f4": "float32", "<f8": "float64"}
_DIGITS = 32  # of a digest: 128 bits


def textconv(path: PathLike) -> Iterator[str]:
    """The lines of the text, without line ends.

    Raises:
        InputError: the file is missing, broken, or neither a prototxt nor a caffemodel.
    """
    name = os.fspath(path)
    document = read_if_text(name)
    if document is not None:
        yield from _fields(document.fields, "")
    else:
        with open_snapshot(name) as weights:
            yield from _weights(weights)


def _fields(fields: tuple[Field, ...], indent: str) -> Iterator[str]:
    for field in fields:
        values = field.value.items if isinstance(field.value, ListValue) else (field.value,)
        for value in values:
            if isinstance(value, Message):
                yield f"{indent}{field.name} {{"
                yield from _fields(value.fields, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{field.name}: {_scalar(value.raw)}"


def _scalar(raw: str) -> str:
    """Strings in double quotes, their parts joined; everything else as it is written."""
    return _quoted(unquote(raw)) if raw[:1] in ("'", '"') else raw


def _quoted(text: str) -> str:
    """As a string of a prototxt; the bytes of what is not visible as octal escapes."""
    quoted = quote(text)
    if quoted.isprintable():
        return quoted
    return "".join(
        c
        if c.isprintable()
        else "".join(f"\\{b:03o}" for b in c.encode("utf-8", "surrogateescape"))
        for c in quoted
    )


def _weights(weights: WeightsFile) -> Iterator[str]:
    yield f"caffemodel {_quoted(weights.name)}"
    for layer in weights.layers:
        yield f"layer {_quoted(layer.name)} {visible(layer.type)}"
        for i, blob in enumerate(layer.blobs):
            shape = " x ".join(map(str, blob.shape)) or "scalar"
            yield f"  blob {i}: {shape} {_type(blob)} sha256:{digest(blob)}"


def _type(blob: Blob) -> str:
    """The type the numbers are stored in."""
    if not prod(blob.shape):
        return "empty"
    if isinstance(blob, StoredBlob):
        return "+".join(sorted({_TYPES[piece.dtype] for piece in blob.pieces}))
    return str(blob.read(0, 1).dtype)


def digest(blob: Blob) -> str:
    """128 bits of the SHA-256 of a blob's numbers, as float32 (float64 where stored so)."""
    found = hashlib.sha256()
    for numbers in chunks(blob):
        found.update(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False).tobytes())
    return found.hexdigest()[:_DIGITS]
