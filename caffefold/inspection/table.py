"""Tables as plain text: aligned columns, long names shortened only where a terminal is narrow."""

from __future__ import annotations

from typing import NamedTuple

_GAP = "  "
_NARROWEST = 18  # below that, names say nothing; the line gets longer instead


class Column(NamedTuple):
    """A heading, and which way its cells lean; the first ``flexible`` one gives way."""

    title: str
    right: bool = False
    flexible: bool = False


class Table(NamedTuple):
    """Columns and the cells below them."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    def lines(self, room: int | None = None) -> list[str]:
        """The heading and the rows; ``room`` is the most characters a line should have."""
        columns = self.columns
        cells = [tuple(column.title for column in columns), *self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        over = 0 if room is None else sum(widths) + len(_GAP) * (len(widths) - 1) - room
        for i, column in enumerate(columns):
            if column.flexible and over > 0:
                given = min(over, max(widths[i] - _NARROWEST, 0))
                widths[i], over = widths[i] - given, over - given
        return [
            _GAP.join(
                _fitted(cell, size).rjust(size) if column.right else _fitted(cell, size).ljust(size)
                for cell, size, column in zip(row, widths, columns, strict=True)
            ).rstrip()
            for row in cells
        ]


def _fitted(cell: str, size: int) -> str:
    """The cell, or its two ends: names of one block differ in the last characters."""
    if len(cell) <= size:
        return cell
    tail = (size - 3) * 2 // 3
    return f"{cell[: size - 3 - tail]}...{cell[len(cell) - tail :]}"
