"""What the steps of a conversion did: as values, as text on screen, as HTML and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, field
from typing import TYPE_CHECKING, Any, NamedTuple

from caffefold._version import VERSION
from caffefold.account import account, general, labelled
from caffefold.analysis.cost import Totals
from caffefold.analysis.shapes import Shapes
from caffefold.check.proof import Proof
from caffefold.frozen import dataclass
from caffefold.humanize import counted, json_text, short, size, some, visible
from caffefold.ir.net import Net
from caffefold.ops.ranges import INPUT
from caffefold.passes.infra import Change, ChangeKind, Skip, Step

if TYPE_CHECKING:  # seldom made, and one brings a whole evaluation of nets along
    from caffefold.check.slimmed import SlimProof
    from caffefold.check.verdict import Verification
    from caffefold.passes.slim.gammas import Histogram
    from caffefold.passes.slim.slim import Held

SCHEMA = 1
_SHOWN = 8
_LABEL = 10  # characters
_STORED = {"fp32": "float32", "fp16": "half precision"}
_SECTIONS = {
    ChangeKind.PLACEHOLDER_FILLED: "template",
    ChangeKind.LABELS_DROPPED: "heads",
    ChangeKind.BYPASSED: "heads",
    ChangeKind.HEAD_CONVERTED: "heads",
    ChangeKind.USELESS_DROPPED: "heads",
    ChangeKind.INPUT_CONVERTED: "inputs",
    ChangeKind.SEQUENCE_FITTED: "inputs",
    ChangeKind.PHASE_SET: "phase",
    ChangeKind.LAYER_NAMED: "named",
    ChangeKind.WEIGHTS_FILLED: "filled",
}
_ABOUT_MODIFIED = frozenset(
    {ChangeKind.SEQUENCE_FITTED, ChangeKind.PHASE_SET, ChangeKind.LAYER_NAMED}
    | {ChangeKind.WEIGHTS_FILLED}
)


class FileSize(NamedTuple):
    """A file and its size in bytes."""

    path: str
    bytes: int


class _Account:
    """What passes did: what the results of single steps and of a conversion share."""

    __slots__ = ()
    passes: tuple[Step, ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        """Everything that was changed, in order."""
        return tuple(change for step in self.passes for change in step.changes)

    @property
    def skips(self) -> tuple[Skip, ...]:
        """Every layer that was left alone, with the reason."""
        return tuple(skip for step in self.passes for skip in step.skips)

    @property
    def unfolded(self) -> tuple[Skip, ...]:
        """Those of them that are left in the net: not the layers that slimming left channels."""
        return tuple(skip for skip in self.skips if skip.rule != "slim")

    def rows(self) -> Iterator[tuple[str, str]]:
        """The result, line by line, with a label each."""
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n".join(f"{label:<{_LABEL}}{visible(value)}" for label, value in self.rows())

    def _converted(self, net: str, before: int, after: int) -> Iterator[tuple[str, str]]:
        """The net, and what became of its templates, losses and inputs; what became of several
        layers alike, once."""
        yield "net", f"{net or '(no name)'}: {counted(before, 'layer')} -> {after}"
        alike: dict[tuple[str, str], list[str]] = {}
        for change in self.changes:
            if change.kind in _SECTIONS:
                about = change.removed
                if change.kind in _ABOUT_MODIFIED:
                    about = change.modified
                alike.setdefault((_SECTIONS[change.kind], change.detail), []).extend(about)
        for (section, detail), names in alike.items():
            subject = f"{some(names, _SHOWN)}: " if names else ""
            yield section, subject + detail

    def _rewritten(self) -> Iterator[tuple[str, str]]:
        """What a consumer wanted otherwise."""
        for change in self.changes:
            if change.kind in (ChangeKind.REWRITTEN, ChangeKind.FORK_FIELDS_DROPPED):
                names = some(list(change.modified), _SHOWN)
                yield "target", f"{names}: {change.detail}" if names else change.detail

    def _account(self, before: Net) -> Iterator[tuple[str, str]]:
        """What was folded, merged and left of ``before``, and why."""
        found = list(account(self.changes, self.unfolded, types_of(before)))
        if not found:
            asked = any(step.name == "fold" for step in self.passes)
            found = [("folded", "nothing to fold" if asked else "nothing: not asked for")]
        yield from found


def types_of(net: Net) -> dict[str, str]:
    """The type of each layer, by name."""
    return {layer.name: layer.type for layer in net.layers}


@dataclass(frozen=True, slots=True, repr=False)
class DeployResult(_Account):
    """A deploy net, not folded yet, and how it was made."""

    net: Net
    passes: tuple[Step, ...]
    preprocessing: tuple[dict[str, Any], ...]
    """What the data layers did to the images of each input."""
    shapes: Shapes
    """The shape of every blob."""
    warnings: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[str, str]]:
        """What became of the net, its templates, losses and inputs, with a label each."""
        return self._converted(self.net.name, self.passes[0].layers_before, len(self.net))

    def __repr__(self) -> str:
        return f"<DeployResult {counted(len(self.changes), 'change')}: {self.net!r}>"


@dataclass(frozen=True, slots=True, repr=False)
class FoldResult(_Account):
    """A folded net, and what was folded and what was not."""

    net: Net
    passes: tuple[Step, ...]
    before: Net
    """The net that was folded."""
    warnings: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[str, str]]:
        """What was folded, what was merged or left alone and why, with a label each."""
        return self._account(self.before)

    def __repr__(self) -> str:
        changes, skips = len(self.changes), len(self.skips)
        return f"<FoldResult {counted(changes, 'change')}, {counted(skips, 'skip')}: {self.net!r}>"


@dataclass(frozen=True, slots=True, repr=False)
class TargetResult(_Account):
    """A net in the forms that a consumer takes, and what was rewritten."""

    net: Net
    passes: tuple[Step, ...]

    def rows(self) -> Iterator[tuple[str, str]]:
        """What was rewritten or dropped, with a label each."""
        return self._rewritten()

    def __repr__(self) -> str:
        return f"<TargetResult {counted(len(self.changes), 'change')}: {self.net!r}>"


class SlimRow(NamedTuple):
    """What became of one layer; each pair is before and after."""

    layer: str
    type: str
    outputs: tuple[int, int]
    parameters: tuple[int, int]
    macs: tuple[int | None, int | None]
    made: bool
    """Whether the layer makes channels, instead of handing on those of another."""


@dataclass(frozen=True, slots=True, repr=False)
class SlimResult(_Account):
    """A net that lost channels, what it lost, and what was not taken out and why."""

    net: Net
    passes: tuple[Step, ...]
    table: tuple[SlimRow, ...]
    """The layers of the deploy net that lost something."""
    costs: tuple[Totals, Totals]
    """What the deploy net costs, before and after."""
    gammas: tuple[float, float]
    """The sum of all |gamma| of BatchNorms, and of those that went."""
    channels: tuple[int, int]
    """How many such gammas there were, and how many went."""
    proof: SlimProof
    bounded: int = 0
    """How many went that do nothing as long as inputs are of a plain size, ``ranges.INPUT``."""
    warnings: tuple[str, ...] = ()
    inputs: tuple[FileSize, ...] = ()
    """The files that were read, where files were."""
    outputs: tuple[FileSize, ...] = ()
    """The pair that was written."""
    verification: Verification | None = None
    """What running the net before and after found; None where nobody asked."""
    dry_run: bool = False
    """Whether nothing was put in place."""
    held: tuple[Held, ...] = ()
    """Channels that could have gone, and why they stay."""
    histograms: tuple[Histogram, ...] = ()
    """The sizes of all gammas."""

    @property
    def notes(self) -> tuple[str, ...]:
        """How the files were read when not as they are."""
        return self.net.notes

    def rows(self) -> Iterator[tuple[str, str]]:
        """What went, layer by layer; what stays and why; the proof, and files."""
        yield from self.account()
        if self.outputs:
            yield from _files(self.outputs, self.verification, dry_run=self.dry_run)

    def account(self) -> Iterator[tuple[str, str]]:
        """What went, what that saves, what stays and why, and the proof."""
        (every, gone), (whole, part) = self.channels, self.gammas
        share = f"{100 * part / whole:.2g}%" if whole else "0%"
        went = f"{gone:,} of {counted(every, 'channel')} with a gamma, {share} of all |gamma|"
        dropped = [name for change in self.changes for name in change.removed]
        if dropped:
            went += (
                f"; {counted(len(dropped), 'layer')} that only added a constant: {some(dropped)}"
            )
        yield "slimmed", went if self.table else "nothing was taken out"
        if self.bounded:
            do = "does" if self.bounded == 1 else "do"
            yield (
                "",
                f"{self.bounded} of them {do} nothing as long as inputs are at most {INPUT:,.0f}",
            )
        before, after = self.costs
        for what, old, new in (
            ("parameters", before.parameters, after.parameters),
            ("MACs", before.macs, after.macs),
        ):
            if old != new:
                yield "", f"{old:,} -> {new:,} {what} ({100 * (new - old) / old:+.3g}%)"
        cut = [row for row in self.table if row.outputs[0] != row.outputs[1] and row.made]
        for row in cut[:_SHOWN]:
            yield "", f"{row.layer}: {row.outputs[0]} -> {row.outputs[1]}"
        if len(cut) > _SHOWN:
            yield "", f"... and {counted(len(cut) - _SHOWN, 'more layer')}, see the report"
        yield from labelled("stays", list(self.stays()))
        if self.proof.blobs:
            yield "differs" if self.proof.approximate else "same", self.proof.sentence()

    def stays(self) -> Iterator[str]:
        """What could have gone and did not, with a reason each; layers alike in one line."""
        types = types_of(self.net)
        groups: dict[str, list[Held]] = {}
        for each in self.held:
            groups.setdefault(general(*each.reason, types), []).append(each)
        for reason, alike in sorted(groups.items(), key=lambda x: -sum(e.channels for e in x[1])):
            own = {each.reason for each in alike}
            why = f"{alike[0].reason.message} [{alike[0].reason.code.value}]"
            names = some(list(dict.fromkeys(each.layer for each in alike)), 3)
            channels = counted(sum(each.channels for each in alike), "channel")
            yield f"{channels} of {names}: {why if len(own) == 1 else reason}"

    def __repr__(self) -> str:
        return f"<SlimResult {self.channels[1]} of {self.channels[0]} channels: {self.net!r}>"

    def as_json(self) -> dict[str, Any]:
        """What went, as JSON."""
        from caffefold.passes.slim.gammas import EDGES

        return {
            "channels": {"before": self.channels[0], "gone": self.channels[1]},
            "bounded": {"channels": self.bounded, "inputs": INPUT},
            "gammas": {"sum": self.gammas[0], "gone": self.gammas[1]},
            "costs": {"before": asdict(self.costs[0]), "after": asdict(self.costs[1])},
            "layers": [row._asdict() for row in self.table],
            "histograms": {
                "edges": list(EDGES[:-1]),
                "layers": [each._asdict() for each in self.histograms],
            },
            "stays": [asdict(skip) for skip in self.skips],
            "proof": asdict(self.proof),
        }

    def to_json(self) -> str:
        """The result as a JSON document; the same net gives the same text."""
        document = {"schema": SCHEMA, "caffefold": VERSION, "net": self.net.name, **self.as_json()}
        return json_text({**document, "warnings": list(self.warnings)})


@dataclass(frozen=True, slots=True, repr=False)
class ConvertReport(_Account):
    """Everything that is known of one conversion."""

    net: str
    inputs: tuple[FileSize, ...]
    outputs: tuple[FileSize, ...]
    layers_before: int
    layers_after: int
    passes: tuple[Step, ...]
    proof: Proof
    dtype: str
    """What the weights are stored as: ``fp32`` or ``fp16``."""
    preprocessing: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]
    costs: tuple[Totals, Totals]
    """What the deploy net costs, before folding and after."""
    nets: tuple[Net, Net] = field(compare=False)
    """The deploy net before folding, and as it was written."""
    notes: tuple[str, ...] = ()
    target: str = ""
    """The consumer it was written for; "": none in particular."""
    next_step: tuple[str, ...] = ()
    """Lines that take the pair there."""
    """How the files were read when not as they are: found through a solver, upgraded."""
    weights: bool = True
    """Whether there were weights; without, only the structure was converted."""
    verification: Verification | None = None
    """What running the net before and after found; None where nobody asked."""
    dry_run: bool = False
    """Whether nothing was put in place."""
    slimmed: SlimResult | None = None
    """What was taken out before folding, if that was asked for."""

    @property
    def gone(self) -> tuple[str, ...]:
        """Names of blobs of the deploy net that it lost when it was folded. Every blob name that is
        left holds what it held."""
        return self.proof.gone

    def folded(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """(absorbing layer, layers folded into it) for every fold."""
        for fold in self.proof.folds:
            yield fold.layer, fold.folded

    def __repr__(self) -> str:
        layers = f"{counted(self.layers_before, 'layer')} -> {self.layers_after}"
        folds = counted(len(self.proof.folds), "fold")
        return f"<ConvertReport {self.net or '(no name)'}: {layers}, {folds}>"

    def _repr_html_(self) -> str:
        from caffefold.html import render

        return render("report.html", rows=list(self.rows()), report=self)

    def rows(self) -> Iterator[tuple[str, str]]:
        """One screen: the net, before and after, what was folded, left and why, the proof, files,
        and last what to do next."""
        yield from self._converted(self.net, self.layers_before, self.layers_after)
        for number, cells in enumerate((("", "before", "after", ""), *self.table())):
            what, before, after, remark = cells
            yield "" if number else "cost", f"{what:<11}{before:>11}{after:>11}{remark}".rstrip()
        if self.slimmed is not None:
            yield from self.slimmed.account()
        yield from self._account(self.nets[0])
        yield from self._rewritten()
        if self.gone:
            names = some(list(self.gone), _SHOWN)
            yield "gone", f"{counted(len(self.gone), 'blob name')}: {names}"
        yield "proof", self._proof()
        yield from _files(self.outputs, self.verification, dry_run=self.dry_run)
        for number, line in enumerate(self.next_step):
            yield "" if number else "next", line

    def table(self) -> Iterator[tuple[str, str, str, str]]:
        """(what, before, after, remark): layers, parameters, MACs, weights, activations."""
        before, after = self.costs
        yield "layers", str(self.layers_before), str(self.layers_after), ""
        numbers = short(before.parameters), short(after.parameters)
        yield "parameters", *numbers, _without(after.unknown_parameters)
        yield "MACs", short(before.macs), short(after.macs), _without(after.unknown_macs)
        if self.weights:
            yield "weights", size(self.inputs[1].bytes), size(self.outputs[1].bytes), ""
        bytes_of = size(before.memory), size(after.memory)
        yield "activations", *bytes_of, _without(after.unknown_memory)

    def _proof(self) -> str:
        folds = self.proof.folds
        if not self.weights:
            checked = f"{counted(len(folds), 'fold')} checked" if folds else "the wiring is checked"
            return f"{checked}, with made-up weights: there are none"
        return self.proof.sentence(_STORED[self.dtype])

    def to_json(self) -> str:
        """The report as a JSON document; the same conversion gives the same text."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "caffefold": VERSION,
            "net": self.net,
            "inputs": [item._asdict() for item in self.inputs],
            "outputs": [item._asdict() for item in self.outputs],
            "weights": self.weights,
            "layers": {"before": self.layers_before, "after": self.layers_after},
            "costs": {"before": asdict(self.costs[0]), "after": asdict(self.costs[1])},
            "dtype": self.dtype,
            "preprocessing": list(self.preprocessing),
            "passes": [_step(step) for step in self.passes],
            "skips": [asdict(skip) for skip in self.skips],
            "verification": None if self.verification is None else self.verification.document(),
            "proof": {**asdict(self.proof), "largest_error": self.proof.largest_error},
            "warnings": list(self.warnings),
            "target": self.target,
            "next_step": list(self.next_step),
            "notes": list(self.notes),
        }
        if self.slimmed is not None:
            document["slimmed"] = self.slimmed.as_json()
        return json_text(document)


def _without(unknown: int) -> str:
    """What sums do not hold."""
    return f"  without {counted(unknown, 'layer')} of unknown shape" if unknown else ""


def _files(
    outputs: tuple[FileSize, ...], verification: Verification | None, *, dry_run: bool
) -> Iterator[tuple[str, str]]:
    """What running the results found, and where they are."""
    if verification is not None:
        yield "verified", verification.sentence()
    label, rest = ("dry run", " would be written") if dry_run else ("wrote", "")
    for file in outputs:
        yield label, f"{file.path} ({size(file.bytes)}){rest}"
    yield label, outputs[0].path.removesuffix("prototxt") + f"report.json{rest}"


def _step(step: Step) -> dict[str, Any]:
    """A step as JSON: ``rule`` of a change is the name of its pass, claims name layers alone."""
    found = asdict(step)
    for change in found["changes"]:
        for claim in change["absorbed"]:
            claim["layer"] = claim["layer"].name
            claim["chain"] = [layer.name for layer in claim["chain"]]
    return {**found, "changes": [{"rule": step.name, **change} for change in found["changes"]]}
