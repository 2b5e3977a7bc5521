"""``caffefold zoo``: convert a whole folder of models, in parallel and resumably."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from caffefold.cli.console import Console
from caffefold.cli.options import given, names_of, options_of
from caffefold.options import ConvertOptions

if TYPE_CHECKING:
    from caffefold.zoo import Plan

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
INTERRUPTED = 130


class _Bytes(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """``2G``, ``512MB``, ``1e9`` or a plain number of bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", str(value).strip().lower())
        if match is None:
            self.fail(f"'{value}' is not a size; write 2G, 512M or a number of bytes", param, ctx)
        return int(float(match[1]) * _UNITS[match[2]])


@click.command(short_help="Convert a whole model zoo: parallel, resumable, with a report.")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST", required=False, default="")
@click.option(
    "--plan", "plan_only", is_flag=True, help="Print the plan as a zoo.toml; convert nothing."
)
@click.option(
    "--manifest",
    metavar="FILE",
    default="",
    help="Pairs and options of single models; by default SRC/zoo.toml, if it is there.",
)
@click.option(
    "--prefer",
    type=click.Choice(["train", "deploy"]),
    default="train",
    show_default=True,
    help="Which prototxt to take when several fit the weights.",
)
@click.option(
    "--snapshots",
    type=click.Choice(["last", "all"]),
    default="last",
    show_default=True,
    help="Convert the last snapshot of each net, or all of them.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Models at a time.  [default: one for each core]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Give up on a model after so long.",
)
@click.option(
    "--memory",
    type=_Bytes(),
    default=0,
    metavar="SIZE",
    help="Limit of each worker process, such as 2G.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first model that is not converted.")
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Try refused models again, although their files are the same.",
)
@click.option("--force", is_flag=True, help="Convert everything again, over whatever is in DST.")
@click.option(
    "--engine",
    type=click.Choice(["processes", "dask"]),
    default="processes",
    show_default=True,
    help="Worker processes of this machine, or a running Dask cluster.",
)
@click.option(
    "--scheduler", metavar="URL", default="", help="Address of its scheduler: tcp://HOST:8786."
)
@options_of(ConvertOptions)
@click.option("--json", "as_json", is_flag=True, help="Print zoo.json (or the plan) as JSON.")
@click.pass_context
def zoo(
    context: click.Context,
    /,
    source: str,
    target: str,
    plan_only: bool,
    manifest: str,
    prefer: str,
    snapshots: str,
    jobs: int | None,
    fail_fast: bool,
    retry_failed: bool,
    force: bool,
    as_json: bool,
    **others: Any,
) -> None:
    """Find the models below SRC and convert each of them into DST.

    Prototxts and caffemodels are paired by the names and shapes of their layers. Results are
    written completely or not at all; running again converts what is new, changed or failed. DST
    gets the results in the folders of SRC, and zoo.json, zoo.csv and index.html. SRC and DST may be
    URLs such as s3://bucket/zoo. All options of 'caffefold convert' apply to every model.

    \b
    Example:
      caffefold zoo models/ out/ --jobs 8
      caffefold zoo models/ --plan > models/zoo.toml
    """
    from caffefold import zoo as api
    from caffefold.cli import zoo_view
    from caffefold.errors import UsageError
    from caffefold.zoo.pages import site

    console: Console = context.obj
    for name in names_of(ConvertOptions):
        del others[name]  # they are read from the context
    if not target and not plan_only:
        raise UsageError("DST is missing: where should the results go? --plan only looks")
    plan = api.plan(
        source,
        target,
        options=given(context, ConvertOptions),
        prefer=prefer,
        snapshots=snapshots,
        manifest=manifest,
        jobs=jobs or 0,
        fresh=force or retry_failed,
    )
    if plan_only:
        _print_plan(console, plan, as_json)
        return
    if not plan.models:
        console.warning(f"no models in {plan.source}; --plan lists the files that were seen")
    watcher = zoo_view.watcher(console, len(plan.models))
    try:
        with watcher:
            result = api.run(
                plan,
                watcher.event,
                jobs=jobs or 0,
                fail_fast=fail_fast,
                retry_failed=retry_failed,
                force=force,
                **others,
            )
    except KeyboardInterrupt:
        zoo_view.interrupted(watcher)
        context.exit(INTERRUPTED)
    if as_json:
        console.result(site.as_json(result).rstrip("\n"))
    else:
        zoo_view.table(console, result)
    context.exit(0 if result.ok else 1)


def _print_plan(console: Console, plan: Plan, as_json: bool) -> None:
    import json

    from caffefold.zoo.planning import manifest

    if as_json:
        document = {"schema": 1, **plan.to_json()}
        del document["key"]
        console.result(json.dumps(document, indent=1, ensure_ascii=False))
        return
    console.result(manifest.to_toml(plan).rstrip("\n"))
