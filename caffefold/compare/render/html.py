"""The difference as HTML: no scripts, nothing loaded, every text escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from caffefold.compare.entries import SYMBOLS
from caffefold.compare.render.columns import CONTEXT
from caffefold.compare.summary import NUMBER_COLUMNS, Summary, runs
from caffefold.humanize import counted

_SIGNS = {"-": "\u2212", "+": "+", "~": "~", ">": "\u2192", "=": "="}


def page(found: Summary, context: int = CONTEXT) -> str:
    """The whole page. ``context`` unchanged layers stand open around a change."""
    return _rendered("page.html.j2", found, context)


def body(found: Summary, context: int = CONTEXT) -> str:
    """What a notebook shows: the page without its head, in a box of its own."""
    return _rendered("notebook.html.j2", found, context)


def _rendered(template: str, found: Summary, context: int) -> str:
    loader = PackageLoader("caffefold.compare")
    environment = Environment(
        loader=loader, autoescape=True, finalize=_printable, undefined=StrictUndefined
    )
    environment.filters["counted"] = counted
    return environment.get_template(template).render(
        found=found,
        title=f"{found.a.net or found.a.path} \u2192 {found.b.net or found.b.path}",
        runs=tuple(runs(found.rows, context)),
        kinds=SYMBOLS,
        signs=_SIGNS,
        number_columns=NUMBER_COLUMNS,
    )


def _printable(value: Any) -> Any:
    """Bytes of names that are no UTF-8 as escapes."""
    plain = type(value) is str  # Markup is a str, too
    return value.encode("utf-8", "backslashreplace").decode() if plain else value
