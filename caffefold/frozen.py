"""Frozen dataclasses that cost next to nothing until there is one.

``dataclasses.dataclass`` writes seven functions for a class and compiles them: 0.3 to 0.5 ms, each
time the program starts, and a command loads some sixty classes. Here ``__init__`` is written when a
class gets its first object, and the others are shared. All else is the library's: ``field``,
``fields``, ``replace``, ``asdict``, keyword-only fields, slots.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - type checkers know that one
else:
    _T = TypeVar("_T")

    def dataclass(
        *,
        frozen: bool,
        slots: bool = False,
        eq: bool = True,
        repr: bool = True,  # noqa: A002 - as the library calls it
        kw_only: bool = False,
    ) -> Callable[[type[_T]], type[_T]]:
        """Decorator: as that of the library; ``frozen`` is said for who reads it."""
        if not frozen:
            raise TypeError("only frozen classes; dataclasses.dataclass makes others")
        shared = _ALWAYS
        if eq:
            shared = {**shared, "__eq__": _eq, "__hash__": _hash}
        if repr:
            shared = {**shared, "__repr__": _repr}
        if slots:
            shared = {**shared, "__getstate__": _state, "__setstate__": _restore}

        def made(kind: type[_T]) -> type[_T]:
            for name, function in shared.items():
                if kind.__dict__.get(name) is None:  # an __eq__ of its own makes __hash__ None
                    setattr(kind, name, function)
            return dataclasses.dataclass(
                init=False, repr=False, eq=False, slots=slots, kw_only=kw_only
            )(kind)

        return made


def _first(self: Any, *given: Any, **named: Any) -> None:
    """``__init__`` of a class without objects yet: writes its own, and calls that."""
    kind: Any = next(each for each in type(self).__mro__ if each.__dict__.get("__init__") is _first)
    kind.__init__ = _init_of(kind)
    kind.__init__(self, *given, **named)


def _init_of(kind: Any) -> Callable[..., None]:
    """The ``__init__`` that the library would write; slots are set without a look-up."""
    scope: dict[str, Any] = {"_set": object.__setattr__, "_absent": dataclasses.MISSING}
    parameters: dict[bool, list[str]] = {False: ["self"], True: ["*"]}
    lines = []
    for each in dataclasses.fields(kind):
        name, value = each.name, each.name
        made = each.default_factory is not dataclasses.MISSING
        if made:
            scope[f"_make_{name}"] = each.default_factory
            value = f"_make_{name}()"
        if each.init:
            default = ""
            if made:
                value = f"{value} if {name} is _absent else {name}"
                default = "=_absent"
            elif each.default is not dataclasses.MISSING:
                scope[f"_default_{name}"] = each.default
                default = f"=_default_{name}"
            parameters[bool(each.kw_only)].append(f"{name}{default}")
        elif not made:
            continue
        slot = getattr(getattr(kind, name, None), "__set__", None)
        if slot is None:
            lines.append(f"_set(self, {name!r}, {value})")
        else:
            scope[f"_set_{name}"] = slot
            lines.append(f"_set_{name}(self, {value})")
    if hasattr(kind, "__post_init__"):
        lines.append("self.__post_init__()")
    ordered = parameters[False] + (parameters[True] if len(parameters[True]) > 1 else [])
    body = "\n ".join(lines or ["pass"])
    exec(f"def __init__({', '.join(ordered)}):\n {body}", scope)  # noqa: S102 - of names alone
    made_init: Callable[..., None] = scope["__init__"]
    made_init.__qualname__ = f"{kind.__qualname__}.__init__"
    made_init.__annotations__ = {
        **{each.name: each.type for each in dataclasses.fields(kind) if each.init},
        "return": None,
    }
    return made_init


class _Signature:
    """``__signature__``, which ``help()`` and ``inspect`` ask for: known once ``__init__`` is."""

    def __get__(self, instance: object, kind: Any) -> Any:
        import inspect  # loaded by dataclasses already

        init = _init_of(kind) if kind.__init__ is _first else kind.__init__
        whole = inspect.signature(init)
        return whole.replace(parameters=list(whole.parameters.values())[1:])


@cache
def _compared(kind: Any) -> Callable[[Any], Any]:
    """What gives the values by which two objects of a class are equal."""
    names = [each.name for each in dataclasses.fields(kind) if each.compare]
    return attrgetter(*names) if names else lambda _: ()


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    values = _compared(self.__class__)
    return values(self) == values(other)


def _hash(self: Any) -> int:
    return hash(_compared(self.__class__)(self))


def _repr(self: Any) -> str:
    shown = (f for f in dataclasses.fields(self) if f.repr)
    inner = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in shown)
    return f"{type(self).__qualname__}({inner})"


def _refuse(self: object, name: str, *value: object) -> None:
    what = "assign to" if value else "delete"
    raise dataclasses.FrozenInstanceError(f"cannot {what} field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, f.name) for f in dataclasses.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


_ALWAYS = {
    "__init__": _first,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__signature__": _Signature(),
}
