"""What running two nets side by side found: values, text and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

from caffefold.frozen import dataclass
from caffefold.humanize import counted, json_text, some, visible

SCHEMA = 1
_LABEL = 10
_SHOWN = 8

Word: TypeAlias = Literal["equal", "different", "inconclusive"]


class Unrun(NamedTuple):
    """A layer that a runtime does not run; the net is cut in front of it."""

    layer: str
    reason: str


class Side(NamedTuple):
    """One of the two nets."""

    net: str
    runtime: str
    layers: int
    """0 for a model whose layers are not known."""
    cut: tuple[Unrun, ...] = ()


class Matched(NamedTuple):
    """Detections of the same class that overlap most, one of each side."""

    expected: int
    found: int
    matched: int
    overlap: float
    """The smallest intersection over union of a matched pair; 1 for none."""
    score: float
    """The largest difference of scores of a matched pair."""


class Compared(NamedTuple):
    """One blob: how far the second net is off the first one evaluated in float64.

    ``error``, ``noise`` and ``budget`` are absolute; of detections they are about scores and box
    coordinates of matched pairs.
    """

    blob: str
    layer: str
    """The layer of the first net that makes it."""
    verdict: Word
    reason: str = ""
    """Why it is no plain "equal"."""
    error: float = 0.0
    largest: float = 0.0
    """The largest magnitude of what was expected."""
    cosine: float | None = None
    noise: float = 0.0
    """How far the first net in float32 is off itself in float64; with its weights in half precision
    where those of the second are."""
    budget: float = 0.0
    """What the error may be."""
    top1: float | None = None
    """Of a classifier: the share of items with the same first class."""
    top5: float | None = None
    """... with the same set of first five classes."""
    detections: Matched | None = None
    by: tuple[str, ...] = ()
    """Blobs in front of an inconclusive one that decide in its place, all of them equal: what
    computes it from them is alike in both nets."""

    @property
    def relative(self) -> float:
        """The error by the largest magnitude."""
        return self.error / self.largest if self.largest else self.error

    @property
    def is_fine(self) -> bool:
        """Whether the blob is equal, or what it is computed from is."""
        return self.verdict == "equal" or (self.verdict == "inconclusive" and bool(self.by))

    def __str__(self) -> str:
        text = f"{self.blob}: {self.verdict}"
        if self.reason:
            text += f" ({self.reason})"
        if self.verdict == "inconclusive":
            return text + (f"; equal in front of it: {some(list(self.by), 4)}" if self.by else "")
        if self.budget:
            text += f", off by {self.error:.1e}, {self.relative:.1e} of the largest"
            text += f"; budget {self.budget:.1e}, noise {self.noise:.1e}"
        if self.cosine is not None:
            text += f"; cosine {self.cosine:.9f}"
        if self.top1 is not None:
            text += f"; top-1 {self.top1:.0%}"
        if self.top5 is not None:
            text += f", top-5 {self.top5:.0%}"
        if self.detections is not None:
            made = self.detections
            text += f"; {made.matched} of {counted(made.expected, 'detection')} matched"
            text += f", least overlap {made.overlap:.6f}, scores within {made.score:.1e}"
        return text


class Accuracy(NamedTuple):
    """How good both nets are on items of which somebody says what is in them."""

    measure: str
    """``accuracy``: the share whose first class is right; ``mAP``: PASCAL VOC's, at 11 recalls."""
    samples: int
    before: float
    after: float

    def __str__(self) -> str:
        return (
            f"{self.before:.4f} before, {self.after:.4f} after, "
            f"on {counted(self.samples, 'sample')}"
        )


class Points(NamedTuple):
    """Some values of an output, evenly spread over it."""

    blob: str
    expected: tuple[float, ...]
    found: tuple[float, ...]


class Picture(NamedTuple):
    """The first image, and what both nets detect on it: rows of class, score, x1, y1, x2, y2."""

    width: int
    height: int
    pixels: bytes
    """RGB, line by line."""
    expected: tuple[tuple[float, ...], ...]
    found: tuple[tuple[float, ...], ...]


class Timing(NamedTuple):
    """Forward passes of both nets in turn."""

    runs: int
    how: str
    """What was measured: whether the runtimes fuse layers themselves, and on how many threads."""
    cores: int
    before: float
    """Median, in seconds."""
    after: float
    ratio: float
    """Median of before / after, run by run."""
    low: float
    """Its lower quartile."""
    high: float
    """Its upper quartile."""
    memory: tuple[int, int]
    """Bytes of all blobs, before and after; 0 of a model."""
    unknown: int = 0
    """Layers whose shapes are not known: they are not in these."""

    def __str__(self) -> str:
        return (
            f"{self.before * 1e3:.2f} ms before, {self.after * 1e3:.2f} ms after: "
            f"{self.ratio:.2f} times as fast (quartiles {self.low:.2f} to {self.high:.2f}, "
            f"{self.runs} alternating runs, {counted(self.cores, 'core')}; {self.how})"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Verification:
    """Everything that is known of one verification."""

    a: Side
    b: Side
    fed: str
    """What both were fed with."""
    batches: int
    seed: int
    outputs: tuple[Compared, ...]
    """The outputs of the first net, and those that only the second one has."""
    layers: tuple[Compared, ...] = ()
    """Every blob that both nets share, in the order of the first, where that was asked for."""
    begins: str = ""
    """The first shared blob that differs; "" for none."""
    inside: tuple[Compared, ...] = ()
    """Shared blobs that differ though no output does."""
    warnings: tuple[str, ...] = ()
    timing: Timing | None = None
    accuracy: Accuracy | None = None
    points: tuple[Points, ...] = ()
    """What a page draws; no part of the JSON."""
    picture: Picture | None = None

    @property
    def verdict(self) -> Word:
        """``equal`` only where every output is, or what is inconclusive was decided by what it is
        computed from."""
        if self.inside or any(each.verdict == "different" for each in self.outputs):
            return "different"
        if self.outputs and all(each.is_fine for each in self.outputs):
            return "equal"
        return "inconclusive"

    def __repr__(self) -> str:
        return f"<Verification {self.verdict}: {counted(len(self.outputs), 'output')}>"

    def __str__(self) -> str:
        return "\n".join(f"{label:<{_LABEL}}{visible(value)}" for label, value in self.rows())

    def sentence(self) -> str:
        """The verdict, in a line."""
        worst = max(self.outputs, key=_rank, default=None)
        text = f"{self.verdict} on {self.fed}, {self.a.runtime} against {self.b.runtime}"
        if self.a.runtime == self.b.runtime:
            text = f"{self.verdict} on {self.fed}, in {self.a.runtime}"
        return text if worst is None else f"{text}; {worst}"

    def rows(self) -> Iterator[tuple[str, str]]:
        """One screen: what ran on what, each output, the verdict."""
        for label, side in (("before", self.a), ("after", self.b)):
            layers = f", {counted(side.layers, 'layer')}" if side.layers else ""
            yield label, f"{side.net or '(no name)'}{layers}, in {side.runtime}"
            for unrun in side.cut[:_SHOWN]:
                yield "", f"without layer '{unrun.layer}': {unrun.reason}"
            if len(side.cut) > _SHOWN:
                yield "", f"... and {len(side.cut) - _SHOWN} more layers"
        yield "input", self.fed
        for each in self.outputs:
            yield "output", str(each)
        for each in self.layers:
            yield "layer", str(each)
        for each in self.inside[:_SHOWN]:
            yield "inside", str(each)
        if self.begins:
            yield "begins", f"'{self.begins}' is the first shared blob that differs"
        if self.accuracy is not None:
            yield self.accuracy.measure, str(self.accuracy)
        if self.timing is not None:
            yield "time", str(self.timing)
            if all(self.timing.memory):
                before, after = self.timing.memory
                lacking = counted(self.timing.unknown, "layer")
                rest = f", without {lacking} of unknown shape" if self.timing.unknown else ""
                yield "memory", f"{before:,} bytes of blobs before, {after:,} after{rest}"
        yield "verdict", self.verdict

    def document(self) -> dict[str, Any]:
        """The verification as plain values, for JSON."""
        return {
            "verdict": self.verdict,
            "before": _plain(self.a),
            "after": _plain(self.b),
            "input": self.fed,
            "batches": self.batches,
            "seed": self.seed,
            "outputs": [_plain(each) for each in self.outputs],
            "layers": [_plain(each) for each in self.layers],
            "inside": [_plain(each) for each in self.inside],
            "begins": self.begins,
            "warnings": list(self.warnings),
            "accuracy": None if self.accuracy is None else _plain(self.accuracy),
            "timing": None if self.timing is None else _plain(self.timing),
        }

    def to_json(self) -> str:
        """The verification as a JSON document."""
        return json_text({"schema": SCHEMA, **self.document()})


def _rank(each: Compared) -> tuple[int, float]:
    order = ("equal", "inconclusive", "different").index(each.verdict)
    return order, each.error / each.budget if each.budget else 0.0


def _plain(value: Any) -> Any:
    """Named tuples as tables."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(inner) for name, inner in value._asdict().items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return value
