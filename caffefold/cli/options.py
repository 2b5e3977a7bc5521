"""The options of a conversion on the command line, derived from caffefold.options."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from typing import Any

import click
from click.core import ParameterSource

from caffefold.errors import Option
from caffefold.options import ConvertOptions, ExportOptions, SlimPairOptions, VerifyOptions

Callback = Callable[[click.Context, click.Parameter, tuple[str, ...]], dict[str, Any]]
_DEFAULTS = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def options_of(kind: type, *but: str) -> Callable[[Any], Any]:
    """Decorator: the command takes the options of ``kind``, ``but`` some; ``given`` reads them."""

    def decorate(command: Any) -> Any:
        for each in reversed([each for each in _flat(kind) if each.name not in but]):
            command = _click_option(each)(command)
            command.__click_params__[-1].heading = _heading(kind, each)
        command.heading = getattr(kind, "heading", "")  # these come first
        return command

    return decorate


def given(context: click.Context, kind: type) -> dict[str, Any]:
    """What the command line sets of the options of ``kind``, and nothing that is a default."""
    found: dict[str, Any] = {}
    for each in fields(kind):
        inner = _nested(each)
        if inner is not None:
            values = given(context, inner)
            if values:
                found[each.name] = values
        elif context.get_parameter_source(each.name) not in (*_DEFAULTS, None):
            found[each.name] = context.params[each.name]
    return found


def spelled(option: Option) -> str:
    """An option of a message as the command line has it: ``--input-shape data=1,3,H,W``."""
    kinds = (ConvertOptions, ExportOptions, VerifyOptions, SlimPairOptions)
    flags = {each.name: _flag(each) for kind in kinds for each in _flat(kind)}
    return f"{flags.get(option.name, '--' + option.name)} {option.value}".rstrip()


def _nested(each: Field[Any]) -> type | None:
    """The table of options that this option is, as ``detection``."""
    kinds = (each.type, *typing.get_args(each.type))
    return next((kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)), None)


def _flat(kind: type) -> Iterator[Field[Any]]:
    for each in fields(kind):
        inner = _nested(each)
        yield from (each,) if inner is None else fields(inner)


def _heading(kind: type, each: Field[Any]) -> str:
    """Over which options of a help page it stands: those of the class that defines it."""
    if each.metadata["heading"]:
        return str(each.metadata["heading"])
    tables = [inner for outer in fields(kind) if (inner := _nested(outer))]
    bases = [*reversed(kind.__mro__), *tables]
    owner = next(c for c in bases if each.name in getattr(c, "__dataclass_fields__", ()))
    return str(getattr(owner, "heading", ""))


def _flag(each: Field[Any]) -> str:
    return each.metadata["flag"] or "--" + each.name.replace("_", "-")


def _click_option(each: Field[Any]) -> Callable[[Any], Any]:
    """The click option whose values the field ``each`` takes."""
    about, flag = each.metadata, _flag(each)
    origin, inner = typing.get_origin(each.type) or each.type, typing.get_args(each.type)
    how: dict[str, Any] = {"help": about["help"], "metavar": about["metavar"]}
    if each.type is bool:
        names = f"{flag}/--no-{flag[2:]}" if each.default else flag
        return click.option(names, each.name, is_flag=True, default=each.default, help=how["help"])
    if bool in inner:
        return click.option(f"{flag}/--no-{flag[2:]}", each.name, default=None, help=how["help"])
    if origin is Sequence and inner == (float,):
        return click.option(flag, each.name, type=_Numbers(), default=each.default, **how)
    if origin in (Sequence, Mapping):
        how |= {"multiple": True, "help": f"{about['help']} Repeatable."}
        if origin is Mapping:
            how["callback"] = _assignments(about["key"], inner[1])
        return click.option(flag, *filter(None, [about["alias"]]), each.name, **how)
    if origin is typing.Literal:
        how["type"] = click.Choice([value for value in inner if value], case_sensitive=False)
    elif float in (each.type, *inner):
        how["type"] = Number(about["least"], about["most"])
    elif words := _words(inner):
        how["type"] = _NumberOrWord(words, about["least"])
    elif int in (each.type, *inner):
        bounded = about["least"] is not None or about["most"] is not None
        how["type"] = click.IntRange(about["least"], about["most"]) if bounded else int
    if each.default not in (None, ""):
        how |= {"default": each.default, "show_default": True}
    return click.option(flag, each.name, **how)


def _words(kinds: Sequence[Any]) -> list[str]:
    """The words that a type allows beside numbers."""
    return [word for kind in kinds for word in typing.get_args(kind) if isinstance(word, str)]


class Number(click.FloatRange):
    """A number; one with a decimal comma is told how to write it."""

    def _describe_range(self) -> str:
        """For the help; click says ``x<=None`` of one without bounds."""
        return "" if self.min is None is self.max else super()._describe_range()

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number that ``value`` is."""
        if re.fullmatch(r"-?\d*,\d+", str(value)):
            point = str(value).replace(",", ".")
            self.fail(f"'{value}' is not a valid number; write {point}, with a point", param, ctx)
        return float(super().convert(value, param, ctx))


class _NumberOrWord(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number of at least ``least``, or one of a few words."""

    name = "number or word"

    def __init__(self, words: Sequence[str], least: int) -> None:
        self.words = words
        self.least = least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """The number or the word that ``value`` is."""
        if value in self.words:
            return str(value)
        if str(value).isdecimal() and int(value) >= self.least:
            return int(value)
        known = " or ".join(self.words)
        return self.fail(f"'{value}' is not a number of at least {self.least}, nor {known}", param)


class _Numbers(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Numbers with commas between them."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """The numbers that ``value`` lists."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(each) for each in str(value).split(","))
        except ValueError:
            return self.fail(f"'{value}' is not a list of numbers; write 104,117,123", param)


def _assignments(key: str, kind: Any) -> Callback:
    """A callback that reads repeated ``NAME=VALUE``; a value without a name belongs to ``key``."""

    def read(
        context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
    ) -> dict[str, Any]:
        del context, parameter
        found: dict[str, str] = {}
        for value in values:
            name, sign, content = value.partition("=")
            if key and not sign:
                name, sign, content = key, "=", value
            if not sign or not name:
                raise click.BadParameter(f"'{value}' is not of the form NAME=VALUE")
            if found.get(name, content) != content:
                raise click.BadParameter(f"'{name}' is set twice, to {found[name]} and {content}")
            found[name] = content
        if kind is str:
            return found
        if kind is float:
            return {name: _share(name, content) for name, content in found.items()}
        return {name: _shape(name, content) for name, content in found.items()}

    return read


def _shape(name: str, content: str) -> tuple[int, ...]:
    """``1,3,300,300`` or ``1x3x300x300``."""
    dims = content.replace("x", ",").split(",")
    if not all(dim.strip().isdecimal() and int(dim) > 0 for dim in dims):
        raise click.BadParameter(f"'{content}' is not a shape; write {name}=1,3,300,300")
    return tuple(int(dim) for dim in dims)


def _share(name: str, content: str) -> float:
    """``0.3``."""
    try:
        return float(content)
    except ValueError:
        raise click.BadParameter(f"'{content}' is not a number; write {name}=0.3") from None
