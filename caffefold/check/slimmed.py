"""Is a net without some channels the same? Both run side by side in float64, layer by layer.

What it should be comes from ``check/forward``, which knows nothing of slimming. Of every blob the
channels that are left are compared, and the whole of those that lost none, outputs among them. A
layer that decides (NMS, ArgMax) is fed with what the first net made, in both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from caffefold.check import feeds
from caffefold.check.forward.evaluate import DECIDING, evaluate, type_of
from caffefold.check.forward.layers import Array
from caffefold.errors import ProofError
from caffefold.frozen import dataclass
from caffefold.humanize import counted
from caffefold.ir import graph
from caffefold.ir.net import Net

SEED = 20_261_121
LIMIT = 2.0**-20
"""What a blob may be off by, relative to its largest number; taking out what is constant shows
1e-14, what is below float32's rounding 1e-8."""

Kept = tuple[int, Sequence[int]] | None
"""Which elements of a blob stay: an axis, and places along it; None: all."""


@dataclass(frozen=True, slots=True)
class BlobError:
    """How far a blob is off, relative to its largest number."""

    blob: str
    layer: str
    error: float


class Fed(NamedTuple):
    """Numbers to feed beside random ones."""

    about: str
    """What they are: ``12 files: a.png to l.png``."""
    batches: Sequence[Mapping[str, Array]]
    """By input."""


@dataclass(frozen=True, slots=True)
class SlimProof:
    """What was compared."""

    blobs: int
    """How many blobs were compared; 0 where nothing was cut."""
    worst: BlobError | None
    outputs: tuple[BlobError, ...]
    """The outputs of the net, on seeded numbers; of a detector, what its last layer reads."""
    skipped: tuple[str, ...] = ()
    """Blobs that the reference could not compute, with the reason."""
    approximate: bool = False
    """Whether the nets are known to differ, and by how much was only measured."""
    seed: int = SEED
    fed: str = ""
    """What else both nets were run on; "" for nothing."""
    fed_outputs: tuple[BlobError, ...] = ()
    """The outputs of the net, on that: of all batches the largest difference."""

    def sentence(self) -> str:
        """``210 blobs side by side in float64; largest relative difference 2.4e-15``."""
        if not self.blobs:
            return "nothing was cut"
        if self.approximate:
            found = f"approximate; relative difference on seeded inputs: {_listed(self.outputs)}"
            return found + (f"; on {self.fed}: {_listed(self.fed_outputs)}" if self.fed else "")
        least = self.worst.error if self.worst else 0.0
        skipped = f", {len(self.skipped)} not evaluated" if self.skipped else ""
        fed = f", also on {self.fed}" if self.fed else ""
        return (
            f"{counted(self.blobs, 'blob')} side by side in float64{skipped}{fed}; "
            f"largest relative difference {least:.1e}"
        )


def compare(
    before: Net,
    after: Net,
    kept: Sequence[Kept],
    shapes: Mapping[str, Sequence[int]],
    known: Sequence[Mapping[str, object]] = (),
    *,
    approximate: bool = False,
    fed: Fed | None = None,
) -> SlimProof:
    """Run both nets on the same numbers, seeded ones and those given.

    Args:
        before: a deploy net.
        after: the same layers but for some that are gone, others with fewer channels.
        kept: by version of a blob of ``after``, what is left of it.
        shapes: those of the inputs.
        known: the preprocessing of inputs; random images go through it.
        approximate: the nets are known to differ: how far is measured, and how the blobs in between
            differ does not matter.
        fed: what to run both on as well.

    Raises:
        ProofError: a blob is another one; the first layer that makes one is named.
    """
    seeded = feeds.numbers(before, shapes, known, SEED)
    run = partial(_run, before, after, kept, approximate=approximate)
    first = run(seeded)
    rest = [] if fed is None else [run({**seeded, **batch}) for batch in fed.batches]
    found = [error for each in (first, *rest) for error in each.errors]
    worst = max(found, key=lambda each: each.error, default=None)
    names = set(_told(after))
    return SlimProof(
        len(first.errors),
        worst,
        _outputs(first.errors, names),
        tuple(first.skipped),
        approximate,
        fed="" if fed is None else fed.about,
        fed_outputs=_outputs([error for each in rest for error in each.errors], names),
    )


def _told(net: Net) -> Iterator[str]:
    """The outputs; of a layer that decides, what it reads: which boxes are left jumps."""
    outputs = net.outputs
    for layer in net.layers:
        made = [top for top in layer.tops if top in outputs]
        yield from layer.bottoms if made and type_of(layer) in DECIDING else made


class _Run(NamedTuple):
    errors: list[BlobError]
    skipped: list[str]


def _run(
    before: Net,
    after: Net,
    kept: Sequence[Kept],
    inputs: Mapping[str, Array],
    *,
    approximate: bool,
) -> _Run:
    """Both nets on one batch.

    Raises:
        ProofError: as ``compare``.
    """
    found = _Run([], [])
    # What a layer that decides reads, and where the reference does not know a layer.
    observed: dict[int, Array] = {-1: np.zeros(0)}
    versions = graph.build(before).versions
    left = {layer.name for layer in after.layers}
    others = evaluate(after, inputs, observed)
    for one in evaluate(before, inputs):
        if one.layer is not None and one.layer.name not in left:
            continue
        other = next(others)  # both a layer at a time: ``observed`` is filled in between
        blob = versions[one.version].blob
        if one.values is None or other.values is None:
            found.skipped.append(f"{blob}: {one.why or other.why}")
            continue
        wanted, place = one.values, kept[other.version]
        if place is not None:
            wanted = np.take(wanted, np.asarray(place[1], np.int64), place[0])
        if not approximate:
            observed[other.version] = wanted
        error = BlobError(blob, one.layer.name if one.layer else "", _error(wanted, other.values))
        found.errors.append(error)
        if not approximate and not error.error <= LIMIT:
            raise ProofError(
                f"layer '{error.layer}': without the channels that were taken out, '{blob}' is "
                f"{error.error:.1e} off",
                layer=error.layer,
            )
    return found


def _outputs(errors: Sequence[BlobError], names: Collection[str]) -> tuple[BlobError, ...]:
    """Of each output, as its last layer makes it, the largest error."""
    makers = {error.blob: error.layer for error in errors if error.blob in names}
    return tuple(
        max((e for e in errors if (e.blob, e.layer) == maker), key=lambda e: e.error)
        for maker in makers.items()
    )


def _listed(errors: Sequence[BlobError]) -> str:
    return ", ".join(f"'{each.blob}' {each.error:.2g}" for each in errors)


def _error(wanted: Array, found: Array) -> float:
    if wanted.shape != found.shape:
        return float("inf")
    if not wanted.size:
        return 0.0
    off = np.abs(wanted - found)
    off = np.where(wanted == found, 0.0, off)  # infinities
    largest = float(np.abs(wanted).max())
    return float(off.max()) / max(largest, float(np.finfo(np.float32).tiny))
