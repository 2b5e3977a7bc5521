"""``caffefold convert``: train prototxt + snapshot -> folded deploy pair, with the proof."""

from __future__ import annotations

from typing import Any

import click

from caffefold.cli.console import Console
from caffefold.cli.options import given, options_of
from caffefold.options import ConvertOptions


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
@click.option("--onnx", is_flag=True, help="Write PREFIX.onnx as well, checked as by export.")
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
    onnx: bool,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn a training net and its snapshot into a deploy net, BatchNorm and Scale folded in.

    PROTOTXT may be a train, train_val or deploy net, a template with placeholders, or a solver;
    '-' reads it from standard input.
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
    if no_weights and onnx:
        raise click.UsageError("--onnx needs the CAFFEMODEL: a model holds the weights")
    beside = None
    if onnx:
        from caffefold.onnx_export.exporting import OnnxBeside

        beside = OnnxBeside()
    asked = given(context, ConvertOptions)
    report = run(prototxt, caffemodel, output, force=force, beside=beside, **asked)
    console.remarks(report.notes, report.warnings)
    rows = report.rows() if beside is None else (*report.rows(), *beside.report.made())
    console.summary(report, rows, as_json=as_json)
