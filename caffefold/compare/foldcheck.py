"""Do the numbers of a folded layer equal what the fold of the other net gives?

The other net is folded as ``convert`` does it, but only where the given net has lost its affine
layers; then each layer that took some in is compared number for number, streaming.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from caffefold.analysis import fit
from caffefold.compare import foldguess
from caffefold.compare.entries import Fold, FoldCheck
from caffefold.compare.folds import is_affine
from caffefold.compare.sides import Side
from caffefold.compare.weights import Figures, Tolerance
from caffefold.errors import InputError
from caffefold.formats.caffemodel.blob import Blob, size
from caffefold.ir.net import Layer
from caffefold.passes import infra
from caffefold.passes.deploy.heads import ConvertHeads
from caffefold.passes.deploy.strip import Strip
from caffefold.passes.fold.collapse import Collapse
from caffefold.passes.fold.fold import Fold as FoldPass
from caffefold.passes.fold.tidy import Tidy
from caffefold.passes.pipeline import is_training_net

CLOSE = 1e-5
"""Difference, relative to the largest number of a blob, that arithmetic in float32 explains."""
_STEP = 1 << 16


def check(
    folds: tuple[Fold, ...],
    plain: Side,
    folded: Side,
    partner: dict[int, int],
    tolerance: Tolerance,
) -> tuple[Fold, ...]:
    """``folds`` with the figures of each layer that took others in.

    A layer whose numbers differ is tried again under each guess of compare/foldguess.py.
    """
    if not folds:
        return folds
    given = {plain.layers[i].name: folded.layers[j] for i, j in reversed(partner.items())}
    names = {layer.name: name for name, layer in given.items()}

    def compared(side: Side, feeds: Mapping[str, Layer]) -> tuple[Fold, ...]:
        expected: dict[str, Layer] = {}
        reasons: dict[str, str] = {}
        try:
            expected, reasons = _folded(folds, side, folded, partner)
        except InputError as error:
            reasons = {name: str(error) for fold in folds for name in fold.layers}
        found = []
        for fold in folds:
            refusal = next((reasons[name] for name in fold.layers if name in reasons), "")
            checks = []
            for into in fold.into:
                own = names.get(into, into)
                want, have = expected.get(own), given.get(own)
                if want is not None and own in feeds:
                    want = foldguess.with_transform(want, feeds[own])
                if refusal or want is None or have is None:
                    why = refusal or "it was not folded"
                    checks.append(FoldCheck(into, "refused", message=why))
                else:
                    checks.append(_compare(into, want, have, tolerance))
            found.append(replace(fold, checks=tuple(checks)))
        return tuple(found)

    checked = compared(plain, {})
    for guess in foldguess.guesses(plain.net):
        wrong = {c.layer for f in checked for c in f.checks if c.verdict == "different"}
        wrong -= {c.layer for f in checked for c in f.checks if c.message}
        if wrong:
            again = compared(replace(plain, net=guess.net), guess.feeds)
            right = {c.layer for f in again for c in f.checks if c.verdict == "equal"} & wrong
            checked = tuple(_told(fold, right, guess.message) for fold in checked)
    return checked


def _told(fold: Fold, layers: set[str], message: str) -> Fold:
    """``fold`` with ``message`` at the checks of ``layers``."""
    checks = (replace(c, message=message) if c.layer in layers else c for c in fold.checks)
    return replace(fold, checks=tuple(checks))


def _folded(
    folds: tuple[Fold, ...], plain: Side, folded: Side, partner: dict[int, int]
) -> tuple[dict[str, Layer], dict[str, str]]:
    """Layers of the net once it is folded, by name; why layers were not folded, by name."""
    beside = {name for fold in folds if fold.way == "scale" for name in (*fold.layers, *fold.into)}
    stay = [
        layer.name
        for i, layer in enumerate(plain.layers)
        if i in partner and is_affine(folded.layers[partner[i]])
    ]
    kept = {name for name in stay if name not in beside}
    idle = {plain.layers[i].name for i in partner}
    # As in a conversion: a loss may read labels that this phase does not have.
    ready, _ = infra.run((ConvertHeads(), Strip(is_training_net(plain.net))), plain.net)
    fit.check(ready)  # the arithmetic below relies on shapes
    for layer in ready.layers:
        if any(size(blob) == 0 for blob in layer.blobs):
            raise layer.error("one of its blobs is empty; its numbers can not be folded")
    net, steps = infra.run(
        (
            Tidy(idle.__contains__),
            FoldPass("all", {*stay, *beside}.__contains__, unshare=True),
            Collapse((kept if beside else kept | idle).__contains__),
        ),
        ready,
    )
    modified = {name for step in steps[1:] for c in step.changes for name in c.modified}
    expected: dict[str, Layer] = {}
    for layer in net.layers:
        if layer.name in modified:
            expected.setdefault(layer.name, layer)
    gone = {name for step in steps[1:] for c in step.changes for name in c.removed}
    reasons = {
        name: skip.message
        for step in steps
        for skip in step.skips
        for name in skip.layers
        if name not in gone
    }
    return expected, reasons


def _compare(into: str, want: Layer, have: Layer, tolerance: Tolerance) -> FoldCheck:
    if len(want.blobs) != len(have.blobs):
        return FoldCheck(
            into,
            "different",
            message=f"{len(have.blobs)} blobs, the fold gives {len(want.blobs)}",
        )
    worst, relative, equal = 0.0, 0.0, True
    for one, two in zip(want.blobs, have.blobs, strict=True):
        if size(one) != size(two):
            return FoldCheck(into, "different", message="blobs of another size")
        figures, largest = _figures(one, two, tolerance)
        share = figures.max_abs / (largest or 1.0)
        worst, relative = max(worst, figures.max_abs), max(relative, share)
        equal = equal and (figures.equal or share <= CLOSE)
    return FoldCheck(into, "equal" if equal else "different", worst, relative)


def _figures(want: Blob, have: Blob, tolerance: Tolerance) -> tuple[Figures, float]:
    """Figures of two blobs, the first one rounded to float32 as it would be stored; the largest
    number of the second."""
    figures = Figures(tolerance)
    total, largest = size(want), 0.0
    step = max(want.step, _STEP)
    with np.errstate(all="ignore"):
        for start in range(0, total, step):
            stop = min(start + step, total)
            wanted, found = want.read(start, stop), have.read(start, stop)
            figures.add(wanted.astype(np.float32), found)
            largest = max(largest, float(np.abs(found).max(initial=0)))
    return figures, largest
