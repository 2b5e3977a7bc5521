"""Numbers as people read them, on screen, in sentences and on pages."""

from __future__ import annotations


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
