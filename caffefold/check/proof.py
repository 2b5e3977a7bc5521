"""The proof: what was written computes what was read.

On two nets in memory, whether read back from disk or not:

1. both nets are walked side by side (check/walk.py): no layer may be fed with anything else than
   before, other than by a map that the layers around it have absorbed;
2. every linear layer whose numbers or input changed is checked on random patches, in float64. The
   error may be what rounding each weight once to its stored type can cause, and no more; float32:
   ``|y' - y| <= 2^-24 * (sum |W'| |x| + |b'|)``, plus float64's own noise;
3. every blob name that is still there holds what it held, up to that rounding;
4. all other weights equal the original ones, number for number (as they are stored).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from caffefold.check import images, reference
from caffefold.check.reference import AffineMap, Doubles, Linear, Response
from caffefold.check.signals import Signal
from caffefold.check.walk import Place, SideBySide
from caffefold.errors import ProofError
from caffefold.formats.caffemodel.blob import Blob, chunks, size
from caffefold.formats.caffemodel.precision import FLOAT32, Precision, of_layer
from caffefold.frozen import dataclass
from caffefold.humanize import counted
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op
from caffefold.passes.infra import Absorbed, Change, ChangeKind, references

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
    gone: tuple[str, ...] = ()
    """Names of blobs that the written net does not have; all others hold what they held."""

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
    """Check ``written`` against ``original`` (a deploy net, not folded).

    Neither net need have come from a file. ``changes`` are what the passes in between claim; they
    are not trusted, they only decide what is checked. ``precision`` is what the numbers of
    ``written`` are stored as, or will be: each may be rounded to it, once, or not at all.

    Raises:
        ProofError: they differ; the layer and the size of the difference are named.
    """
    written = images.as_inputs(original, written)
    prover = _Prover(original, written, changes, precision)
    outputs, gone = prover.walk.compare(written)
    if not graph.build(original).clashes:
        for clash in graph.build(written).clashes:
            raise ProofError(f"{clash}, which Caffe refuses")
    unchanged = sum(prover.unchanged(at, layer) for at, layer in enumerate(written.layers))
    prover.sharing(written)
    return Proof(SEED, tuple(prover.folds), unchanged, outputs, gone)


class _Prover:
    """Checks the numbers of single layers, with the claims of the passes at hand."""

    def __init__(
        self, original: Net, written: Net, changes: Iterable[Change], precision: Precision
    ) -> None:
        self.precision = precision
        changes = tuple(changes)
        dropped = (path for change in changes for path in change.fields)
        self.walk = SideBySide(original, self.linear, precision, dropped)
        self.layers = original.layers
        self.places = {each: at for at, each in enumerate(references(original.layers))}
        self.named: dict[str, list[int]] = {}
        for at, layer in enumerate(original.layers):
            self.named.setdefault(layer.name, []).append(at)
        self.claims: dict[int | None, list[Absorbed]] = {}  # by position in the original net
        self.removed: dict[str, list[str]] = {}
        self.rewritten: set[str] = set()  # names of layers that took another form
        for change in changes:
            for claim in change.absorbed:
                self.claims.setdefault(self.places.get(claim.layer), []).append(claim)
            if change.kind is ChangeKind.REWRITTEN:
                self.rewritten.update(change.modified)
                continue
            for name in change.modified:
                self.removed.setdefault(name, []).extend(change.removed)
        # A record goes to the first layer of its name (net.cpp, CopyTrainedLayersFrom).
        self.owners = {layer.name: layer for layer in reversed(written.layers)}
        self.folds: list[FoldProof] = []
        self.checked: set[int] = set()  # positions in the original net

    def linear(self, place: Place, after: Layer, fed: Signal) -> AffineMap | None:
        """Check one linear layer; the map it claims to have absorbed on its output."""
        before, (fed_before,) = place.layer, place.inputs
        claims = self.claims.get(place.position, [])
        # Names may be those of several layers, of which a fold changed one.
        modified = after.name in self.removed and (
            claims
            or len(self.named[after.name]) == 1
            or self._differs(before, after)
            or not fed_before.agrees(fed, self.precision)
        )
        turned = after.name in self.rewritten and self._differs(before, after) is not None
        if not modified and not turned:
            if not fed_before.agrees(fed, self.precision):
                raise ProofError(f"layer '{after.name}': is fed different values")
            return None
        self.checked.add(place.position)
        if turned:
            after = _as_before(before, after)
        layout = reference.linear(before, fed.base.channels)
        written = reference.linear(after, fed.base.channels)
        assert layout is not None is not written  # else the walk had met no linear layer
        outputs = reference.outputs_axis(before, fed.base.rank)
        if outputs != 1 or fed.map.axis != 1:
            # Its inputs are not what is mapped: in front of it, nothing may have moved.
            if not fed_before.agrees(fed, self.precision):
                raise ProofError(f"layer '{after.name}': is fed different values")
            fed_before = fed = Signal(fed.base)
        biases = [size(blob) for blob in after.blobs[1:]]
        shape = _unpadded(after.blobs[0].shape)
        if written.outputs_first != layout.outputs_first:
            shape = shape[::-1]
        alike = shape == _unpadded(before.blobs[0].shape)
        if not alike or biases not in ([], [layout.outputs]):
            raise ProofError(f"layer '{after.name}': its blobs have different shapes")
        x, seen = _patches(
            before, layout, mapped=bool(fed_before.map.roundings or fed.map.roundings)
        )
        with np.errstate(all="ignore"):
            claimed = self._claimed(claims, layout.outputs, outputs)
            scale, shift = claimed.scale[:, None], claimed.shift[:, None]
            wanted, _ = _respond(before, layout, fed_before, x, seen, self.precision)
            wanted = Response(
                wanted.values * scale + shift, wanted.magnitude * np.abs(scale) + np.abs(shift)
            )
            found, largest = _respond(after, written, fed, x, seen, self.precision)
            relative = self.precision.unit * 1.01 + fed.map.rounding(self.precision)
            fan_in = size(after.blobs[0]) / layout.outputs
            tiny = self.precision.tiny * (fan_in * largest + 1)
            self._compare(after, wanted, found, found.magnitude * relative + tiny)
        return claimed if claims else None

    def _claimed(self, claims: list[Absorbed], outputs: int, axis: int | None) -> AffineMap:
        """All claimed maps, one after another, for all outputs of a layer, along their axis."""
        scale, shift = np.ones(outputs), np.zeros(outputs)
        for claim in claims:
            for layer in claim.chain:
                place = self.places.get(layer)
                own = None if place is None else self.walk.maps[place]
                if own is None:
                    raise ProofError(f"layer '{layer.name}': is not an affine map, but was folded")
                if own.channels > 1 and own.axis != axis:
                    raise ProofError(f"layer '{layer.name}': is not a map of the outputs it is in")
                length = max(own.channels, claim.stop)
                at = slice(claim.at, claim.at + claim.stop - claim.start)
                times, plus = (
                    np.broadcast_to(v, length)[claim.start : claim.stop] for v in own[:2]
                )
                scale[at] = scale[at] * times
                shift[at] = shift[at] * times + plus
        if axis != 1 and (scale == scale[0]).all() and (shift == shift[0]).all():
            return AffineMap(scale[:1], shift[:1])  # one number for all lies along no axis
        return AffineMap(scale, shift, axis=1 if axis is None else axis)

    def _compare(self, layer: Layer, wanted: Response, found: Response, rounded: Doubles) -> None:
        allowed = rounded + wanted.magnitude * FLOAT64_NOISE
        error = np.abs(found.values - wanted.values)
        wrong = ~(error <= allowed)
        folded = tuple(self.removed.get(layer.name, ()))
        if wrong.any():
            channel = int(np.flatnonzero(wrong.any(axis=1))[0])
            raise ProofError(
                f"layer '{layer.name}': the fold of {', '.join(folded) or 'its input'} is wrong in "
                f"channel {channel}: off by {float(error[channel].max()):.3g}, rounding explains "
                f"{float(allowed[channel].max()):.3g}"
            )
        if layer.name not in self.removed:  # it only took another form
            return
        largest = float(np.abs(wanted.values).max()) or 1.0
        self.folds.append(
            FoldProof(
                layer.name, folded, float(error.max()) / largest, float(allowed.max()) / largest
            )
        )

    def unchanged(self, position: int, after: Layer) -> int:
        """Check that a layer outside of all folds still has its numbers; how many blobs these are.

        Layers that folding may remove are matched with any of their name: what they compute was
        compared already.
        """
        if after.is_input:
            return 0
        layout = reference.linear(after, None)
        if layout is not None and len(after.blobs) != 1 + layout.biased:  # base_conv_layer.cpp
            raise ProofError(
                f"layer '{after.name}': {len(after.blobs)} blobs were written, "
                f"its text requires {1 + layout.biased}"
            )
        match = self.walk.matches.get(position)
        if match in self.checked:
            return 0
        candidates = self.named.get(after.name, []) if match is None else [match]
        # A Scale that replaced others was checked as a map, a linear layer on patches.
        named = after.name in self.removed or after.name in self.rewritten
        if named and any(self.walk.maps[at] is not None for at in candidates):
            return 0
        reasons = [self._differs(self.layers[at], after) for at in candidates]
        if not reasons:
            raise ProofError(f"layer '{after.name}': not in the original net")
        if None not in reasons and not self._borrows(after):
            raise ProofError(f"layer '{after.name}': {reasons[0]}")
        return len(after.blobs)

    def sharing(self, written: Net) -> None:
        """Check that blobs which a changed layer shares by name are the same in all its layers:
        Caffe has one for them, and the last one it loads is what counts (net.cpp, AppendParam)."""
        first: dict[str, tuple[Layer, int]] = {}
        for layer in written.layers:
            params = (field.body for field in layer.body.fields if field.name == "param")
            for index, name in enumerate(body.string("name") for body in params):
                owner, place = first.setdefault(name, (layer, index))
                changed = bool({owner.name, layer.name} & self.removed.keys())
                if not name or owner is layer or not changed:
                    continue
                blobs = [*owner.blobs[place : place + 1], *layer.blobs[index : index + 1]]
                dtype = of_layer(layer.type, self.precision).dtype
                if len(blobs) == 2 and not _equal(blobs[0], blobs[1], dtype):
                    raise ProofError(
                        f"layer '{layer.name}': shares '{name}' with layer '{owner.name}', "
                        "which has other numbers",
                        layer=layer.name,
                    )

    def _borrows(self, layer: Layer) -> bool:
        """Whether the layer's blobs are those of another layer of its name, which was folded, and
        it computes nothing with them itself."""
        owner = self.owners[layer.name]
        shared = layer is not owner and layer.record is not None and layer.record is owner.record
        return shared and op(layer).name not in reference.WEIGHTED

    def _differs(self, before: Layer, after: Layer) -> str | None:
        """What differs between the blobs of two layers; None when they are equal, as stored."""
        if len(before.blobs) != len(after.blobs):
            return f"{len(after.blobs)} blobs were written, {len(before.blobs)} were read"
        dtype = of_layer(after.type, self.precision).dtype
        for index, (old, new) in enumerate(zip(before.blobs, after.blobs, strict=True)):
            if old is not new and not _equal(old, new, dtype):
                return f"blob {index} should not have changed, but did"
        return None


def _as_before(before: Layer, after: Layer) -> Layer:
    """``after`` with the taps of ``before``, when the others that it has are 0."""
    taps = reference.taps(before), reference.taps(after)
    if taps[0] is None or taps[1] is None or taps[0].kernel == taps[1].kernel:
        return after
    steps = taps[0].steps_in(taps[1])
    if steps is None:
        return after  # the shapes of its blobs are compared next
    thin, idle = reference.thinned(after, steps)
    if not idle:
        raise ProofError(f"layer '{after.name}': weights between its taps are not 0")
    return thin


def _patches(layer: Layer, layout: Linear, *, mapped: bool) -> tuple[Doubles, Doubles]:
    """Patches (channels, taps, patches) and, to be multiplied, where a layer sees its input: 0
    where it sees padding in its place, which matters where the input is mapped."""
    taps = layout.taps
    count = 1 if size(layer.blobs[0]) > _LARGE else _PATCHES
    x = reference.patches(SEED, layout.channels, taps, count)
    if not (mapped and layout.meets_border):
        return x, np.ones((1, 1, 1))
    # One patch at a border: some taps meet zeros, whatever the input is mapped by.
    border = (np.arange(taps) % 2 == 0).astype(np.float64)
    seen = np.ones((1, taps, count + 1))
    seen[0, :, count] = border if taps > 1 else 0.0
    return np.concatenate([x, x[:, :, :1]], axis=2), seen


def _respond(
    layer: Layer, layout: Linear, fed: Signal, x: Doubles, seen: Doubles, precision: Precision
) -> tuple[Response, float]:
    """What a layer makes of ``fed`` when its base is ``x`` of (channels, taps, patches); and the
    largest number it is fed with. ``seen`` is as in ``_patches``."""
    count = x.shape[2]
    if not fed.map.roundings:
        sizes = None if seen.size == 1 else np.abs(x * seen).reshape(-1, count)
        result = reference.response(layer, layout, (x * seen).reshape(-1, count), sizes)
        return result, reference.PATCH_LARGEST
    scale, shift, magnitude, slack = fed.map.over(x.shape[0])[:, :, None, None]
    inputs = (x * scale + shift) * seen
    # Times ``unit`` later, so that what is lost to ``tiny`` counts as it should.
    sizes = (np.abs(x * scale) + magnitude + slack * (precision.tiny / precision.unit)) * seen
    result = reference.response(layer, layout, inputs.reshape(-1, count), sizes.reshape(-1, count))
    return result, float(np.abs(inputs).max())


def _equal(old: Blob, new: Blob, dtype: str) -> bool:
    """Whether the numbers are the same, unrounded or as they are stored."""
    if old == new:  # one blob of a file, or made-up numbers, which no file holds
        return True
    return _unpadded(old.shape) == _unpadded(new.shape) and all(
        np.array_equal(a.astype(dtype, copy=False), b) or np.array_equal(a, b)
        for a, b in zip(chunks(old), chunks(new), strict=True)
    )


def _unpadded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without leading ones: files of V1 pad all shapes to four axes."""
    first = next((i for i, dim in enumerate(shape) if dim != 1), len(shape))
    return shape[first:]
