"""What an inspection found: as a value, as tables, as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

from caffefold._version import VERSION
from caffefold.analysis.cost import Totals
from caffefold.analysis.health import DEAD, Health
from caffefold.humanize import all_visible, json_text, size
from caffefold.ops.shape import Shape, show

SCHEMA = 1
_GAP = "  "
_NARROWEST = 18  # below that, names say nothing; the line gets longer instead


class Column(NamedTuple):
    """A heading, and how its cells are aligned; the first ``flexible`` one gives way."""

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


@dataclass(frozen=True, slots=True)
class BlobShape:
    """A blob and its shape; None is an unknown shape, or an unknown extent in one."""

    blob: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer, with what it costs for the batch its shapes state; None where not known."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[BlobShape, ...]
    blobs: tuple[tuple[int, ...], ...]
    """Shapes of its learned numbers, as the caffemodel has them."""
    parameters: int | None
    macs: int | None
    memory: int | None
    """Bytes of its tops as float32, those apart that it writes in place."""


@dataclass(frozen=True, slots=True, repr=False)
class Inspection:
    """Everything ``caffefold inspect`` reports about one net.

    ``str()`` is what the command prints; a notebook shows the same tables.
    """

    net: str
    prototxt: str | None
    caffemodel: str | None
    inputs: tuple[BlobShape, ...]
    outputs: tuple[BlobShape, ...]
    layers: tuple[LayerRow, ...]
    totals: Totals
    threshold: float
    """|gamma| under which a channel counts as small."""
    norms: tuple[Health, ...]
    """One for each BatchNorm or BN layer with statistics."""
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """How the files were read when not as they are, and sizes that follow from the weights."""

    def to_json(self) -> str:
        """The inspection as a JSON document; the same files give the same text.

        ``schema`` 1. Shapes are lists, null in place of an extent or of the whole list where it
        is not known; so are numbers that are not known or not finite. ``memory`` is in bytes.
        """
        document = {
            "schema": SCHEMA,
            "caffefold": VERSION,
            "net": self.net,
            "prototxt": self.prototxt,
            "caffemodel": self.caffemodel,
            "inputs": [asdict(item) for item in self.inputs],
            "outputs": [asdict(item) for item in self.outputs],
            "layers": [asdict(layer) for layer in self.layers],
            "totals": asdict(self.totals),
            "norms": {
                "threshold": self.threshold,
                "dead_below": DEAD,
                "layers": [{**asdict(norm), "share": norm.share} for norm in self.norms],
            },
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }
        return json_text(document)

    def lines(self, room: int | None = None, bold: Callable[[str], str] = str) -> Iterator[str]:
        """What ``caffefold inspect`` prints; ``room`` is the most characters a line should have.

        ``bold`` sets off labels and headings.
        """
        shown = all_visible(self)
        for label, value in shown._ends():
            yield bold(f"{label:<10}") + value
        for table in shown._tables():
            heading, *rows = table.lines(room)
            yield from ("", bold(heading), *rows)

    def __repr__(self) -> str:
        totals = self.totals
        name = self.net or self.prototxt or self.caffemodel or "(no name)"
        return f"<Inspection {name}: {totals.layers:,} layers, {totals.parameters:,} parameters>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        from caffefold.html import render

        return render("inspection.html", ends=tuple(self._ends()), tables=tuple(self._tables()))

    def _ends(self) -> Iterator[tuple[str, str]]:
        """The net, its inputs and its outputs, each with a label."""
        yield "net", self.net or "(no name)"
        for label, blobs in (("input", self.inputs), ("output", self.outputs)):
            for blob in blobs:
                yield label, f"{blob.blob} {show(blob.shape)}"

    def _tables(self) -> Iterator[Table]:
        yield self._records() if self.prototxt is None else self._layers()
        if self.norms:
            yield self._norms()

    def _layers(self) -> Table:
        rows: list[tuple[str, ...]] = []
        for layer in self.layers:
            shape, *more = [show(top.shape) for top in layer.tops] or ["-"]
            memory = "?" if layer.memory is None else size(layer.memory) if layer.memory else "0"
            costs = (_count(layer.parameters), _count(layer.macs), memory)
            rows.append((layer.name, layer.type, shape, *costs))
            rows += [("", "", shape, "", "", "") for shape in more]
        sums = self.totals
        costs = (
            _sum(f"{sums.parameters:,}", sums.unknown_parameters),
            _sum(f"{sums.macs:,}", sums.unknown_macs),
            _sum(size(sums.memory), sums.unknown_memory),
        )
        rows.append(("total", f"{sums.layers:,} layers", "", *costs))
        numbers = _numbers("parameters", "MACs", "memory")
        return Table((*_names("layer", "type"), Column("output"), *numbers), tuple(rows))

    def _records(self) -> Table:
        """A caffemodel alone: what its layers hold."""
        rows = [
            (x.name, x.type, ", ".join(map(show, x.blobs)) or "-", _count(x.parameters))
            for x in self.layers
        ]
        sums = self.totals
        rows.append(("total", f"{sums.layers:,} layers", "", f"{sums.parameters:,}"))
        columns = (*_names("layer", "type"), Column("blobs"), *_numbers("parameters"))
        return Table(columns, tuple(rows))

    def _norms(self) -> Table:
        rows = [
            (
                norm.layer,
                "-" if norm.factor is None else f"{norm.factor:.6g}",
                f"{norm.smallest_variance:.3g}",
                norm.gamma or "-",
                f"{norm.channels:,}",
                "-" if norm.dead is None else f"{norm.dead:,}",
                "-" if norm.share is None else f"{norm.share:.1%}",
            )
            for norm in self.norms
        ]
        scaled = [norm for norm in self.norms if norm.small is not None]
        if scaled:
            channels = sum(norm.channels for norm in scaled)
            dead = sum(norm.dead or 0 for norm in scaled)
            share = sum(norm.small or 0 for norm in scaled) / max(channels, 1)
            sums = (f"{channels:,}", f"{dead:,}", f"{share:.1%}")
            rows.append(("all with a gamma", "", "", "", *sums))
        small = f"|gamma|<{self.threshold:g}"
        columns = (
            *(*_names("statistics of"), *_numbers("factor", "min variance")),
            *(*_names("gamma of"), *_numbers("channels", "dead", small)),
        )
        return Table(columns, tuple(rows))


def _names(*titles: str) -> tuple[Column, ...]:
    return tuple(Column(title, flexible=True) for title in titles)


def _numbers(*titles: str) -> tuple[Column, ...]:
    return tuple(Column(title, right=True) for title in titles)


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _sum(known: str, unknown: int) -> str:
    return f"{known} + ?" if unknown else known


def _fitted(cell: str, size: int) -> str:
    """The cell, or its two ends: names of one block differ in the last characters."""
    if len(cell) <= size:
        return cell
    tail = (size - 3) * 2 // 3
    return f"{cell[: size - 3 - tail]}...{cell[len(cell) - tail :]}"
