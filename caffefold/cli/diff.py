"""``caffefold diff``: what changed between two nets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from caffefold.cli.console import Console, discard, width
from caffefold.cli.help import Command
from caffefold.cli.options import Number
from caffefold.humanize import visible

if TYPE_CHECKING:
    from caffefold.compare.diff import NetDiff

_COLOURS: dict[str, dict[str, Any]] = {
    "-": {"fg": "red"},
    "+": {"fg": "green"},
    "~": {"fg": "yellow"},
    ">": {"fg": "cyan"},
    "=": {"dim": True},
}
_ENDLESS = 1_000_000  # columns of a pipe
_GIT = (7, 9)  # arguments with which git calls an external diff


@click.command(cls=Command)
@click.argument("paths", nargs=-1, metavar="A B")
@click.option(
    "--weights",
    nargs=2,
    metavar="A.caffemodel B.caffemodel",
    help="Weights of A and B: compare them as well, and check folds.",
)
@click.option("--ignore-training", is_flag=True, help="Leave out rates, fillers, data and losses.")
@click.option("--structure", is_flag=True, help="Compare names, types and wiring only.")
@click.option(
    "--only", multiple=True, metavar="GLOB", help="Compare these layers only. Repeatable."
)
@click.option(
    "--phase",
    type=click.Choice(["TEST", "TRAIN"], case_sensitive=False),
    help="Compare one phase.  [default: TEST, then layers of other phases]",
)
@click.option(
    "--stage", "stages", multiple=True, metavar="NAME", help="Stage to enable. Repeatable."
)
@click.option(
    "--rtol", type=Number(min=0), default=0.0, metavar="X", show_default=True,
    help="Numbers agree when |a - b| <= atol + rtol * max(|a|, |b|).",
)  # fmt: skip
@click.option(
    "--atol", type=Number(min=0), default=0.0, metavar="X", show_default=True,
    help="See --rtol.",
)  # fmt: skip
@click.option(
    "--context",
    type=click.IntRange(min=0),
    metavar="N",
    help="List every layer that differs, with N unchanged ones around it, instead of groups.",
)
@click.option("--side-by-side", is_flag=True, help="Show both nets in two columns.")
@click.option("--stat", is_flag=True, help="Count layers by type.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown", "html"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_obj
def diff(
    console: Console,
    /,
    paths: tuple[str, ...],
    weights: tuple[str, str] | None,
    ignore_training: bool,
    structure: bool,
    only: tuple[str, ...],
    phase: str | None,
    stages: tuple[str, ...],
    rtol: float,
    atol: float,
    context: int | None,
    side_by_side: bool,
    stat: bool,
    form: str,
    as_json: bool,
) -> int:
    """Compare two nets: layers removed, added, moved or changed, and whether weights agree.

    A and B may each be a prototxt of any age (template, train, deploy), a solver, a caffemodel, or
    a folder that holds a pair; '-' is a prototxt on standard input. Spelling, defaults, order of
    fields and layout do not count.
    Exit code: 0 same, 1 different, 2 usage error, 3 bad input.

    \b
    In front of a line: - removed, + added, ~ changed, > moved, = the same.

    \b
    Examples:
      caffefold diff train.prototxt deploy.prototxt
      caffefold diff a.prototxt b.prototxt --weights a.caffemodel b.caffemodel

    \b
    With git: *.prototxt diff=caffe and *.caffemodel diff=caffe in .gitattributes,
    then
      git config diff.caffe.command "caffefold diff"
    """
    if len(paths) in _GIT:
        try:
            _from_git(console, paths)
        except BrokenPipeError:  # the pager was left; what is still buffered goes nowhere
            discard(sys.stdout)
        except SystemExit:  # the console has noticed it first
            pass
        return 0
    if len(paths) == 1 and "GIT_DIFF_PATH_TOTAL" in os.environ:
        console.result(f"* Unmerged path {visible(paths[0])}")  # all that git says of a conflict
        return 0
    if len(paths) != 2:
        raise click.UsageError(f"diff takes two nets, A and B; {len(paths)} given")
    form = "json" if as_json else form
    if form in ("json", "markdown") and (context is not None or side_by_side or stat):
        raise click.UsageError(
            f"--context, --side-by-side and --stat cannot be combined with {form}"
        )
    if form == "html" and (side_by_side or stat):
        raise click.UsageError(
            "the HTML page is already side by side; --stat cannot be combined with it"
        )
    if stat and (side_by_side or context is not None):
        raise click.UsageError("--stat cannot be combined with --side-by-side or --context")
    from caffefold.compare.diff import diff as run

    with console.working(f"comparing {' and '.join(weights or paths)}"):
        found = run(
            *paths,
            weights=weights or (None, None),
            level="structure" if structure else "full",
            ignore_training=ignore_training,
            phase=phase,
            stages=stages,
            only=only,
            rtol=rtol,
            atol=atol,
        )
    if form == "text":
        for line in _lines(found, context, side_by_side=side_by_side, stat=stat):
            console.result(line, 10)
    else:
        console.document(_document(found, form, context).rstrip("\n"))
    return int(bool(found))


def _document(found: NetDiff, form: str, context: int | None) -> str:
    """What other programs read: JSON, markdown or HTML."""
    if form == "json":
        return found.to_json()
    from caffefold.compare.render import markup, text

    if form == "markdown":
        return markup.markdown(found.summary)
    return markup.page(found.summary, text.CONTEXT if context is None else context)


def _lines(found: NetDiff, context: int | None, *, side_by_side: bool, stat: bool) -> Iterable[str]:
    from caffefold.compare.render import text

    summary, room = found.summary, _width()
    near = text.CONTEXT if context is None else context
    if side_by_side:
        return text.side_by_side(summary, room, near, _painted)
    if stat:
        return text.counts(summary, room, _painted)
    if context is not None:
        return text.listing(summary, context, room if width(sys.stdout) else _ENDLESS, _painted)
    return text.overview(summary, room, _painted)


def _width() -> int:
    """How long lines may be: COLUMNS, or the terminal's width."""
    from caffefold.compare.render.text import WIDTH

    asked = os.environ.get("COLUMNS", "")
    return int(asked) if asked.isdecimal() and int(asked) else width(sys.stdout) or WIDTH


def _painted(symbol: str, text: str) -> str:
    """``text`` in the colour of its symbol; taken out again where there is no terminal."""
    return click.style(text, **_COLOURS[symbol]) if symbol in _COLOURS else text


def _from_git(console: Console, arguments: tuple[str, ...]) -> None:
    """Answer git, which takes any exit code but 0 for a crash."""
    from caffefold.compare.git import GitCall
    from caffefold.compare.render import text
    from caffefold.errors import InputError

    if os.environ.get("GIT_PAGER_IN_USE") and not os.environ.get("NO_COLOR"):
        os.environ.setdefault("FORCE_COLOR", "1")  # what git itself does for its pager
    call = GitCall.of(arguments)
    old, new = call.names
    console.result(click.style(f"caffefold diff {visible(old)} {visible(new)}", bold=True))
    try:
        found = None if call.one_sided else call.compare()
        lines = (
            call.as_text("") if found is None else text.overview(found.summary, _width(), _painted)
        )
    except InputError as error:
        lines = call.as_text(str(error))
    for line in lines:
        console.result(line)
    sys.stdout.flush()
