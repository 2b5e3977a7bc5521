"""``caffefold convert``: train prototxt + snapshot -> folded deploy pair, with the proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caffefold.cli.console import Console
from caffefold.cli.options import assignments, view_of_the_net, what_the_net_leaves_open
from caffefold.humanize import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caffefold.report import ConvertReport

_SHOWN = 8
_STORED = {"fp32": "float32", "fp16": "half precision"}
_TOLD = {
    "placeholders": "template",
    "unpair": "heads",
    "heads": "heads",
    "inputs": "inputs",
    "sequences": "inputs",
}


def _heads(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """``TYPE`` and ``LAYER=TYPE`` options as a mapping; ``*`` stands for every loss."""
    return assignments(context, parameter, tuple(v if "=" in v else f"*={v}" for v in values))


@click.command(short_help="Training net + snapshot -> folded deploy pair, proven equal.")
@click.argument("prototxt")
@click.argument("caffemodel", required=False)
@click.option(
    "-o",
    "--prefix",
    "output",
    required=True,
    metavar="PREFIX",
    help="Write PREFIX.prototxt, PREFIX.caffemodel and PREFIX.report.json.",
)
@click.option(
    "--no-weights",
    is_flag=True,
    help="Convert and fold the structure alone: no CAFFEMODEL is read or written.",
)
@click.option("--force", is_flag=True, help="Replace existing results.")
@what_the_net_leaves_open
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="First axis of the inputs.  [default: 1]",
)
@click.option(
    "--input-style",
    type=click.Choice(["layer", "legacy"]),
    help="Write inputs as Input layers, or as input: and input_shape fields.",
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="[LAYER=]TYPE",
    callback=_heads,
    help="What takes a loss's place: Softmax, Sigmoid, ArgMax, none (its prediction), "
    "Yolov3DetectionOutput, YoloDetectionOutput. Repeatable.",
)
@click.option(
    "--prob-name", default="", metavar="NAME", help="Name of the probability layer, for prob."
)
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="BLOB",
    help="Keep what this blob is computed from as the output, and drop the rest. Repeatable.",
)
@click.option(
    "--nms-threshold",
    type=click.FloatRange(0, 1),
    default=0.45,
    show_default=True,
    help="DetectionOutput made from MultiBoxLoss: overlap above which boxes are merged.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=-1),
    default=100,
    show_default=True,
    help="... boxes per class that enter the merging.",
)
@click.option(
    "--keep-top-k",
    type=click.IntRange(min=-1),
    default=100,
    show_default=True,
    help="... boxes per image that are kept.",
)
@click.option(
    "--confidence-threshold",
    type=click.FloatRange(0, 1),
    default=0.25,
    show_default=True,
    help="... confidence below which a box is dropped.",
)
@view_of_the_net
@click.option(
    "--fold",
    type=click.Choice(["all", "output", "none"]),
    default="all",
    show_default=True,
    help="Where affine layers may go: anywhere exact, only into the layer in front, nowhere.",
)
@click.option(
    "--collapse/--no-collapse",
    default=True,
    help="Make one Scale of affine layers that no linear layer may take, or leave them.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="GLOB",
    help="Leave layers of this name alone. Repeatable.",
)
@click.option(
    "--unshare",
    is_flag=True,
    help="Give layers that share weights their own, so that they can be folded into.",
)
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="What weights are stored as; fp16 is NVCaffe's half precision, which OpenCV reads too.",
)
@click.option(
    "--proto",
    metavar="FILE",
    help="A fork's caffe.proto: its fields and defaults count (needs caffefold[proto]).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def convert(
    context: click.Context,
    /,
    prototxt: str,
    caffemodel: str | None,
    output: str,
    no_weights: bool,
    force: bool,
    classes: int | None,
    values: dict[str, str],
    input_shapes: dict[str, tuple[int, ...]],
    batch: int | None,
    input_style: str | None,
    heads: dict[str, str],
    prob_name: str,
    outputs: tuple[str, ...],
    phase: str,
    level: int,
    stages: tuple[str, ...],
    fold: str,
    collapse: bool,
    keep: tuple[str, ...],
    unshare: bool,
    dtype: str,
    proto: str | None,
    as_json: bool,
    **detection: Any,
) -> None:
    """Turn a training net and its snapshot into a deploy net, BatchNorm and Scale folded in.

    PROTOTXT may be a train, train_val or deploy net, a template with placeholders, or a solver.
    What is written is read back and checked against the original arithmetic before it is put in
    place. With --no-weights only the structure is converted and folded.

    \b
    Examples:
      caffefold convert train_val.prototxt snapshot.caffemodel -o out/net
      caffefold convert train_val.prototxt --no-weights -o out/net
      caffefold convert MobileNetSSD_train_template.prototxt snapshot.caffemodel \\
          -o out/mobilenet_ssd
    """
    from caffefold.conversion import convert as run
    from caffefold.passes.deploy.detection import DetectionOptions

    console: Console = context.obj
    if no_weights and caffemodel is not None:
        raise click.UsageError(f"--no-weights contradicts the CAFFEMODEL '{caffemodel}'")
    if not no_weights and caffemodel is None:
        raise click.UsageError("give the CAFFEMODEL, or --no-weights for the structure alone")
    given = click.core.ParameterSource.DEFAULT
    thresholds = any(context.get_parameter_source(name) != given for name in detection)
    report = run(
        prototxt,
        caffemodel,
        output,
        classes=classes,
        values=values,
        input_shapes=input_shapes,
        batch=batch,
        input_style=input_style or "",
        detection=DetectionOptions(**detection) if thresholds else None,
        heads=heads,
        prob_name=prob_name,
        outputs=outputs,
        phase=phase,
        level=level,
        stages=stages,
        fold=fold,
        collapse=collapse,
        keep=keep,
        unshare=unshare,
        dtype=dtype,
        proto=proto,
        force=force,
    )
    for warning in report.warnings:
        console.warning(warning)
    if as_json:
        console.result(report.to_json().rstrip("\n"))
    else:
        _summary(console, report)


def _summary(console: Console, report: ConvertReport) -> None:
    """One screen: what went in, what was folded, what was left and why, the proof, the files."""
    before, after = report.layers_before, report.layers_after
    console.row("net", f"{report.net or '(no name)'}: {counted(before, 'layer')} -> {after}")
    for label, value in _told(report):
        console.row(label, value)
    absorbed = sum(len(chain) for _, chain in report.folded())
    console.row("folded", f"{counted(absorbed, 'layer')} into {len(report.proof.folds)}")
    collapsed = [c for step in report.passes for c in step.changes if c.rule == "collapse"]
    for change in collapsed:
        console.row("collapsed", change.detail)
    console.row("left", counted(len(report.skips), "layer") if report.skips else "nothing")
    for skip in report.skips[:_SHOWN]:
        console.row("", f"{', '.join(skip.layers)}: {skip.message} [{skip.code.value}]")
    if len(report.skips) > _SHOWN:
        console.row("", f"... and {len(report.skips) - _SHOWN} more, see the report")
    console.row("cost", _cost(report))
    console.row("proof", _proof(report))
    for file in report.outputs:
        console.row("wrote", f"{file.path} ({size(file.bytes)})")
    console.row("wrote", report.outputs[0].path.removesuffix("prototxt") + "report.json")


def _told(report: ConvertReport) -> Iterator[tuple[str, str]]:
    """What became of templates, losses and inputs; what became of several layers alike, once."""
    for step in report.passes:
        if step.name not in _TOLD:
            continue
        alike: dict[str, list[str]] = {}
        for change in step.changes:
            about = change.removed or (change.modified if step.name == "sequences" else ())
            alike.setdefault(change.detail, []).extend(about)
        for detail, names in alike.items():
            yield _TOLD[step.name], _subject(names) + detail


def _subject(names: list[str]) -> str:
    """The layers a change is about, the first few by name."""
    if not names:
        return ""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more: " if more > 0 else ": ")


def _cost(report: ConvertReport) -> str:
    """What the deploy net costs, and what it did before folding where that is something else."""
    told = []
    before, after = report.costs
    for what, old, new, unknown in (
        ("parameters", before.parameters, after.parameters, after.unknown_parameters),
        ("MACs", before.macs, after.macs, after.unknown_macs),
        ("bytes of blobs", before.memory, after.memory, after.unknown_memory),
    ):
        more = " + ?" if unknown else ""
        was = f" (before folding {old:,})" if old != new else ""
        told.append(f"{new:,}{more} {what}{was}")
    return ", ".join(told)


def _proof(report: ConvertReport) -> str:
    folds = report.proof.folds
    if not report.weights:
        checked = f"{counted(len(folds), 'fold')} checked" if folds else "the wiring is checked"
        return f"{checked}, on made-up numbers: there are no weights"
    if not folds:
        return f"nothing was folded; {report.proof.unchanged_blobs} blobs are unchanged"
    worst = max(folds, key=lambda fold: fold.error)
    return (
        f"{counted(len(folds), 'fold')} checked, largest error "
        f"{worst.error:.1e} of the largest output ({worst.layer}); "
        f"{_STORED[report.dtype]} rounding allows {worst.allowed:.1e}"
    )
