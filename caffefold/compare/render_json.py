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
from caffefold.compare.entries import (
    BlobDiff,
    Changed,
    Entry,
    Given,
    LayerInfo,
    NetDiff,
    Removed,
    Same,
)

SCHEMA = 1
_TOTALS = {"-": "removed", "+": "added", "~": "changed", ">": "moved", "=": "same"}


def to_json(diff: NetDiff) -> str:
    """The document, with a line break at its end; the same diff gives the same text."""
    return json.dumps(_finite(document(diff)), indent=2, ensure_ascii=False) + "\n"


def document(diff: NetDiff) -> dict[str, Any]:
    """The document as plain values."""
    return {
        "schema": SCHEMA,
        "caffefold": VERSION,
        "different": bool(diff),
        "level": diff.level,
        "phase": diff.phase,
        "ignore_training": diff.ignore_training,
        "a": _given(diff.a),
        "b": _given(diff.b),
        "totals": {_TOTALS[symbol]: count for symbol, count in diff.totals.items()},
        "net": [asdict(change) for change in diff.net_fields],
        "entries": [_entry(entry) for entry in diff.entries],
        "folds": [asdict(fold) for fold in diff.folds],
        "replacements": [asdict(item) for item in diff.replacements],
        "weights": _weights(diff),
        "notes": list(diff.notes),
    }


def _given(given: Given) -> dict[str, Any]:
    return asdict(given) | {"weights": given.weights or None}


def _entry(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, Changed):
        return {
            "kind": "moved" if entry.symbol == ">" else "changed",
            "before": _layer(entry.before),
            "after": _layer(entry.after),
            "reason": entry.reason,
            "fields": [asdict(change) for change in entry.fields],
            "wiring": asdict(entry.wiring),
            "moved": entry.moved,
            "blobs": [asdict(blob) for blob in entry.blobs],
        }
    removed = isinstance(entry, Removed)
    return {
        "kind": "removed" if removed else "added",
        "before": _layer(entry.layer) if removed else None,
        "after": None if removed else _layer(entry.layer),
        "reason": entry.reason,
        "fields": [],
        "wiring": None,
        "moved": False,
        "blobs": [],
    }


def _layer(layer: LayerInfo) -> dict[str, Any]:
    return {
        "name": layer.name,
        "type": layer.type,
        "bottoms": layer.bottoms,
        "tops": layer.tops,
        "settings": dict(layer.settings),
        "shapes": layer.shapes,
        "position": layer.position,
        "phase": layer.phase,
    }


def _weights(diff: NetDiff) -> dict[str, Any]:
    blobs: list[BlobDiff] = [
        blob for row in diff.rows if isinstance(row, (Changed, Same)) for blob in row.blobs
    ]
    identical = sum(blob.identical for blob in blobs)
    equal = sum(blob.equal for blob in blobs)
    return {
        "compared": diff.weights_compared,
        "blobs": len(blobs),
        "identical": identical,
        "close": equal - identical,
        "different": len(blobs) - equal,
    }


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
