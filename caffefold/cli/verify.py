"""``caffefold verify``: two nets side by side on the same inputs, with a verdict."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffefold.cli.console import Console, width
from caffefold.cli.help import Command
from caffefold.cli.options import given, options_of
from caffefold.cli.progress import Bar
from caffefold.errors import ExistingOutput
from caffefold.humanize import visible
from caffefold.options import VerifyOptions

if TYPE_CHECKING:
    from caffefold.check.verdict import Compared, Verification


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, metavar="BEFORE... AFTER...")
@options_of(VerifyOptions)
@click.option("--html", metavar="FILE", help="Also write FILE, a page with everything in it.")
@click.option("--force", is_flag=True, help="Replace an existing page.")
@click.option("--json", "as_json", is_flag=True, help="Print the verification as JSON.")
@click.pass_context
def verify(
    context: click.Context,
    /,
    files: tuple[str, ...],
    html: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Run a net and what was made of it on the same inputs, and compare every output.

    BEFORE is a prototxt and its caffemodel: a train net (put in test phase, its BatchNorm kept) or
    a deploy net. AFTER is such a pair, or an ONNX model. What is allowed is measured: how far the
    first net in float32 is off itself in float64, on the same inputs. Outputs that would say
    nothing (saturated, all zero, constant, NaN) are inconclusive, never equal.

    Exit code 0: equal; 1: different, or inconclusive.

    \b
    Examples:
      caffefold verify train_val.prototxt snapshot.caffemodel \\
          out/net.prototxt out/net.caffemodel
      caffefold verify deploy.prototxt net.caffemodel net.onnx --input photos/
      caffefold verify train_val.prototxt snapshot.caffemodel net.onnx \\
          --dataset val_lmdb
    """
    from dataclasses import replace

    from caffefold.conversion import load
    from caffefold.verification.verifying import verify as run

    console: Console = context.obj
    before, after = _sides(files)
    found = given(context, VerifyOptions)
    if html is not None:
        if Path(html).exists() and not force:
            raise ExistingOutput(html)
        found["layers"] = True  # the page shows them
    proto = found.get("proto")
    with console.working(f"verifying {files[-1]}"), contextlib.ExitStack() as stack:
        a = stack.enter_context(load(*before, proto=proto))
        b = after[0] if _is_model(after) else stack.enter_context(load(*after, proto=proto))
        result = run(a, b, on_progress=stack.enter_context(Bar(console)), **found)
    if html is not None:
        _write(html, result)
        result = result if options["layers"] else replace(result, layers=())
    for warning in result.warnings:
        console.warning(warning)
    if as_json:
        console.document(result.to_json().rstrip("\n"))
    else:
        *rows, verdict = replace(result, layers=_odd(result)).rows()
        for label, value in rows:
            console.row(label, value)
        if result.layers:
            _print_layers(console, result.layers)
        console.row(*verdict)
    return 0 if result.verdict == "equal" else 1


def _odd(found: Verification) -> tuple[Compared, ...]:
    """The blobs of which there is more to say than numbers."""
    return tuple(each for each in found.layers if each.verdict != "equal" or each.reason)


def _print_layers(console: Console, layers: tuple[Compared, ...]) -> None:
    """Every blob that both nets share, a line each."""
    from caffefold.inspection.result import Column, Table

    titles = ("verdict", "off by", "of largest", "budget")
    columns = (
        Column("layer", flexible=True),
        *(Column(title, right=title != "verdict") for title in titles),
        Column("noise", right=True, spare=1),
        Column("cosine", right=True, spare=2),
    )
    rows = []
    for each in layers:
        numbers = (each.error, each.relative, each.budget, each.noise)
        cosine = "-" if each.cosine is None else f"{each.cosine:.9f}"
        cells = (f"{number:.1e}" if each.budget else "-" for number in numbers)
        rows.append((visible(each.blob), each.verdict, *cells, cosine))
    heading, *lines = Table(columns, tuple(rows)).lines(width(sys.stdout) or None)
    for line in ("", click.style(heading, bold=True), *lines, ""):
        console.result(line)


def _write(path: str, found: Verification) -> None:
    """Put the page in place, whole."""
    from caffefold.formats.atomic import Staging
    from caffefold.verification.page import page

    with Staging() as staging:
        staging.write(Path(path), page(found).encode("utf-8", "backslashreplace"))
        staging.commit()


def _is_model(files: tuple[str, ...]) -> bool:
    return len(files) == 1 and files[0].lower().endswith(".onnx")


def _sides(files: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files of each net: a prototxt and a caffemodel each, or a model at the end."""
    from caffefold.formats import detect

    if len(files) == 4:
        return files[:2], files[2:]
    if len(files) in (2, 3) and files[-1].lower().endswith(".onnx"):
        return files[:-1], files[-1:]
    if len(files) == 2:  # nets without weights, or each with its net in it
        if detect.is_caffemodel(files[1]) and not detect.is_caffemodel(files[0]):
            raise click.UsageError("this is one net; what is it to be held against?")
        return files[:1], files[1:]
    raise click.UsageError(
        "give PROTOTXT CAFFEMODEL twice, or PROTOTXT CAFFEMODEL MODEL.onnx; "
        f"these are {len(files)} files"
    )
