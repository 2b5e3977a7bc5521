"""``caffefold convert``: train prototxt + snapshot -> folded deploy pair, with the proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from caffefold.cli.console import Console
from caffefold.cli.help import Command
from caffefold.cli.options import given, options_of
from caffefold.options import ConvertOptions


@click.command(cls=Command)
@click.argument("prototxt")
@click.argument("caffemodel", required=False)
@click.option(
    "-o",
    "--prefix",
    "output",
    metavar="PREFIX",
    help="Write PREFIX.prototxt, PREFIX.caffemodel and PREFIX.report.json; into a folder, under "
    "the net's name.  [default: NAME.deploy beside NAME.prototxt]",
)
@click.option(
    "--no-weights",
    is_flag=True,
    help="Convert and fold the structure alone: no CAFFEMODEL is read or written.",
)
@click.option("--onnx", is_flag=True, help="Also write PREFIX.onnx, checked as by export.")
@click.option(
    "--verify", is_flag=True, help="Also run the net before and after; see caffefold verify."
)
@click.option(
    "--verify-input",
    multiple=True,
    metavar="PATH",
    help="Images or arrays to verify on, instead of random numbers. Repeatable.",
)
@click.option("--html", metavar="FILE", help="Also write the report as a page, with the net drawn.")
@click.option("--force", is_flag=True, help="Replace existing results.")
@click.option("--dry-run", is_flag=True, help="Do everything, proof included, but leave no file.")
@options_of(ConvertOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def convert(
    context: click.Context,
    /,
    prototxt: str,
    caffemodel: str | None,
    output: str | None,
    no_weights: bool,
    onnx: bool,
    verify: bool,
    verify_input: tuple[str, ...],
    html: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn a training net and its snapshot into a deploy net, BatchNorm and Scale folded in.

    PROTOTXT may be a train, train_val or deploy net, a template with placeholders, or a solver;
    '-' reads it from standard input. A binary caffemodel alone holds its net; see 'caffefold
    extract'. A folder that holds one net and its snapshot stands for both.
    What is written is read back and checked against the original arithmetic before it is put in
    place. With --no-weights only the structure is converted and folded.

    \b
    Examples:
      caffefold convert train_val.prototxt snapshot.caffemodel -o out/net
      caffefold convert models/mobilenet/ -o out/
      caffefold convert snapshot.caffemodel -o out/net
      caffefold convert train_val.prototxt --no-weights -o out/net
      caffefold convert MobileNetSSD_train_template.prototxt snapshot.caffemodel \\
          -o out/mobilenet_ssd
    """
    from caffefold.formats import detect

    del options  # they are read from the context, with where they come from
    console: Console = context.obj
    if no_weights and caffemodel is not None:
        raise click.UsageError(f"--no-weights contradicts the CAFFEMODEL '{caffemodel}'")
    if caffemodel is None and Path(prototxt).is_dir():
        prototxt, caffemodel = _in_folder(prototxt, no_weights=no_weights)
    alone = caffemodel is None and detect.is_caffemodel(prototxt)
    if no_weights and alone:
        raise click.UsageError("--no-weights goes with a prototxt, and this is a caffemodel")
    if not (no_weights or alone) and caffemodel is None:
        if not detect.is_stream(prototxt):
            detect.read_prototxt(prototxt)  # something else than a prototxt is named
        raise click.UsageError("give the CAFFEMODEL, or --no-weights for the structure alone")
    if no_weights and onnx:
        raise click.UsageError("--onnx needs the CAFFEMODEL: a model holds the weights")
    from caffefold.conversion import convert as run

    beside = None
    if onnx:
        from caffefold.onnx_export.exporting import OnnxBeside

        beside = OnnxBeside()
    checked = None
    if verify or verify_input:
        if no_weights:
            raise click.UsageError(
                "--verify needs the CAFFEMODEL: a net without weights cannot run"
            )
        from functools import partial

        from caffefold.verification.verifying import verify as side_by_side

        checked = partial(side_by_side, inputs=verify_input)
    how = {"force": force, "dry_run": dry_run, "html": html, **given(context, ConvertOptions)}
    with console.working(f"converting {caffemodel or prototxt}"):
        report = run(prototxt, caffemodel, output, beside=beside, verify=checked, **how)
    console.remarks(report.notes, report.warnings)
    rows = list(report.rows())
    more = [] if beside is None else list(beside.report.made())
    more += [("wrote", html)] if html and not dry_run else []
    end = next((i for i, (label, _) in enumerate(rows) if label == "next"), len(rows))
    rows[end:end] = more  # what to do next comes last
    console.summary(report, rows, as_json=as_json)


def _in_folder(folder: str, *, no_weights: bool) -> tuple[str, str | None]:
    """The pair that a folder holds."""
    from caffefold.compare.load import pair_in

    text, weights = pair_in(folder, "" if no_weights else None)
    return text or weights or folder, weights or None
