"""The difference as markdown, to be pasted into a review."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from caffefold.compare import story, wording
from caffefold.compare.entries import Given, NetDiff
from caffefold.compare.render_text import listed
from caffefold.compare.story import Item
from caffefold.humanize import counted

_NAMES = {"-": "removed", "+": "added", "~": "changed", ">": "moved", "=": "same"}
_FEW = 8


def markdown(diff: NetDiff) -> str:
    """A heading, the story as bullets, tables where there are numbers, the full list folded up."""
    return "\n".join(_lines(diff)) + "\n"


def _lines(diff: NetDiff) -> Iterator[str]:
    yield f"### {_code(diff.a.path)} → {_code(diff.b.path)}"
    yield ""
    counts = diff.totals
    parts = [f"**{counts[s]}** {_NAMES[s]}" for s in _NAMES if counts[s]]
    yield ", ".join(parts) + ("" if diff else ": **no difference**")
    yield ""
    yield "| | net | layers | inputs | outputs |"
    yield "|---|---|---|---|---|"
    for side, given in (("A", diff.a), ("B", diff.b)):
        yield _row(side, given)
    for note in diff.notes:
        yield f"\n> {_text(note)}"
    for section in story.tell(diff):
        yield ""
        yield f"**{section.title.capitalize()}**"
        yield ""
        for item in section.items:
            yield from _bullet(item)
    rows = wording.weight_rows(diff)
    text = wording.weights_text(diff)
    if text:
        yield ""
        yield f"**Weights**: {text}"
    if rows:
        yield ""
        yield "| layer | blob | shape | max abs | max rel | cosine |"
        yield "|---|---:|---|---:|---:|---:|"
        for name, *cells in rows:
            yield f"| {_code(name)} | {' | '.join(cells)} |"
    factors = wording.factors_text(diff)
    if factors:
        yield f"\n{_text(factors)}"
    same = wording.same_text(diff)
    if same and diff:
        yield ""
        yield f"**Same**: {counted(len(diff.same), 'layer')} ({same})"
    if diff:
        yield ""
        yield "<details><summary>All layers that differ</summary>"
        yield ""
        yield from _fenced(list(listed(diff, 0, 120))[2:])
        yield ""
        yield "</details>"


def _row(side: str, given: Given) -> str:
    ends = (", ".join(map(_code, names)) for names in (given.inputs, given.outputs))
    return f"| {side} | {_text(given.net) or '-'} | {given.layers} | {' | '.join(ends)} |"


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
