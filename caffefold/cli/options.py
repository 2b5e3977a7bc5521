"""Options that several commands have, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


Decorator = Callable[[Any], Any]

_GAPS: tuple[Decorator, ...] = (
    click.option(
        "--classes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Number of classes for cls1x, cls3x ... placeholders; must agree with the weights.",
    ),
    click.option(
        "--set",
        "values",
        multiple=True,
        metavar="NAME=VALUE",
        callback=assignments,
        help="Value of a ${NAME}, @NAME@ or {{NAME}} placeholder. Repeatable.",
    ),
    click.option(
        "--input-shape",
        "input_shapes",
        multiple=True,
        metavar="BLOB=N,C,H,W",
        callback=shapes,
        help="Shape of an input, instead of what the net says. Repeatable.",
    ),
)
_VIEW: tuple[Decorator, ...] = (
    click.option(
        "--phase",
        type=click.Choice(["TEST", "TRAIN"], case_sensitive=False),
        default="TEST",
        show_default=True,
        help="Phase that include and exclude rules are matched against.",
    ),
    click.option("--level", type=int, default=0, show_default=True, help="... their level."),
    click.option("--stage", "stages", multiple=True, help="... a stage that is on. Repeatable."),
)


def what_the_net_leaves_open(command: Any) -> Any:
    """Decorator: options for placeholders and input shapes."""
    return _with(_GAPS, command)


def view_of_the_net(command: Any) -> Any:
    """Decorator: options for the phase, level and stages that rules are matched against."""
    return _with(_VIEW, command)


def _with(options: tuple[Decorator, ...], command: Any) -> Any:
    for option in reversed(options):
        command = option(command)
    return command
