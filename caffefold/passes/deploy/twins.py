"""Nets that look at several images at once only to train: siamese twins, triplets.

Given   ContrastiveLoss(feat, feat_p), both computed with the same shared weights
Result  one output, feat: the other is the same function of another image

Given   TripletLoss of a Slice along the batch into anchor, positive, negative
Result  what the Slice cut is the output
"""

from __future__ import annotations

from caffefold.ir.graph import OUTSIDE
from caffefold.ir.net import Layer
from caffefold.ops.base import LinearOp
from caffefold.ops.table import op
from caffefold.ops.wiring import SLICE
from caffefold.passes.deploy.training import Roles, ancestors


def without_twins(roles: Roles, versions: tuple[int, ...]) -> tuple[int, ...]:
    """Of the predictions of one loss, those that a deploy net needs."""
    whole = _uncut(roles, versions)
    if whole is not None:
        return (whole,)
    kept: list[int] = []
    for version in versions:
        if not any(same_function(roles, version, other) for other in kept):
            kept.append(version)
    return tuple(kept)


def same_function(roles: Roles, one: int, other: int) -> bool:
    """Whether two blobs are computed by different layers that share all their weights."""
    first, second = (ancestors(roles.wiring, version) for version in (one, other))
    layers = roles.net.layers
    if any(op(layers[i]).is_learned(layers[i]) for i in first & second):
        return False  # one image behind both: levels of a pyramid with one head
    mine, theirs = (_shared([layers[i] for i in own]) for own in (first - second, second - first))
    return bool(mine) and mine == theirs


def _shared(layers: list[Layer]) -> list[tuple[str, ...]] | None:
    """The names of the weights of every linear layer; None when one has weights of its own."""
    found = []
    for layer in layers:
        if isinstance(op(layer), LinearOp):
            params = [f.body.string("name") for f in layer.body.fields if f.name == "param"]
            if not params or not params[0]:
                return None
            found.append(tuple(params))
    return sorted(found)


def _uncut(roles: Roles, versions: tuple[int, ...]) -> int | None:
    """What a Slice along the batch makes all of these versions of, else None."""
    producers = {roles.wiring.versions[v].producer for v in versions}
    if len(producers) != 1 or len(versions) < 2 or OUTSIDE in producers:
        return None
    position = producers.pop()
    layer = roles.net.layers[position]
    if op(layer) is not SLICE or SLICE.axis(layer) != 0:
        return None
    return roles.wiring.reads[position][0]
