"""What an inspection found: as a value, as tables, as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import NamedTuple

from caffefold._version import VERSION
from caffefold.analysis.cost import Totals
from caffefold.analysis.health import DEAD, Health
from caffefold.frozen import dataclass
from caffefold.humanize import all_visible, ends, json_text, short, size
from caffefold.ops.shape import Shape, show

SCHEMA = 1
_GAP = "  "
_NARROW, _NARROWEST = 18, 8  # names give way so far before a column goes, and after that


class Number(NamedTuple):
    """A number of a table; None is one that is not known."""

    value: int | None
    more: bool = False
    """Whether unknown ones come on top."""

    def __str__(self) -> str:
        return self._with("?" if self.value is None else f"{self.value:,}")

    @property
    def brief(self) -> str:
        """In a few digits: ``11.06M``."""
        return self._with("?" if self.value is None else short(self.value))

    def _with(self, known: str) -> str:
        return f"{known} + ?" if self.more else known


class Column(NamedTuple):
    """A heading, and how its cells are aligned."""

    title: str
    right: bool = False
    flexible: bool = False
    """Whether long cells may lose their middle where lines are short."""
    brief: str = ""
    """Another heading where lines are short."""
    spare: int = 0
    """Which columns go first where lines are still too long: those of 1, then of 2; 0: it stays."""


class Table(NamedTuple):
    """Columns and the cells below them."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str | Number, ...], ...]

    def lines(self, room: int | None = None) -> list[str]:
        """The heading and the rows; ``room`` is the most characters a line should have.

        Where that is not enough, headings and numbers are given in brief, names lose their middle,
        and columns go that can be spared.
        """
        columns, cells = self.columns, self._cells(brief=False)
        room = _length(_widths(cells)) if room is None else room
        if _length(_widths(cells)) > room:
            cells = self._cells(brief=True)
        widths = _narrower(columns, _widths(cells), room, _NARROW)
        for spare in sorted({column.spare for column in columns} - {0}):
            if _length(widths) > room:
                left = [i for i, column in enumerate(columns) if column.spare != spare]
                columns = tuple(columns[i] for i in left)
                cells = [tuple(row[i] for i in left) for row in cells]
                widths = _narrower(columns, _widths(cells), room, _NARROW)
        widths = _narrower(columns, widths, room, _NARROWEST)
        return [
            _GAP.join(
                ends(cell, size).rjust(size) if column.right else ends(cell, size).ljust(size)
                for cell, size, column in zip(row, widths, columns, strict=True)
            ).rstrip()
            for row in cells
        ]

    def _cells(self, *, brief: bool) -> list[tuple[str, ...]]:
        """The heading and the rows as text."""
        heading = tuple((brief and column.brief) or column.title for column in self.columns)
        rows = (
            tuple(x.brief if brief and isinstance(x, Number) else str(x) for x in row)
            for row in self.rows
        )
        return [heading, *rows]


def _widths(cells: Iterable[tuple[str, ...]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def _length(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _narrower(columns: Iterable[Column], widths: Sequence[int], room: int, least: int) -> list[int]:
    """The widths, flexible ones reduced down to ``least`` while a line has no room."""
    found, over = list(widths), _length(widths) - room
    for i, column in enumerate(columns):
        if column.flexible and over > 0:
            given = min(over, max(found[i] - least, 0))
            found[i], over = found[i] - given, over - given
    return found


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
        rows: list[tuple[str | Number, ...]] = []
        for layer in self.layers:
            shape, *more = [show(top.shape) for top in layer.tops] or ["-"]
            memory = "?" if layer.memory is None else size(layer.memory) if layer.memory else "0"
            costs = (Number(layer.parameters), Number(layer.macs), memory)
            rows.append((layer.name, layer.type, shape, *costs))
            rows += [("", "", shape, "", "", "") for shape in more]
        sums = self.totals
        costs = (
            Number(sums.parameters, sums.unknown_parameters > 0),
            Number(sums.macs, sums.unknown_macs > 0),
            f"{size(sums.memory)} + ?" if sums.unknown_memory else size(sums.memory),
        )
        rows.append(("total", f"{sums.layers:,} layers", "", *costs))
        numbers = (_PARAMETERS, Column("MACs", right=True), Column("memory", right=True, spare=1))
        return Table((*_names("layer", "type"), Column("output"), *numbers), tuple(rows))

    def _records(self) -> Table:
        """A caffemodel alone: what its layers hold."""
        rows: list[tuple[str | Number, ...]] = [
            (x.name, x.type, ", ".join(map(show, x.blobs)) or "-", Number(x.parameters))
            for x in self.layers
        ]
        sums = self.totals
        rows.append(("total", f"{sums.layers:,} layers", "", Number(sums.parameters)))
        columns = (*_names("layer", "type"), Column("blobs", flexible=True), _PARAMETERS)
        return Table(columns, tuple(rows))

    def _norms(self) -> Table:
        rows: list[tuple[str | Number, ...]] = [
            (
                norm.layer,
                "-" if norm.factor is None else f"{norm.factor:.6g}",
                f"{norm.smallest_variance:.3g}",
                norm.gamma or "-",
                Number(norm.channels),
                "-" if norm.dead is None else Number(norm.dead),
                "-" if norm.share is None else f"{norm.share:.1%}",
            )
            for norm in self.norms
        ]
        scaled = [norm for norm in self.norms if norm.small is not None]
        if scaled:
            channels = sum(norm.channels for norm in scaled)
            dead = sum(norm.dead or 0 for norm in scaled)
            share = sum(norm.small or 0 for norm in scaled) / max(channels, 1)
            sums = (Number(channels), Number(dead), f"{share:.1%}")
            rows.append(("all with a gamma", "", "", "", *sums))
        columns = (
            *_names("statistics of"),
            Column("factor", right=True, spare=2),
            Column("min variance", right=True, brief="min var"),
            Column("gamma of", flexible=True, spare=1),
            Column("channels", right=True),
            Column("dead", right=True),
            Column(f"|gamma|<{self.threshold:g}", right=True),
        )
        return Table(columns, tuple(rows))


_PARAMETERS = Column("parameters", right=True, brief="params")


def _names(*titles: str) -> tuple[Column, ...]:
    return tuple(Column(title, flexible=True) for title in titles)
