"""Weights that come from no file: blobs in memory, as the writer wants them."""

from __future__ import annotations

from collections.abc import Mapping

from caffefold.formats.caffemodel.blob import Blob
from caffefold.formats.caffemodel.index import V2, LayerRecord, WeightsFile
from caffefold.formats.caffemodel.wire import ByteSource, len_field


class MemorySource(ByteSource):
    """Wire bytes in memory. ``path`` is what messages call them."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.size = len(data)
        self._fd = -1
        self._window = data
        self._window_start = 0

    def read(self, start: int, end: int) -> bytes:
        """The bytes ``start:end``."""
        return self._window[start:end]


def weights_in_memory(
    path: str, net: str, types: Mapping[str, str], blobs: Mapping[str, tuple[Blob, ...]]
) -> WeightsFile:
    """Weights of the layers named in ``blobs``; a record has a name and a type as wire fields."""
    data = bytearray(len_field(1, _bytes(net)) if net else b"")
    other = ((0, len(data)),) if net else ()
    layers = []
    for name, numbers in blobs.items():
        start = len(data)
        data += len_field(V2.name, _bytes(name)) + len_field(V2.type, _bytes(types[name]))
        layers.append(LayerRecord(V2, name, types[name], numbers, start, start, len(data)))
    return WeightsFile(MemorySource(path, bytes(data)), net, tuple(layers), other)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
