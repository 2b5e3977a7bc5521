"""Options that several commands have: how their values are read."""

from __future__ import annotations

import click


def assignments(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """``NAME=VALUE`` options as a mapping."""
    del context, parameter
    found: dict[str, str] = {}
    for value in values:
        name, sign, content = value.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"'{value}' is not of the form NAME=VALUE")
        if found.get(name, content) != content:
            raise click.BadParameter(f"'{name}' is set twice, to {found[name]} and {content}")
        found[name] = content
    return found


def shapes(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[int, ...]]:
    """``BLOB=1,3,300,300`` options as a mapping."""
    found = {}
    for name, content in assignments(context, parameter, values).items():
        dims = content.replace("x", ",").split(",")
        if not all(dim.strip().isdecimal() and int(dim) > 0 for dim in dims):
            raise click.BadParameter(f"'{content}' is no shape; write {name}=1,3,300,300")
        found[name] = tuple(int(dim) for dim in dims)
    return found
