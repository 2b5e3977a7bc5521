"""Words for what differs: settings, reasons, numbers. Used by all renderers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from caffefold.compare import naming
from caffefold.compare.canonical import default_of, shown
from caffefold.compare.entries import Added, Changed, FieldChange, NetDiff, Removed
from caffefold.humanize import counted


def change_text(change: FieldChange) -> str:
    """``num_output: 32 -> 64``, without the message's name in front."""
    name, before, after = change_parts(change)
    return f"{name}: {before} -> {after}"


def change_parts(change: FieldChange) -> tuple[str, str, str]:
    """Name, value in A, value in B; Caffe's default where none is set."""
    filler = naming.training_kind(change.path).endswith("filler")
    default = None if filler else default_of(change.path)
    values = (default if v is None else v for v in (change.before, change.after))
    before, after = map(shown, values)
    return short(change.path), before, after


def row_changes(row: Changed) -> Iterator[tuple[str, str, str]]:
    """Name, value in A, value in B of each setting; of another type only what it has now."""
    if not row.retyped:
        yield from map(change_parts, row.fields)
        return
    lost = [change for change in row.fields if change.after is None]
    came = [change for change in row.fields if change.before is None]
    for change in row.fields:
        if change.before is not None and change.after is not None:
            yield change_parts(change)
    for name, changes in ((row.before.type, lost), (row.after.type, came)):
        if len(changes) > _FEW:
            text = f"{len(changes)} of {name}"
            yield ("settings", text, "-") if changes is lost else ("settings", "-", text)
        else:
            yield from (
                (short(change.path), shown(change.before), shown(change.after))
                for change in changes
            )


_FEW = 6


def short(path: str) -> str:
    """A path without its first message: the layer's type says that."""
    head, _, rest = path.partition(".")
    return rest if rest and head.endswith("_param") else path


def reasons(diff: NetDiff) -> dict[tuple[str, str], str]:
    """Why a layer is on one side only, by (symbol, name)."""
    found: dict[tuple[str, str], str] = {}
    for fold in diff.folds:
        way = "the input of " if fold.way == "input" else ""
        said = "taken out of" if fold.inverse else "folded into"
        text = f"{said} {way}{', '.join(fold.into)}" if fold.into else fold.problem
        found |= {("+" if fold.inverse else "-", name): text for name in fold.layers}
    alone: tuple[Removed | Added, ...] = (*diff.removed, *diff.added)
    for row in alone:
        only = f"{rule(row.layer.phase)} only" if row.layer.phase else ""
        text = only or _REASONS.get(row.reason, "")
        found.setdefault((row.symbol, row.layer.name), text)
    return found


_REASONS = {
    "nothing": "does nothing at test time",
    "data": "data layer",
    "loss": "loss or measure",
    "training": "needed in training",
    "input": "stands for the data layer",
    "head": "stands for the loss",
}


def same_text(diff: NetDiff) -> str:
    """What is the same, by type, most first."""
    counts: dict[str, int] = defaultdict(int)
    for row in diff.same:
        counts[row.before.type] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} {kind}" for kind, number in ordered)


def weight_rows(diff: NetDiff) -> list[tuple[str, ...]]:
    """Blobs whose numbers differ: layer, blob, shape, max abs, max rel, cosine."""
    rows: list[tuple[str, ...]] = []
    for row in diff.rows:
        if not isinstance(row, Changed):
            continue
        for blob in row.blobs:
            if not blob.equal and blob.max_abs is not None:
                cosine = "-" if blob.cosine is None else f"{blob.cosine:.6f}"
                sizes = (naming.shape(blob.after), f"{blob.max_abs:.3g}", f"{blob.max_rel:.3g}")
                rows.append((naming.pair(row), str(blob.index), *sizes, cosine))
    return rows


def weights_text(diff: NetDiff) -> str:
    """One line on all numbers that were compared; empty when none were."""
    blobs = [b for r in diff.rows if not isinstance(r, naming.ONE_SIDED) for b in r.blobs]
    if not diff.weights_compared or not blobs:
        return ""
    identical = sum(blob.identical for blob in blobs)
    close = sum(blob.equal and not blob.identical for blob in blobs)
    differ = len(blobs) - identical - close
    parts = [f"{identical} identical"] if identical else []
    parts += [f"{close} within the tolerance"] if close else []
    parts += [f"{differ} different"] if differ else []
    what = "other blob" if diff.folds else "blob"
    return f"{counted(len(blobs), what)}: {', '.join(parts)}"


def factors_text(diff: NetDiff) -> str:
    """Which BatchNorm layers differ by their factor alone; empty when none does."""
    names = [naming.pair(row) for row in diff.changed if row.reason == "statistics"]
    subject, _ = naming.several(names)
    return f"the same statistics with another factor: {subject}" if names else ""


def rule(phase: str) -> str:
    """How a rule is called that keeps layers out of the compared phase."""
    return "other levels or stages" if phase == "other" else phase
