"""Biases where float64 cannot tell the nearest float32, once more with twice its precision.

A folded bias is a sum; where its terms cancel, or it lies next to the middle between two float32
numbers, the few roundings of float64 decide. A bound on those says where. There, what a layer
absorbed is done again from the numbers as stored, in the order in which it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from caffefold.formats.caffemodel.blob import CHUNK, Blob, array
from caffefold.ir.affine import Affine
from caffefold.ir.blob import ArrayBlob, Doubles
from caffefold.ir.net import Layer
from caffefold.ops.base import LinearLayout
from caffefold.passes.fold.propagate import WHOLE, Pieces, part_of

if TYPE_CHECKING:
    from caffefold.ir.twofold import Places, Twofold

_UNIT = 2.0**-53
_ROUNDINGS = 16  # of a map of statistics, in front of gamma and beta, and its absorption, and more


class Step(NamedTuple):
    """What a linear layer absorbed at one time."""

    parts: tuple[Affine, ...]
    """Maps, of which the first acts first."""
    pieces: Pieces
    """Of the map of these: what was absorbed."""
    channels: int
    """Of the absorbed one; 1: alike."""
    layout: LinearLayout
    upward: bool
    """Whether it acts on the outputs; else, on the inputs."""


def settled(layer: Layer, before: Layer, steps: Sequence[Step]) -> Layer:
    """``layer``, which was ``before`` and absorbed these steps, with the nearest biases."""
    bias = layer.blobs[1] if len(layer.blobs) > 1 else None
    if not isinstance(bias, ArrayBlob) or bias.terms is None:
        return layer
    _, rows, columns, inner = steps[0].layout.view
    width = (columns if steps[0].layout.outputs_are_rows else rows) * inner
    count = sum(len(step.parts) + (0 if step.upward else width) for step in steps)
    doubtful = _doubtful(bias.numbers, bias.terms, count)
    if not doubtful.size:
        return layer
    exact = _bias(before, steps, doubtful)
    numbers = bias.numbers.copy()
    numbers[doubtful] = np.where(np.isfinite(exact.low), exact.to_odd(), numbers[doubtful])
    return layer.with_blobs((layer.blobs[0], replace(bias, numbers=numbers)))


def settled_map(affine: Affine, parts: Sequence[Affine]) -> Affine:
    """The map composed of ``parts``, with the shifts that are nearest."""
    shift = np.broadcast_to(affine.shift, affine.sizes.shape)
    if not _doubtful(shift, affine.sizes, len(parts)).size:
        return affine
    _, exact = _composed(parts)
    return replace(affine, shift=np.where(np.isfinite(exact.low), exact.to_odd(), shift))


def _doubtful(numbers: Doubles, terms: Doubles, count: int) -> Places:
    """Which numbers may round to another float32 than the exact ones."""
    with np.errstate(all="ignore"):
        room = terms * (_UNIT * _ROUNDINGS * (1 + count))
        low, high = ((numbers + off).astype(np.float32) for off in (-room, room))
    return np.flatnonzero(low != high)


def _bias(before: Layer, steps: Iterable[Step], wanted: Places) -> Twofold:
    """The biases of the outputs ``wanted``."""
    from caffefold.ir.twofold import Twofold  # hardly ever needed

    own = np.zeros(wanted.size)
    if len(before.blobs) > 1:
        own = array(before.blobs[1]).reshape(-1)[wanted].astype(np.float64)
    bias, outer = Twofold.of(own), Twofold.of(np.ones(wanted.size))
    inputs = Twofold.of(np.ones(1))
    with np.errstate(all="ignore"):
        for step in steps:
            scale, shift = (_placed(each, step, i) for i, each in enumerate(_composed(step.parts)))
            layout = step.layout
            if step.upward:
                scale, shift = (each.spread(layout.outputs).part(wanted) for each in (scale, shift))
                bias, outer = bias.times(scale).plus(shift), outer.times(scale)
                continue
            repeats = layout.inputs // step.channels
            scale, shift = (each.spread(step.channels).repeat(repeats) for each in (scale, shift))
            if shift.high.any():
                shift = shift.times(inputs)
                answer = _response(before.blobs[0], layout, shift, wanted)
                bias = bias.plus(outer.times(answer))
            inputs = inputs.times(scale)
    return bias


def _composed(parts: Iterable[Affine]) -> tuple[Twofold, Twofold]:
    """Scale and shift of maps, of which the first acts first."""
    from caffefold.ir.twofold import Twofold

    scale, shift = Twofold.of(np.ones(1)), Twofold.of(np.zeros(1))
    with np.errstate(all="ignore"):
        for part in parts:
            factor, added = _numbers(part)
            scale, shift = scale.times(factor), shift.times(factor).plus(added)
    return scale, shift


def _numbers(part: Affine) -> tuple[Twofold, Twofold]:
    """Scale and shift of a layer."""
    from caffefold.ir.twofold import Twofold

    source = part.source
    if source is None:
        return Twofold.of(part.scale), Twofold.of(part.shift)
    mean, variance = Twofold.of(source.mean), Twofold.of(source.variance)
    factor = Twofold.of(np.array([source.factor]))
    if source.factor == 0:
        mean, variance = mean.times(factor), variance.times(factor)
    elif source.factor != 1:
        mean, variance = mean.over(factor), variance.over(factor)
    deviation = variance.plus(Twofold.of(np.array([source.eps]))).root()
    gamma = np.ones(1) if source.gamma is None else source.gamma
    beta = np.zeros(1) if source.beta is None else source.beta
    scale = Twofold.of(gamma).over(deviation)
    return scale, Twofold.of(beta).minus(mean.times(scale))


def _placed(numbers: Twofold, step: Step, shift: int) -> Twofold:
    """The numbers of the absorbed map: 1, or 0 for a ``shift``, where no piece of them lies."""
    from caffefold.ir.twofold import Twofold

    if step.channels == 1 or step.pieces == WHOLE:
        return numbers.spread(step.channels)
    high, low = np.full(step.channels, 0.0 if shift else 1.0), np.zeros(step.channels)
    for piece in part_of(step.pieces, 0, step.channels):
        there = slice(piece.at, piece.end)
        part = numbers if numbers.high.size == 1 else numbers.part(slice(piece.start, piece.stop))
        high[there], low[there] = part.high, part.low
    return Twofold(high, low)


def _response(weights: Blob, layout: LinearLayout, shift: Twofold, wanted: Places) -> Twofold:
    """What a layer of these weights answers to the constant input ``shift`` at these outputs."""
    from caffefold.ir.twofold import Twofold

    groups, rows, columns, inner = layout.view
    shift = Twofold(*(each.reshape(groups, -1) for each in shift))
    found = Twofold.of(np.zeros(wanted.size))

    def add(places: Places, block: Doubles, factors: Twofold) -> None:
        """The products of a block (outputs, inputs, inner) with factors, one for each input."""
        products = Twofold.of(block).times(Twofold(factors.high[:, None], factors.low[:, None]))
        answer = Twofold(*(each.reshape(len(places), -1) for each in products)).total()
        added = found.part(places).plus(answer)
        found.high[places], found.low[places] = added

    if layout.outputs_are_rows:
        step = max(1, CHUNK // inner)
        for place, row in enumerate(wanted):
            for column in range(0, columns, step):
                stop = min(column + step, columns)
                start = (row * columns + column) * inner
                block = weights.read(start, start + (stop - column) * inner)
                factors = Twofold(*(each[row // rows, column:stop] for each in shift))
                add(np.array([place]), block.reshape(1, -1, inner).astype(np.float64), factors)
        return found
    step = max(1, CHUNK // (columns * inner))
    for group in np.unique(wanted // columns):
        places = np.flatnonzero(wanted // columns == group)
        for row in range(0, rows, step):
            stop = min(row + step, rows)
            start = (group * rows + row) * columns * inner
            block = weights.read(start, start + (stop - row) * columns * inner)
            block = block.reshape(-1, columns, inner)[:, wanted[places] % columns]
            factors = Twofold(*(each[group, row:stop] for each in shift))
            add(places, block.swapaxes(0, 1).astype(np.float64), factors)
    return found
