"""``caffefold upgrade``: an old prototxt, solver or caffemodel in today's format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from caffefold.cli.console import Console
from caffefold.cli.help import Command
from caffefold.humanize import size

if TYPE_CHECKING:
    from caffefold.upgrading import UpgradeReport

_SHOWN = 20


@click.command(cls=Command)
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.pass_obj
def upgrade(console: Console, /, source: str, target: str, force: bool, as_json: bool) -> None:
    """Write IN, a prototxt, a solver or a caffemodel, in Caffe's current format to OUT.

    '-' as IN is a prototxt or a solver on standard input.

    Layers of V0 and V1, transformations in data parameters, 'input' fields, BatchNorm layers with
    three 'param', and 'solver_type': all as Caffe's own upgrade tools do it. Comments and
    unknown fields are kept; blobs and files that are already up to date are copied byte for byte.

    \b
    Examples:
      caffefold upgrade old_deploy.prototxt deploy.prototxt
      caffefold upgrade old.caffemodel new.caffemodel
    """
    from caffefold.upgrading import upgrade as run

    with console.working(f"upgrading {source}"):
        report = run(source, target, force=force)
    warnings = report.warnings[: None if as_json else _SHOWN]
    console.remarks((), warnings)
    if len(report.warnings) > len(warnings):
        console.warning(f"... and {len(report.warnings) - len(warnings)} more, see --json")
    console.summary(report, _rows(report), as_json=as_json)


def _rows(report: UpgradeReport) -> Iterator[tuple[str, str]]:
    yield "read", f"{report.source} ({report.kind})"
    if report.up_to_date:
        yield "upgraded", "nothing: already up to date"
    for index, change in enumerate(report.changes[:_SHOWN]):
        yield "" if index else "upgraded", change
    if len(report.changes) > _SHOWN:
        yield "", f"... and {len(report.changes) - _SHOWN} more, see --json"
    yield "wrote", f"{report.target} ({size(report.bytes)})"
