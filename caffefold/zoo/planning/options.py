"""Options of ``convert`` as plain data: checked by its signature, so that new ones need no work.

A zoo's options travel as JSON and TOML; ``convert`` takes tuples and values such as
``DetectionOptions``, written here as tables of their fields.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from caffefold.errors import UsageError

_OURS = frozenset({"force"})  # the zoo decides what is replaced


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` as JSON has them; what is None is left out."""
    found = {}
    for name, value in options.items():
        if value is not None:
            found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(inner) for name, inner in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [_plain(inner) for inner in value]
    return value


def check(options: Mapping[str, Any], where: str) -> None:
    """Refuse what ``convert`` would not take.

    Raises:
        UsageError: an unknown name, or a value of the wrong kind; ``where`` it stands is named.
    """
    restore(options, where)


def restore(options: Mapping[str, Any], where: str = "options") -> dict[str, Any]:
    """Keyword arguments for ``convert`` out of plain options.

    Raises:
        UsageError: as ``check``.
    """
    if not options:
        return {}
    known = _known()
    found = {}
    for name, value in options.items():
        if name not in known:
            raise UsageError(f"{where}: no option '{name}'; known are {', '.join(known)}")
        try:
            found[name] = _typed(value, known[name])
        except (TypeError, ValueError):
            kind = _spoken(known[name])
            raise UsageError(f"{where}: {name} is {value!r}, expected {kind}") from None
    return found


def _known() -> dict[str, Any]:
    """Options of ``convert`` by name, with their types."""
    from caffefold.conversion import convert

    function: Callable[..., Any] = convert
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: hints[p.name]
        for p in parameters
        if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name not in _OURS
    }


def _typed(value: Any, kind: Any) -> Any:
    """``value`` as ``kind``; ValueError or TypeError when it is none."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _first(value, inner)
    if kind is Any or origin is typing.Literal:
        if origin is typing.Literal and value not in inner:
            raise ValueError(value)
        return value
    if kind is type(None):
        raise TypeError(value)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        unknown = set(value) - {f.name for f in fields(kind)}
        if not isinstance(value, Mapping) or unknown:
            raise TypeError(value)
        return kind(**{name: _typed(item, hints[name]) for name, item in value.items()})
    base = origin or kind
    if isinstance(base, type) and issubclass(base, Mapping):
        if not isinstance(value, Mapping):
            raise TypeError(value)
        return {str(name): _typed(item, inner[1]) for name, item in value.items()}
    if base is tuple or (isinstance(base, type) and issubclass(base, Iterable) and base is not str):
        if not isinstance(value, (list, tuple)):
            raise TypeError(value)
        return tuple(_typed(item, inner[0]) for item in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:  # a bool is no int here
        raise TypeError(value)
    return value


def _first(value: Any, kinds: tuple[Any, ...]) -> Any:
    for kind in kinds:
        try:
            return _typed(value, kind)
        except (TypeError, ValueError):
            continue
    raise TypeError(value)


def _spoken(kind: Any) -> str:
    words = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
    if kind in words:
        return words[kind]
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_spoken(each) for each in inner if each is not type(None))
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, inner))
    if is_dataclass(kind):
        return "a table of " + ", ".join(f.name for f in fields(kind))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a table of names, each with {_spoken(inner[1])}"
    return f"a list, each item {_spoken(inner[0])}" if inner else str(kind)
