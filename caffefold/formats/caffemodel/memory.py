"""Weights that come from no caffemodel: names, types and blobs, as the writer wants them."""

from __future__ import annotations

from collections.abc import Mapping

from caffefold.formats.caffemodel.blob import Blob
from caffefold.formats.caffemodel.index import V2, LayerRecord, WeightsFile
from caffefold.formats.caffemodel.wire import Closeable, SplicedSource, text_field


def weights_in_memory(
    path: str,
    net: str,
    types: Mapping[str, str],
    blobs: Mapping[str, tuple[Blob, ...]],
    file: Closeable | None = None,
) -> WeightsFile:
    """Weights of the layers named in ``blobs``; a record has a name and a type as wire fields.

    ``path`` is what messages call them; ``file``, which the blobs are read from, is closed with
    them. A layer that is not in ``types`` has none.
    """
    data = text_field(1, net) if net else b""
    other = ((0, len(data)),) if net else ()
    written = bytearray(data)
    layers = []
    for name, numbers in blobs.items():
        start = len(written)
        written += text_field(V2.name, name)
        written += text_field(V2.type, types[name]) if name in types else b""
        kind = types.get(name, "")
        layers.append(LayerRecord(V2, name, kind, numbers, start, start, len(written)))
    return WeightsFile(SplicedSource(path, [bytes(written)], file), net, tuple(layers), other)
