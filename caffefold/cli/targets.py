"""``caffefold targets``: the table of consumers."""

from __future__ import annotations

from collections.abc import Iterator

import click

from caffefold.cli.console import Console
from caffefold.cli.help import Command
from caffefold.humanize import json_text
from caffefold.targets import TARGETS, Target


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@click.pass_context
def targets(context: click.Context, /, name: str | None, as_json: bool) -> None:
    """List the targets of `convert --target`, or what is known of one, with its sources.

    \b
    Examples:
      caffefold targets
      caffefold targets mnn
    """
    console: Console = context.obj
    if name is not None and name not in TARGETS:
        raise click.UsageError(f"no target '{name}'; choose from {', '.join(TARGETS)}")
    chosen = {each: row for each, row in TARGETS.items() if name in (None, each)}
    if as_json:
        rows = {each: _plain(row) for each, row in chosen.items()}
        console.document(json_text({"schema": 1, "targets": rows}))
    elif name is not None:
        for label, value in _about(name, TARGETS[name]):
            console.row(label, value)
    else:
        width = max(map(len, TARGETS))
        for each, row in chosen.items():
            console.row(each, f"{row.title}: {row.forms()}", width + 2)


def _plain(row: Target) -> dict[str, object]:
    found = row._asdict()
    found["facts"] = [{"fact": fact, "source": source} for fact, source in row.facts]
    return {key: sorted(x) if isinstance(x, frozenset) else x for key, x in found.items()}


def _about(name: str, row: Target) -> Iterator[tuple[str, str]]:
    yield "target", f"{name}: {row.title}"
    yield "written", row.forms()
    for index, (fact, source) in enumerate(row.facts):
        yield "" if index else "known", f"{fact} ({source})"
    if row.next_step:
        yield "next", row.next_step
