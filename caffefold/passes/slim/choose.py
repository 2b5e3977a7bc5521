"""Which units go: those that do nothing, or those of small gammas; and what holds some back.

A unit goes whole. First all go that nothing is known against; then conditions put units back, until
none does: each only ever puts back, so the order does not matter and it ends.

    every blob keeps a channel
    the groups of a grouped layer keep equal numbers of inputs and of outputs, or go whole
    with ``multiple``, the outputs of a layer are a multiple of it, or all stay
    what a gone channel added to a layer that sums over it was constant: exactly, or but for less
    than float32 rounds (``_TINY``) of the bias that the layer has after folding
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from caffefold.analysis.health import DEAD
from caffefold.frozen import dataclass
from caffefold.ir.blob import Doubles
from caffefold.ir.net import Net
from caffefold.ops import ranges
from caffefold.ops.base import Refusal, SkipCode
from caffefold.passes.slim.flow import Content, Flow, Gamma, Reader, weight_blocks
from caffefold.passes.slim.shared import Family
from caffefold.passes.slim.units import Labels, Mask

_TINY = 2.0**-24


@dataclass(frozen=True, slots=True)
class Choice:
    """Which units go, and why others that were asked for do not."""

    gone: Mask
    """By label."""
    held: dict[int, Refusal]
    """By unit."""


class Chooser:
    """The units of one walk, their scores, and what holds them back."""

    def __init__(self, net: Net, flow: Flow, families: Sequence[Family] = ()) -> None:
        self.net, self.flow, self.families = net, flow, families
        self.roots = flow.units.roots()
        self.pinned = flow.units.pinned(self.roots)
        self.readers = [reader for reader in flow.readers if reader.sums]
        self.score = np.zeros(len(self.roots))
        for gamma in flow.gammas:
            np.maximum.at(self.score, self.roots[gamma.labels], gamma.sizes)

    def dead(self, multiple: int, *, approximate: bool) -> Choice:
        """The units that do nothing."""
        wanted = np.zeros(len(self.roots), bool)
        constant = np.ones(len(self.roots), bool)
        for gamma in self.flow.gammas:
            wanted[self.roots[gamma.labels[gamma.sizes < DEAD]]] = True
        for reader in self.readers:
            units = self.roots[reader.content.labels]
            low, high = reader.content.range
            same = low == high
            constant[units[~same]] = False
            wanted[units[same]] = True
        tiny = np.zeros(len(self.roots), bool)
        for gamma in self.flow.gammas:
            tiny[self.roots[gamma.labels[gamma.sizes < DEAD]]] = True
        wanted &= constant | tiny
        return self.settle(wanted, multiple, approximate=approximate)

    def settle(self, wanted: Mask, multiple: int, *, approximate: bool) -> Choice:
        """As many of the ``wanted`` units as may go; ``wanted`` is by unit."""
        held: dict[int, Refusal] = {}
        gone = wanted[self.roots]
        for unit, reason in self.pinned.items():
            if gone[unit]:
                held[unit] = reason
                gone[self.roots == unit] = False
        self.zeros(gone, held)
        conditions: list[Condition] = [
            *([] if approximate else [_Negligible(self, r) for r in self.readers]),
            *(_OneBias(self, group) for family in self.families for group in family.biases),
            *(_Groups(self, r) for r in self.readers if r.layout.view[0] > 1),
            *(_Multiple(self, r, multiple) for r in self.readers if multiple > 1),
            _Last(self),
        ]
        going = True
        while going:
            going = False
            for condition in conditions:
                for unit, reason in condition(gone):
                    if gone[unit]:
                        held.setdefault(unit, reason)
                        gone[self.roots == unit] = False
                        going = True
        return Choice(gone, held)

    def evened(self, wanted: Mask) -> Mask:
        """As many units as are ``wanted``, but of each group of a grouped layer the same number:
        the smallest of it."""
        made: Mask = wanted.copy()
        for reader in self.readers:
            for labels in (reader.content.labels, reader.outputs):
                units = self.roots[labels]
                counts = made[units].sum(1)
                if (counts == counts[0]).all():
                    continue
                each = round(float(counts.mean()))
                for row in units:
                    made[row] = False
                    free = [unit for unit in self.best(np.unique(row)) if unit not in self.pinned]
                    made[free[max(0, len(free) - each) :]] = True
        return made

    def zeros(self, gone: Mask, held: dict[int, Refusal]) -> None:
        """Put back what may only go where it is 0."""
        for labels, (low, high), name in self.flow.zeros:
            reason = Refusal(
                SkipCode.NOT_CONSTANT, f"'{name}' divides by a norm that it is a part of"
            )
            for unit in np.unique(self.roots[labels[(low != 0) | (high != 0)]]).tolist():
                if gone[unit]:
                    held[unit] = reason
                    gone[self.roots == unit] = False

    def best(self, units: Labels) -> list[int]:
        """Units in the order in which they are put back."""
        return sorted(units.tolist(), key=lambda unit: (-self.score[unit], unit))


Back = Iterator[tuple[int, Refusal]]
Condition = Callable[[Mask], Back]


class _Last:
    """Every blob keeps a channel."""

    def __init__(self, chooser: Chooser) -> None:
        self.chooser = chooser
        seen: dict[int, Content] = {}
        for content in chooser.flow.contents:
            if content is not None:
                seen.setdefault(id(content.labels), content)
        self.contents = list(seen.values())

    def __call__(self, gone: Mask) -> Back:
        roots = self.chooser.roots
        for content in self.contents:
            if gone[content.labels].all():
                unit = self.chooser.best(np.unique(roots[content.labels]))[0]
                yield unit, Refusal(SkipCode.LAST_CHANNEL, "a blob must keep one channel")


class _Groups:
    """The groups of a grouped layer stay alike."""

    def __init__(self, chooser: Chooser, reader: Reader) -> None:
        self.chooser, self.reader = chooser, reader
        name = chooser.net.layers[reader.position].name
        groups = reader.layout.view[0]
        self.reason = Refusal(
            SkipCode.UNEVEN_GROUPS,
            f"the {groups} groups of '{name}' must keep equal numbers of channels",
        )

    def __call__(self, gone: Mask) -> Back:
        roots = self.chooser.roots
        sides = self.reader.content.labels, self.reader.outputs
        whole = gone[sides[0]].all(1) & gone[sides[1]].all(1)
        for labels in sides:
            kept = (~gone[labels]).sum(1)
            if whole.all() or kept[~whole].min() == kept[~whole].max() > 0:
                continue
            most = max(kept[~whole].max(), 1)
            for group in np.flatnonzero(~whole & (kept < most)):
                units = self.chooser.best(np.unique(roots[labels[group][gone[labels[group]]]]))
                for unit in units[: int(most - kept[group])]:
                    yield unit, self.reason


class _OneBias:
    """A bias that layers share takes the same constants from all of them."""

    def __init__(self, chooser: Chooser, positions: tuple[int, ...]) -> None:
        self.chooser = chooser
        self.readers = [r for r in chooser.readers if r.position in positions]
        names = " and ".join(f"'{chooser.net.layers[i].name}'" for i in positions)
        self.reason = Refusal(
            SkipCode.SHARED_WEIGHTS, f"{names} share a bias, and it is not the same to all of them"
        )

    def __call__(self, gone: Mask) -> Back:
        for reader in self.readers[1:]:
            first = self.readers[0]
            other = (reader.constants != first.constants) & gone[first.content.labels]
            for unit in np.unique(self.chooser.roots[first.content.labels[other]]).tolist():
                yield unit, self.reason


class _Multiple:
    """The outputs of a layer are a multiple of a number."""

    def __init__(self, chooser: Chooser, reader: Reader, multiple: int) -> None:
        self.chooser, self.reader, self.multiple = chooser, reader, multiple
        self.reason = Refusal(SkipCode.MULTIPLE, f"kept for a multiple of {multiple}")

    def __call__(self, gone: Mask) -> Back:
        labels = self.reader.outputs.reshape(-1)
        out = gone[labels]
        over = int((~out).sum()) % self.multiple
        if over and out.any():
            units = self.chooser.best(np.unique(self.chooser.roots[labels[out]]))
            for unit in units[: self.multiple - over]:
                yield unit, self.reason


class _Negligible:
    """What gone channels add to the outputs of a layer is constant but for rounding."""

    def __init__(self, chooser: Chooser, reader: Reader) -> None:
        self.chooser, self.reader = chooser, reader
        low, high = reader.content.range
        with np.errstate(invalid="ignore"):
            spread = np.where(low == high, 0.0, (high - low) / 2)
            middle = np.where(low == high, low, (high + low) / 2)
        if reader.border:
            spread = spread + np.abs(middle)
        self.spread = np.where(np.isnan(spread), np.inf, spread)
        name = chooser.net.layers[reader.position].name
        self.border = Refusal(SkipCode.PADDED_INPUT, f"it is a constant, but {reader.border}")
        self.unsure = Refusal(
            SkipCode.NOT_CONSTANT,
            f"what it adds to '{name}' may be more than float32 rounds",
        )
        self.tied = Refusal(
            SkipCode.NOT_CONSTANT, "it can only go together with channels that do something"
        )
        self.shares: dict[tuple[int, int], Doubles] | None = None

    def measured(self, doubtful: Mask) -> dict[tuple[int, int], Doubles]:
        """By (group, input) of those that are ``doubtful``: the most that it adds to each output
        of the group, as a share of the bias; both as they are after folding."""
        layer = self.chooser.net.layers[self.reader.position]
        shape = self.reader.outputs.shape
        factor, bias = (
            np.abs(np.broadcast_to(each, self.reader.outputs.size)).reshape(shape)
            for each in (self.reader.bias.scale, self.reader.bias.shift)
        )
        found = {
            (group, column): np.zeros(shape[1])
            for group, column in zip(*(each.tolist() for each in np.nonzero(doubtful)), strict=True)
        }
        for group, outs, ins, numbers in weight_blocks(layer, self.reader.layout):
            first = ins.start or 0
            size = np.abs(numbers).sum(2)
            for column in np.flatnonzero(doubtful[group, ins]).tolist():
                most = ranges.times(size[:, column], self.spread[group, first + column])
                found[group, first + column][outs] = ranges.times(most, factor[group, outs])
        with np.errstate(divide="ignore", invalid="ignore"):
            return {at: np.where(adds == 0, 0.0, adds / bias[at[0]]) for at, adds in found.items()}

    def __call__(self, gone: Mask) -> Back:
        doubtful = gone[self.reader.content.labels] & (self.spread > 0)
        if not doubtful.any():
            return
        if self.shares is None:  # fewer are doubtful from now on
            self.shares = self.measured(doubtful)
        stays = ~gone[self.reader.outputs]
        count = int(doubtful.sum())
        low, high = self.reader.content.range
        for group, column in zip(*np.nonzero(doubtful), strict=True):
            if (stays[group] & (self.shares[group, column] > _TINY / count)).any():
                unit = int(self.chooser.roots[self.reader.content.labels[group, column]])
                if low[group, column] == high[group, column]:
                    yield unit, self.border
                else:
                    yield unit, self.tied if self.chooser.score[unit] >= DEAD else self.unsure


def smallest(chooser: Chooser, gammas: Iterable[Gamma], share: float) -> Mask:
    """The units of the smallest gammas, until they are a ``share`` of all of these gammas."""
    weight = np.zeros(len(chooser.roots))
    total = 0
    for gamma in gammas:
        np.add.at(weight, chooser.roots[gamma.labels], 1)
        total += gamma.labels.size
    free = [u for u in np.flatnonzero(weight).tolist() if u not in chooser.pinned]
    wanted = np.zeros(len(chooser.roots), bool)
    left = round(share * total)
    for unit in sorted(free, key=lambda u: (chooser.score[u], u)):
        if weight[unit] > left:
            break
        left -= int(weight[unit])
        wanted[unit] = True
    return wanted


def under(chooser: Chooser, threshold: float) -> Mask:
    """The units all of whose gammas are at most ``threshold``, as float32 has it."""
    with_gamma = np.zeros(len(chooser.roots), bool)
    for gamma in chooser.flow.gammas:
        with_gamma[chooser.roots[gamma.labels]] = True
    made: Mask = with_gamma & (chooser.score <= max(threshold, float(np.float32(threshold))))
    return made
