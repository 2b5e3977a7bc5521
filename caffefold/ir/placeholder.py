"""Placeholders of template prototxts: what they look like and which option sets them.

``cls6x`` means 6 x the number of classes (``cls3x``, ``cls1x`` likewise): the form MobileNet-SSD
templates use. ``${name}``, ``$name``, ``@NAME@`` and ``{{name}}`` are what shell, CMake and Jinja
leave.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from caffefold.errors import Option, Text

_CLASSES = re.compile(r"cls([0-9]{1,9})x\Z")
_NAMED = re.compile(r"\$\{\s*(\w+)\s*\}|\$([A-Za-z_]\w*)|@(\w+)@|\{\{\s*(\w+)\s*\}\}")
_WORD = re.compile(r"[A-Za-z_]\w*\Z")
CLASS_NAMES = frozenset({"classes", "num_classes", "nclasses", "n_classes", "class_num"})


def class_multiple(raw: str) -> int | None:
    """The k of ``clsKx``; None for any other token."""
    match = _CLASSES.match(raw)
    return int(match[1]) if match else None


def name_of(raw: str) -> str | None:
    """The name when the whole token is one placeholder: ``n`` of ``${n}``, a bare word itself."""
    match = _NAMED.fullmatch(raw)
    if match:
        return next(name for name in match.groups() if name)
    return raw if _WORD.match(raw) else None


def present(raw: str) -> bool:
    """Whether a token or string holds a placeholder (a bare word alone does not count)."""
    return bool(_NAMED.search(raw) or _CLASSES.match(raw))


def fill(raw: str, values: Mapping[str, str], classes: int | None) -> str:
    """``raw`` with every placeholder replaced whose value is known."""
    multiple = class_multiple(raw)
    if multiple is not None:
        return values.get(raw, raw if classes is None else str(multiple * classes))

    def value(match: re.Match[str]) -> str:
        name = next(name for name in match.groups() if name)
        if name not in values and classes is not None and name.lower() in CLASS_NAMES:
            return str(classes)
        return values.get(name, match[0])

    return values.get(raw, raw) if _WORD.match(raw) else _NAMED.sub(value, raw)


def advice(raw: str) -> Text:
    """What this placeholder is and which option sets it; empty when the token looks like none."""
    multiple = class_multiple(raw)
    if multiple is not None:
        what = f"a placeholder for {multiple} x the number of classes; give "
        return Text(what, Option("classes", "N"))
    match = _NAMED.search(raw)
    name = name_of(raw) or (name_of(match[0]) if match else None)
    if name is None:
        return Text()
    sets = Option("values", f"{name}=VALUE")
    if name_of(raw) and present(raw) and name.lower() in CLASS_NAMES:
        return Text("a placeholder; give ", Option("classes", "N"), " or ", sets)
    return Text("a placeholder without a value; give ", sets)


def names(raw: str) -> tuple[str, ...]:
    """The names of all placeholders inside a token or string."""
    return tuple(next(n for n in match.groups() if n) for match in _NAMED.finditer(raw))
