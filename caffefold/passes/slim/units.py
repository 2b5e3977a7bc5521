"""Channels that can only go together, as sets: a unit. Joined while a net is walked through."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from caffefold.ops.base import Refusal

Labels = NDArray[np.int64]
"""For elements of a blob, which unit each belongs to."""
Mask = NDArray[np.bool_]


class Units:
    """Disjoint sets of labels. A set that is pinned stays whole, with the reason."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._pins: list[tuple[Labels, Refusal]] = []

    def __len__(self) -> int:
        return len(self._parent)

    def fresh(self, count: int) -> Labels:
        """New labels, each a unit of its own."""
        start = len(self._parent)
        self._parent += range(start, start + count)
        return np.arange(start, start + count)

    def root(self, label: int) -> int:
        """The label that stands for the unit of ``label``: its least one."""
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def tie(self, one: Labels, other: Labels) -> None:
        """Make one unit of each pair."""
        for a, b in zip(*(x.reshape(-1).tolist() for x in (one, other)), strict=True):
            least, most = sorted((self.root(a), self.root(b)))
            self._parent[most] = least

    def pin(self, labels: Labels, reason: Refusal) -> None:
        """Keep the units of ``labels`` whole."""
        self._pins.append((np.unique(labels), reason))

    def roots(self) -> Labels:
        """By label, its unit."""
        return np.fromiter(map(self.root, range(len(self._parent))), np.int64, len(self._parent))

    def pinned(self, roots: Labels) -> dict[int, Refusal]:
        """The first reason by which each unit stays, of those that have one."""
        found: dict[int, Refusal] = {}
        for labels, reason in self._pins:
            for unit in _units(roots, labels):
                found.setdefault(unit, reason)
        return found


def _units(roots: Labels, labels: Labels) -> Iterable[int]:
    units: list[int] = np.unique(roots[labels]).tolist()
    return units
