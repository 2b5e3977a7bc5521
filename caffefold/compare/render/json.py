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

from dataclasses import asdict
from typing import Any

from caffefold._version import VERSION
from caffefold.compare.entries import SYMBOLS, Aligned, Pair, Row
from caffefold.compare.summary import WeightTotals
from caffefold.humanize import json_text

SCHEMA = 1
_KEYS = ("before", "after", "reason", "fields", "wiring", "moved", "blobs")


def to_json(diff: Aligned, weights: WeightTotals) -> str:
    """The document, with a line break at its end; the same diff gives the same text."""
    document = {
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
    return json_text(document)


def _entry(entry: Row) -> dict[str, Any]:
    if isinstance(entry, Pair):
        found = asdict(entry)
    else:
        side = "before" if entry.symbol == "-" else "after"
        found = {side: asdict(entry.layer), "reason": entry.reason, "fields": (), "blobs": ()}
        found["moved"] = False
    for side in found.keys() & {"before", "after"}:
        found[side]["settings"] = dict(found[side]["settings"])
    return {"kind": SYMBOLS[entry.symbol], **{key: found.get(key) for key in _KEYS}}
