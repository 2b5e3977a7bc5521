"""What commands that make a pair of files have in common: where it goes, what goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from caffefold.cli.console import Console

if TYPE_CHECKING:  # seldom needed, or slow to load
    from caffefold.conversion import Verifies
    from caffefold.onnx_export.exporting import OnnxBeside
    from caffefold.report import ConvertReport, SlimResult

OUTPUT = click.option(
    "-o",
    "--prefix",
    "output",
    metavar="PREFIX",
    help="Write PREFIX.prototxt, PREFIX.caffemodel and PREFIX.report.json; into a folder, under "
    "the net's name.  [default: NAME.deploy beside NAME.prototxt]",
)
ONNX = click.option("--onnx", is_flag=True, help="Also write PREFIX.onnx, checked as by export.")
VERIFY = click.option(
    "--verify", is_flag=True, help="Also run the net before and after; see caffefold verify."
)
HTML = click.option(
    "--html", metavar="FILE", help="Also write the report as a page, with the net drawn."
)
FORCE = click.option("--force", is_flag=True, help="Replace existing results.")
DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Do everything, proof included, but leave no file."
)


def files(
    prototxt: str, caffemodel: str | None, *, structure: bool | None = None
) -> tuple[str, str | None]:
    """The pair that the arguments stand for: a folder holds one, a caffemodel its net.

    Raises:
        click.UsageError: there is no caffemodel; with ``structure``, there need not be one; None:
            the command always wants one.
        InputError: the prototxt is something else.
    """
    from caffefold.formats import detect

    if caffemodel is None and Path(prototxt).is_dir():
        prototxt, caffemodel = _in_folder(prototxt, structure=bool(structure))
    alone = caffemodel is None and detect.is_caffemodel(prototxt)
    if structure and alone:
        raise click.UsageError("--no-weights goes with a prototxt, and this is a caffemodel")
    if not (structure or alone) and caffemodel is None:
        if not detect.is_stream(prototxt):
            detect.read_prototxt(prototxt)  # something else than a prototxt is named
        other = "" if structure is None else ", or --no-weights for the structure alone"
        raise click.UsageError(f"give the CAFFEMODEL{other}")
    return prototxt, caffemodel


def _in_folder(folder: str, *, structure: bool) -> tuple[str, str | None]:
    """The pair that a folder holds."""
    from caffefold.compare.load import pair_in

    text, weights = pair_in(folder, "" if structure else None)
    return text or weights or folder, weights or None


class Extras(NamedTuple):
    """What else is made of a pair."""

    beside: OnnxBeside | None
    verify: Verifies | None

    @classmethod
    def of(cls, *, onnx: bool, verify: bool, fed: Mapping[str, Any]) -> Extras:
        """As asked for; ``fed`` are options of what ``verify`` runs both nets on."""
        beside = checked = None
        if onnx:
            from caffefold.onnx_export.exporting import OnnxBeside

            beside = OnnxBeside()
        if verify:
            from functools import partial

            from caffefold.verification.verifying import verify as side_by_side

            checked = partial(side_by_side, **fed)
        return cls(beside, checked)

    def tell(
        self, console: Console, report: ConvertReport | SlimResult, html: str | None, *,
        as_json: bool,
    ) -> None:  # fmt: skip
        """Show what became of the pair; what to do next comes last."""
        console.remarks(report.notes, report.warnings)
        rows = list(report.rows())
        more: Sequence[tuple[str, str]] = ()
        if self.beside is not None:
            more = list(self.beside.report.made())
        if html and not report.dry_run:
            more = [*more, ("wrote", html)]
        end = next((i for i, (label, _) in enumerate(rows) if label == "next"), len(rows))
        rows[end:end] = more
        console.summary(report, rows, as_json=as_json)
