"""Nets that look at several images at once only to train: siamese twins, triplets.

Given   ContrastiveLoss(feat, feat_p), both computed with the same shared weights
Result  one output, feat: the other is the same function of another image

Given   TripletLoss of a Slice along the batch into anchor, positive, negative
Result  what the Slice cut is the output
"""

from __future__ import annotations

from caffefold.model.graph import OUTSIDE
from caffefold.rewrite.roles import Roles, ancestors, shared_names


def without_twins(roles: Roles, versions: tuple[int, ...]) -> tuple[int, ...]:
    """Of the predictions of one loss, those that a deploy net needs."""
    whole = _uncut(roles, versions)
    if whole is not None:
        return (whole,)
    if len(versions) < 2:
        return versions
    layers = roles.net.layers
    kept: list[int] = []
    known: set[frozenset[str]] = set()
    for version in versions:
        names = shared_names(layers, ancestors(roles.wiring, version))
        if not names or names not in known:
            kept.append(version)
        known.add(names)
    return tuple(kept)


def _uncut(roles: Roles, versions: tuple[int, ...]) -> int | None:
    """What a Slice along the batch makes all of these versions of, else None."""
    producers = {roles.wiring.versions[v].producer for v in versions}
    if len(producers) != 1 or len(versions) < 2 or OUTSIDE in producers:
        return None
    position = producers.pop()
    layer = roles.net.layers[position]
    if layer.type != "Slice":
        return None
    params = layer.params("slice_param")
    axis = params.integer("slice_dim") if params.has("slice_dim") else params.integer("axis")
    return roles.wiring.reads[position][0] if axis == 0 else None
