"""The page of one model: what it was, what it became, and each layer's fate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from caffefold._version import VERSION
from caffefold.humanize import size
from caffefold.zoo.markup import Child, Html, document, el, join, link
from caffefold.zoo.values import Model, Outcome

if TYPE_CHECKING:
    from caffefold.ir.net import Layer, Net
    from caffefold.report import ConvertReport

_STYLE = "zoo.css"


def model_page(
    model: Model, outcome: Outcome, report: ConvertReport, before: Net, after: Net
) -> bytes:
    """The page of a converted model. ``before`` is the net as given, ``after`` as written."""
    parts = [
        _facts(model, outcome, report),
        _sentences("Notes", (*outcome.notes, *report.warnings)),
        _left(report),
        el("h2", f"Layers: {len(before.layers)} \u2192 {len(after.layers)}"),
        el("div", _layers(report, before, after), class_="sheet"),
        _folds(report),
        _preprocessing(report),
    ]
    return _page(model, outcome, join(*parts))


def plain_page(model: Model, outcome: Outcome) -> bytes:
    """The page of a model that was not converted."""
    rows: list[tuple[str, Child]] = [
        ("caffemodel", el("code", model.caffemodel)),
        ("prototxt", join(*(el("div", el("code", p)) for p in model.prototxts)) or "none"),
    ]
    reason = el("h2", "Why"), el("ul", el("li", outcome.reason), class_="list")
    return _page(model, outcome, join(_list(rows), *reason, _sentences("Notes", outcome.notes)))


def _page(model: Model, outcome: Outcome, content: Html) -> bytes:
    up = "../" * model.name.count("/")
    badge = el("span", outcome.status, class_=f"badge {outcome.status}")
    body = el(
        "main",
        el("p", link(f"{up}index.html", "\u2190 all models"), class_="crumb"),
        el("h1", model.name, " ", badge),
        el("p", model.title, class_="soft") if model.title else "",
        content,
        el("footer", f"caffefold {VERSION}"),
    )
    return document(f"{model.name} \u2013 caffefold", _STYLE, body)


def _facts(model: Model, outcome: Outcome, report: ConvertReport) -> Html:
    stem = model.name.rpartition("/")[2]
    files = [
        join(link(stem + suffix, stem + suffix), el("span", f" {size(count)}", class_="soft"))
        for suffix, count in zip(
            (".prototxt", ".caffemodel"), (file.bytes for file in report.outputs), strict=False
        )
    ]
    files.append(link(f"{stem}.report.json", f"{stem}.report.json"))
    given = (outcome.prototxt, model.caffemodel)
    inputs = [
        el("div", el("code", path), el("span", f" {size(file.bytes)}", class_="soft"))
        for path, file in zip(given, report.inputs, strict=False)
    ]
    folds = report.proof.folds
    took = sum(len(fold.folded) for fold in folds)
    rows: list[tuple[str, Child]] = [
        ("net", report.net or "(no name)"),
        ("from", join(*inputs)),
        ("results", join(*(el("div", file) for file in files))),
        ("folded", f"{took} layers into {len(folds)}" if folds else "nothing to fold"),
        ("proof", _proof(report)),
        ("outputs", ", ".join(report.proof.outputs)),
    ]
    if model.options:
        rows.append(("options", el("code", json.dumps(model.options, ensure_ascii=False))))
    return _list(rows)


def _proof(report: ConvertReport) -> str:
    folds = report.proof.folds
    if not folds:
        return f"{report.proof.unchanged_blobs} blobs are unchanged"
    worst = max(folds, key=lambda fold: fold.error)
    return (
        f"{len(folds)} checked; largest error {worst.error:.1e} of the largest output "
        f"({worst.layer}), float32 rounding allows {worst.allowed:.1e}; "
        f"{report.proof.unchanged_blobs} blobs are unchanged"
    )


def _list(rows: list[tuple[str, Child]]) -> Html:
    cells = (join(el("dt", label), el("dd", value)) for label, value in rows)
    return el("dl", *cells, class_="facts")


def _sentences(title: str, sentences: tuple[str, ...]) -> Html:
    if not sentences:
        return Html("")
    return join(el("h2", title), el("ul", *(el("li", s) for s in sentences), class_="list"))


def _left(report: ConvertReport) -> Html:
    if not report.skips:
        return Html("")
    rows = (
        el(
            "tr",
            el("td", ", ".join(skip.layers), class_="mono"),
            el("td", el("span", skip.code.value, class_="code")),
            el("td", skip.message, class_="why"),
        )
        for skip in report.skips
    )
    head = _head("layers", "reason", "")
    return join(
        el("h2", f"Left alone: {len(report.skips)}"),
        el("div", el("table", head, el("tbody", *rows)), class_="sheet"),
    )


def _head(*titles: str) -> Html:
    return el("thead", el("tr", *(el("th", title) for title in titles)))


def _layers(report: ConvertReport, before: Net, after: Net) -> Html:
    head = _head("before", "type", "after", "type", "")
    return el("table", head, el("tbody", *_rows(report, before, after)), class_="layers")


def _rows(report: ConvertReport, before: Net, after: Net) -> Iterator[Html]:
    """Both lists side by side: what stayed in one row, what went or came in a row of its own."""
    fates, took = _fates(report)
    known = {layer.name for layer in before.layers}
    left = list(after.layers)
    for layer in before.layers:
        names = [other.name for other in left]
        if layer.name in names:
            at = names.index(layer.name)
            if all(name not in known for name in names[:at]):
                yield from (_row(None, other, "new", "new") for other in left[:at])
                kind = "took" if layer.name in took else ""
                yield _row(layer, left[at], took.get(layer.name, ""), kind)
                del left[: at + 1]
                continue
        yield _row(layer, None, fates.get(layer.name, "removed"), "gone")
    yield from (_row(None, other, "new", "new") for other in left)


def _row(before: Layer | None, after: Layer | None, fate: str, kind: str) -> Html:
    cells: list[Html] = []
    for layer in (before, after):
        cells.append(el("td", layer.name if layer else "", class_="mono"))
        cells.append(el("td", layer.type if layer else "", class_="type"))
    return el("tr", *cells, el("td", fate, class_="fate"), class_=kind or None)


def _fates(report: ConvertReport) -> tuple[dict[str, str], dict[str, str]]:
    """What became of layers that are gone, and what those that stay took up."""
    gone: dict[str, str] = {}
    took: dict[str, list[str]] = {}
    for step in report.passes:
        for change in step.changes:
            for name in change.removed:
                into = f"into {', '.join(change.modified)}" if change.modified else ""
                gone.setdefault(name, into or change.detail or step.name)
    for fold in report.proof.folds:
        took.setdefault(fold.layer, []).extend(fold.folded)
    return gone, {name: f"took up {', '.join(who)}" if who else "" for name, who in took.items()}


def _folds(report: ConvertReport) -> Html:
    if not report.proof.folds:
        return Html("")
    rows = (
        el(
            "tr",
            el("td", fold.layer, class_="mono"),
            el("td", ", ".join(fold.folded), class_="mono"),
            el("td", f"{fold.error:.1e}", class_="n"),
            el("td", f"{fold.allowed:.1e}", class_="n"),
        )
        for fold in report.proof.folds
    )
    head = el(
        "thead",
        el(
            "tr",
            el("th", "layer"),
            el("th", "took up"),
            el("th", "error", class_="n"),
            el("th", "rounding allows", class_="n"),
        ),
    )
    summary = el("summary", "Proof ", el("span", f"of {len(report.proof.folds)} layers"))
    return el("details", summary, el("div", el("table", head, el("tbody", *rows))))


def _preprocessing(report: ConvertReport) -> Html:
    if not report.preprocessing:
        return Html("")
    shown = json.dumps(report.preprocessing, indent=1, ensure_ascii=False)
    lines = join(
        *(el("div", line, class_="mono", style="white-space:pre") for line in _lines(shown))
    )
    return el(
        "details",
        el("summary", "Preprocessing ", el("span", "as the data layers had it")),
        el("div", lines, style="padding:0 16px 12px"),
    )


def _lines(text: str) -> list[str]:
    return text.split("\n")
