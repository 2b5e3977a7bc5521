"""index.html: all models of a zoo in a table that sorts and filters, without a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from caffefold._version import VERSION
from caffefold.humanize import size
from caffefold.zoo.markup import Child, Html, document, el, join, link, text
from caffefold.zoo.values import Facts, Model, Outcome, Result

_COLUMNS = (
    ("status", "status", False),
    ("model", "model", False),
    ("layers", "layers", True),
    ("size", "size", True),
    ("folds", "folds", True),
    ("error", "largest error", True),
    ("why", "left alone, reasons", False),
)
_ORDER = {"failed": 0, "refused": 1, "converted": 2}


def index_page(result: Result) -> bytes:
    """The page of the whole zoo."""
    models = {model.name: model for model in result.plan.models}
    rows = [_row(models[outcome.name], outcome) for outcome in result.outcomes]
    head = el(
        "thead",
        el(
            "tr",
            *(
                el("th", el("button", title), data_name=name, class_="n" if number else None)
                for name, title, number in _COLUMNS
            ),
        ),
    )
    tools = el(
        "div",
        el("input", id="search", type="search", placeholder="Filter: names, reasons, files ...",
           aria_label="Filter"),
        el("span", f"{len(rows)} models", id="count", class_="soft"),
        class_="tools",
    )  # fmt: skip
    table = el(
        "div",
        el("table", head, el("tbody", *rows), id="models"),
        el("p", "No model fits this filter.", id="none", class_="none", hidden=True),
        class_="sheet",
    )
    body = el(
        "main",
        el("h1", "Model zoo"),
        el("p", el("code", result.plan.source), class_="soft"),
        el("div", *_cards(result), class_="cards"),
        tools,
        table,
        _orphans(result),
        el("footer", f"Converted by caffefold {VERSION}. The same as data: ",
           link("zoo.json", "zoo.json"), ", ", link("zoo.csv", "zoo.csv"), "."),
    )  # fmt: skip
    return document("Model zoo \u2013 caffefold", "zoo.css", body, "index.js")


def _cards(result: Result) -> Iterator[Html]:
    counts = Counter(outcome.status for outcome in result.outcomes)
    for status in ("converted", "refused", "failed"):
        label = el("span", status, class_=f"badge {status}")
        count = el("b", counts[status])
        yield el("button", count, label, class_="card", data_status=status, aria_pressed="false")
    facts = [outcome.facts for outcome in result.outcomes if outcome.facts is not None]
    if facts:
        before, after = sum(f.layers_before for f in facts), sum(f.layers_after for f in facts)
        yield _card("layers", before, after)
        saved = size(sum(f.bytes_before for f in facts)), size(sum(f.bytes_after for f in facts))
        yield _card("weights", *saved)
        yield el("div", el("b", f"{max(f.largest_error for f in facts):.1e}"),
                 el("span", "largest proof error"), class_="card")  # fmt: skip
    waiting = len(result.plan.models) - len(result.outcomes)
    if waiting:
        yield el("div", el("b", waiting), el("span", "not done yet"), class_="card")


def _card(label: str, before: Child, after: Child) -> Html:
    old = el("small", before, " \u2192 ")
    return el("div", el("b", old, after), el("span", label), class_="card")


def _row(model: Model, outcome: Outcome) -> Html:
    folder, _, stem = model.name.rpartition("/")
    shown = join(el("span", f"{folder}/") if folder else "", stem)
    page = link(f"{model.name}.html", shown)
    below = [model.title] if model.title else []
    below.append(" + ".join(_short(p, model) for p in (outcome.prototxt, model.caffemodel) if p))
    cells = [
        el("td", el("span", outcome.status, class_=f"badge {outcome.status}"),
           data_key=f"{_ORDER[outcome.status]}"),
        el("td", page, *(el("div", line) for line in below), class_="name", data_key=model.name),
        *_numbers(outcome.facts),
        el("td", _why(outcome), class_="why", data_key=outcome.reason or _codes(outcome)),
    ]  # fmt: skip
    return el("tr", *cells, data_status=outcome.status)


def _short(path: str, model: Model) -> str:
    """A path as seen from the folder of the caffemodel."""
    return path.removeprefix(model.caffemodel.rpartition("/")[0] + "/")


def _numbers(facts: Facts | None) -> Iterator[Html]:
    if facts is None:
        yield from (el("td", "", class_="n", data_key="") for _ in range(4))
        return
    before, after = facts.layers_before, facts.layers_after
    share = 100 * min(after, before) / before if before else 100
    bar = el("div", el("i", style=f"width:{share:.0f}%"), class_="bar")
    yield el("td", el("span", f"{before} \u2192 ", class_="soft"), el("b", after), bar, class_="n",
             data_key=after)  # fmt: skip
    grown = facts.bytes_after - facts.bytes_before
    share = grown / facts.bytes_before if facts.bytes_before else 0.0
    change = f"{share:+.1%}" if abs(share) >= 0.0005 else "same"
    yield el("td", size(facts.bytes_after), el("div", change, class_="soft"), class_="n",
             data_key=facts.bytes_after)  # fmt: skip
    folded = el("div", f"of {facts.folded} layers", class_="soft") if facts.folds else ""
    yield el("td", facts.folds, folded, class_="n", data_key=facts.folds)
    error = f"{facts.largest_error:.1e}" if facts.folds else "\u2013"
    yield el("td", error, class_="n", data_key=f"{facts.largest_error:.6e}")


def _why(outcome: Outcome) -> Html:
    if outcome.facts is None:
        return join(outcome.reason, *(el("div", note) for note in outcome.notes))
    codes = (
        el("span", f"{code} {count}", class_="code") for code, count in outcome.facts.left.items()
    )
    told = [
        el(
            "div",
            f"{len(sentences)} {what}{'s' if len(sentences) > 1 else ''}",
            title="\n".join(sentences),
        )
        for what, sentences in (("note", outcome.notes), ("warning", outcome.facts.warnings))
        if sentences
    ]
    return join(*codes, *told)


def _codes(outcome: Outcome) -> str:
    return "" if outcome.facts is None else " ".join(outcome.facts.left)


def _orphans(result: Result) -> Html:
    rows = [(o.path, o.kind, o.reason) for o in result.plan.orphans]
    rows += [(name, "result", "its model is not in the zoo any more") for name in result.stale]
    if not rows:
        return Html("")
    cells = (
        el("tr", el("td", path, class_="mono"), el("td", kind), el("td", reason, class_="why"))
        for path, kind, reason in rows
    )
    head = el("thead", el("tr", *map(_th, ("file", "kind", "why it is converted with no model"))))
    summary = el("summary", "Other files ", el("span", f"{len(rows)}"))
    return el("details", summary, el("div", el("table", head, el("tbody", *cells))))


def _th(title: str) -> Html:
    return el("th", text(title))
