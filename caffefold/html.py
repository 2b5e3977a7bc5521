"""HTML out of Jinja2 templates, which escape what they are given. Jinja2 is imported only here."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    )


def render(template: str, **values: Any) -> str:
    """The template of that name in ``caffefold/templates`` with these values."""
    return environment().get_template(template).render(values)
