"""``verify``: two nets, or a net and a model, run side by side on the same inputs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar

import numpy as np

from caffefold.analysis.shapes import infer
from caffefold.check.forward.evaluate import evaluate
from caffefold.check.verdict import (
    Accuracy,
    Compared,
    Matched,
    Picture,
    Points,
    Side,
    Unrun,
    Verification,
    Word,
)
from caffefold.conversion import to_deploy
from caffefold.errors import InputError, Option, UsageError
from caffefold.formats.caffemodel.blob import quiet
from caffefold.ir import graph
from caffefold.ir.net import Net
from caffefold.ops.table import op
from caffefold.options import ALL, DeployOptions, PathLike, VerifyOptions, part, takes
from caffefold.verification import feeding, timing
from caffefold.verification.accuracy import Score
from caffefold.verification.cutting import (
    DoesNotRun,
    Started,
    expanded,
    kept,
    outputs,
    start,
    without,
)
from caffefold.verification.detections import KINDS
from caffefold.verification.detections import rows as detected
from caffefold.verification.evidence import fronts, moving
from caffefold.verification.halving import halved, is_half, is_half_model
from caffefold.verification.judging import Case, judge
from caffefold.verification.runtimes.base import Array, Batch, CannotRun, Session, as_float
from caffefold.verification.runtimes.onnx import OnnxSession, required
from caffefold.verification.runtimes.table import DEFAULT, RUNTIMES

if TYPE_CHECKING:  # the options as keywords, for type checkers
    _P = ParamSpec("_P")
    _R_co = TypeVar("_R_co", covariant=True)

    class _Verifies(Protocol[_P]):
        def __call__(
            self,
            a: Net,
            b: Net | PathLike,
            on_progress: Watch | None = ...,
            *args: _P.args,
            **options: _P.kwargs,
        ) -> Verification: ...

    def _takes(kind: Callable[_P, Any]) -> Callable[[Callable[..., Any]], _Verifies[_P]]: ...
else:
    _takes = takes

SIDES = ("before", "after")
_NUDGES = 3
_POINTS = 400  # of an output, on a page
_NEARLY = 0.02
Values = Mapping[str, Array]
Watch: TypeAlias = Callable[[str, int, int], None]
"""Is told what is done, how many batches of it are, and of how many."""
_T = TypeVar("_T")


@_takes(VerifyOptions)
def verify(
    a: Net, b: Net | PathLike, *, on_progress: Watch | None = None, **given: Any
) -> Verification:
    """Run a net and what was made of it on the same inputs, and compare what comes out.

    Args:
        a: the net as it was: a deploy net, or a training net, which is made one; BatchNorm stays.
        b: the net that should compute the same, or the path of an ONNX model.
        on_progress: is called with what is being done, how many batches are, and of how many.
        {options}

    Returns:
        The verdict, and the numbers behind it.

    Raises:
        InputError: a net, a model or an input file is broken.
        UsageError: an option has a wrong value, or a runtime is not installed or runs nothing of
            the net.
    """
    return Verifier(a, on_progress, **given).of(b)


class _Runs(NamedTuple):
    """What the first net makes of the batches."""

    exact: Sequence[Values]
    """In float64; of blobs that the reference does not know, in the runtime."""
    noisy: Sequence[Sequence[Values]]
    """In the runtime: on the batches, and on batches that differ in the last bits."""
    coarse: Sequence[Values] = ()
    """In the runtime, with weights in half precision; where that is not asked for, nothing."""
    spread: Mapping[str, float] = {}
    """How far another item is off the first, where the batch has one."""
    moving: frozenset[str] = frozenset()
    """The blobs that are computed from the numbers of inputs."""


class Verifier:
    """A net that others are held against: its own runs are done once.

    Raises:
        CaffefoldError: as ``verify``.
    """

    def __init__(self, a: Net, on_progress: Watch | None = None, /, **given: Any) -> None:
        self.options = VerifyOptions(**given)
        self._runtimes = _chosen(self.options.runtime)
        deploy = to_deploy(a, **part(DeployOptions, self.options))
        self.net = deploy.net
        self._watch = on_progress
        self._feed = feeding.feed(a, self.net, deploy.preprocessing, self.options)
        self._known: dict[tuple[tuple[Unrun, ...], bool, bool], tuple[Started, _Runs]] = {}

    def of(self, b: Net | PathLike) -> Verification:
        """Compare ``b`` with the net."""
        with tempfile.TemporaryDirectory(prefix="caffefold-") as folder, quiet():
            try:
                return _Comparison(self, b, Path(folder)).result()
            except CannotRun as refusal:  # having run the first batch
                raise UsageError(Option("runtime"), f": {refusal}") from None

    def runs(
        self, cut: tuple[Unrun, ...], *, inner: bool, half: bool, folder: Path
    ) -> tuple[Started, _Runs]:
        """The net without the layers ``cut``, run; ``inner``: every blob, on the first batch;
        ``half``: with weights in half precision as well."""
        key = cut, inner, half
        if key not in self._known:
            self._known[key] = self._run(cut, inner=inner, half=half, folder=folder)
        return self._known[key]

    def _run(
        self, cut: tuple[Unrun, ...], *, inner: bool, half: bool, folder: Path
    ) -> tuple[Started, _Runs]:
        part = without(self.net, dict(cut)) if cut else self.net
        part = expanded(part) if inner else part
        wanted = everything if inner else outputs
        batches = self._feed.batches[:1] if inner else self._feed.batches
        where = " inside" if inner else ""
        name = self._runtimes[0]
        started = start(name, RUNTIMES[name](), part, wanted, folder, batches[0])
        plain = self.ran(started, batches, f"before{where}")
        noisy: list[Sequence[Values]] = [plain]
        for seed in range(1 if inner else _NUDGES):
            told = self.told(batches, f"noise{where}")
            moved = (feeding.nudged(started.net, batch, 77 + seed) for batch in told)
            noisy.append([started.session.run(batch) for batch in moved])
        exact = [
            _exact(started.net, batch, values, wanted(started.net))
            for batch, values in zip(self.told(batches, f"float64{where}"), plain, strict=True)
        ]
        coarse: list[Values] = []
        if half:
            other = start(name, RUNTIMES[name](), halved(started.net), wanted, folder, batches[0])
            coarse = self.ran(other, batches, f"half precision{where}")
        spread: dict[str, float] = {}
        if inner and self._feed.size == 1:  # what is the same for one item, may be so for any
            for batch in self._feed.batches[1:2]:
                spread = _spread(plain[0], started.session.run(batch))
        return started, _Runs(exact, noisy, coarse, spread, moving(started.net))

    def ran(self, started: Started, batches: Sequence[Batch], what: str) -> list[Values]:
        """What a net that was started makes of the batches; it has run the first."""
        rest = self.told(batches[1:], what)
        return [started.first, *(started.session.run(each) for each in rest)]

    def told(self, batches: Iterable[_T], what: str, total: int = 0) -> Iterator[_T]:
        """The batches, and whoever watches is told of each that is done."""
        total = total or (len(batches) if isinstance(batches, Sequence) else 0)
        for done, batch in enumerate(batches):
            if self._watch is not None:
                self._watch(what, done, total)
            yield batch

    @property
    def feed(self) -> feeding.Feed:
        """What both nets are fed with."""
        return self._feed

    @property
    def batches(self) -> tuple[Batch, ...]:
        """What both nets are fed with."""
        return self._feed.batches

    @property
    def fed(self) -> str:
        """What the batches are."""
        return self._feed.about

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be known of the batches."""
        return self._feed.warnings

    @property
    def runtimes(self) -> tuple[str, str]:
        """The names of the runtimes, before and after."""
        return self._runtimes


def everything(net: Net) -> tuple[str, ...]:
    """Every blob that the layers of a net make."""
    return tuple(dict.fromkeys(top for x in net.layers if not x.is_input for top in x.tops))


def _spread(first: Values, second: Values) -> dict[str, float]:
    """How far the blobs of two items are apart."""
    return {
        blob: float(np.abs(as_float(values) - second[blob]).max(initial=0.0))
        for blob, values in first.items()
        if blob in second and second[blob].shape == values.shape
    }


def _chosen(given: Mapping[str, str]) -> tuple[str, str]:
    for side, name in given.items():
        if side not in (*SIDES, ALL):
            raise UsageError(Option("runtime", f"{side}={name}"), ": a side is before or after")
        if name not in RUNTIMES:
            known = ", ".join(RUNTIMES)
            raise UsageError(Option("runtime", name), f": not a runtime; choose from {known}")
    default = given.get(ALL, DEFAULT)
    before, after = (given.get(side, default) for side in SIDES)
    return before, after


def _exact(net: Net, batch: Batch, observed: Values, wanted: Iterable[str]) -> dict[str, Array]:
    """The wanted blobs in float64; those that the reference does not know, as observed."""
    versions = graph.build(net).versions
    last = {version.blob: i for i, version in enumerate(versions)}
    keys = frozenset(wanted)
    strange = {last[blob]: values for blob, values in observed.items() if blob in last}
    found: dict[str, Array] = {}
    for made in evaluate(net, batch.values, _Behind(strange)):
        blob = versions[made.version].blob
        if blob in keys and last[blob] == made.version and made.values is not None:
            found[blob] = made.values
    return {**{blob: values for blob, values in observed.items() if blob in keys}, **found}


class _Behind(dict[int, Array]):
    """Observed values to go on from behind an unknown layer; decisions are not read from them."""

    def get(self, key: int, default: Any = None) -> Any:
        """Nothing: a layer that decides reads what was evaluated."""
        del key
        return default


class _Renamed:
    """A model that was given, fed and read by the names of the net; where it has others, they are
    taken in order, which is added to ``warnings``.

    Raises:
        InputError: it has more or fewer inputs.
    """

    def __init__(self, path: Path, session: OnnxSession, net: Net, warnings: list[str]) -> None:
        self.about, self.how, self.took = session.about, session.how, session.took
        self._path = path
        self._session = session
        mine, theirs = net.inputs, tuple(session.inputs)
        self._inputs = {each: each for each in theirs}
        if set(mine) != set(theirs):
            if len(mine) != len(theirs):
                raise InputError(
                    f"{path}: its inputs are {', '.join(theirs)}, those of the net "
                    f"{', '.join(mine)}"
                )
            self._inputs = dict(zip(theirs, mine, strict=True))
            warnings.append(f"inputs taken in order: {_pairs(self._inputs)}")
        own, other = outputs(net), session.outputs
        self._outputs: dict[str, str] = {}
        if not set(own) & set(other) and len(own) == len(other):
            self._outputs = dict(zip(other, own, strict=True))
            warnings.append(f"outputs taken in order: {_pairs(self._outputs)}")

    def run(self, batch: Batch) -> Values:
        """See ``Session``.

        Raises:
            InputError: the model wants pixels where there are none, or does not run.
        """
        values = {name: batch.values[blob] for name, blob in self._inputs.items()}
        pixels = {name: batch.pixels[blob] for name, blob in self._inputs.items()
                  if blob in batch.pixels}  # fmt: skip
        for name, (_, kind) in self._session.inputs.items():
            if kind == "tensor(uint8)" and name not in pixels:
                raise InputError(f"{self._path}: '{name}' wants images of uint8; give images")
        try:
            made = self._session.run(Batch(values, pixels))
        except CannotRun as refusal:
            raise InputError(f"{self._path}: {refusal.reason}") from None
        return {self._outputs.get(name, name): each for name, each in made.items()}


class _Comparison:
    """One second net held against the first."""

    def __init__(self, verifier: Verifier, b: Net | PathLike, folder: Path) -> None:
        self.verifier = verifier
        self.folder = folder
        self.warnings: list[str] = list(verifier.warnings)
        self.model: Path | None = None
        self.net: Net | None = None
        self.half = (
            is_half(b) if isinstance(b, Net) else Path(b).is_file() and is_half_model(Path(b))
        )
        self._found_inner: tuple[_Runs, Sequence[Values]] | None = None
        if isinstance(b, Net):
            theirs = infer(b)
            other = {
                blob: values.shape
                for blob, values in verifier.batches[0].values.items()
                if blob in b.inputs and theirs.of_input(blob) != values.shape
            }
            self.net = to_deploy(b, input_shapes=other, allow_unknown=True).net
        else:
            self.model = Path(b)

    def result(self) -> Verification:
        """Run, judge, and look for where a difference begins."""
        verifier = self.verifier
        first, runs = verifier.runs((), inner=False, half=self.half, folder=self.folder)
        stranger = self._strange_inputs()
        if stranger:
            return self._refused(first, "different", stranger)
        try:
            second, found = self._second(first.cut)
        except DoesNotRun as error:
            return self._refused(first, "inconclusive", str(error))
        if second.cut != first.cut:
            first, runs = verifier.runs(second.cut, inner=False, half=self.half, folder=self.folder)
        compared = self._outputs(first, runs, second, found)
        layers = self._layers(second.cut)
        judged = {each.blob for each in compared if each.verdict == "equal"}
        apart = [each for each in layers if each.verdict == "different" and each.blob not in judged]
        inside: tuple[Compared, ...] = ()
        if apart and all(each.verdict != "different" for each in compared):
            inside = self._unexplained(second.cut, apart)
            apart = list(inside)
        return Verification(
            self._side(first, verifier.net),
            self._side(second, self.net),
            verifier.fed,
            len(verifier.batches),
            verifier.options.seed,
            compared,
            layers if verifier.options.layers else (),
            apart[0].blob if apart else "",
            inside,
            tuple(self.warnings),
            accuracy=self._accuracy(first, second),
            points=tuple(self._points(runs, found)),
            picture=self._picture(runs, found),
            timing=self._timed(first.session, second.session) if verifier.options.time else None,
        )

    def _side(self, started: Started, net: Net | None) -> Side:
        name = str(self.model.name) if net is None and self.model is not None else started.net.name
        return Side(name, started.session.about, 0 if net is None else len(net), started.cut)

    def _timed(self, first: Session, second: Session) -> Any:
        nets = self.verifier.net, self.net
        return timing.measure(first, second, self.verifier.batches[0], nets)

    def _points(self, runs: _Runs, found: Sequence[Values]) -> Iterator[Points]:
        for blob in outputs(self.verifier.net):
            both = [run for run in (runs.exact, found) if blob in run[0]]
            pair = [np.concatenate([x[blob].reshape(-1) for x in run]) for run in both]
            if len(pair) < 2 or pair[0].shape != pair[1].shape or self._kind(blob) in KINDS:
                continue
            step = max(1, pair[0].size // _POINTS)
            rows = [tuple(map(float, values[::step])) for values in pair]
            if pair[0].size and all(map(math.isfinite, (*rows[0], *rows[1]))):
                yield Points(blob, *rows)

    def _picture(self, runs: _Runs, found: Sequence[Values]) -> Picture | None:
        """The first image with what both nets detect, where they do."""
        images = [each for each in self.verifier.batches[0].pixels.values() if each.shape[3] == 3]
        there = [x for x in outputs(self.verifier.net) if self._kind(x) in KINDS and x in found[0]]
        if not images or not there or there[0] not in runs.exact[0]:
            return None
        boxes = [
            tuple(tuple(map(float, row[1:])) for row in detected(run[0][there[0]]) if row[0] == 0)
            for run in (runs.exact, found)
        ]
        height, width = images[0].shape[1:3]
        return Picture(width, height, images[0][0].tobytes(), boxes[0], boxes[1])

    def _accuracy(self, first: Started, second: Started) -> Accuracy | None:
        """How good both are on all items, where somebody says what is in them."""
        fed = self.verifier.feed
        if not fed.items:
            return None
        there = [blob for blob in outputs(self.verifier.net) if blob in second.first]
        kinds = {blob: self._kind(blob) for blob in there if blob in first.first}
        score = Score(kinds, Option("dataset" if self.verifier.options.dataset else "labels"))
        total = math.ceil(fed.items / fed.size)
        for batch, truths in self.verifier.told(fed.stream(), "accuracy", total):
            score.add(truths, first.session.run(batch), second.session.run(batch))
        return score.result()

    def _refused(self, first: Started, word: Word, why: str) -> Verification:
        verifier = self.verifier
        compared = tuple(
            Compared(blob, self._maker(blob), word, why) for blob in outputs(verifier.net)
        )
        name = self.net.name if self.net is not None else str(self.model)
        layers = 0 if self.net is None else len(self.net)
        return Verification(
            self._side(first, verifier.net),
            Side(name, verifier.runtimes[1], layers),
            verifier.fed,
            len(verifier.batches),
            verifier.options.seed,
            compared,
            warnings=tuple(self.warnings),
        )

    def _maker(self, blob: str) -> str:
        makers = {top: layer.name for layer in self.verifier.net.layers for top in layer.tops}
        return makers.get(blob, "")

    def _kind(self, blob: str) -> str:
        makers = {top: op(layer).name for layer in self.verifier.net.layers for top in layer.tops}
        return makers.get(blob, "")

    # ------------------------------------------------------------------------ the second net

    def _strange_inputs(self) -> str:
        """What is wrong with the inputs of the second net; "" for nothing."""
        if self.net is None:
            return ""
        mine, theirs = self.verifier.net.inputs, self.net.inputs
        if set(mine) == set(theirs):
            return ""
        names = (", ".join(f"'{each}'" for each in group) or "none" for group in (theirs, mine))
        return "the inputs are {}, not {}".format(*names)

    def _second(self, cut: tuple[Unrun, ...]) -> tuple[Started, Sequence[Values]]:
        batches = self.verifier.batches
        name = self.verifier.runtimes[1]
        if self.net is None:
            return self._given_model()
        part = without(self.net, dict(cut)) if cut else self.net
        started = start(name, RUNTIMES[name](), part, outputs, self.folder, batches[0])
        both = tuple(dict.fromkeys((*cut, *started.cut)))
        found = self.verifier.ran(started, batches, "after")
        return started._replace(cut=both), found

    def _given_model(self) -> tuple[Started, Sequence[Values]]:
        """An ONNX model as it was given; inputs and outputs of other names are taken in order."""
        verifier, path = self.verifier, self.model
        assert path is not None
        name = verifier.runtimes[1]
        if name != DEFAULT:
            raise UsageError(
                Option("runtime", f"after={name}"), f": {path} is run by {DEFAULT} alone"
            )
        required()
        if not path.is_file():
            raise InputError(f"{path}: no such file; give an ONNX model")
        session = _Renamed(path, OnnxSession(path), verifier.net, self.warnings)
        found = [session.run(each) for each in verifier.told(verifier.batches, "after")]
        return Started(session, verifier.net, (), found[0]), found

    # ---------------------------------------------------------------------------- comparing

    def _outputs(
        self, first: Started, runs: _Runs, second: Started, found: Sequence[Values]
    ) -> tuple[Compared, ...]:
        wanted = outputs(self.verifier.net)
        cut = {each.layer: each.reason for each in (*first.cut, *second.cut)}
        compared = []
        for blob in wanted:
            if blob not in runs.exact[0]:
                reason = (
                    "; ".join(dict.fromkeys(cut.values())) or "the runtime does not hand it out"
                )
                each = Compared(blob, self._maker(blob), "inconclusive", reason)
            elif blob not in found[0]:
                there = ", ".join(found[0]) or "none"
                reason = f"the second net has no such output; its outputs are {there}"
                each = Compared(blob, self._maker(blob), "different", reason)
            else:
                each = self._judged(blob, runs, found)
            if each.verdict == "inconclusive" and "NaN" not in each.reason:
                each = _decided(each, self._evidence(blob, second.cut))
            elif each.verdict == "different" and _nearly(each.detections):
                front = self._evidence(blob, second.cut)
                if front and all(one.verdict == "equal" for one in front):
                    reason = f"{each.reason}, by near ties: what they are made of is equal"
                    names = tuple(one.blob for one in front)
                    each = each._replace(verdict="equal", reason=reason, by=names)
            compared.append(each)
        whole = self._whole(second.cut)
        for blob in runs.exact[0]:
            if blob not in wanted and blob in found[0] and blob in whole:  # in front of a cut
                compared.append(self._judged(blob, runs, found))
        if self.net is not None:
            for blob in outputs(self.net):
                if blob not in wanted:
                    reason = "only the second net has this output"
                    compared.append(Compared(blob, "", "different", reason))
        return tuple(compared)

    def _whole(self, cut: tuple[Unrun, ...]) -> frozenset[str]:
        """The blobs that hold what they should, where the nets are cut."""
        names = dict(cut)
        nets = [net for net in (self.verifier.net, self.net) if net is not None]
        found = [kept(expanded(net), expanded(without(net, names))) for net in nets]
        return frozenset.intersection(*found)

    def _judged(self, blob: str, runs: _Runs, found: Sequence[Values]) -> Compared:
        return judge(
            Case(
                blob,
                self._maker(blob),
                self._kind(blob),
                [values[blob] for values in runs.exact],
                [[values[blob] for values in run] for run in runs.noisy],
                [values[blob] for values in found],
                [values[blob] for values in runs.coarse],
                blob not in runs.moving,
                runs.spread.get(blob),
            )
        )

    def _evidence(self, blob: str, cut: tuple[Unrun, ...]) -> tuple[Compared, ...]:
        """The blobs in front of ``blob`` from which both nets make it alike, as far as they say
        something."""
        if self.net is None:
            return ()
        runs, found = self._inner(cut)
        stops = set(runs.exact[0]) & set(found[0]) & self._whole(cut)
        while stops:
            names = fronts(expanded(self.verifier.net), expanded(self.net), blob, stops)
            if not names:
                return ()
            judged = [self._judged(name, runs, found) for name in names]
            unclear = {each.blob for each in judged if each.verdict == "inconclusive"}
            if not unclear:
                return tuple(judged)
            stops -= unclear
        return ()

    def _inner(self, cut: tuple[Unrun, ...]) -> tuple[_Runs, Sequence[Values]]:
        """Every blob of both nets, on the first batch."""
        if self._found_inner is None:
            assert self.net is not None
            _, runs = self.verifier.runs(cut, inner=True, half=self.half, folder=self.folder)
            part = expanded(without(self.net, dict(cut)) if cut else self.net)
            name = self.verifier.runtimes[1]
            first = self.verifier.batches[0]
            started = start(name, RUNTIMES[name](), part, everything, self.folder, first)
            self._found_inner = runs, [started.first]
        return self._found_inner

    def _unexplained(
        self, cut: tuple[Unrun, ...], apart: Sequence[Compared]
    ) -> tuple[Compared, ...]:
        """Of shared blobs that differ though no output does: those that are no blob of the first
        net at all. Others only have a name that means something else there."""
        runs, found = self._inner(cut)
        return tuple(
            each._replace(reason="the outputs do not show it on this input")
            for each in apart
            if not any(
                self._judged(blob, runs, [{blob: found[0][each.blob]}]).verdict != "different"
                for blob, values in runs.exact[0].items()
                if values.shape == found[0][each.blob].shape
            )
        )

    def _layers(self, cut: tuple[Unrun, ...]) -> tuple[Compared, ...]:
        """Every blob that both nets share, in the order of the first net. One of another shape has
        lost channels (``slim``), or only has a name that means something else there."""
        if self.net is None:
            return ()
        runs, found = self._inner(cut)
        whole = self._whole(cut) & runs.exact[0].keys()
        shared = [blob for blob in everything(expanded(self.verifier.net)) if blob in whole]
        return tuple(
            self._judged(blob, runs, found)
            for blob in shared
            if blob in found[0] and found[0][blob].shape == runs.exact[0][blob].shape
        )


def _decided(each: Compared, front: Sequence[Compared]) -> Compared:
    """An inconclusive output by what is in front of it."""
    apart = [one.blob for one in front if one.verdict == "different"]
    if apart:
        reason = f"{each.reason}; '{apart[0]}' in front of it differs"
        return each._replace(verdict="different", reason=reason)
    return each._replace(by=tuple(one.blob for one in front))


def _nearly(found: Matched | None) -> bool:
    """Whether nearly all detections are matched: which of two boxes stays when they overlap and are
    as certain as each other depends on the last bit."""
    if found is None:
        return False
    lost = found.expected + found.found - 2 * found.matched
    return lost <= max(2, _NEARLY * found.expected)


def _pairs(names: Mapping[str, str]) -> str:
    return ", ".join(f"{theirs} is {mine}" for theirs, mine in names.items())
