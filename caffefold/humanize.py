"""How values are shown: numbers and names on screen, in sentences and on pages; JSON.

Names come from files that somebody else made. A terminal obeys what is in them (ESC clears the
screen or sets the clipboard, U+202E turns the text around), a line break forges a line of ours; so
every renderer shows a name through ``visible``.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

_T = TypeVar("_T")


def visible(text: str, keep: str = "") -> str:
    """``text`` with everything that is no visible character escaped, save what is in ``keep``.

    Those are control characters (C0, DEL, C1), line separators, marks that turn the direction of
    text or have no width, spaces other than the space, surrogates (bytes that were no UTF-8), and
    what Unicode leaves to private use or has not assigned: ``\\x1b``, ``\\n``, ``\\u202e``.
    """
    if text.isprintable():
        return str(text)
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(char: str) -> str:
    """``\\x1b``, ``\\u202e``; of a byte that was no UTF-8, the byte."""
    if 0xDC80 <= ord(char) <= 0xDCFF:
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def all_visible(value: _T) -> _T:
    """``value`` with all text in it ``visible``: in tuples, named tuples and dataclasses."""
    shown: Any = value
    if isinstance(value, str):
        shown = value if value.isprintable() else visible(value)
    elif isinstance(value, tuple):
        parts = [all_visible(part) for part in value]
        if any(new is not old for new, old in zip(parts, value, strict=True)):
            shown = type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    elif fields := getattr(type(value), "__dataclass_fields__", None):
        old = {name: getattr(value, name) for name in fields}
        new = {name: all_visible(part) for name, part in old.items()}
        if any(new[name] is not part for name, part in old.items()):
            shown = type(value)(**new)
    return shown  # type: ignore[no-any-return]


def counted(number: int, what: str) -> str:
    """``1 layer``, ``2 layers``, ``2 batches``."""
    ending = "es" if what.endswith(("ch", "ss", "x")) else "s"
    return f"{number} {what}{'' if number == 1 else ending}"


def some(names: list[str], shown: int = 5) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def ends(text: str, room: int) -> str:
    """``text``, or its two ends: names of one block, and paths, differ in the last characters."""
    if len(text) <= room:
        return text
    tail = (room - 3) * 2 // 3
    return f"{text[: room - 3 - tail]}...{text[len(text) - tail :]}"


def size(count: int) -> str:
    """A number of bytes, in powers of 1000."""
    number, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def short(count: int) -> str:
    """A number in four digits and a unit: ``999``, ``388.5K``, ``2.064M``, ``15.47G``."""
    if count < 1000:
        return str(count)
    number, unit = float(count), ""
    for larger in "KMGT":
        number, unit = number / 1000, larger
        if number < 999.95:
            break
    return f"{number:.4g}{unit}"


def json_text(document: Any, indent: int | None = 2) -> str:
    """``document`` as indented JSON with a line break at its end.

    Null stands for numbers that JSON does not have. What ``visible`` would escape, JSON does: the
    text that a reader gets is exact, bytes of names that are no UTF-8 as Python has them.
    """
    import json  # not at the top: they cost start-up time
    import re

    def escaped(found: re.Match[str]) -> str:
        return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]

    text = json.dumps(_finite(document), indent=indent, ensure_ascii=False)
    if text.isascii() and "\x7f" not in text:  # nearly always; the pattern is slow to make
        return text + "\n"
    return re.sub("[\x7f-\U0010ffff]", escaped, text) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
