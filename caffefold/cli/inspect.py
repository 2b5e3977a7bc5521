"""``caffefold inspect``: shapes, parameters, MACs, memory and BatchNorm statistics of a net."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import click

from caffefold.cli.console import Console, width
from caffefold.cli.help import Command
from caffefold.cli.options import Number, given, options_of
from caffefold.options import ViewOptions

_SHOWN = 8
_THRESHOLD = 1e-3  # health.THRESHOLD, which is not loaded for --help


@click.command(cls=Command)
@click.argument("net")
@click.argument("weights", required=False)
@options_of(ViewOptions)
@click.option(
    "--threshold",
    type=Number(min=0),
    metavar="X",
    default=_THRESHOLD,
    show_default=True,
    help="|gamma| below which a BatchNorm channel counts as small.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@click.option(
    "--textconv",
    "as_text",
    is_flag=True,
    help="Print NET, a prototxt or a caffemodel, as stable text for git diff.",
)
@click.pass_context
def inspect(
    context: click.Context,
    /,
    net: str,
    weights: str | None,
    threshold: float,
    as_json: bool,
    as_text: bool,
    **options: Any,
) -> None:
    """Show the contents of NET, layer by layer, with totals.

    NET is a train, train_val or deploy prototxt ('-': standard input), a template, a solver, or a
    caffemodel alone; WEIGHTS is the caffemodel of a prototxt. MACs are multiply-accumulates of one
    forward pass for the batch shown; memory is that of the output blobs as float32. Unknown values
    are '?'.

    \b
    Examples:
      caffefold inspect deploy.prototxt net.caffemodel
      git config diff.caffe.textconv "caffefold inspect --textconv"
    """
    del options  # they are read from the context
    console: Console = context.obj
    if as_text:
        if weights is not None or as_json:
            raise click.UsageError("--textconv takes one file and cannot be combined with --json")
        from caffefold.inspection.textconv import textconv

        for line in textconv(net):
            console.result(line)
        return
    from caffefold.inspection.inspecting import inspect as run

    with console.working(f"inspecting {weights or net}"):
        found = run(net, weights, threshold=threshold, **given(context, ViewOptions))
    console.remarks(found.notes, found.warnings[: None if as_json else _SHOWN])
    if len(found.warnings) > _SHOWN and not as_json:
        console.warning(f"... and {len(found.warnings) - _SHOWN} more, see --json")
    if as_json:
        console.document(found.to_json().rstrip("\n"))
    else:
        for line in found.lines(width(sys.stdout) or None, partial(click.style, bold=True)):
            console.result(line, 10)
