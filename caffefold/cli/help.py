"""Help pages: options in sections, and no word broken at its hyphen."""

from __future__ import annotations

from collections.abc import Iterable

import click

GENERAL = "General"
_HYPHEN = "\N{NON-BREAKING HYPHEN}"  # in place of each hyphen until the lines are made


class _Formatter(click.HelpFormatter):
    """Breaks lines between words; click's own also breaks ``fine-tune`` and ``--no-check``."""

    def write(self, string: str) -> None:
        super().write(string.replace(_HYPHEN, "-"))

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _HYPHEN))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        whole = [(term, text.replace("-", _HYPHEN)) for term, text in rows]
        super().write_dl(whole, col_max, col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


class Command(click.Command):
    """A command whose help has a section for each heading of its options."""

    context_class = _Context

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Those that only this command has first, those that all commands have last."""
        first = getattr(self.callback, "heading", "")
        sections: dict[str, list[tuple[str, str]]] = {"": [], first: []}
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx) if isinstance(each, click.Option) else None
            if record is not None:
                default = GENERAL if "--help" in each.opts else ""
                sections.setdefault(getattr(each, "heading", default), []).append(record)
        general = sections.pop(GENERAL, [])
        for heading, records in (*sections.items(), (GENERAL, general)):
            if records:
                with formatter.section(heading or "Options"):
                    formatter.write_dl(records)
