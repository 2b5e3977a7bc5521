"""A net drawn like the history of a repository: layers are rows in order, branches are lanes.

A lane carries one blob, from the row that makes it to the last one that reads it; a layer stands
in the lane of a blob that it reads last, or in a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from caffefold.ir.graph import Graph

HEIGHT = 26  # of a row, in units of the drawing
_PITCH = 13.0  # from lane to lane
_WIDEST = 110.0  # all lanes together: they move closer where there are many


class Rail(NamedTuple):
    """The drawing of one row."""

    x: float
    """Where the layer stands."""
    lane: int
    paths: tuple[tuple[int, str], ...]
    """Lines of an SVG drawing, each with the lane whose colour it has."""
    through: tuple[tuple[int, float], ...]
    """(lane, x) of what goes on below the row."""


def rails(graph: Graph) -> tuple[float, tuple[Rail, ...]]:
    """(width of the drawing, a row for each layer)."""
    found = list(_rows(graph))
    lanes = 1 + max((max([row[0], *row[1], *row[2]], default=0) for row in found), default=0)
    pitch = min(_PITCH, _WIDEST / lanes)
    return lanes * pitch + 4, tuple(_drawn(*row, pitch) for row in found)


_Row = tuple[int, dict[int, bool], dict[int, bool]]


def _rows(graph: Graph) -> Iterator[_Row]:
    """For each layer its lane; the lanes above it, and whether it reads them; the lanes below it,
    and whether they begin here."""
    last = [max(version.readers, default=-1) for version in graph.versions]
    lanes: dict[int, int] = {}  # lane -> version
    outside = [v for v, version in enumerate(graph.versions) if version.producer < 0]
    for version in outside:
        if last[version] >= 0:
            lanes[len(lanes)] = version
    for position, (reads, writes) in enumerate(zip(graph.reads, graph.writes, strict=True)):
        above = {lane: version in reads for lane, version in sorted(lanes.items())}
        ends = [lane for lane, version in lanes.items() if last[version] == position]
        own = min(ends) if ends else _free(lanes)
        for lane in ends:
            del lanes[lane]
        begins = []
        for version in writes:
            if last[version] > position:
                lane = own if own not in lanes else _free(lanes)
                lanes[lane] = version
                begins.append(lane)
        yield own, above, {lane: lane in begins for lane in sorted(lanes)}


def _free(lanes: dict[int, int]) -> int:
    return next(lane for lane in range(len(lanes) + 1) if lane not in lanes)


def _drawn(own: int, above: dict[int, bool], below: dict[int, bool], pitch: float) -> Rail:
    def x(lane: int) -> float:
        return round(pitch * (lane + 0.5) + 2, 1)

    half, paths = HEIGHT / 2, []
    for lane, read in above.items():
        if lane in below and not below[lane]:
            paths.append((lane, f"M{x(lane):g} 0V{HEIGHT}"))
        if read:
            paths.append((lane, _curve(x(lane), 0, x(own), half)))
    paths += [(lane, _curve(x(own), half, x(lane), HEIGHT)) for lane, new in below.items() if new]
    return Rail(x(own), own, tuple(paths), tuple((lane, x(lane)) for lane in below))


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    if x == to_x:
        return f"M{x:g} {y:g}V{to_y:g}"
    middle = (y + to_y) / 2
    return f"M{x:g} {y:g}C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}"
