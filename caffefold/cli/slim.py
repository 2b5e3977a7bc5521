"""``caffefold slim``: take channels out that do nothing, or little."""

from __future__ import annotations

from typing import Any

import click

from caffefold.cli.console import Console
from caffefold.cli.help import Command
from caffefold.cli.options import given, options_of
from caffefold.options import SlimPairOptions


@click.command(cls=Command)
@click.argument("prototxt")
@click.argument("caffemodel")
@click.option(
    "-o",
    "--prefix",
    "output",
    metavar="PREFIX",
    help="Write PREFIX.prototxt, PREFIX.caffemodel and PREFIX.report.json; into a folder, under "
    "the net's name.  [default: NAME.deploy beside NAME.prototxt]",
)
@click.option("--force", is_flag=True, help="Replace existing results.")
@click.option("--dry-run", is_flag=True, help="Do everything, proof included, but leave no file.")
@options_of(SlimPairOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def slim(
    context: click.Context,
    /,
    prototxt: str,
    caffemodel: str,
    output: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Remove channels from a net: by default those that do nothing, as where gamma is 0.

    What such a channel adds, a constant, goes into the biases of the next layers. The net before
    and after run side by side in float64. With --threshold, --ratio or --layer, channels of small
    gammas are removed as well: fine-tune the result, with --keep-training.

    \b
    Examples:
      caffefold slim train_val.prototxt snapshot.caffemodel -o out/net
      caffefold slim train_val.prototxt snapshot.caffemodel -o out/net \\
          --ratio 0.3 --multiple 8 --keep-training
    """
    from caffefold import conversion

    del options  # they are read from the context, with where they come from
    console: Console = context.obj
    asked = given(context, SlimPairOptions)
    how: dict[str, Any] = {"force": force, "dry_run": dry_run}
    if asked.get("keep_training"):
        options_ = SlimPairOptions(**asked)
        with console.working(f"slimming {caffemodel}"):
            result, files = conversion.slim_training_files(
                prototxt, caffemodel, output, options_, **how
            )
        console.remarks(result.net.notes, result.warnings)
        wrote = (("wrote", name) for name in files)
        console.summary(result, (*result.rows(), *wrote), as_json=as_json)
        return
    with console.working(f"slimming {caffemodel}"):
        how |= {"slim": True, **asked}
        report = conversion.convert(prototxt, caffemodel, output, **how)
    console.remarks(report.notes, report.warnings)
    console.summary(report, report.rows(), as_json=as_json)
