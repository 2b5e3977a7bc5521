"""Rows as two columns: a layer of A at the left, what became of it at the right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from caffefold.compare import naming, wording
from caffefold.compare.canonical import shown
from caffefold.compare.entries import Added, LayerInfo, NetDiff, Removed, Row, Same
from caffefold.compare.render_text import Paint, describe, plain, runs, totals
from caffefold.humanize import counted

CONTEXT = 1
"""Unchanged layers around a change, when nothing else is asked for."""


class Line(NamedTuple):
    """One line of the two columns; ``head`` is the line with the layer's name."""

    left: str
    symbol: str
    right: str
    head: bool = False


def side_by_side(
    diff: NetDiff, width: int = 100, context: int = CONTEXT, paint: Paint = plain
) -> Iterator[str]:
    """Both nets in two columns that fit ``width``."""
    half = max((width - 3) // 2, 16)
    yield _columns(Line(f"A  {describe(diff.a)}", " ", f"B  {describe(diff.b)}"), half)
    for note in diff.notes:
        yield _cut(note, 2 * half + 3)
    for change in diff.net_fields:
        left, right = (f"net {change.path}: {shown(v)}" for v in (change.before, change.after))
        yield paint("~", _columns(Line(left, "~", right), half))
    why = wording.reasons(diff)
    for row in runs(diff.rows, context):
        if isinstance(row, int):
            text = f" {counted(row, 'layer')} the same "
            yield paint("=", f"{text:-^{2 * half + 3}}")
            continue
        for line in lines(row, why):
            yield paint(row.symbol, _columns(line, half))
    yield from totals(diff, width, paint)


def lines(row: Row, why: Mapping[tuple[str, str], str]) -> Iterator[Line]:
    """One row as lines."""
    if isinstance(row, Removed):
        yield Line(_title(row.layer), "-", why.get((row.symbol, row.layer.name), ""), head=True)
    elif isinstance(row, Added):
        yield Line(why.get((row.symbol, row.layer.name), ""), "+", _title(row.layer), head=True)
    elif isinstance(row, Same):
        yield Line(_title(row.before), "=", _title(row.after), head=True)
    else:
        yield Line(_title(row.before), row.symbol, _title(row.after), head=True)
        for name, one, two in wording.row_changes(row):
            yield Line(f"  {name}: {one}", "", f"  {name}: {two}")
        for what, old, new in (
            ("bottom", row.before.bottoms, row.after.bottoms),
            ("top", row.before.tops, row.after.tops),
        ):
            if old != new:
                yield Line(f"  {what}: {', '.join(old)}", "", f"  {what}: {', '.join(new)}")
        for one, two in row.wiring.sources:
            if row.before.bottoms == row.after.bottoms:
                yield Line(f"  reads {one or 'nothing'}", "", f"  reads {two or 'nothing'}")
        if row.moved:
            places = (row.before.position + 1, row.after.position + 1)
            yield Line(f"  place {places[0]}", "", f"  place {places[1]}")
        for blob in row.blobs:
            if not blob.equal:
                sizes = f"  blob {blob.index}: {naming.shape(blob.before)}"
                after = f"  {naming.shape(blob.after)}"
                if blob.max_abs is not None:
                    after += f", max abs {blob.max_abs:.3g}, max rel {blob.max_rel:.3g}"
                yield Line(sizes, "", after)


def _title(layer: LayerInfo) -> str:
    phase = f" ({layer.phase})" if layer.phase else ""
    return f"{layer.name}  {layer.type}{phase}"


def _columns(line: Line, half: int) -> str:
    return f"{_cut(line.left, half):<{half}} {line.symbol:1} {_cut(line.right, half)}".rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
