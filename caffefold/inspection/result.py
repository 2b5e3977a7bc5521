"""What an inspection found: as a value, as tables, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from caffefold._version import VERSION
from caffefold.analysis.cost import Totals
from caffefold.analysis.health import DEAD, Health
from caffefold.humanize import size
from caffefold.inspection.table import Column, Table
from caffefold.ops.shape import Shape

SCHEMA = 1


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
    """Everything ``caffefold inspect`` has to say about one net.

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

    def to_json(self) -> str:
        """The inspection as a JSON document; the same files give the same text.

        ``schema`` 1. Shapes are lists, null in place of an extent or of the whole list where it
        is not known; so are numbers that are not known or not finite. ``memory`` is in bytes.
        """
        document: dict[str, Any] = {
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
        }
        return json.dumps(_finite(document), indent=2, ensure_ascii=False) + "\n"

    def lines(self, room: int | None = None, bold: Callable[[str], str] = str) -> Iterator[str]:
        """What ``caffefold inspect`` prints; ``room`` is the most characters a line should have.

        ``bold`` sets off labels and headings.
        """
        for label, value in self._ends():
            yield bold(f"{label:<10}") + value
        for table in self._tables():
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
                yield label, f"{blob.blob} {_shape(blob.shape)}"

    def _tables(self) -> Iterator[Table]:
        yield self._records() if self.prototxt is None else self._layers()
        if self.norms:
            yield self._norms()

    def _layers(self) -> Table:
        columns = (
            Column("layer", flexible=True),
            Column("type", flexible=True),
            Column("output"),
            Column("parameters", right=True),
            Column("MACs", right=True),
            Column("memory", right=True),
        )
        rows: list[tuple[str, ...]] = []
        for layer in self.layers:
            shape, *more = [_shape(top.shape) for top in layer.tops] or ["-"]
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
        return Table(columns, (*rows, ("total", f"{sums.layers:,} layers", "", *costs)))

    def _records(self) -> Table:
        """A caffemodel alone: what its layers hold."""
        columns = (
            Column("layer", flexible=True),
            Column("type", flexible=True),
            Column("blobs"),
            Column("parameters", right=True),
        )
        rows = (
            (x.name, x.type, ", ".join(map(_shape, x.blobs)) or "-", _count(x.parameters))
            for x in self.layers
        )
        sums = self.totals
        return Table(
            columns, (*rows, ("total", f"{sums.layers:,} layers", "", f"{sums.parameters:,}"))
        )

    def _norms(self) -> Table:
        columns = (
            Column("statistics of", flexible=True),
            Column("factor", right=True),
            Column("min variance", right=True),
            Column("gamma of", flexible=True),
            Column("channels", right=True),
            Column("dead", right=True),
            Column(f"|gamma|<{self.threshold:g}", right=True),
        )
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
        return Table(columns, tuple(rows))


def _shape(shape: Shape) -> str:
    if shape is None:
        return "?"
    return "x".join("?" if dim is None else str(dim) for dim in shape) or "scalar"


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _sum(known: str, unknown: int) -> str:
    return f"{known} + ?" if unknown else known


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
