"""Layers that share weights by names of their params (net.cpp, AppendParam) lose channels alike.

Their channels are tied, place by place. A bias that is shared as well can take only one constant:
the one that every layer would add to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from caffefold.ir.net import Layer
from caffefold.ops.base import Refusal, SkipCode
from caffefold.ops.table import op
from caffefold.passes.fold.fold import shared_weights


class Family(NamedTuple):
    """Layers that share weights."""

    positions: tuple[int, ...]
    name: str
    """Of a param that they share."""
    biases: tuple[tuple[int, ...], ...]
    """Those of them that share their second blob, too."""


def families(layers: Sequence[Layer]) -> tuple[tuple[Family, ...], dict[str, Refusal]]:
    """The families of a net; and by name those that cannot be told apart or are not alike."""
    why = {
        name: Refusal(SkipCode.SHARED_WEIGHTS, reason)
        for name, reason in shared_weights(layers).items()
    }
    owners: dict[str, list[int]] = {}
    for position, layer in enumerate(layers):
        for name in filter(None, _names(layer)):
            owners.setdefault(name, []).append(position)
    found = []
    for positions in _joined(owners.values()):
        family = [layers[i] for i in positions]
        names = {layer.name for layer in family}
        if len(positions) > 1 and len(names) == len(positions) and _alike(family):
            shared = next(name for name, own in owners.items() if own[0] in positions)
            second: dict[str, list[int]] = {}
            for i in positions:
                for name in _names(layers[i])[1:2]:
                    second.setdefault(name, []).append(i)
            biases = (tuple(own) for name, own in second.items() if name and len(own) > 1)
            found.append(Family(tuple(positions), shared, tuple(biases)))
            for name in names:
                why.pop(name, None)
    return tuple(found), why


def _names(layer: Layer) -> list[str]:
    """The name of each of its params; "" where it has none."""
    return [field.body.string("name") for field in layer.body.fields if field.name == "param"]


def _alike(family: Sequence[Layer]) -> bool:
    """Whether all have weights of one type and shape, each name for the same blob of each."""
    first = family[0]
    shapes = [blob.shape for blob in first.blobs]
    return bool(shapes) and all(
        op(layer) is op(first)
        and [blob.shape for blob in layer.blobs] == shapes
        and not any(
            _places(first).get(name, place) != place for name, place in _places(layer).items()
        )
        for layer in family
    )


def _places(layer: Layer) -> Mapping[str, int]:
    return {name: i for i, name in enumerate(_names(layer)) if name}


def _joined(groups: Iterable[Sequence[int]]) -> Iterator[list[int]]:
    """Groups that have a member in common, as one."""
    left = [set(group) for group in groups]
    while left:
        group = left.pop(0)
        while True:
            more = [other for other in left if other & group]
            if not more:
                break
            left = [other for other in left if not other & group]
            group = group.union(*more)
        yield sorted(group)
