"""How many classes a detector has, read off its weights.

In an SSD each prior box has 4 location outputs and one output per class, so the convolutions behind
``mbox_conf`` have num_classes / 4 times as many outputs as those behind ``mbox_loc``.
"""

from __future__ import annotations

from caffefold.ir.net import Layer, Net
from caffefold.ops.base import LinearOp
from caffefold.ops.table import op


def detector_classes(net: Net, detector: Layer) -> int | None:
    """num_classes of a MultiBoxLoss or DetectionOutput by the weights; None when they do not tell.

    Only with ``share_location``: otherwise there are more than 4 location outputs a box.
    """
    if len(detector.bottoms) < 2 or not op(detector).params(detector).flag("share_location"):
        return None
    location, confidence = (_outputs_behind(net, blob) for blob in detector.bottoms[:2])
    if not location or confidence * 4 % location:
        return None
    return confidence * 4 // location or None


def _outputs_behind(net: Net, blob: str) -> int:
    """Outputs of all linear layers that ``blob`` is made of, without looking behind them."""
    makers = {top: layer for layer in net.layers for top in layer.tops if layer.bottoms != (top,)}
    total = 0
    queue, seen = [blob], {blob}
    while queue:
        layer = makers.get(queue.pop())
        if layer is None:
            continue
        if isinstance(op(layer), LinearOp):
            outputs = op(layer).output_channels(layer)
            if outputs is None:
                return 0
            total += outputs
            continue
        queue += [name for name in layer.bottoms if name not in seen]
        seen.update(layer.bottoms)
    return total
