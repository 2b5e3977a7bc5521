"""The difference as markdown, to be pasted into a review."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from caffefold.compare.entries import NetInfo
from caffefold.compare.render.text import listing
from caffefold.compare.summary import NUMBER_COLUMNS, Item, Summary
from caffefold.humanize import counted

_FEW = 8


def markdown(found: Summary) -> str:
    """A heading, what happened as bullets, tables of numbers, the full list folded up."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Summary) -> Iterator[str]:
    yield f"### {_code(found.a.path)} → {_code(found.b.path)}"
    yield ""
    counts = ", ".join(f"**{number}** {what}" for _, what, number in found.totals)
    yield counts + ("" if found.different else ": **no difference**")
    yield ""
    yield "| | net | layers | inputs | outputs |"
    yield "|---|---|---|---|---|"
    for side, info in (("A", found.a), ("B", found.b)):
        yield _row(side, info)
    for note in found.notes:
        yield f"\n> {_text(note)}"
    for section in found.sections:
        yield f"\n**{section.title.capitalize()}**\n"
        for item in section.items:
            yield from _bullet(item)
    if found.weights_text:
        yield f"\n**Weights**: {found.weights_text}"
    if found.numbers:
        yield f"\n| {' | '.join(NUMBER_COLUMNS)} |"
        yield "|---|---:|---|---:|---:|---:|"
        for name, *cells in found.numbers:
            yield f"| {_code(name)} | {' | '.join(cells)} |"
    if found.factors:
        yield f"\n{_text(found.factors)}"
    if not found.different:
        return
    count, types = found.same
    if types:
        yield f"\n**Same**: {count} ({types})"
    yield "\n<details><summary>All layers that differ</summary>\n"
    yield from _fenced(list(listing(found, 0, 120))[2:])
    yield "\n</details>"


def _row(side: str, info: NetInfo) -> str:
    ends = (", ".join(map(_code, names)) for names in (info.inputs, info.outputs))
    return f"| {side} | {_text(info.net) or '-'} | {info.layers} | {' | '.join(ends)} |"


def _bullet(item: Item) -> Iterator[str]:
    text = f": {_text(item.text)}" if item.text else ""
    subject = _code(item.subject) if item.text else _text(item.subject)
    yield f"- `{item.symbol}` {subject}{text}"
    if 0 < len(item.names) <= _FEW:
        yield f"  - {', '.join(map(_code, item.names))}"
    elif item.names:
        # Inside an HTML block markdown does not count, HTML does.
        shown = ", ".join(f"<code>{escape(name)}</code>" for name in item.names)
        summary = counted(len(item.names), "layer")
        yield f"  - <details><summary>{summary}</summary>{shown}</details>"
    for line in item.more:
        yield f"  - {_text(line)}"


def _fenced(lines: list[str]) -> Iterator[str]:
    longest = max((len(m) for line in lines for m in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}diff"
    yield from lines
    yield fence


def _text(text: str) -> str:
    """Text in which nothing is taken for markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<|~])", r"\\\1", text.replace("\n", " "))


def _code(text: str) -> str:
    """Text as code, whatever it holds."""
    shown = text.replace("\n", " ").replace("|", "\\|")
    ticks = max((len(m) for m in re.findall("`+", shown)), default=0)
    fence = "`" * (ticks + 1)
    space = " " if ticks else ""
    return f"{fence}{space}{shown}{space}{fence}"
