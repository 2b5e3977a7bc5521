"""The difference as HTML (no scripts, nothing loaded) and as markdown, to be pasted into a review.

Every name is escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from html import escape

from caffefold.compare.entries import SYMBOLS
from caffefold.compare.render.text import CONTEXT, listing
from caffefold.compare.summary import NUMBER_COLUMNS, Summary, runs
from caffefold.html import render
from caffefold.humanize import counted

_SIGNS = {"-": "\u2212", "+": "+", "~": "~", ">": "\u2192", "=": "="}


def page(found: Summary, context: int = CONTEXT) -> str:
    """The whole HTML page. ``context`` unchanged layers stand open around a change."""
    return _html("diff_page.html", found, context)


def body(found: Summary, context: int = CONTEXT) -> str:
    """What a notebook shows: the page without its head, in a box of its own."""
    return _html("diff_box.html", found, context)


def _html(template: str, found: Summary, context: int) -> str:
    return render(
        template,
        found=found,
        title=f"{found.a.net or found.a.path} \u2192 {found.b.net or found.b.path}",
        runs=tuple(runs(found.rows, context)),
        kinds=SYMBOLS,
        signs=_SIGNS,
        number_columns=NUMBER_COLUMNS,
        numbers=sorted(found.numbers, key=_change, reverse=True),
        counted=counted,
    )


def _change(row: tuple[str, ...]) -> float:
    """How large a change of numbers is, beside the numbers; what is not a number comes first."""
    change = float(row[NUMBER_COLUMNS.index("max rel")])
    return float("inf") if math.isnan(change) else change


def markdown(found: Summary) -> str:
    """A heading, what happened as bullets, tables of numbers, the full list folded up."""
    lines = list(listing(found, 0, 120))[2:]
    return render(
        "diff.md",
        found=found,
        number_columns=NUMBER_COLUMNS,
        listing=lines,
        fence="`" * max(3, _ticks("\n".join(lines)) + 1),
        text=_text,
        code=_code,
        codes=_codes,
        escape=escape,
        counted=counted,
    )


def _text(text: str) -> str:
    """Text in which nothing is interpreted as markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<|~])", r"\\\1", text.replace("\n", " "))


def _code(text: str) -> str:
    """Text as code, whatever it holds."""
    shown = text.replace("\n", " ").replace("|", "\\|")
    fence = "`" * (_ticks(shown) + 1)
    space = " " if "`" in shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(map(_code, texts))


def _ticks(text: str) -> int:
    """The length of the longest run of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)
