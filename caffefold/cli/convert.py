"""``caffefold convert``: train prototxt + snapshot -> folded deploy pair, with the proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caffefold.cli.console import Console
from caffefold.cli.options import given, options_of
from caffefold.humanize import counted, size
from caffefold.options import ConvertOptions

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
@options_of(ConvertOptions)
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
    as_json: bool,
    **options: Any,
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

    del options  # they are read from the context, with where they come from
    console: Console = context.obj
    if no_weights and caffemodel is not None:
        raise click.UsageError(f"--no-weights contradicts the CAFFEMODEL '{caffemodel}'")
    if not no_weights and caffemodel is None:
        raise click.UsageError("give the CAFFEMODEL, or --no-weights for the structure alone")
    settings = given(context, ConvertOptions)
    report = run(prototxt, caffemodel, output, force=force, **settings)
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
