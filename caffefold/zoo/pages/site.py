"""What became of every model: zoo.json and zoo.csv for programs, pages for people.

index.html is a table of all models that sorts and filters without a server. Templates are Jinja2's,
with autoescape.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

from caffefold._version import VERSION
from caffefold.html import environment
from caffefold.humanize import counted, json_text, size
from caffefold.zoo.records import Facts, Model, Orphan, Outcome, Result, Status, Verdict
from caffefold.zoo.storage import FileState

if TYPE_CHECKING:
    from jinja2 import Environment

    from caffefold.report import ConvertReport

SCHEMA = 1
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBERS = (
    "net", "layers_before", "layers_after", "bytes_before", "bytes_after", "folds", "folded",
)  # fmt: skip
COLUMNS = (
    "model", "status", "reason", "caffemodel", "prototxt", *_NUMBERS, "largest_error", "left",
    "onnx", "verified",
)  # fmt: skip


def summary(result: Result) -> dict[str, int]:
    """How many models there are of each status."""
    counts = Counter(outcome.status for outcome in result.outcomes)
    return {
        "models": len(result.plan.models),
        **{status: counts[status] for status in get_args(Status)},
        "waiting": len(result.plan.models) - len(result.outcomes),
    }


def verdicts(result: Result) -> dict[str, int] | None:
    """How many models were verified with each verdict; None where nobody asked."""
    if not any(model.verify for model in result.plan.models):
        return None
    found = Counter(o.verified.verdict for o in result.outcomes if o.verified is not None)
    return {verdict: found[verdict] for verdict in get_args(Verdict)}


def as_json(result: Result) -> str:
    """zoo.json, as ``zoo.schema.json`` describes it; the same zoo gives the same text."""
    document = {
        "schema": SCHEMA,
        "caffefold": VERSION,
        "source": result.plan.source,
        "target": result.plan.target,
        "summary": summary(result),
        "verified": verdicts(result),
        "models": [_model(*pair) for pair in result.pairs],
        "orphans": [asdict(orphan) for orphan in result.plan.orphans],
        "stale": list(result.stale),
    }
    return json_text(document, 1)


def _model(model: Model, outcome: Outcome) -> dict[str, Any]:
    facts = outcome.facts
    return {
        "model": outcome.name,
        "title": model.title,
        "status": outcome.status,
        "code": outcome.code,
        "reason": outcome.reason,
        "caffemodel": model.caffemodel,
        "prototxt": outcome.prototxt or None,
        "options": dict(model.options),
        "result": None if facts is None else _result(facts),
        "verified": None if outcome.verified is None else asdict(outcome.verified),
        "notes": list(outcome.notes),
        "inputs": [_file(each) for each in outcome.inputs],
        "outputs": [_file(each) for each in outcome.outputs],
        "page": f"{outcome.name}.html",
    }


def _result(facts: Facts) -> dict[str, Any]:
    return {
        "net": facts.net,
        "layers": {"before": facts.layers_before, "after": facts.layers_after},
        "bytes": {"before": facts.bytes_before, "after": facts.bytes_after},
        "folds": facts.folds,
        "folded": facts.folded,
        "largest_error": facts.largest_error,
        "left": dict(facts.left),
        "warnings": list(facts.warnings),
        "onnx": None if facts.onnx is None else asdict(facts.onnx),
    }


def _file(file: FileState) -> dict[str, Any]:
    return {"path": file.path, "bytes": file.bytes, "sha256": file.sha256 or None}


def as_csv(result: Result) -> str:
    """zoo.csv: a line for each model. What spreadsheets take for a formula begins with ``'``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for model, outcome in result.pairs:
        facts, status = outcome.facts, outcome.status
        row: list[Any] = [outcome.name, status, outcome.reason, model.caffemodel, outcome.prototxt]
        if facts is not None:
            left = " ".join(f"{code}:{count}" for code, count in facts.left.items())
            row += [getattr(facts, name) for name in _NUMBERS]
            row += [f"{facts.largest_error:.3e}", left, facts.onnx or ""]
        row += [""] * (len(COLUMNS) - 1 - len(row)) + [outcome.verified or ""]
        cells = [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in map(str, row)]
        writer.writerow(cells)
    return out.getvalue()


@cache
def templates() -> Environment:
    """The templates of this folder, compiled once for each process."""
    from jinja2 import ChoiceLoader, PackageLoader

    shared = environment()
    own = PackageLoader("caffefold.zoo.pages")
    made = shared.overlay(loader=ChoiceLoader([own, *filter(None, [shared.loader])]))
    made.filters = made.filters | {
        "counted": counted,
        "growth": _growth,
        "href": _href,
        "json": lambda value, indent=None: json.dumps(value, indent=indent, ensure_ascii=False),
        "scientific": "{:.1e}".format,
        "size": size,
    }
    made.globals = made.globals | {"version": VERSION}
    return made


def index_page(result: Result) -> bytes:
    """The page of the whole zoo."""
    gone = "its model is no longer in the zoo"
    return _rendered(
        "index.html",
        plan=result.plan,
        summary=summary(result),
        rows=result.pairs,
        onnx=any(model.onnx for model in result.plan.models),
        verified=verdicts(result),
        converted=[outcome.facts for outcome in result.outcomes if outcome.facts is not None],
        others=[*result.plan.orphans, *(Orphan(n, "result", gone) for n in result.stale)],
    )


def model_page(model: Model, outcome: Outcome, report: ConvertReport) -> bytes:
    """The page of a converted model, whose weights can be read still."""
    from caffefold.page import values

    return _rendered("model.html", model=model, outcome=outcome, **values(report))


def plain_page(model: Model, outcome: Outcome) -> bytes:
    """The page of a model that was not converted."""
    return _rendered("model.html", model=model, outcome=outcome, report=None)


def _rendered(template: str, **values: Any) -> bytes:
    return templates().get_template(template).render(values).encode()


def _growth(facts: Facts) -> str:
    """How much larger the weights are: ``-1.5%``."""
    grown = facts.bytes_after - facts.bytes_before
    share = grown / facts.bytes_before if facts.bytes_before else 0.0
    return f"{share:+.1%}" if abs(share) >= 0.0005 else "same"


def _href(path: str) -> str:
    """A link to a file beside the page; whatever its name is, it is a path and no scheme."""
    try:
        name = path.encode("utf-8", "surrogateescape")  # the bytes that the file system has
    except UnicodeEncodeError:
        name = path.encode("utf-8", "surrogatepass")
    return "./" + quote(name)
