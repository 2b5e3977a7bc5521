"""Rows as two columns: a layer of A at the left, what became of it at the right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from caffefold.compare.entries import LayerInfo
from caffefold.compare.render.text import WIDTH, Paint, describe, plain, totals
from caffefold.compare.summary import RowView, Summary, runs
from caffefold.humanize import counted

CONTEXT = 1
"""Unchanged layers around a change, when nothing else is asked for."""


class Line(NamedTuple):
    """One line of the two columns."""

    left: str
    symbol: str
    right: str


def side_by_side(
    found: Summary, width: int = WIDTH, context: int = CONTEXT, paint: Paint = plain
) -> Iterator[str]:
    """Both nets in two columns that fit ``width``."""
    half = max((width - 3) // 2, 16)
    yield _columns(Line(f"A  {describe(found.a)}", " ", f"B  {describe(found.b)}"), half)
    for note in found.notes:
        yield _cut(note, 2 * half + 3)
    for fact in found.net:
        yield paint("~", _columns(Line(fact.before, "~", fact.after), half))
    for shown, run in runs(found.rows, context):
        if not shown:
            text = f" {counted(len(run), 'layer')} the same "
            yield paint("=", f"{text:-^{2 * half + 3}}")
        for row in run if shown else ():
            for line in _lines(row):
                yield paint(row.symbol, _columns(line, half))
    yield from totals(found, width, paint)


def _lines(row: RowView) -> Iterator[Line]:
    left = row.why if row.before is None else _title(row.before)
    right = row.why if row.after is None else _title(row.after)
    yield Line(left, row.symbol, right)
    for fact in row.facts:
        if not fact.implied:
            yield Line(f"  {fact.before}", "", f"  {fact.after}")


def _title(layer: LayerInfo) -> str:
    phase = f" ({layer.phase})" if layer.phase else ""
    return f"{layer.name}  {layer.type}{phase}"


def _columns(line: Line, half: int) -> str:
    return f"{_cut(line.left, half):<{half}} {line.symbol:1} {_cut(line.right, half)}".rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
