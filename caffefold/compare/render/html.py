"""The difference as HTML: no scripts, nothing loaded, every text escaped."""

from __future__ import annotations

from caffefold.compare.entries import SYMBOLS
from caffefold.compare.render.columns import CONTEXT
from caffefold.compare.summary import NUMBER_COLUMNS, Summary, runs
from caffefold.html import render
from caffefold.humanize import counted

_SIGNS = {"-": "\u2212", "+": "+", "~": "~", ">": "\u2192", "=": "="}


def page(found: Summary, context: int = CONTEXT) -> str:
    """The whole page. ``context`` unchanged layers stand open around a change."""
    return _rendered("diff_page.html", found, context)


def body(found: Summary, context: int = CONTEXT) -> str:
    """What a notebook shows: the page without its head, in a box of its own."""
    return _rendered("diff_box.html", found, context)


def _rendered(template: str, found: Summary, context: int) -> str:
    """Bytes of names that are no UTF-8 come out as escapes."""
    text = render(
        template,
        found=found,
        title=f"{found.a.net or found.a.path} \u2192 {found.b.net or found.b.path}",
        runs=tuple(runs(found.rows, context)),
        kinds=SYMBOLS,
        signs=_SIGNS,
        number_columns=NUMBER_COLUMNS,
        counted=counted,
    )
    return text.encode("utf-8", "backslashreplace").decode()
