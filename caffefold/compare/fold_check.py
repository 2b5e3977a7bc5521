"""Do the numbers of a folded layer equal what the fold of the other net gives?

The other net is folded as ``convert`` does it, but only where the given net has lost its affine
layers; then each layer that absorbed some is compared number for number, streaming.

Where numbers differ, two things that authors of published merged models did instead are tried:
eps 1e-5 although the net sets 1e-3, and the mean and scale of the data layer folded into the first
convolution as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from caffefold.analysis import fit
from caffefold.compare.entries import FoldCheck, FoldMatch
from caffefold.compare.folds import is_affine
from caffefold.compare.load import ComparedNet
from caffefold.compare.weights import Tolerance, figures_of
from caffefold.errors import InputError, TextError
from caffefold.formats.caffemodel.blob import Blob, chunks, size
from caffefold.formats.prototxt.tree import set_scalar
from caffefold.ir.affine import Affine
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import BATCH_NORM
from caffefold.ops.base import LinearOp, Refusal
from caffefold.ops.table import op
from caffefold.passes import infra
from caffefold.passes.deploy.heads import ConvertHeads
from caffefold.passes.deploy.strip import Strip
from caffefold.passes.fold import absorb
from caffefold.passes.fold.collapse import Collapse
from caffefold.passes.fold.fold import Fold
from caffefold.passes.fold.tidy import Tidy
from caffefold.passes.pipeline import is_training_net

CLOSE = 1e-5
"""Difference, relative to the largest number of a blob, that arithmetic in float32 explains."""
USUAL_EPS = "weights match a fold with eps 1e-05; the net sets a different eps"
TRANSFORM = "weights match a fold that also absorbs the mean and scale of the data layer"


class Checker:
    """The layers of the folded net, held against several folds of the plain one."""

    def __init__(
        self,
        plain: ComparedNet,
        folded: ComparedNet,
        partner: dict[int, int],
        tolerance: Tolerance,
    ) -> None:
        self.plain, self.tolerance = plain, tolerance
        self.given = {plain.layers[i].name: folded.layers[j] for i, j in reversed(partner.items())}
        self.names = {layer.name: name for name, layer in self.given.items()}
        self.affine = {
            plain.layers[i].name for i, j in partner.items() if is_affine(folded.layers[j])
        }

    def check(self, folds: tuple[FoldMatch, ...]) -> tuple[FoldMatch, ...]:
        """``folds`` with the figures of each layer that absorbed others."""
        checked = self._checked(folds, self.plain.net, {})
        causes: dict[str, str] = {}
        checks = [check for fold in checked for check in fold.checks]
        wrong = {c.layer for c in checks if c.verdict == "different" and not c.message}
        for message, net, feeds in _guesses(self.plain):
            if wrong <= causes.keys():
                break
            again = [c for fold in self._checked(folds, net, feeds) for c in fold.checks]
            right = {c.layer for c in again if c.verdict == "equal"}
            causes = dict.fromkeys(right & wrong, message) | causes
        explained = []
        for fold in checked:
            known = (replace(c, message=causes.get(c.layer, c.message)) for c in fold.checks)
            explained.append(replace(fold, checks=tuple(known)))
        return tuple(explained)

    def _checked(
        self, folds: tuple[FoldMatch, ...], net: Net, feeds: Mapping[str, Layer]
    ) -> tuple[FoldMatch, ...]:
        """The folds with their figures; ``feeds`` are data layers to be folded in, too."""
        expected: dict[str, Layer] = {}
        try:
            expected, reasons = self._folded(folds, net)
        except InputError as error:
            reasons = {name: str(error) for fold in folds for name in fold.layers}
        found = []
        for fold in folds:
            refusal = next((reasons[name] for name in fold.layers if name in reasons), "")
            checks = []
            for into in fold.into:
                own = self.names.get(into, into)
                want, have = expected.get(own), self.given.get(own)
                if want is not None and own in feeds:
                    want = _with_transform(want, feeds[own])
                if refusal or want is None or have is None:
                    why = refusal or "the fold leaves it as it is"
                    checks.append(FoldCheck(into, "refused", message=why))
                else:
                    checks.append(_compare(into, want, have, self.tolerance))
            found.append(replace(fold, checks=tuple(checks)))
        return tuple(found)

    def _folded(
        self, folds: tuple[FoldMatch, ...], net: Net
    ) -> tuple[dict[str, Layer], dict[str, str]]:
        """Layers of the net once it is folded, by name; why layers were not folded, by name."""
        into_scale = [fold for fold in folds if fold.way == "scale"]
        beside = {name for fold in into_scale for name in (*fold.layers, *fold.into)}
        # As in a conversion: a loss may read labels that this phase does not have.
        ready, _ = infra.run((ConvertHeads(), Strip(is_training_net(net))), net)
        fit.check(ready)  # the arithmetic below relies on shapes
        for layer in ready.layers:
            if any(size(blob) == 0 for blob in layer.blobs):
                raise layer.error("one of its blobs is empty, so it cannot be folded")
        kept = self.affine - beside if beside else self.affine | self.given.keys()
        result, steps = infra.run(
            (
                Tidy(self.given.__contains__),
                Fold("all", (self.affine | beside).__contains__, unshare=True),
                Collapse(kept.__contains__),
            ),
            ready,
        )
        changes = [change for step in steps[1:] for change in step.changes]
        modified = {name for change in changes for name in change.modified}
        gone = {name for change in changes for name in change.removed}
        expected = {x.name: x for x in reversed(result.layers) if x.name in modified}
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
        message = f"it has {len(have.blobs)} blobs instead of {len(want.blobs)}"
        return FoldCheck(into, "different", message=message)
    worst, relative, equal = 0.0, 0.0, True
    for one, two in zip(want.blobs, have.blobs, strict=True):
        if size(one) != size(two):
            return FoldCheck(into, "different", message="the blobs differ in size")
        figures = figures_of(one, two, tolerance, stored=True)
        share = figures.max_abs and figures.max_abs / (_largest(two) or 1.0)
        worst, relative = max(worst, figures.max_abs), max(relative, share)
        equal = equal and (figures.equal or share <= CLOSE)
    return FoldCheck(into, "equal" if equal else "different", worst, relative)


def _largest(blob: Blob) -> float:
    """The largest number of a blob, whatever its sign."""
    return max((float(np.abs(numbers).max(initial=0)) for numbers in chunks(blob)), default=0.0)


# ---------------------------------------------------------------------------------- guesses


def _guesses(plain: ComparedNet) -> Iterator[tuple[str, Net, Mapping[str, Layer]]]:
    """What may have been folded instead: its message, the net, and the data layers whose
    transformation is absorbed as well, by the name of the linear layer that reads them."""
    usual = _with_usual_eps(plain.net)
    if usual is not plain.net:
        yield USUAL_EPS, usual, {}
    feeds = {}
    for layer, reads in zip(plain.net.layers, plain.wiring.reads, strict=True):
        maker = plain.maker(reads[0]) if len(reads) == 1 else -1
        data = plain.layers[maker]
        if isinstance(op(layer), LinearOp) and maker >= 0 and op(data).is_data(data):
            feeds[layer.name] = data
    if feeds:
        yield TRANSFORM, plain.net, feeds


def _with_usual_eps(net: Net) -> Net:
    """The net with Caffe's default eps in each BatchNorm; the same net when none sets another."""
    name = "batch_norm_param"
    new: dict[int, tuple[Layer, ...]] = {}
    for position, layer in enumerate(net.layers):
        params = layer.body.message(name)
        if op(layer) is BATCH_NORM and params is not None and params.last("eps") is not None:
            usual = set_scalar(params, "eps", "1e-05")
            fields = (f.with_body(usual) if f.name == name else f for f in layer.body.fields)
            new[position] = (layer.edited(replace(layer.body, fields=tuple(fields))),)
    return net.substitute(new) if new else net


def _with_transform(layer: Layer, data: Layer) -> Layer:
    """``layer`` reading raw pixels: ``scale * (x - mean)`` of the data layer is its own now.

    (data_transformer.cpp.) The same layer when there is nothing to absorb, or no way to.
    """
    try:
        params = data.params("transform_param")
        scale, means = params.number("scale"), params.numbers("mean_value")
        own = op(layer)
        assert isinstance(own, LinearOp)
        layout = own.layout(layer)
    except TextError:
        return layer
    if isinstance(layout, Refusal) or len(means) not in (0, 1, layout.inputs):
        return layer
    mean = np.array(means or (0.0,), np.float64)
    return absorb.absorb_input(layer, layout, Affine(np.full(mean.size, scale), -mean * scale))
