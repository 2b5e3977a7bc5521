"""How values are shown: numbers on screen, in sentences and on pages; documents as JSON."""

from __future__ import annotations

import math
from typing import Any


def counted(number: int, what: str) -> str:
    """``1 layer``, ``2 layers``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def size(count: int) -> str:
    """A number of bytes, in powers of 1000."""
    number, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def json_text(document: Any) -> str:
    """``document`` as indented JSON with a line break at its end.

    Null stands for numbers that JSON does not have; bytes of names that are no UTF-8 come out as
    escapes.
    """
    import json  # not at the top: it costs start-up time

    return json.dumps(_printable(document), indent=2, ensure_ascii=False) + "\n"


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
