"""The proof: what was written computes what was read.

On the files read back from disk:

1. both nets are walked side by side (check/equal.py): no layer may be fed with anything else than
   before, other than by a map that the layers around it have absorbed;
2. every linear layer whose numbers or input changed is checked on random patches, in float64. The
   error may be what rounding each weight once to its stored type can cause, and no more; float32:
   ``|y' - y| <= 2^-24 * (sum |W'| |x| + |b'|)``, plus float64's own noise;
3. every other blob equals the original, number for number (as it is stored).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from caffefold.check import reference
from caffefold.check.reference import Doubles, Map, Result
from caffefold.check.walk import SUFFIX, Comparison, Value, rounding, same
from caffefold.errors import ProofError
from caffefold.formats.caffemodel.blob import Blob, chunks, size
from caffefold.formats.caffemodel.precision import FLOAT32, Precision, of_layer
from caffefold.humanize import counted
from caffefold.ir.net import Layer, Net
from caffefold.passes.infra import Absorbed, Change

FLOAT64_NOISE = 2.0**-46  # long sums and cancellation in the float64 reference itself
SEED = 20_261_121
_PATCHES = 4
_LARGE = 1 << 24  # weights; larger layers get one patch: it meets every weight too


@dataclass(frozen=True, slots=True)
class FoldProof:
    """One layer checked. Both figures are relative to its largest output."""

    layer: str
    folded: tuple[str, ...]
    error: float
    """Largest difference that was found."""
    allowed: float
    """Largest difference that rounding to the stored type may cause there."""


@dataclass(frozen=True, slots=True, repr=False)
class Proof:
    """What was checked."""

    seed: int
    folds: tuple[FoldProof, ...]
    unchanged_blobs: int
    outputs: tuple[str, ...]

    @property
    def largest_error(self) -> float:
        """The largest error of all folds; 0 when nothing was folded."""
        return max((fold.error for fold in self.folds), default=0.0)

    def __repr__(self) -> str:
        return f"<Proof: {self}>"

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self, stored: str = "") -> str:
        """The result in one line; ``stored`` is the type that the weights are rounded to."""
        if not self.folds:
            return f"nothing was folded; {self.unchanged_blobs} blobs are unchanged"
        worst = max(self.folds, key=lambda fold: fold.error)
        return (
            f"{counted(len(self.folds), 'fold')} checked, largest error "
            f"{worst.error:.1e} of the largest output ({worst.layer}); "
            f"{stored} rounding allows {worst.allowed:.1e}".replace(";  ", "; ")
        )


def prove(
    original: Net, written: Net, changes: Iterable[Change], precision: Precision = FLOAT32
) -> Proof:
    """Check ``written`` (read back from disk) against ``original`` (deploy net, not folded).

    ``precision`` is what the written numbers are stored as.

    Raises:
        ProofError: they differ; the layer and the size of the difference are named.
    """
    prover = _Prover(original, tuple(changes), precision)
    comparison = Comparison(prover.linear, precision)
    prover.maps = comparison.maps
    comparison.original(original)
    comparison.written(written)
    unchanged = sum(prover.unchanged(layer) for layer in written.layers)
    return Proof(SEED, tuple(prover.folds), unchanged, tuple(comparison.outputs))


class _Prover:
    """Checks the numbers of single layers, with the claims of the passes at hand."""

    def __init__(self, original: Net, changes: tuple[Change, ...], precision: Precision) -> None:
        self.precision = precision
        self.before: dict[str, Layer] = {}
        for layer in original.layers:
            self.before.setdefault(layer.name, layer)
        self.maps: dict[str, Map | None] = {}  # filled by the walk through the original
        self.claims: dict[str, list[Absorbed]] = {}
        self.removed: dict[str, list[str]] = {}
        for change in changes:
            for claim in change.absorbed:
                self.claims.setdefault(claim.layer, []).append(claim)
            for name in change.modified:
                self.removed.setdefault(name, []).extend(change.removed)
        self.folds: list[FoldProof] = []
        self.checked: set[str] = set()

    def linear(
        self, before: Layer, after: Layer, fed_before: Value, fed_after: Value
    ) -> Map | None:
        """Check one linear layer; the map it claims to have absorbed on its output."""
        claims = self.claims.get(after.name, [])
        if after.name not in self.removed:
            if not same(fed_before, fed_after, self.precision):
                raise ProofError(f"layer '{after.name}': is fed with other numbers" + SUFFIX)
            return None
        self.checked.add(after.name)
        channels, taps = reference.patch_shape(before, fed_before.channels)
        count = 1 if size(before.blobs[0]) > _LARGE else _PATCHES
        x = reference.patches(SEED, channels, taps, count)
        if (fed_before.map or fed_after.map) and reference.sees_border(before):
            # One patch at a border: some taps meet zeros, whatever the input is mapped by.
            border = (np.arange(taps) % 2 == 0).astype(np.float64)
            x = np.concatenate([x, x[:, :, :1]], axis=2)
            seen = np.ones((1, taps, count + 1))
            seen[0, :, count] = border if taps > 1 else 0.0
        else:
            seen = np.ones((1, 1, 1))
        with np.errstate(all="ignore"):
            wanted, _ = _respond(before, fed_before, x, seen, self.precision)
            claimed = self._claimed(claims, wanted.values.shape[0])
            scale, shift = claimed.scale[:, None], claimed.shift[:, None]
            wanted = Result(
                wanted.values * scale + shift, wanted.magnitude * np.abs(scale) + np.abs(shift)
            )
            found, largest = _respond(after, fed_after, x, seen, self.precision)
            relative = self.precision.unit * 1.01 + rounding(fed_after, self.precision)
            fan_in = size(after.blobs[0]) / found.values.shape[0]
            tiny = self.precision.tiny * (fan_in * largest + 1)
            self._compare(after, wanted, found, found.magnitude * relative + tiny)
        return claimed if claims else None

    def _claimed(self, claims: list[Absorbed], outputs: int) -> Map:
        """All claimed maps, one after another, for all outputs of a layer."""
        scale, shift = np.ones(outputs), np.zeros(outputs)
        for claim in claims:
            for name in claim.chain:
                own = self.maps.get(name)
                if own is None:
                    raise ProofError(f"layer '{name}': is no affine map, but was folded" + SUFFIX)
                length = max(own.scale.size, own.shift.size, claim.stop)
                part = slice(claim.start, claim.stop)
                at = slice(claim.at, claim.at + claim.stop - claim.start)
                times = np.broadcast_to(own.scale, (length,))[part]
                plus = np.broadcast_to(own.shift, (length,))[part]
                scale[at] = scale[at] * times
                shift[at] = shift[at] * times + plus
        return Map(scale, shift)

    def _compare(self, layer: Layer, wanted: Result, found: Result, rounded: Doubles) -> None:
        allowed = rounded + wanted.magnitude * FLOAT64_NOISE
        error = np.abs(found.values - wanted.values)
        wrong = ~(error <= allowed)
        folded = tuple(self.removed.get(layer.name, ()))
        if wrong.any():
            channel = int(np.flatnonzero(wrong.any(axis=1))[0])
            raise ProofError(
                f"layer '{layer.name}': the fold of {', '.join(folded) or 'its input'} is wrong in "
                f"channel {channel}: off by {float(error[channel].max()):.3g}, rounding explains "
                f"{float(allowed[channel].max()):.3g}" + SUFFIX
            )
        largest = float(np.abs(wanted.values).max()) or 1.0
        self.folds.append(
            FoldProof(
                layer.name, folded, float(error.max()) / largest, float(allowed.max()) / largest
            )
        )

    def unchanged(self, after: Layer) -> int:
        """Check that a layer that took part in no fold has its numbers still; how many blobs."""
        if after.type in reference.LINEAR and after.blobs:
            _check_bias(after)
        # A Scale that took others' place was checked as a map, a linear layer on patches.
        folded = after.name in self.removed and self.maps.get(after.name) is not None
        if after.name in self.checked or folded:
            return 0
        before = self.before[after.name]
        if len(before.blobs) != len(after.blobs):
            raise ProofError(
                f"layer '{after.name}': {len(after.blobs)} blobs were written, "
                f"{len(before.blobs)} were read" + SUFFIX
            )
        for index, (old, new) in enumerate(zip(before.blobs, after.blobs, strict=True)):
            if not _equal(old, new, of_layer(after.type, self.precision)):
                raise ProofError(
                    f"layer '{after.name}': blob {index} was not to change, but did" + SUFFIX
                )
        return len(after.blobs)


def _check_bias(layer: Layer) -> None:
    """Caffe refuses a layer whose text and weights disagree (base_conv_layer.cpp)."""
    name = "inner_product_param" if layer.type == "InnerProduct" else "convolution_param"
    wanted = 1 + layer.params(name).flag("bias_term")
    if len(layer.blobs) != wanted:
        raise ProofError(
            f"layer '{layer.name}': {len(layer.blobs)} blobs were written, its text says {wanted}"
            + SUFFIX
        )


def _respond(
    layer: Layer, fed: Value, x: Doubles, seen: Doubles, precision: Precision
) -> tuple[Result, float]:
    """What a layer makes of ``fed`` when its base is ``x`` of (channels, taps, patches); and the
    largest number it is fed with.

    ``seen`` is 0 where the layer sees padding in place of its input.
    """
    count = x.shape[2]
    if fed.map is None:
        sizes = None if seen.size == 1 else np.abs(x * seen).reshape(-1, count)
        result = reference.linear(layer, (x * seen).reshape(-1, count), sizes)
        return result, reference.PATCH_LARGEST
    scale, shift, magnitude, slack = (a[:, None, None] for a in fed.map.over(x.shape[0])[:4])
    inputs = (x * scale + shift) * seen
    # Times ``unit`` below, so that what is lost to ``tiny`` counts as it should.
    sizes = (np.abs(x * scale) + magnitude + slack * (precision.tiny / precision.unit)) * seen
    result = reference.linear(layer, inputs.reshape(-1, count), sizes.reshape(-1, count))
    return result, float(np.abs(inputs).max())


def _equal(old: Blob, new: Blob, precision: Precision) -> bool:
    if old is new:  # made-up numbers, which no file holds
        return True
    return old.shape == new.shape and all(
        np.array_equal(a.astype(precision.dtype, copy=False), b)
        for a, b in zip(chunks(old), chunks(new), strict=True)
    )
