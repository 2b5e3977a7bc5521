"""The difference as plain text: an overview, a list in order, two columns, or counts."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

from caffefold.compare.entries import LayerInfo, NetInfo
from caffefold.compare.groups import grouped
from caffefold.compare.summary import NUMBER_COLUMNS, Item, RowView, Section, Summary, runs
from caffefold.humanize import counted, ends

Paint = Callable[[str, str], str]
"""(symbol, text) -> text, coloured as the symbol asks."""
WIDTH = 100
"""Of lines, where there is no terminal."""
CONTEXT = 1
"""Unchanged layers around a change in two columns, when nothing else is asked for."""
_LABEL = 10
_SHOWN = 12
_LINES = 6
_WHOLE: dict[str, Any] = {"break_on_hyphens": False, "break_long_words": False}


def plain(symbol: str, text: str) -> str:
    """No colour."""
    del symbol
    return text


def overview(found: Summary, width: int = WIDTH, paint: Paint = plain) -> Iterator[str]:
    """One screen, groups by name. A few lines are left out where there are many."""
    yield from _header(found, width)
    for section in found.sections:
        yield from _section(section, width, paint)
    yield from _weights(found, width, paint)
    count, types = found.same
    if types and found.different:
        yield from _wrapped("same", "=", f"{count}: {types}", width, paint)
    yield from totals(found, width, paint)


def _header(found: Summary, width: int) -> Iterator[str]:
    """Both nets, and how they were read."""
    for side, info in (("A", found.a), ("B", found.b)):
        yield f"{side:<{_LABEL}}{describe(info)}"
    for note in found.notes:
        yield from _wrapped("note", "", note, width, plain)


def describe(info: NetInfo) -> str:
    """``deploy.prototxt: MobileNet-SSD, 120 layers``."""
    name = f" {info.net}," if info.net else ""
    weights = f", weights {info.weights}" if info.weights not in ("", info.path) else ""
    return f"{info.path}:{name} {counted(info.layers, 'layer')}{weights}"


def totals(found: Summary, width: int = WIDTH, paint: Paint = plain) -> Iterator[str]:
    """The last line: how many layers of each symbol."""
    parts = [(symbol, f"{symbol} {n} {what}") for symbol, what, n in found.totals]
    if not found.different:
        parts = [("=", f"= {found.same[0]}: no difference")]
    line, used = f"{'total' if found.different else 'same':<{_LABEL}}", _LABEL
    for number, (symbol, text) in enumerate(parts):
        if number and used + 3 + len(text) > width:
            yield line
            line, used = " " * _LABEL, _LABEL
        elif number:
            line, used = line + "   ", used + 3
        line, used = line + paint(symbol, text), used + len(text)
    yield line


def _section(section: Section, width: int, paint: Paint) -> Iterator[str]:
    wide = max((len(i.subject) for i in section.items if i.text), default=0)
    wide = min(wide, max(20, (width - _LABEL) // 2))
    for number, item in enumerate(section.items[:_SHOWN]):
        yield from _item("" if number else section.title, item, wide, width, paint)
    left = len(section.items) - _SHOWN
    if left > 0:
        yield from _wrapped("", "", f"... and {left} more; --context 0 lists all", width, paint)


def _item(title: str, item: Item, wide: int, width: int, paint: Paint) -> Iterator[str]:
    text = f"{item.subject:<{wide}}  {item.text}" if item.text else item.subject
    hang = wide + 2 if item.text and len(item.subject) <= wide else 2
    yield from _wrapped(title, item.symbol, text, width, paint, hang)
    for line in item.more:
        for part in _wrapped("", "", line, width, paint, hang, hang):
            yield paint("-", part) if item.alarm else part
    if item.names:
        label = f"{item.letter} = " if item.letter else ""
        listed = label + ", ".join(item.names)
        lines = list(_wrapped("", "", listed, width, paint, len(label) + 2, 2))
        yield from lines[:_LINES]
        if len(lines) > _LINES:
            yield f"{'':<{_LABEL + 4}}... {counted(len(item.names), 'layer')} in all"


def _wrapped(
    title: str,
    symbol: str,
    text: str,
    width: int,
    paint: Paint,
    hang: int = 2,
    indent: int = 0,
) -> Iterator[str]:
    room = max(width - _LABEL - 2, 24)
    lines = textwrap.wrap(
        text,
        room,
        initial_indent=" " * indent,
        subsequent_indent=" " * min(max(hang, indent), room // 2),
        **_WHOLE,
    ) or [""]
    label, mark = f"{title:<{_LABEL}}", symbol or " "
    for line in lines:
        shown = f"{mark} {line}"
        yield (label + (paint(symbol, shown) if symbol else shown)).rstrip()
        label, mark = " " * _LABEL, " "


def _hanging(line: str, width: int, indent: int) -> list[str]:
    """``line`` in lines of ``width``, all but the first indented; its own spaces stay."""
    head, rest = line[:indent], line[indent:]
    lines = textwrap.wrap(rest, max(width - indent, 16), **_WHOLE) or [""]
    return [f"{head}{lines[0]}".rstrip(), *(" " * indent + more for more in lines[1:])]


def _weights(found: Summary, width: int, paint: Paint) -> Iterator[str]:
    if not found.weights_text:
        return
    rows = found.numbers
    yield from _wrapped("weights", "~" if rows else "=", found.weights_text, width, paint)
    least_alike = sorted(range(len(rows)), key=lambda n: _alike(rows[n]))[:_SHOWN]
    table = [NUMBER_COLUMNS, *(rows[n] for n in sorted(least_alike))]
    sizes = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table if rows else ():
        cells = [row[0].ljust(sizes[0]), *map(str.rjust, row[1:], sizes[1:])]
        yield f"{'':<{_LABEL + 2}}{'  '.join(cells)}".rstrip()
    if len(rows) > _SHOWN:
        more = f"the {_SHOWN} least alike of {len(rows)}; --context 0 lists all"
        yield from _wrapped("", "", more, width, paint)
    if found.factors:
        yield from _wrapped("", "", found.factors, width, paint)


def _alike(row: tuple[str, ...]) -> tuple[float, float]:
    """How alike the numbers of a line of the table are: by cosine, then by relative difference."""
    return (float(row[5]) if row[5] != "-" else -1.0, -float(row[4]))


def listing(
    found: Summary, context: int = 0, width: int = WIDTH, paint: Paint = plain
) -> Iterator[str]:
    """Every layer that differs, in order, with ``context`` unchanged ones around it."""
    yield from _header(found, width)
    for fact in found.net:
        yield paint("~", f"~ {fact.line}")
    differ = [row for row in found.rows if row.symbol != "="]
    name = min(max((len(row.name) for row in differ), default=0), width // 3)
    kind = min(max((len(row.type) for row in differ), default=0), width // 3)
    for shown, run in runs(found.rows, context):
        if not shown:
            yield paint("=", f"= {counted(len(run), 'layer')}")
        for row in run if shown else ():
            first = f"{row.symbol} {row.name:<{name}}  {row.type:<{kind}}  "
            for said in [each.line for each in row.facts] or [row.why]:
                for line in _hanging(first + said, width, len(first)):
                    yield paint(row.symbol, line)
                first = " " * len(first)
    for doubt in found.doubts:
        yield from (paint("~", line) for line in _hanging(f"~ {doubt}", width, 2))
    yield from totals(found, width, paint)


def side_by_side(
    found: Summary, width: int = WIDTH, context: int = CONTEXT, paint: Paint = plain
) -> Iterator[str]:
    """Both nets in two columns that fit ``width``."""
    half = max((width - 3) // 2, 16)
    a, b = (f"{side}  {describe(net)}" for side, net in (("A", found.a), ("B", found.b)))
    if max(len(a), len(b)) > half:
        yield from (ends(line, width) for line in (a, b))
    else:
        yield from _columns(a, " ", b, half)
    for note in found.notes:
        yield from _hanging(note, width, 2)
    for fact in found.net:
        yield from (paint("~", line) for line in _columns(fact.before, "~", fact.after, half))
    for shown, run in runs(found.rows, context):
        if not shown:
            text = f" {counted(len(run), 'layer')} the same "
            yield paint("=", f"{text:-^{2 * half + 3}}")
        for row in run if shown else ():
            for left, symbol, right in _lines(row):
                for line in _columns(left, symbol, right, half):
                    yield paint(row.symbol, line)
    yield from totals(found, width, paint)


def _lines(row: RowView) -> Iterator[tuple[str, str, str]]:
    """Left, symbol and right of each line of a row."""
    left = row.why if row.before is None else _title(row.before)
    right = row.why if row.after is None else _title(row.after)
    yield left, row.symbol, right
    for fact in row.facts:
        if not fact.implied:
            yield f"  {fact.before}", "", f"  {fact.after}"


def _title(layer: LayerInfo) -> str:
    phase = f" ({layer.phase})" if layer.phase else ""
    return f"{layer.name}  {layer.type}{phase}"


def _columns(left: str, symbol: str, right: str, half: int) -> Iterator[str]:
    """Both texts beside each other, each in as many lines as it needs."""
    sides = ([ends(line, half) for line in _hanging(text, half, 4)] for text in (left, right))
    for a, mark, b in zip_longest(next(sides), (symbol,), next(sides), fillvalue=""):
        yield f"{a:<{half}} {mark:1} {b}".rstrip()


def counts(found: Summary, width: int = WIDTH, paint: Paint = plain) -> Iterator[str]:
    """How many layers of each type were removed, added, changed, moved, or are the same."""
    by_type = grouped((row.type, row.symbol) for row in found.rows)
    wide = max((len(kind) for kind in by_type), default=4)
    for kind in sorted(by_type):
        numbers = Counter(by_type[kind])
        if set(numbers) - {"="}:
            line, gap = f"{kind:<{wide}}", "  "
            for symbol in "-+~>=":
                text = f"{symbol}{numbers[symbol]}" if numbers[symbol] else ""
                line += gap + (paint(symbol, text) if text else "")
                gap = " " * (7 - len(text))
            yield line.rstrip()
    yield from totals(found, width, paint)
