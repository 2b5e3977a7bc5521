"""zoo.json and zoo.csv: what became of every model, as data."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import asdict
from typing import Any, get_args

from caffefold._version import VERSION
from caffefold.zoo.records import Facts, Model, Outcome, Result, Status
from caffefold.zoo.storage import FileState

SCHEMA = 1
COLUMNS = (
    "model", "status", "reason", "caffemodel", "prototxt", "net", "layers_before", "layers_after",
    "bytes_before", "bytes_after", "folds", "folded", "largest_error", "left",
)  # fmt: skip


def summary(result: Result) -> dict[str, int]:
    """How many models there are of each status."""
    counts = Counter(outcome.status for outcome in result.outcomes)
    return {
        "models": len(result.plan.models),
        **{status: counts[status] for status in get_args(Status)},
        "waiting": len(result.plan.models) - len(result.outcomes),
    }


def as_json(result: Result) -> str:
    """zoo.json, as ``zoo.schema.json`` describes it; the same zoo gives the same text."""
    document = {
        "schema": SCHEMA,
        "caffefold": VERSION,
        "source": result.plan.source,
        "target": result.plan.target,
        "summary": summary(result),
        "models": [_model(*pair) for pair in result.pairs],
        "orphans": [asdict(orphan) for orphan in result.plan.orphans],
        "stale": list(result.stale),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


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
    }


def _file(file: FileState) -> dict[str, Any]:
    return {"path": file.path, "bytes": file.bytes, "sha256": file.sha256 or None}


def as_csv(result: Result) -> str:
    """zoo.csv: a line for each model. What spreadsheets take for a formula begins with ``'``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for model, outcome in result.pairs:
        facts = outcome.facts
        numbers: list[Any] = [""] * 9
        if facts is not None:
            left = " ".join(f"{code}:{count}" for code, count in facts.left.items())
            numbers = [
                facts.net, facts.layers_before, facts.layers_after, facts.bytes_before,
                facts.bytes_after, facts.folds, facts.folded, f"{facts.largest_error:.3e}", left,
            ]  # fmt: skip
        names = outcome.reason, model.caffemodel, outcome.prototxt
        row = (outcome.name, outcome.status, *names, *numbers)
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value
