"""The manual page, from what the commands say of themselves.

``python -m caffefold.cli.man > docs/caffefold.1`` writes it; an installation puts it where ``man``
looks.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator

import click

from caffefold._version import VERSION
from caffefold.cli.main import COMMANDS, cli

_AS_IS = "\b"  # how click marks a paragraph whose lines stay

_EXIT = (
    ("0", "Success; of diff and verify: the same."),
    ("1", "A negative answer: nets differ, a proof failed, a model of a zoo was not converted."),
    ("2", "Wrong usage."),
    ("3", "Bad input, or output that cannot be written."),
    ("4", "A bug of caffefold."),
    ("130", "Interrupted."),
)


def page() -> str:
    """The page as roff."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f'.TH CAFFEFOLD 1 "" "caffefold {VERSION}" "User Commands"'
    yield from (".SH NAME", r"caffefold \- from a Caffe training net to the net you deploy")
    yield from (".SH SYNOPSIS", r"\fBcaffefold\fR [\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]")
    yield ".SH DESCRIPTION"
    yield from _paragraphs(cli)
    yield from _options(cli.params)
    context = click.Context(cli, info_name="caffefold")
    common = {each.name for each in cli.params}
    for name, said in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        arguments = [each for each in command.params if isinstance(each, click.Argument)]
        shown = " ".join(map(_argument, arguments))
        yield from (f".SH {name.upper()}", _escaped(said))
        yield from (".PP", rf"\fBcaffefold {name}\fR [\fIOPTIONS\fR] {shown}".rstrip())
        yield from _paragraphs(command)
        yield from _options([each for each in command.params if each.name not in common])
    yield ".SH EXIT STATUS"
    for code, meaning in _EXIT:
        yield from (".TP", rf"\fB{code}\fR", _escaped(meaning))


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return rf"\fI{_escaped(name)}\fR" if argument.required else rf"[\fI{_escaped(name)}\fR]"


def _paragraphs(command: click.Command) -> Iterator[str]:
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith(_AS_IS):
            lines = paragraph.removeprefix(_AS_IS).strip("\n").splitlines()
            yield from (".PP", ".nf", *map(_escaped, lines), ".fi")
        else:
            yield from (".PP", _escaped(" ".join(paragraph.split())))


def _options(params: list[click.Parameter]) -> Iterator[str]:
    for each in params:
        if isinstance(each, click.Option):
            names = ", ".join(rf"\fB{_escaped(name)}\fR" for name in each.opts)
            if each.secondary_opts:
                names += rf" / \fB{_escaped(each.secondary_opts[0])}\fR"
            value = each.metavar or ""
            if isinstance(each.type, click.Choice):
                value = "|".join(str(getattr(x, "value", x)).lower() for x in each.type.choices)
            yield ".TP"
            yield f"{names} \\fI{_escaped(value)}\\fR" if value else names
            yield _escaped(re.sub(r"\s+", " ", each.help or ""))


def _escaped(text: str) -> str:
    """The text with nothing in it that roff obeys."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.stdout.write(page())
