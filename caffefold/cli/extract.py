"""``caffefold extract``: the net that a caffemodel holds, as a prototxt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from caffefold.cli.console import Console
from caffefold.cli.help import Command

if TYPE_CHECKING:
    from caffefold.extraction import ExtractReport

_SHOWN = 8


@click.command(cls=Command)
@click.argument("caffemodel")
@click.option(
    "-o", "--output", metavar="FILE", help="Write the prototxt to FILE instead of printing it."
)
@click.option(
    "--proto",
    metavar="FILE",
    help="The caffe.proto of the fork that wrote CAFFEMODEL (needs grpcio-tools).",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.pass_obj
def extract(
    console: Console,
    /,
    caffemodel: str,
    output: str | None,
    proto: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the prototxt of the net that CAFFEMODEL, a binary snapshot of any age, holds.

    A snapshot holds each layer's type, wiring and parameters beside its numbers. It is the net as
    it was trained: data layers and losses included. What a tool has stripped is inferred from the
    blobs where they tell it.

    \b
    Examples:
      caffefold extract snapshot.caffemodel -o train.prototxt
      caffefold extract snapshot.caffemodel --proto fork/caffe.proto | less
    """
    from caffefold.extraction import extract as run

    with console.working(f"reading {caffemodel}"):
        report = run(caffemodel, output, proto=proto, force=force)
    notes = report.inferred[: None if as_json else _SHOWN]
    console.remarks(notes, report.warnings)
    if output is None and not as_json:
        for line in report.text.splitlines():
            console.result(line)
        return
    console.summary(report, _rows(report), as_json=as_json)


def _rows(report: ExtractReport) -> Iterator[tuple[str, str]]:
    yield "read", report.source
    yield "net", f"{report.net or 'without a name'}, {report.layers} layers"
    if len(report.inferred) > _SHOWN:
        yield "inferred", f"numbers of {len(report.inferred)} layers, see --json"
    yield "wrote", report.target
