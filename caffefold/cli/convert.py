"""``caffefold convert``: train prototxt + snapshot -> folded deploy pair, with the proof."""

from __future__ import annotations

from typing import Any

import click

from caffefold.cli import pairs
from caffefold.cli.console import Console
from caffefold.cli.help import Command
from caffefold.cli.options import given, options_of
from caffefold.options import ConvertOptions


@click.command(cls=Command)
@click.argument("prototxt")
@click.argument("caffemodel", required=False)
@pairs.OUTPUT
@click.option(
    "--no-weights",
    is_flag=True,
    help="Convert and fold the structure alone: no CAFFEMODEL is read or written.",
)
@pairs.ONNX
@pairs.VERIFY
@click.option(
    "--verify-input",
    multiple=True,
    metavar="PATH",
    help="Images or arrays to verify on, instead of random numbers. Repeatable.",
)
@pairs.HTML
@pairs.FORCE
@pairs.DRY_RUN
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
    del options  # they are read from the context, with where they come from
    if no_weights and caffemodel is not None:
        raise click.UsageError(f"--no-weights contradicts the CAFFEMODEL '{caffemodel}'")
    prototxt, caffemodel = pairs.files(prototxt, caffemodel, structure=no_weights)
    if no_weights and onnx:
        raise click.UsageError("--onnx needs the CAFFEMODEL: a model holds the weights")
    verify = verify or bool(verify_input)
    if no_weights and verify:
        raise click.UsageError("--verify needs the CAFFEMODEL: a net without weights cannot run")
    from caffefold.conversion import convert as run

    console: Console = context.obj
    extras = pairs.Extras.of(onnx=onnx, verify=verify, fed={"inputs": verify_input})
    how = {"force": force, "dry_run": dry_run, "html": html, **given(context, ConvertOptions)}
    with console.working(f"converting {caffemodel or prototxt}"):
        report = run(prototxt, caffemodel, output, **extras._asdict(), **how)
    extras.tell(console, report, html, as_json=as_json)
