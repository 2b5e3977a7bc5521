"""``export``: a net in memory, folded and proven, as an ONNX model that computes the same.

All or nothing: files are staged, the staged model is checked, and only then put in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from caffefold.analysis.cost import totals
from caffefold.analysis.shapes import infer
from caffefold.conversion import Verifies, fold, prove, to_deploy
from caffefold.errors import (
    CaffefoldError,
    ExistingOutput,
    Option,
    OutputError,
    ProofError,
    Text,
    UsageError,
)
from caffefold.files import sources_of
from caffefold.formats import onnx
from caffefold.formats.atomic import Staging
from caffefold.formats.disk import output_error
from caffefold.ir.net import Net
from caffefold.onnx_export import images, targets, weights
from caffefold.onnx_export.build import Built, build
from caffefold.onnx_export.labels import read_labels
from caffefold.onnx_export.metadata import Digest, Metadata
from caffefold.onnx_export.report import ExportReport, Port
from caffefold.onnx_export.site import Settings
from caffefold.options import (
    ConvertOptions,
    DeployOptions,
    ExportOptions,
    FoldOptions,
    PathLike,
    part,
    takes,
)
from caffefold.report import DeployResult, FileSize

if TYPE_CHECKING:
    from caffefold.check.agreement import Agreement

    # The options as keywords, for type checkers.
    _P = ParamSpec("_P")
    _R_co = TypeVar("_R_co", covariant=True)

    class _Exports(Protocol[_P]):
        def __call__(
            self,
            net: Net,
            path: PathLike,
            force: bool = ...,
            verify: Verifies | None = ...,
            *args: _P.args,
            **options: _P.kwargs,
        ) -> ExportReport: ...

    def _takes(kind: Callable[_P, Any]) -> Callable[[Callable[..., Any]], _Exports[_P]]: ...
else:
    _takes = takes

SUFFIX, DATA = ".onnx", ".data"
_LARGEST_BLOBS = 4 << 30
_MOST_MACS = 5 * 10**11  # half a minute in float64


@_takes(ExportOptions)
def export(
    net: Net,
    path: PathLike,
    *,
    force: bool = False,
    verify: Verifies | None = None,
    **given: Any,
) -> ExportReport:
    """Write a net as an ONNX model.

    Args:
        net: a deploy net, or a training net, which is made one and folded as by ``convert``.
        path: the model, ``.onnx``.
        force: replace existing files.
        verify: run the net and the model: ``caffefold.verify``, or ``functools.partial`` of it with
            options. A model that is different is not put in place, unless its weights lie in
            another file: then it is there already.
        {options}

    Returns:
        What was written, and how well it agrees with the net.

    Raises:
        InputError: the net is broken, or has layers that ONNX has nothing for.
        OutputError: a file exists (without ``force``), is an input, or cannot be written.
        ProofError: the fold or the model does not compute the same; nothing was written.
        UsageError: an option has a wrong value, or contradicts the net.
    """
    options = ExportOptions(**given)
    target = _target(Path(path), net, force=force)
    with Staging() as staging:
        report = stage(staging, target, net, options)
        data = target.with_name(target.name + DATA)
        if not force and data.name in report.weights and data.exists():
            raise ExistingOutput(str(data))
        alone = len(report.weights) <= 1 and target.name in report.weights
        if verify is not None and alone:
            report = _verified(report, net, staging.path_of(target), verify, options)
        staging.commit()
    if data.name not in report.weights and data.exists():
        left = f"{data}: left from an earlier model; this one does not read it"
        report = replace(report, warnings=(*report.warnings, left))
    if verify is not None and not alone:
        report = _verified(report, net, target, verify, options)
    return report


def _verified(
    report: ExportReport, net: Net, model: Path, verify: Verifies, options: ExportOptions
) -> ExportReport:
    """The report, with what running the net and the model found.

    Raises:
        ProofError: they are different.
    """
    own = _deploy_options(options)
    found = verify(net, model, **own)
    if found.verdict == "different":
        raise ProofError(f"the model is {found.sentence()}")
    warnings = report.warnings
    if found.verdict == "inconclusive":
        warnings += (f"verification is inconclusive: {found.sentence()}",)
    return replace(report, verification=found, warnings=warnings)


class OnnxBeside:
    """The model that ``convert`` writes beside its pair; ``report`` is there afterwards."""

    suffix = SUFFIX
    report: ExportReport

    def stage(
        self, staging: Staging, target: Path, net: Net, known: tuple[dict[str, Any], ...]
    ) -> None:
        """Stage the model of a converted net, which is folded already.

        Raises:
            CaffefoldError: as ``export``; where its advice is an option of ``export`` alone, it
                says so.
        """
        try:
            self.report = stage(staging, target, net, ExportOptions(fold="none"), known)
        except CaffefoldError as error:
            shared = {each.name for each in fields(ConvertOptions)}
            parts = error.text.parts
            if any(isinstance(part, Option) and part.name not in shared for part in parts):
                raise error.advised(" (an option of 'caffefold export')") from None
            raise


def stage(
    staging: Staging,
    target: Path,
    net: Net,
    options: ExportOptions,
    known: tuple[dict[str, Any], ...] = (),
) -> ExportReport:
    """Stage the model of ``net``, and check what was staged.

    ``known`` is the preprocessing of a deploy net, which does not state it itself.
    """
    digests = [Digest(path) for path in sources_of(net)]
    names = {} if options.labels is None else read_labels(options.labels)
    deploy = to_deploy(net, **_deploy_options(options))
    if known:
        deploy = replace(deploy, preprocessing=known)
    made = deploy.net
    if made.weights is not None and options.fold != "none":
        result = fold(made, **part(FoldOptions, options))
        if result.changes:
            prove(made, result.net)
        made = result.net
    settings = Settings(options.opset, options.nms, options.target, options.allow_custom)
    metadata = Metadata(net, digests, deploy, names)
    built = _built(made, settings, deploy, options, metadata)
    model, warnings = _placed(built.model, target, made, options)
    with staging.open(target) as out:
        onnx.write(out, model)
    data = target.with_name(target.name + DATA)
    staged = [target]
    if any(t.stored is not None and t.stored.location == data.name for t in model.tensors):
        with staging.open(data) as out:
            onnx.write_data(out, model.tensors, data.name)
        staged.append(data)
    agreement, unchecked = None, _unchecked(deploy, built, options)
    if not unchecked:
        agreement, more = _checked(staging, model, staged, deploy, built, options)
        warnings += more
    return ExportReport(
        net=net.name,
        inputs=tuple(FileSize(str(p), p.stat().st_size) for p in sources_of(net)),
        outputs=tuple(FileSize(str(p), staging.path_of(p).stat().st_size) for p in staged),
        opset=options.opset,
        target=options.target,
        takes=tuple(map(_port, model.inputs)),
        gives=tuple(map(_port, model.outputs)),
        layers=len(made),
        folded=len(deploy.net) - len(made),
        nodes=len(model.nodes),
        types=dict(sorted(built.lowered.items())),
        custom=built.custom,
        weights=_sizes(model, target.name),
        preprocessing=deploy.preprocessing,
        warnings=(*net.notes, *deploy.warnings, *warnings),
        agreement=agreement,
        unchecked=unchecked,
    )


def _deploy_options(options: ExportOptions) -> dict[str, Any]:
    """Those of the deploy net, of which a dynamic batch is none."""
    found = part(DeployOptions, options)
    return {**found, "batch": None} if options.batch == "dynamic" else found


def _built(
    net: Net,
    settings: Settings,
    deploy: DeployResult,
    options: ExportOptions,
    metadata: Mapping[str, str],
) -> Built:
    targets.check(net, infer(net).bottoms, settings)
    built = build(
        net,
        settings,
        dynamic=options.batch == "dynamic",
        metadata=metadata,
    )
    model = built.model
    if options.raw_input:
        model = images.with_raw_inputs(model, deploy.preprocessing)
        inner = {blob: value for blob, value in built.blobs.items() if blob not in net.inputs}
        built = built._replace(blobs=inner)
    if options.dtype == "fp16":
        model = weights.halved(model)
    return built._replace(model=model)


def _placed(
    model: onnx.Model, target: Path, net: Net, options: ExportOptions
) -> tuple[onnx.Model, tuple[str, ...]]:
    """The model with its weights where they go; and what to say of that."""
    data = target.name + DATA
    if options.weights_in == "caffemodel":
        stored = None if net.weights is None else Path(net.weights.path)
        beside = weights.check_beside(stored, target)
        model = model._replace(tensors=tuple(weights.in_caffemodel(model.tensors, beside)))
    elif options.weights_in == "data":
        model = model._replace(tensors=tuple(onnx.placed(model.tensors, data)))
    if options.weights_in != "data" and onnx.too_large(model):
        model = model._replace(tensors=tuple(onnx.placed(model.tensors, data)))
        return model, (f"weights are in {data}: a model of more than 2 GB cannot hold them",)
    return model, ()


def _unchecked(deploy: DeployResult, built: Built, options: ExportOptions) -> str:
    """Why the model is not checked; "" when it will be.

    Raises:
        UsageError: it cannot be, and the user asked for it.
    """
    if options.check is False:
        return "as asked"
    from caffefold.onnx_export import check as proving  # with the evaluation of whole nets

    if built.custom:
        why_not = f"no runtime knows the custom nodes of {', '.join(built.custom[:4])}"
    else:
        why_not = proving.missing() or proving.too_old(options.opset) or _beyond(deploy)
    if why_not and options.check:
        raise UsageError(Option("check"), f": {why_not}")
    return why_not


def _checked(
    staging: Staging,
    model: onnx.Model,
    staged: list[Path],
    deploy: DeployResult,
    built: Built,
    options: ExportOptions,
) -> tuple[Agreement, tuple[str | Text, ...]]:
    """What the check of the staged files found, and warnings about what it could not do."""
    from caffefold.onnx_export import check as proving

    data = None
    if len(staged) > 1:
        data = staged[1].name, staging.path_of(staged[1]).name
    case = proving.Case(
        staging.path_of(staged[0]),
        model,
        data,
        deploy.net,
        built.blobs,
        built.instead,
        deploy.preprocessing,
        options.raw_input,
        options.dtype,
    )
    return proving.check(case)


def _beyond(deploy: DeployResult) -> str:
    """Why the net is too large to be evaluated here; "" when it is not.

    A shape of two lines can ask for any amount of memory and time.
    """
    cost = totals(deploy.net, deploy.shapes)
    if cost.memory > _LARGEST_BLOBS:
        return f"its blobs hold {cost.memory:,} bytes"
    return f"it takes {cost.macs:,} MACs" if cost.macs > _MOST_MACS else ""


def _target(path: Path, net: Net, *, force: bool) -> Path:
    """Where the model goes.

    Raises:
        OutputError: it is no file, exists, or is an input.
        UsageError: its name does not end as a model's.
    """
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: a model is called .onnx; give a name such as {path}{SUFFIX}")
    try:
        for each in (path, path.with_name(path.name + DATA)):
            if each.is_dir():
                raise OutputError(f"{each}: this is a directory; choose another name")
            if each.exists() and any(each.samefile(source) for source in sources_of(net)):
                raise OutputError(f"{each}: this is an input; choose another name")
        if path.exists() and not force:
            raise ExistingOutput(str(path))
    except OSError as error:
        raise output_error(path, error) from None
    return path


def _port(value: onnx.Value) -> Port:
    return Port(value.name, value.shape, "uint8" if value.kind == onnx.UINT8 else "float32")


def _sizes(model: onnx.Model, own: str) -> dict[str, int]:
    """Bytes of tensors by the file that holds them."""
    found: dict[str, int] = {}
    for tensor in model.tensors:
        place = own if tensor.stored is None else tensor.stored.location
        found[place] = found.get(place, 0) + len(tensor.data)
    return found
