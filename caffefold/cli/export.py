"""``caffefold export``: a net as an ONNX model, checked against the net."""

from __future__ import annotations

from typing import Any

import click

from caffefold.cli.console import Console
from caffefold.cli.help import Command
from caffefold.cli.options import given, options_of
from caffefold.options import ExportOptions


@click.command(cls=Command)
@click.argument("prototxt")
@click.argument("caffemodel", required=False)
@click.option(
    "-o", "--onnx", "path", required=True, metavar="FILE.onnx", help="Write the model to FILE.onnx."
)
@click.option(
    "--verify", is_flag=True, help="Also run net and model side by side; see caffefold verify."
)
@click.option(
    "--verify-input",
    multiple=True,
    metavar="PATH",
    help="Images or arrays to verify on, instead of random numbers. Repeatable.",
)
@click.option("--force", is_flag=True, help="Replace existing results.")
@options_of(ExportOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def export(
    context: click.Context,
    /,
    prototxt: str,
    caffemodel: str | None,
    path: str,
    verify: bool,
    verify_input: tuple[str, ...],
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write a net as an ONNX model, BatchNorm and Scale folded in.

    PROTOTXT may be a deploy net, a train or train_val net, a template or a solver, as for convert.
    The CAFFEMODEL may be left out where no layer has weights. With onnx and onnxruntime installed
    (caffefold[onnx]), the model is run and every blob compared with an independent evaluation of
    the net before the file is put in place.

    \b
    Examples:
      caffefold export deploy.prototxt net.caffemodel -o net.onnx
      caffefold export MobileNetSSD_train_template.prototxt snapshot.caffemodel \\
          -o mobilenet_ssd.onnx --target opencv5 --labels labelmap.prototxt
    """
    from caffefold.conversion import load
    from caffefold.onnx_export.exporting import export as run

    del options  # they are read from the context, with where they come from
    console: Console = context.obj
    found = given(context, ExportOptions)
    checked = None
    if verify or verify_input:
        from functools import partial

        from caffefold.verification.verifying import verify as side_by_side

        checked = partial(side_by_side, inputs=verify_input)
    what = f"exporting {caffemodel or prototxt}"
    with console.working(what), load(prototxt, caffemodel, proto=found.get("proto")) as net:
        report = run(net, path, force=force, verify=checked, **found)
    for warning in report.warnings:
        console.warning(warning)
    console.summary(report, report.rows(), as_json=as_json)
