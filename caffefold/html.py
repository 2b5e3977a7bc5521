"""HTML out of Jinja2 templates, which escape what they are given. Jinja2 is imported only here.

Text is shown as ``humanize.visible`` has it, whichever template puts it in.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffefold.humanize import visible

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).with_name("templates")


@cache
def environment() -> Environment:
    """The templates in ``caffefold/templates``; each is compiled once in a process."""
    import jinja2

    return jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
    )


def render(template: str, **values: Any) -> str:
    """The template of that name in ``caffefold/templates`` with these values."""
    return environment().get_template(template).render(values)


def _visible(value: Any) -> Any:
    """What a template puts in; markup stays markup, and line breaks of our own texts stay."""
    if hasattr(value, "__html__"):
        return value
    return visible(value) if isinstance(value, str) else value
