"""How much of a caffemodel is remembered, whatever it holds: memory stays in proportion.

The largest real nets have less than 20,000 layers, with at most five blobs of one piece each. Other
fields are ranges of bytes, and neighbours are one range.
"""

from __future__ import annotations

from caffefold.formats.caffemodel.wire import ByteSource, WireField

MAX_LAYERS = 100_000
MAX_PIECES = 300_000


def check_layers(source: ByteSource, field: WireField, count: int) -> None:
    """Refuse the layer ``field`` when it is one more than any net has.

    Raises:
        WeightsError: ``count`` is more than ``MAX_LAYERS``.
    """
    if count > MAX_LAYERS:
        raise source.error(
            field.tag_start, f"more than {MAX_LAYERS} layers in one file; no net has so many"
        )


class Quota:
    """Counts blobs and the runs of numbers in them."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._left = MAX_PIECES

    def take(self, field: WireField) -> None:
        """One more, at ``field``.

        Raises:
            WeightsError: it is more than ``MAX_PIECES``.
        """
        self._left -= 1
        if self._left < 0:
            raise self._source.error(
                field.tag_start, f"more than {MAX_PIECES} blobs, or pieces of them; no net has that"
            )
