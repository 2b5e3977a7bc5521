"""The difference as a JSON document, ``"schema": 1``.

    schema, caffefold          1 and the version that wrote it
    different                  what the exit code says
    level, phase, ignore_training
    a, b                       path, kind, net, layers, inputs, outputs, weights, notes
    totals                     removed, added, changed, moved, same
    net                        changed net-level fields: path, before, after
    entries                    every difference, in aligned order:
      kind                     removed, added, changed or moved
      before, after            the layer on each side (null where there is none): name, type,
                               bottoms, tops, settings {path: value}, shapes, position, phase
      reason                   why (compare/explain.py): fold, nothing, data, loss, training,
                               input, head, statistics, or ""
      fields                   settings that differ: path, before, after
      wiring                   kind (same, renamed, around, rewired), sources [[A's, B's layer]]
      moved                    whether its place among the layers that stayed is another
      blobs                    index, before, after (shapes), identical, equal, max_abs, max_rel,
                               cosine
    folds                      layers, into, way, bias_added, inverse, problem, checks [layer,
                               verdict, max_abs, relative, message]
    replacements               kind (input, head), removed, added
    weights                    compared; blobs, identical, close, different (over all pairs)
    notes

Null stands for "not there"; a figure that is infinite or NaN is null, too. New keys may be added
in schema 1; none is taken away or changes its meaning.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from caffefold._version import VERSION
from caffefold.compare.entries import SYMBOLS, Aligned, Pair, Row
from caffefold.compare.summary import WeightTotals

SCHEMA = 1


def to_json(diff: Aligned, weights: WeightTotals) -> str:
    """The document, with a line break at its end; the same diff gives the same text."""
    return json.dumps(_finite(_document(diff, weights)), indent=2, ensure_ascii=False) + "\n"


def _document(diff: Aligned, weights: WeightTotals) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "caffefold": VERSION,
        "different": bool(diff),
        "level": diff.level,
        "phase": diff.phase,
        "ignore_training": diff.ignore_training,
        "a": asdict(diff.a) | {"weights": diff.a.weights or None},
        "b": asdict(diff.b) | {"weights": diff.b.weights or None},
        "totals": {SYMBOLS[symbol]: count for symbol, count in diff.totals.items()},
        "net": [asdict(change) for change in diff.net_fields],
        "entries": [_entry(entry) for entry in diff.entries],
        "folds": [asdict(fold) for fold in diff.folds],
        "replacements": [asdict(item) for item in diff.replacements],
        "weights": weights._asdict(),
        "notes": diff.notes,
    }


def _entry(entry: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": SYMBOLS[entry.symbol],
        "before": None,
        "after": None,
        "reason": entry.reason,
        "fields": [],
        "wiring": None,
        "moved": False,
        "blobs": [],
    }
    if isinstance(entry, Pair):
        found |= {key: value for key, value in asdict(entry).items() if key in found}
    else:
        found["before" if entry.symbol == "-" else "after"] = asdict(entry.layer)
    for layer in filter(None, (found["before"], found["after"])):
        layer["settings"] = dict(layer["settings"])
    return found


def _finite(value: Any) -> Any:
    """``value`` with null for numbers that JSON does not have, and printable text."""
    if isinstance(value, dict):
        return {_finite(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
