"""Losses that only help training along, and leave no output.

Given   loss1 (weight 0.3), loss2 (weight 0.3), loss3 (weight 1), all against the same label
Result  loss1 and loss2 are auxiliary: GoogLeNet's side classifiers

Taken for safe signals are: a loss of the same kind against the same labels that weighs more; one
that TEST has as well while this one is for TRAIN only; a loss that shapes a feature (CenterLoss),
behind which a classifier of the training classes is no result; a detector that refines the boxes.
"""

from __future__ import annotations

from collections.abc import Mapping

from caffefold.ir.graph import OUTSIDE
from caffefold.ops.base import loss_weight
from caffefold.ops.loss import MULTIBOX_LOSS, Loss
from caffefold.ops.table import op
from caffefold.ops.wiring import SLICE
from caffefold.passes.deploy.training import Roles, ancestors
from caffefold.passes.view.phase import State, included


def auxiliary(roles: Roles, state: State) -> Mapping[int, str]:
    """Positions of auxiliary losses, with the reason in a few words."""
    layers = roles.net.layers
    groups: dict[tuple[object, ...], list[int]] = {}
    for position, layer in enumerate(layers):
        if op(layer).is_loss(layer) and op(layer) is not MULTIBOX_LOSS:
            groups.setdefault(_key(roles, position), []).append(position)
    found: dict[int, str] = {}
    for key, members in groups.items():
        if not key[1]:
            continue  # compares with nothing the data set says: no group
        in_both = [p for p in members if included(layers[p], state)]
        heaviest = max(members, key=lambda p: (loss_weight(layers[p]), p in in_both))
        main = layers[heaviest]
        for position in members:
            if _same_prediction(roles, position, heaviest):
                continue
            weight = loss_weight(layers[position])
            if weight < loss_weight(main):
                found[position] = (
                    f"auxiliary: weighs {weight:g}, '{main.name}' {loss_weight(main):g}"
                )
            elif in_both and position not in in_both:
                found[position] = f"auxiliary: in TRAIN only, '{layers[in_both[0]].name}' is not"
    return {**found, **_behind_features(roles), **_refined(roles)}


def _key(roles: Roles, position: int) -> tuple[object, ...]:
    """What losses must have in common to stand for the same answer."""
    layer = roles.net.layers[position]
    targets = {_origin(roles, v) for v in roles.wiring.reads[position] if v in roles.labels}
    return op(layer).probability or op(layer).name, frozenset(targets)


def _origin(roles: Roles, version: int) -> int:
    """The label a label is only another form of: resized, reshaped, but not cut."""
    wiring, layers = roles.wiring, roles.net.layers
    while True:
        producer = wiring.versions[version].producer
        if producer == OUTSIDE or op(layers[producer]) is SLICE:
            return version
        if len(wiring.reads[producer]) != 1 or len(wiring.writes[producer]) != 1:
            return version
        version = wiring.reads[producer][0]


def _same_prediction(roles: Roles, one: int, other: int) -> bool:
    return set(roles.predictions(one)) == set(roles.predictions(other))


def _behind_features(roles: Roles) -> Mapping[int, str]:
    """Classification losses behind the feature of a CenterLoss."""
    layers = roles.net.layers
    centers = [
        i for i, x in enumerate(layers) if isinstance(own := op(x), Loss) and own.shapes_feature
    ]
    found = {}
    for center in centers:
        features = {roles.wiring.versions[v].producer for v in roles.predictions(center)}
        for position, layer in enumerate(layers):
            if position in centers or op(layer).probability != "Softmax":
                continue
            behind = {p for v in roles.predictions(position) for p in ancestors(roles.wiring, v)}
            if features & behind:
                name = layers[center].name
                found[position] = f"classes of the training set, behind the feature of '{name}'"
    return found


def _refined(roles: Roles) -> Mapping[int, str]:
    """Detection losses whose boxes another one refines (RefineDet: they stand behind its label)."""
    layers = roles.net.layers
    detectors = [i for i, layer in enumerate(layers) if op(layer) is MULTIBOX_LOSS]
    found = {}
    for position in detectors:
        for other in detectors:
            if roles.wiring.reads[position][0] in roles.wiring.reads[other][4:]:
                found[position] = f"auxiliary: '{layers[other].name}' refines its boxes"
    return found
