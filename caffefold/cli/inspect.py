"""``caffefold inspect``: shapes, parameters, MACs, memory and BatchNorm statistics of a net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caffefold.cli import table
from caffefold.cli.console import Console
from caffefold.cli.options import given, options_of
from caffefold.cli.table import Column
from caffefold.humanize import size
from caffefold.options import ViewOptions

if TYPE_CHECKING:
    from caffefold.inspection.result import BlobShape, Inspection, LayerRow

_SHOWN = 8
_THRESHOLD = 1e-3  # health.THRESHOLD, which is not loaded for --help


@click.command(short_help="What is in a net: shapes, parameters, MACs, statistics.")
@click.argument("net")
@click.argument("weights", required=False)
@options_of(ViewOptions)
@click.option(
    "--threshold",
    type=click.FloatRange(min=0),
    default=_THRESHOLD,
    show_default=True,
    help="|gamma| under which a channel of a BatchNorm counts as small.",
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
    """Show what is in NET, layer by layer, and in all.

    NET is a train, train_val or deploy prototxt, a template, a solver, or a caffemodel alone;
    WEIGHTS is the caffemodel of a prototxt. MACs are multiply-accumulates of one forward pass for
    the batch shown; memory is that of the output blobs as float32. What is not known is '?'.

    \b
    Example:
      caffefold inspect deploy.prototxt net.caffemodel
      git config diff.caffe.textconv "caffefold inspect --textconv"
    """
    del options  # they are read from the context
    console: Console = context.obj
    if as_text:
        if weights is not None or as_json:
            raise click.UsageError("--textconv takes one file, and no --json")
        from caffefold.inspection.textconv import textconv

        for line in textconv(net):
            console.result(line)
        return
    from caffefold.inspection.inspecting import inspect as run

    found = run(net, weights, threshold=threshold, **given(context, ViewOptions))
    for warning in found.warnings[: None if as_json else _SHOWN]:
        console.warning(warning)
    if len(found.warnings) > _SHOWN and not as_json:
        console.warning(f"... and {len(found.warnings) - _SHOWN} more, see --json")
    if as_json:
        console.result(found.to_json().rstrip("\n"))
    else:
        _show(console, found)


def _show(console: Console, found: Inspection) -> None:
    console.row("net", found.net or "(no name)")
    for label, blobs in (("input", found.inputs), ("output", found.outputs)):
        for blob in blobs:
            console.row(label, f"{blob.blob} {_shape(blob)}")
    console.result("")
    _print(console, *(_records(found) if found.prototxt is None else _layers(found)))
    if found.norms:
        console.result("")
        _print(console, *_norms(found))


def _print(console: Console, columns: list[Column], rows: list[list[str]]) -> None:
    heading, *body = table.lines(columns, rows, table.width())
    console.result(click.style(heading, bold=True))
    for line in body:
        console.result(line)


def _layers(found: Inspection) -> tuple[list[Column], list[list[str]]]:
    columns = [
        Column("layer", flexible=True),
        Column("type", flexible=True),
        Column("output"),
        Column("parameters", right=True),
        Column("MACs", right=True),
        Column("memory", right=True),
    ]
    rows = []
    for layer in found.layers:
        shape, *more = [_shape(top) for top in layer.tops] or ["-"]
        rows.append(
            [
                layer.name,
                layer.type,
                shape,
                _count(layer.parameters),
                _count(layer.macs),
                _bytes(layer.memory),
            ]
        )
        rows += [["", "", shape, "", "", ""] for shape in more]
    sums = found.totals
    total = [
        "total",
        f"{sums.layers:,} layers",
        "",
        _sum(f"{sums.parameters:,}", sums.unknown_parameters),
        _sum(f"{sums.macs:,}", sums.unknown_macs),
        _sum(size(sums.memory), sums.unknown_memory),
    ]
    return columns, [*rows, total]


def _records(found: Inspection) -> tuple[list[Column], list[list[str]]]:
    """A caffemodel alone: what its layers hold."""
    columns = [
        Column("layer", flexible=True),
        Column("type", flexible=True),
        Column("blobs"),
        Column("parameters", right=True),
    ]
    rows = [
        [layer.name, layer.type, _blobs(layer), _count(layer.parameters)] for layer in found.layers
    ]
    sums = found.totals
    return columns, [*rows, ["total", f"{sums.layers:,} layers", "", f"{sums.parameters:,}"]]


def _norms(found: Inspection) -> tuple[list[Column], list[list[str]]]:
    columns = [
        Column("statistics of", flexible=True),
        Column("factor", right=True),
        Column("min variance", right=True),
        Column("gamma of", flexible=True),
        Column("channels", right=True),
        Column("dead", right=True),
        Column(f"|gamma|<{found.threshold:g}", right=True),
    ]
    rows = [
        [
            norm.layer,
            "-" if norm.factor is None else f"{norm.factor:.6g}",
            f"{norm.smallest_variance:.3g}",
            norm.gamma or "-",
            f"{norm.channels:,}",
            "-" if norm.dead is None else f"{norm.dead:,}",
            "-" if norm.share is None else f"{norm.share:.1%}",
        ]
        for norm in found.norms
    ]
    scaled = [norm for norm in found.norms if norm.small is not None]
    if scaled:
        channels = sum(norm.channels for norm in scaled)
        small = sum(norm.small or 0 for norm in scaled)
        dead = sum(norm.dead or 0 for norm in scaled)
        share = f"{small / max(channels, 1):.1%}"
        rows.append(["all with a gamma", "", "", "", f"{channels:,}", f"{dead:,}", share])
    return columns, rows


def _shape(blob: BlobShape) -> str:
    if blob.shape is None:
        return "?"
    return "x".join("?" if dim is None else str(dim) for dim in blob.shape) or "scalar"


def _blobs(layer: LayerRow) -> str:
    return ", ".join("x".join(map(str, shape)) or "scalar" for shape in layer.blobs) or "-"


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _bytes(number: int | None) -> str:
    return "?" if number is None else size(number) if number else "0"


def _sum(known: str, unknown: int) -> str:
    return f"{known} + ?" if unknown else known
