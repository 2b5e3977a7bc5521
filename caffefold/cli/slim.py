"""``caffefold slim``: take channels out that do nothing, or little."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from caffefold.cli import pairs
from caffefold.cli.console import Console
from caffefold.cli.help import Command
from caffefold.cli.options import given, options_of
from caffefold.options import FeedOptions, SlimPairOptions


@click.command(cls=Command)
@click.argument("prototxt")
@click.argument("caffemodel", required=False)
@pairs.OUTPUT
@pairs.ONNX
@pairs.VERIFY
@pairs.HTML
@pairs.FORCE
@pairs.DRY_RUN
@options_of(SlimPairOptions, "slim")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def slim(
    context: click.Context,
    /,
    prototxt: str,
    caffemodel: str | None,
    output: str | None,
    onnx: bool,
    verify: bool,
    html: str | None,
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
          --ratio 0.3 --multiple 8 --keep-training --input images/
    """
    del options  # they are read from the context, with where they come from
    prototxt, caffemodel = pairs.files(prototxt, caffemodel)
    from caffefold.slimming import slim_files

    console: Console = context.obj
    asked = given(context, SlimPairOptions)
    shared = {each.name for each in fields(FeedOptions)}
    fed = {name: value for name, value in asked.items() if name in shared}
    extras = pairs.Extras.of(onnx=onnx, verify=verify, fed=fed)
    how = {"force": force, "dry_run": dry_run, "html": html, **asked}
    with console.working(f"slimming {caffemodel or prototxt}"):
        report = slim_files(prototxt, caffemodel, output, **extras._asdict(), **how)
    extras.tell(console, report, html, as_json=as_json)
