"""How many channels a blob must have: read off the first layers with weights behind it."""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.analysis.shapes import infer
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import Joined, Mixed, Same, Split
from caffefold.ops.shape import Dim, ShapeList, axis_of, rank_of
from caffefold.ops.table import op


def channels_of(net: Net, blob: str) -> int | None:
    """The channels that weights fix for the first version of ``blob``; None when they do not.

    Followed through everything that keeps channels, and through Slice, Concat and Eltwise where the
    other parts are known. Where two readers disagree, the first one counts.

    Args:
        net: a net with weights, filtered to one phase.
        blob: an input, or a blob that nothing makes.
    """
    known = infer(net)
    wiring = known.graph
    wanted: list[Dim] = [None] * len(wiring.versions)
    loose: Dim = None  # what is wanted of ``blob`` where no layer makes it
    for position in reversed(range(len(net.layers))):
        layer = net.layers[position]
        made = [wanted[version] for version in wiring.writes[position]]
        for place, version in enumerate(wiring.reads[position]):
            found = _wanted(layer, place, made, known.bottoms[position])
            if found is not None and version >= 0:
                wanted[version] = found
            elif found is not None and layer.bottoms[place] == blob:
                loose = found
    made_as = zip(wiring.versions, wanted, strict=True)
    return next((need for version, need in made_as if version.blob == blob), loose)


def _wanted(layer: Layer, place: int, made: Sequence[Dim], bottoms: ShapeList) -> Dim:
    """The channels the bottom at ``place`` must have, when those of the tops are ``made``."""
    flow = op(layer).channels(layer, bottoms)
    if isinstance(flow, Mixed):
        return op(layer).input_channels(layer)
    if isinstance(flow, Split):
        return _sliced(flow, made)
    if isinstance(flow, Joined):
        return _joined(layer, place, made, bottoms)
    if not isinstance(flow, Same) or place not in flow.bottoms:
        return None
    own = op(layer).input_channels(layer, rank_of(bottoms[place]))
    if own is not None and own > 1:
        return own
    others = [axis_of(bottoms[i], 1) for i in flow.bottoms if i != place]
    return next((count for count in (*others, *made) if count is not None), None)


def _sliced(flow: Split, made: Sequence[Dim]) -> Dim:
    """All of a Slice: where its last part begins and how much that holds, or equal parts."""
    if flow.points:
        last = made[-1] if made else None
        return None if last is None else flow.points[-1] + last
    part = next((need for need in made if need is not None), None)
    return None if part is None else part * len(made)


def _joined(layer: Layer, place: int, made: Sequence[Dim], bottoms: ShapeList) -> Dim:
    """What of a Concat the other bottoms leave, in equal parts for the same blob."""
    whole, own = made[0] if made else None, layer.bottoms[place]
    others = [
        axis_of(shape, 1) for name, shape in zip(layer.bottoms, bottoms, strict=True) if name != own
    ]
    if whole is None or None in others:
        return None
    part, over = divmod(whole - sum(n or 0 for n in others), layer.bottoms.count(own))
    return part if part > 0 and not over else None
