"""The main job in steps: load a net, make it a deploy net, fold it, prove that, save it.

``convert`` does all of them, and proves what it has written before it puts that in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeAlias, TypeVar

from caffefold.analysis import fit, spelling
from caffefold.analysis.cost import totals
from caffefold.analysis.shapes import Shapes, carried, infer
from caffefold.check import origins, proof
from caffefold.check.proof import Proof
from caffefold.errors import (
    ModelError,
    Option,
    ProofError,
    Text,
    UsageError,
)
from caffefold.files import (
    SUFFIXES,
    load_pair,
    opened,
    size_of,
    sources_of,
    stage,
    strangers,
    targets_of,
)
from caffefold.formats import detect
from caffefold.formats.atomic import Staging
from caffefold.formats.caffemodel.blob import quiet
from caffefold.formats.caffemodel.precision import PRECISIONS, Precision
from caffefold.formats.prototxt.open import schema_of
from caffefold.humanize import counted, some
from caffefold.ir import graph
from caffefold.ir.net import Net
from caffefold.next_step import next_step
from caffefold.ops.table import is_in_caffe
from caffefold.options import (
    ConvertOptions,
    DeployOptions,
    Dtype,
    FoldOptions,
    KeepOptions,
    PathLike,
    SaveOptions,
    TargetOptions,
    part,
    takes,
)
from caffefold.passes import infra, pipeline
from caffefold.passes.deploy.preprocessing import comment, preprocessing
from caffefold.passes.infra import Change
from caffefold.passes.view import placeholders
from caffefold.report import (
    ConvertReport,
    DeployResult,
    FileSize,
    FoldResult,
    TargetResult,
)
from caffefold.targets import TARGETS, aimed

if TYPE_CHECKING:  # seldom needed
    from caffefold.check.slimmed import Fed
    from caffefold.check.verdict import Verification

if TYPE_CHECKING:  # the options as keywords, for type checkers: those of the class that is given
    _P = ParamSpec("_P")
    _R_co = TypeVar("_R_co", covariant=True)

    class _OnNet(Protocol[_P, _R_co]):
        def __call__(self, net: Net, *args: _P.args, **options: _P.kwargs) -> _R_co: ...

    class _OnSaved(Protocol[_P]):
        def __call__(
            self,
            net: Net,
            prefix: PathLike,
            force: bool = ...,
            *args: _P.args,
            **options: _P.kwargs,
        ) -> tuple[Path, ...]: ...

    class _OnFiles(Protocol[_P]):
        def __call__(
            self,
            prototxt: PathLike,
            caffemodel: PathLike | None,
            output: PathLike | None = ...,
            force: bool = ...,
            dry_run: bool = ...,
            html: PathLike | None = ...,
            beside: Beside | None = ...,
            verify: Verifies | None = ...,
            *args: _P.args,
            **options: _P.kwargs,
        ) -> ConvertReport: ...

    def on_net(kind: Callable[_P, Any]) -> Callable[[Callable[..., _R_co]], _OnNet[_P, _R_co]]: ...
    def on_saved(kind: Callable[_P, Any]) -> Callable[[Callable[..., Any]], _OnSaved[_P]]: ...
    def on_files(kind: Callable[_P, Any]) -> Callable[[Callable[..., Any]], _OnFiles[_P]]: ...
else:
    on_net = on_saved = on_files = takes


class Beside(Protocol):
    """Another form of a converted net, which appears with the pair or not at all."""

    suffix: str
    """What its name ends with, after the prefix."""

    def stage(
        self, staging: Staging, target: Path, net: Net, known: tuple[dict[str, Any], ...]
    ) -> None:
        """Stage ``net`` as ``target``; ``known`` is the preprocessing of its inputs.

        Raises:
            CaffefoldError: nothing is put in place.
        """


class Verifies(Protocol):
    """Runs a net and what was made of it (a net, or the path of a model) side by side, as
    ``caffefold.verify`` does; the keywords are the options that make the first a deploy net."""

    def __call__(self, *nets: Any, **options: Any) -> Verification:
        """What came of it."""


Feeds: TypeAlias = "Callable[[DeployResult], Fed]"
"""Reads what a deploy net is run on beside random numbers."""


def load(
    prototxt: PathLike, caffemodel: PathLike | None = None, *, proto: PathLike | None = None
) -> Net:
    """Read a net, with its weights when a caffemodel is given.

    Weights stay in their file until they are asked for::

        with caffefold.load("deploy.prototxt", "net.caffemodel") as net:
            for layer in net:
                print(layer.name, layer.type, [numpy.asarray(blob).shape for blob in layer.blobs])

    The file is closed by ``with``, by ``net.close()``, or when the net is no longer used.
    ``caffemodel`` may be binary or HDF5. ``proto`` is a fork's ``caffe.proto`` to read fields by.
    A binary caffemodel alone, in place of the prototxt, holds its net too (``extract``).

    Raises:
        InputError: a file is missing, broken, or not what it should be.
    """
    return load_pair(schema_of(proto), prototxt, caffemodel)


@on_net(DeployOptions)
def to_deploy(net: Net, **given: Any) -> DeployResult:
    """Turn a training net into its deploy net, without folding anything yet.

    Args:
        net: a train, train_val or deploy net; templates are fine.
        {options}

    Returns:
        The deploy net, and what was changed.

    Raises:
        InputError: the net is broken, or its weights do not fit it.
        ProofError: the deploy net is not what the net computes in its phase: a fault of ours.
        UsageError: an option has a wrong value, contradicts the net, or is missing.
    """
    return _to_deploy(net, DeployOptions(**given))


@on_net(FoldOptions)
def fold(net: Net, **given: Any) -> FoldResult:
    """Fold BatchNorm and Scale layers of a deploy net into its linear layers.

    A net without weights is folded with made-up ones: only its structure is meaningful then,
    and ``save`` writes only its prototxt.

    Args:
        net: a deploy net, such as that of ``to_deploy``.
        {options}

    Returns:
        The folded net, what was folded, and what was not and why.

    Raises:
        UsageError: an option has a wrong value.
    """
    return _fold(net, FoldOptions(**given))


@on_net(TargetOptions)
def retarget(net: Net, **given: Any) -> TargetResult:
    """Write a folded deploy net in the forms that its consumer takes.

    Args:
        net: a deploy net, such as that of ``fold``.
        {options}

    Returns:
        The net in those forms; ``prove`` knows them, and compares the numbers.

    Raises:
        InputError: the target is known not to take a layer; it is named.
        UsageError: an option has a wrong value.
    """
    return _retarget(net, aimed(ConvertOptions(**given)))


def prove(original: Net, folded: Net, *, dtype: Dtype = "fp32") -> Proof:
    """Check that ``folded``, which ``fold`` made of ``original``, computes the same.

    Args:
        original: the net before folding.
        folded: the net after folding; what was folded is known from its ``history``.
        dtype: what the weights are stored as, or will be: rounding to it is allowed for.

    Returns:
        What was checked, and how large the errors are.

    Raises:
        ProofError: they do not compute the same; the layer is named.
        UsageError: ``dtype`` is not known.
    """
    precision = PRECISIONS[SaveOptions(dtype=dtype).dtype]
    return _prove(original, folded, folded.history[len(original.history) :], precision)


@on_saved(SaveOptions)
def save(net: Net, prefix: PathLike, *, force: bool = False, **given: Any) -> tuple[Path, ...]:
    """Write a net as ``PREFIX.prototxt`` and, when it has weights, ``PREFIX.caffemodel``.

    The files appear complete, and both or neither. The caffemodel holds the layers of the prototxt,
    in their order and with their parameters.

    Args:
        net: the net.
        prefix: where the files go.
        force: replace existing files.
        {options}

    Returns:
        The files that were written.

    Raises:
        ExistingOutput: a file exists, without ``force``.
        ModelError: a number is not finite, or too large for ``dtype``.
        OutputError: a file is an input, or cannot be written.
        UsageError: an option has a wrong value.
    """
    options = SaveOptions(**given)
    targets = targets_of(Path(prefix), sources_of(net), SUFFIXES[:2], force)
    with Staging() as staging, quiet():
        written = stage(staging, net, targets, options)
        staging.commit()
    return written


@on_files(ConvertOptions)
def convert(
    prototxt: PathLike,
    caffemodel: PathLike | None,
    output: PathLike | None = None,
    *,
    force: bool = False,
    dry_run: bool = False,
    html: PathLike | None = None,
    beside: Beside | None = None,
    verify: Verifies | None = None,
    **given: Any,
) -> ConvertReport:
    """Turn a training net and its snapshot into a folded deploy pair, proven equal.

    Args:
        prototxt: the train, train_val or deploy prototxt; templates are fine. ``"-"``: standard
            input. Or a binary caffemodel alone, which holds its net (``extract``).
        caffemodel: the snapshot, binary or HDF5; it must belong to the prototxt. None: only the
            structure is converted and folded, and no caffemodel is written.
        output: prefix of the results: ``PREFIX.prototxt``, ``.caffemodel``, ``.report.json``; a
            folder (one that exists, or with a slash at its end) gets them under the net's name.
            None: beside NAME.prototxt, as ``NAME.deploy``.
        force: replace existing results.
        dry_run: do all of it, the proof included, but put no file in place.
        html: also write the report there, as a page for people.
        beside: another form of the net to write with the pair, such as ``OnnxBeside``.
        verify: run the net before and after: ``caffefold.verify``, or ``functools.partial`` of it
            with options. A pair that is different is not put in place.
        {options}

    Returns:
        What was changed, what was left alone and why, and the proof.

    Raises:
        InputError: an input is missing, broken, or does not fit the other one.
        OutputError: a result exists (without ``force``), equals an input, or cannot be written.
        ProofError: the written pair does not compute the same; no output was written.
        UsageError: an option has a wrong value, or contradicts the files.
    """
    return convert_files(
        ConvertOptions(**given), prototxt, caffemodel, output,
        force=force, dry_run=dry_run, html=html, beside=beside, verify=verify,
    )  # fmt: skip


def convert_files(
    options: ConvertOptions, prototxt: PathLike, caffemodel: PathLike | None,
    output: PathLike | None, *, force: bool, dry_run: bool, html: PathLike | None,
    beside: Beside | None, verify: Verifies | None, feeds: Feeds | None = None,
) -> ConvertReport:  # fmt: skip
    """``convert``; where channels go, both nets are run on what ``feeds`` makes as well.

    Raises:
        CaffefoldError: as ``convert``.
    """
    suffixes = SUFFIXES if beside is None else (*SUFFIXES, beside.suffix)
    with opened(options, prototxt, caffemodel, output, suffixes, html, force=force) as job:
        net, staging, targets = job.net, job.staging, job.targets
        report, made = convert_into(staging, net, targets, options, job.sources, feeds)
        if verify is not None:
            meant = report.slimmed is not None and report.slimmed.proof.approximate
            staged = map(staging.path_of, targets[:2])
            found = verified(net, staged, verify, options, meant=meant)
            warnings = (*report.warnings, *doubts(found))
            report = replace(report, verification=found, warnings=warnings)
        if beside is not None:
            beside.stage(staging, targets[3], made, report.preprocessing)
        if dry_run:
            return replace(report, dry_run=True)
        job.put(report)
    return report


def verified(
    net: Net, staged: Iterable[Path], verify: Verifies, options: DeployOptions, *, meant: bool
) -> Verification:
    """What running a net and the pair that was made of it found.

    Raises:
        ProofError: they are different, and are not ``meant`` to be.
        UsageError: there are no weights.
    """
    if net.weights is None:
        raise UsageError(Option("verify"), " needs the weights")
    own = part(DeployOptions, options)
    with load_pair(net.document.schema, *staged) as written:
        found = verify(net, written, **own)
    if found.verdict == "different" and not meant:
        raise ProofError(f"the written net is {found.sentence()}; no output was written")
    return found


def doubts(found: Verification) -> tuple[str, ...]:
    """A warning where running both nets says nothing."""
    if found.verdict != "inconclusive":
        return ()
    return (f"verification is inconclusive: {found.sentence()}",)


def convert_into(
    staging: Staging,
    net: Net,
    targets: tuple[Path, ...],
    options: ConvertOptions,
    sources: tuple[Path, ...],
    feeds: Feeds | None = None,
) -> tuple[ConvertReport, Net]:
    """Convert ``net``, stage the pair as the first ``targets``, and prove what is staged.

    ``feeds`` makes what a net is run on beside random numbers, where channels go.

    Returns:
        The report, which nobody has written yet, and the net as it is staged.

    Raises:
        CaffefoldError: as ``convert``.
    """
    options = aimed(options)
    with quiet():
        try:
            deploy = _to_deploy(net, options)
            slimmed = None
            if options.slim:
                from caffefold.reduction import slim_deploy, slimmed_deploy  # seldom needed

                slimmed = slim_deploy(deploy, options, feeds=feeds)
                deploy = slimmed_deploy(deploy, slimmed)
            folded = _fold(deploy.net, options)
            result = _retarget(folded.net, options)
            written = stage(staging, result.net, targets, options)
            staged = {str(target): staging.path_of(target) for target in written}
            with load_pair(net.document.schema, *staged.values()) as reread:
                again = _with_numbers(reread, result.net)
                changes = (*folded.changes, *result.changes)
                proven = _prove(deploy.net, again, changes, PRECISIONS[options.dtype])
        except ProofError as error:
            raise error.advised("; no output was written") from None
        report = _report(net, deploy, folded, result, proven, options, sources, staged)
        if slimmed is not None:
            costs = slimmed.costs[0], report.costs[1]
            report = replace(report, slimmed=slimmed, costs=costs)
    return report, result.net


def _to_deploy(net: Net, options: DeployOptions) -> DeployResult:
    _reject_typeless(net)
    with quiet():
        fill, *select = pipeline.view_passes(options)
        filled, steps = infra.run((fill,), net)
        view, more = infra.run(tuple(select), filled)
        steps += more
        allowed = {"allow_unknown": options.allow_unknown, "strict": options.strict}
        unknown = spelling.check(filled, view, **allowed)
        if net.weights is not None:
            fit.check_related(view)
        deploy, more = infra.run(pipeline.deploy_passes(view, options), view)
        known = preprocessing(view, deploy)
        if not any(layer.bottoms for layer in deploy):
            raise ModelError(
                f"{net.document.path}: nothing is left of this net without its training layers"
            )
        header = comment(known) or deploy.header
        deploy = replace(deploy, header=header, preprocessing=known)
        placeholders.check(deploy)
        clashes = graph.validate(deploy).clashes
        if net.weights is not None:
            fit.check(deploy)
        else:
            fit.check_inputs(deploy)
        shapes = _checked_shapes(deploy, options.input_shapes)
        steps += more
        origins.check(net, deploy, options, [each for step in steps for each in step.changes])
    warnings = (
        *unknown,
        *(warning for step in steps for warning in step.warnings),
        *(f"{clash}; Caffe refuses that: give its top another name" for clash in clashes),
        *(f"{problem}; Caffe may refuse this net" for problem in shapes.problems),
    )
    return DeployResult(deploy, steps, known, shapes, warnings)


def _checked_shapes(net: Net, given: Mapping[str, tuple[int, ...]]) -> Shapes:
    """The shapes of a deploy net; ``given`` are the input shapes that the user asked for.

    Raises:
        UsageError: the net cannot take these shapes.
        TextError: Caffe would stop: a layer's weights do not take what it is fed with, or a layer
            that every Caffe has does not.
    """
    shapes = infer(net)
    if shapes.problems and given:
        from caffefold.analysis.input_size import contradiction  # seldom needed

        reason = contradiction(net, given)
        if reason is not None:
            asked = Option("input_shapes", f"{', '.join(given)}=...")
            raise UsageError(asked, f": the net does not accept it: {reason}")
    for problem, position in zip(shapes.problems, shapes.failing, strict=True):
        # Where weights contradict shapes, that is certain; layers of forks may differ from ours.
        if position >= 0 and net.weights is not None and net.layers[position].blobs:
            raise problem
        if _certain(net, shapes, position):
            raise problem
    return shapes


def _certain(net: Net, shapes: Shapes, position: int) -> bool:
    """Whether Caffe itself stops at a layer: no fork has a say in it or in what it is fed with."""
    seen = {position}
    waiting = [position] if position >= 0 else []
    while waiting:
        at = waiting.pop()
        if not spelling.is_upstream(net.layers[at]):
            return False
        makers = {shapes.graph.versions[v].producer for v in shapes.graph.reads[at] if v >= 0}
        waiting += [maker for maker in makers - seen if maker >= 0]
        seen |= makers
    return True


def _fold(net: Net, options: FoldOptions) -> FoldResult:
    with quiet():
        folded, steps = infra.run(pipeline.fold_passes(options), _with_numbers(net))
    warnings = (
        *(w for step in steps for w in step.warnings),
        *idle(net, options),
        *_without_numbers(net),
    )
    return FoldResult(folded, steps, net, warnings)


def _retarget(net: Net, options: ConvertOptions) -> TargetResult:
    with quiet():
        made, steps = infra.run(pipeline.target_passes(options, options.keeps), net)
        if options.target:
            from caffefold.passes.target import limits  # seldom needed

            limits.check(made, TARGETS[options.target], options.dtype)
    return TargetResult(made, steps)


def _prove(original: Net, folded: Net, history: tuple[object, ...], precision: Precision) -> Proof:
    changes = [change for change in history if isinstance(change, Change)]
    with quiet():
        return proof.prove(_with_numbers(original), folded, changes, precision)


def _with_numbers(net: Net, like: Net | None = None) -> Net:
    """The net; without weights, with made-up numbers, which no file holds: those of ``like``."""
    if net.weights is not None:
        return net
    from caffefold.analysis.stand_in import with_blobs_of, with_stand_ins  # seldom needed

    return with_stand_ins(net) if like is None else with_blobs_of(net, like)


def _without_numbers(net: Net) -> tuple[str, ...]:
    """A warning for each layer that is too large for numbers to be made up for it."""
    if net.weights is not None:
        return ()
    from caffefold.analysis.stand_in import too_large

    return tuple(
        f"layer '{layer.name}': too large to make up weights for; it is left as it is"
        for layer in too_large(net)
    )


def _reject_typeless(net: Net) -> None:
    for layer in net:
        if not layer.type:
            raise layer.error("the layer has no type; add one")


def orphans(net: Net, options: SaveOptions) -> tuple[str, ...]:
    """A warning for the weights of layers that the prototxt does not have."""
    found = [f"'{record.name}'" for record in strangers(net) if record.blobs]
    if not found:
        return ()
    who = f"{counted(len(found), 'layer')} ({some(found)})"
    what = f"the caffemodel has weights for {who} that the prototxt does not have; "
    if options.keep_records:
        return (f"{what}kept unchanged",)
    return (Text(f"{what}dropped; ", Option("keep_records"), " keeps them"),)


def idle(net: Net, options: KeepOptions) -> tuple[str, ...]:
    """A warning for each pattern of layers to leave alone that no layer of the read net fits."""
    return tuple(
        Text(Option("keep", pattern), ": no effect; no layer has that name")
        for pattern in options.keep
        if not any(map(replace(options, keep=(pattern,)).keeps, net.listed))
    )


def _report(
    net: Net, deploy: DeployResult, folded: FoldResult, result: TargetResult, proven: Proof,
    options: ConvertOptions, inputs: tuple[Path, ...], outputs: Mapping[str, Path],
) -> ConvertReport:  # fmt: skip
    """The report; ``outputs`` are the results by name, with where they lie now."""
    prefix = next(iter(outputs)).removesuffix(SUFFIXES[0])
    names = deploy.net.inputs
    shapes = dict(zip(names, deploy.shapes.of_inputs(names), strict=True))
    return ConvertReport(
        net=net.name,
        inputs=tuple(FileSize(detect.shown(path), size_of(path, net)) for path in inputs),
        outputs=tuple(FileSize(name, path.stat().st_size) for name, path in outputs.items()),
        layers_before=len(net),
        layers_after=len(result.net),
        passes=deploy.passes + folded.passes + result.passes,
        proof=proven,
        dtype=options.dtype,
        preprocessing=deploy.preprocessing,
        costs=(
            totals(deploy.net, deploy.shapes),
            totals(result.net, carried(deploy.shapes, deploy.net, result.net)),
        ),
        nets=(deploy.net, result.net),
        weights=net.weights is not None,
        warnings=(
            *deploy.warnings,
            *orphans(net, options),
            *folded.warnings,
            *(warning for step in result.passes for warning in step.warnings),
        ),
        notes=net.notes,
        target=options.target,
        next_step=next_step(
            options.target,
            prefix,
            shapes,
            deploy.preprocessing,
            deploy.net.outputs,
            sorted({kind for layer in result.net if not is_in_caffe(kind := layer.type)}),
        )
        if net.weights is not None
        else (),
    )
