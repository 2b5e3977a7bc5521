"""The page of one conversion: what ``convert --html`` writes and what a zoo has for each model.

One template (``templates/conversion.html``) holds what both show; nothing is loaded from anywhere.
What slimming took out has one of its own (``templates/slim.html``), which a training net that stays
one has alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from caffefold._version import VERSION
from caffefold.account import account
from caffefold.analysis.cost import layer_costs
from caffefold.analysis.health import Health, norms
from caffefold.analysis.shapes import carried, infer
from caffefold.formats.prototxt.tree import Field, Message
from caffefold.html import render
from caffefold.humanize import counted, short, size
from caffefold.ir.net import Layer
from caffefold.ops.shape import show
from caffefold.passes.infra import ChangeKind
from caffefold.passes.slim.gammas import EDGES, Histogram
from caffefold.rails import HEIGHT, Rail, rails
from caffefold.report import ConvertReport, SlimResult, types_of

_PLAIN = frozenset({"name", "type", "bottom", "top"})


class Row(NamedTuple):
    """A layer in the drawing."""

    name: str
    type: str
    kind: str
    """``gone``, ``absorber``, ``left`` or ""; how the row looks."""
    fate: str
    into: tuple[int, ...]
    """The rows of the layers that it went into."""
    shape: str
    facts: tuple[tuple[str, str], ...]
    rail: Rail


class Bars(NamedTuple):
    """A histogram of |gamma|, drawn: channels of one layer, or of all of them."""

    layer: str
    channels: int
    left: int
    bars: tuple[tuple[str, float, float], ...]
    """(what a bar counts, height of what stays, height of what goes on top of it)."""


_TALL = 44
"""The height of a histogram, in pixels."""


def page(report: ConvertReport | SlimResult) -> str:
    """The report as a page of its own. Weights are read: their file must be open still."""
    if isinstance(report, SlimResult):
        shown = {"report": report, "counted": counted, "size": size, "version": VERSION}
        return render("slim_page.html", slim=slim_values(report), **shown)
    return render("report_page.html", **values(report))


def values(report: ConvertReport) -> dict[str, Any]:
    """What the template of a conversion shows."""
    before, _ = report.nets
    width, rows = _drawing(report)
    return {
        "report": report,
        "table": list(report.table()),
        "account": list(account(report.changes, report.unfolded, types_of(before))),
        "slim": None if report.slimmed is None else slim_values(report.slimmed),
        "health": _health(report),
        "proof": dict(report.rows())["proof"],
        "training": list(_training(report)),
        "rows": rows,
        "width": width,
        "height": HEIGHT,
        "version": VERSION,
        "counted": counted,
        "size": size,
    }


def slim_values(result: SlimResult) -> dict[str, Any]:
    """What the template of slimming shows."""
    parts = result.histograms
    sums = [
        tuple(map(sum, zip(*(getattr(each, side) for each in parts), strict=True)))
        for side in ("stays", "goes")
    ]
    every = [_bars(Histogram("all layers", *sums))] if parts else []
    return {
        "result": result,
        "account": list(result.account()),
        "stays": list(result.stays()),
        "bars": every + [_bars(each) for each in parts],
        "tall": _TALL,
    }


def _bars(each: Histogram) -> Bars:
    columns = list(zip(each.stays, each.goes, strict=True))
    most = max(map(sum, columns)) or 1
    ends = ["0", *(f"{edge:.2g}" for edge in EDGES[1:-1]), "more"]
    bars = []
    for (stays, goes), (low, high) in zip(columns, pairwise(ends), strict=True):
        what = f"{low} to {high}: {counted(stays + goes, 'channel')}"
        what += f", {goes} taken out" if goes else ""
        bars.append((what, _TALL * stays / most, _TALL * goes / most))
    left = sum(each.stays)
    return Bars(each.layer, left + sum(each.goes), left, tuple(bars))


def _health(report: ConvertReport) -> list[Health]:
    return list(norms(report.nets[0])) if report.weights else []


def _training(report: ConvertReport) -> Iterator[tuple[str, str]]:
    """(layers, what became of them) of everything that the deploy net never had."""
    kept = {layer.name for layer in report.nets[0].layers}
    folding = (ChangeKind.FOLDED, ChangeKind.COLLAPSED, ChangeKind.UNIT_DROPPED)
    for step in report.passes:
        for change in step.changes:
            names = [name for name in change.removed if name not in kept]
            if names and change.kind not in folding:
                yield ", ".join(names), change.detail or step.name


def _drawing(report: ConvertReport) -> tuple[float, list[Row]]:
    before, after = report.nets
    shapes = infer(before)
    later = dict(zip((x.name for x in after.layers), layer_costs(after, carried(shapes, before, after)), strict=True))  # fmt: skip  # noqa: E501
    width, drawn = rails(shapes.graph)
    place = {layer.name: number for number, layer in enumerate(before.layers)}
    gone, absorbed = fates(report)
    left = {name: f"{skip.message} [{skip.code.value}]" for skip in report.unfolded for name in skip.layers}  # fmt: skip  # noqa: E501
    rows = []
    for number, (layer, cost) in enumerate(zip(before.layers, layer_costs(before, shapes), strict=True)):  # fmt: skip  # noqa: E501
        fate, kind = "", ""
        into: tuple[int, ...] = ()
        if layer.name not in after:
            into = tuple(place[name] for name in gone.get(layer.name, ((), ""))[0] if name in place)
            fate, kind = gone.get(layer.name, ((), "dropped"))[1], "gone"
        elif layer.name in absorbed:
            fate, kind = f"absorbed {', '.join(absorbed[layer.name])}", "absorber"
        elif layer.name in left:
            fate, kind = left[layer.name], "left"
        tops = list(zip(layer.tops, shapes.tops(number), strict=True))
        bottoms = list(zip(layer.bottoms, shapes.bottoms[number], strict=True))
        facts = [("reads", "; ".join(f"{name} {show(shape)}" for name, shape in bottoms))]
        facts += [("makes", "; ".join(f"{name} {show(shape)}" for name, shape in tops))]
        if cost.parameters:
            now = later[layer.name].parameters if layer.name in later else None
            changed = f", then {now:,}" if now not in (None, cost.parameters) else ""
            facts += [("parameters", f"{cost.parameters:,}{changed}")]
        facts += [("MACs", f"{short(cost.macs)}")] if cost.macs else []
        facts += [(name, text) for name, text in _settings(layer)]
        shape = show(tops[0][1]) if tops else ""
        rows.append(Row(layer.name, layer.type, kind, fate, into, shape, tuple(facts), drawn[number]))  # fmt: skip  # noqa: E501
    return width, rows


def fates(report: ConvertReport) -> tuple[dict[str, tuple[tuple[str, ...], str]], dict[str, list[str]]]:  # fmt: skip  # noqa: E501
    """By name: where layers that are gone went and how that is said; what those that stay took."""
    gone: dict[str, tuple[tuple[str, ...], str]] = {}
    taken: dict[str, list[str]] = {}
    for step in report.passes:
        for change in step.changes:
            for name in change.removed:
                into = f"into {', '.join(change.modified)}" if change.modified else ""
                gone.setdefault(name, (change.modified, into or change.detail or step.name))
            if change.kind in (ChangeKind.FOLDED, ChangeKind.COLLAPSED):
                for name in change.modified:
                    taken.setdefault(name, []).extend(change.removed)
    return gone, taken


def _settings(layer: Layer) -> Iterator[tuple[str, str]]:
    """The fields of a layer's text, its parameters one level deep."""
    for field in layer.body.fields:
        if field.name in _PLAIN:
            continue
        if isinstance(field.value, Message):
            yield field.name, ", ".join(map(_one_line, field.value.fields))
        else:
            yield field.name, str(field.value)


def _one_line(field: Field) -> str:
    if isinstance(field.value, Message):
        return f"{field.name} {{ {', '.join(map(_one_line, field.value.fields))} }}"
    return f"{field.name}: {field.value}"
