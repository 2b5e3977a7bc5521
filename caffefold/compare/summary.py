"""The difference as a person would describe it: named groups instead of single layers.

35 times ``X/bn, X/scale folded into X`` is one item, a dropped auxiliary head is one, a setting
that changed alike in 57 layers is one. It is computed once; renderers only lay it out.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from caffefold.compare.entries import (
    SYMBOLS,
    Aligned,
    BlobDiff,
    Dims,
    FieldChange,
    FoldMatch,
    LayerInfo,
    OneSided,
    Pair,
    Row,
)
from caffefold.compare.groups import connected, fold_pattern, grouped, rename_pattern, several
from caffefold.compare.settings import default_of, is_training, shown, training_kind
from caffefold.humanize import all_visible, counted
from caffefold.ir import placeholder
from caffefold.ops.base import Category
from caffefold.ops.shape import show
from caffefold.ops.source import INPUT
from caffefold.ops.table import op_of

NUMBER_COLUMNS = ("layer", "blob", "shape", "max abs", "max rel", "cosine")
_STANDS_IN = ("input", "head")  # reasons of rows that the section "replaced" explains
_MANY = 4  # like layers from which on they are one item
_FEW = 6  # settings that are still listed one by one when a layer's type changed
_WHY = {
    "nothing": "does nothing at test time",
    "data": "data layer",
    "loss": "loss or metric",
    "training": "needed in training",
    "input": "replaces the data layer",
    "head": "replaces the loss",
}


class Item(NamedTuple):
    """One line: a symbol, what it is about, what happened; ``names`` are layers it holds for."""

    symbol: str
    subject: str
    text: str = ""
    names: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    letter: str = ""
    """What stands for each of ``names`` in ``subject``."""
    alarm: bool = False
    """Whether ``more`` holds bad news."""


class Section(NamedTuple):
    """Items of one kind under a short title."""

    title: str
    items: tuple[Item, ...]


class Fact(NamedTuple):
    """One thing that differs: in A, in B, and both in one line."""

    before: str
    after: str
    line: str
    implied: bool = False
    """Whether another fact has it already, where A and B stand side by side."""


class RowView(NamedTuple):
    """One row of the two nets; ``before`` or ``after`` is None where the layer is not there."""

    symbol: str
    name: str
    """Both names, when they differ."""
    type: str
    before: LayerInfo | None
    after: LayerInfo | None
    why: str = ""
    """Why the layer is on one side only."""
    facts: tuple[Fact, ...] = ()


class WeightTotals(NamedTuple):
    """How many blobs of pairs were compared, and how they agree."""

    compared: bool
    blobs: int
    identical: int
    close: int
    """Different, but within the tolerance."""
    different: int


class Summary:
    """All there is to show of a difference; what costs time is computed when it is asked for."""

    def __init__(self, given: Aligned) -> None:
        diff = all_visible(given)
        self.a, self.b, self.notes = diff.a, diff.b, diff.notes
        self.different = bool(diff)
        self._diff = diff
        self._changed = diff.changed

    @property
    def totals(self) -> tuple[tuple[str, str, int], ...]:
        """(symbol, what it means, rows); those with rows."""
        return tuple((s, SYMBOLS[s], count) for s, count in self._diff.totals.items() if count)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """What happened, by kind; kinds of which there is nothing are left out."""
        diff, changed = self._diff, self._changed
        sections = {
            "net": _net(diff),
            "replaced": _alike(_replaced(diff)),
            "folded": _folded(diff, inverse=False),
            "unfolded": _folded(diff, inverse=True),
            "removed": _alike(_one_sided(diff, diff.removed)),
            "added": _alike(_one_sided(diff, diff.added)),
            "template": _template(changed),
            "changed": _alike(itertools.chain(_retyped(changed), _settings(changed, diff.folds))),
            "renamed": _renamed(changed),
            "moved": _moved(diff),
            "rewired": _alike(_rewired(changed)),
            "training": _training(changed),
        }
        found = (Section(title, tuple(items)) for title, items in sections.items())
        return tuple(section for section in found if section.items)

    @property
    def net(self) -> Iterator[Fact]:
        """Fields of the nets themselves that differ."""
        for change in self._diff.net_fields:
            yield _fact(f"net {change.path}:", shown(change.before), shown(change.after))

    @cached_property
    def rows(self) -> tuple[RowView, ...]:
        """All layers of both nets."""
        return tuple(_rows(self._diff))

    @cached_property
    def weights(self) -> WeightTotals:
        """How the numbers of all pairs compare."""
        blobs = [blob for row in self._diff.pairs for blob in row.blobs]
        identical = sum(blob.identical for blob in blobs)
        equal = sum(blob.equal for blob in blobs)
        counts = (len(blobs), identical, equal - identical, len(blobs) - equal)
        return WeightTotals(self._diff.weights_compared, *counts)

    @property
    def weights_text(self) -> str:
        """One line on all numbers that were compared; empty when none were."""
        found = self.weights
        if not found.compared or not found.blobs:
            return ""
        counts = {
            "identical": found.identical,
            "within the tolerance": found.close,
            "different": found.different,
        }
        parts = [f"{count} {what}" for what, count in counts.items() if count]
        what = "other blob" if self._diff.folds else "blob"
        return f"{counted(found.blobs, what)}: {', '.join(parts)}"

    @cached_property
    def numbers(self) -> tuple[tuple[str, ...], ...]:
        """Blobs whose numbers differ, as NUMBER_COLUMNS."""
        return tuple(
            (
                row.name,
                str(blob.index),
                _dims(blob.after),
                f"{blob.max_abs:.3g}",
                f"{blob.max_rel:.3g}",
                "-" if blob.cosine is None else f"{blob.cosine:.6f}",
            )
            for row in self._changed
            for blob in row.blobs
            if not blob.equal and blob.max_abs is not None
        )

    @property
    def factors(self) -> str:
        """Which BatchNorm layers differ by their factor alone; empty when none does."""
        names = [row.name for row in self._changed if row.reason == "statistics"]
        text = "the same statistics, stored with a different factor: "
        return text + several(names)[0] if names else ""

    @property
    def same(self) -> tuple[str, str]:
        """How many layers are the same; these by type, most first."""
        kinds = Counter(row.before.type for row in self._diff.same)
        ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        types = ", ".join(f"{number} {kind}" for kind, number in ordered)
        return counted(kinds.total(), "layer"), types

    @property
    def doubts(self) -> Iterator[str]:
        """Folds whose numbers are not what the fold gives."""
        for fold in self._diff.folds:
            for check in fold.checks:
                if check.verdict != "equal":
                    why = check.message or f"off by up to {check.max_abs:.2g}"
                    yield f"{check.layer}: the fold of {', '.join(fold.layers)}: {why}"


def runs(rows: Sequence[RowView], context: int) -> Iterator[tuple[bool, list[RowView]]]:
    """The rows in order, in runs: shown, or (at least two) unchanged ones far from any change."""
    near: set[int] = set()
    for at, row in enumerate(rows):
        if row.symbol != "=":
            near.update(range(at - context, at + context + 1))
    for close, places in itertools.groupby(range(len(rows)), near.__contains__):
        run = [rows[at] for at in places]
        yield close or len(run) == 1, run


# --------------------------------------------------------------------------------- sections


def _net(diff: Aligned) -> Iterator[Item]:
    for change in diff.net_fields:
        yield Item("~", change.path, f"{shown(change.before)} -> {shown(change.after)}")


def _replaced(diff: Aligned) -> Iterator[Item]:
    before = {r.layer.name: r.layer for r in diff.removed}
    before |= {r.before.name: r.before for r in diff.changed}
    after = {r.layer.name: r.layer for r in diff.added}
    after |= {r.after.name: r.after for r in diff.changed}
    for item in diff.replacements:
        old = [before[name] for name in item.removed if name in before]
        new = [after[name] for name in item.added if name in after]
        if not old or not new:
            continue
        text = f"{_counts(map(_type, old))} -> {_counts(map(_type, new))}"
        gone = {top for layer in old for top in layer.tops} - {t for x in new for t in x.tops}
        if item.kind == "input":
            lost = ", ".join(f"'{top}'" for top in sorted(gone))
            text += f"; {lost} dropped" if gone else ""
        names = tuple(layer.name for layer in new)
        more = () if names == tuple(x.name for x in old) else (", ".join(names),)
        made = [layer for layer in new if op_of(layer.type) is not INPUT]
        if made and item.kind == "input":  # they do what the data layer's transformation did
            more = (*more, f"{_set(old, 'transform_param.')} -> {_set(made, '')}")
        yield Item("~", ", ".join(x.name for x in old), text, (), more)


def _set(layers: Iterable[LayerInfo], under: str) -> str:
    """What is set in layers, below ``under``: ``scale: 0.0125``."""
    given = (item for layer in layers for item in layer.settings if item[0].startswith(under))
    return ", ".join(f"{_label(path)} {shown(value)}" for path, value in given)


def _counts(kinds: Iterable[str]) -> str:
    """``2 Yolov3, Input``: kinds in order, each with how many there are of it."""
    return ", ".join(f"{n} {kind}" if n > 1 else kind for kind, n in Counter(kinds).items())


def _alike(items: Iterable[Item]) -> Iterator[Item]:
    """Items that say the same of many single layers, as one that lists them."""
    items = tuple(items)
    groups = grouped(
        ((item.symbol, item.text, item.more, item.alarm), item) for item in items if not item.names
    )
    for item in items:
        group = groups.get((item.symbol, item.text, item.more, item.alarm), [])
        if item.names or not item.text or len(group) < _MANY:
            yield item
        elif item is group[0]:
            names = tuple(each.subject for each in group)
            yield item._replace(subject=counted(len(names), "layer"), names=names)


def _type(layer: LayerInfo) -> str:
    """The type; of an Input layer with its shape."""
    dims = dict(layer.settings).get("input_param.shape[0].dim")
    if op_of(layer.type) is INPUT and dims is not None:
        return f"Input {'x'.join(map(str, dims if isinstance(dims, tuple) else (dims,)))}"
    return layer.type


def _folded(diff: Aligned, *, inverse: bool) -> Iterator[Item]:
    """Folds of one pattern and one verdict are one item."""
    symbol, into = ("+", "out of") if inverse else ("-", "into")
    folds = [fold for fold in diff.folds if fold.inverse == inverse and fold.into]
    if len(folds) > 1:
        inside = len({name for fold in folds for name in fold.into})
        yield Item(symbol, f"{sum(len(f.layers) for f in folds)} layers {into} {inside}")
    for group in grouped((_kind(fold), fold) for fold in folds).values():
        first = group[0]
        names = tuple(fold_pattern(f.layers, f.into)[2] for f in group)
        layers, absorber, _ = fold_pattern(first.layers, first.into)
        times, letter = f", {len(group)} times", "X"
        if len(group) == 1:
            layers, absorber = ", ".join(first.layers), ", ".join(first.into)
            names, times, letter = (), "", ""
        verb = "merged into" if first.way == "scale" and not inverse else _verb(first)
        bias = f" (bias {'removed' if inverse else 'added'})" if first.bias_added else ""
        lines, wrong = _verdicts(group, "B" if inverse else "A")
        subject = f"{layers} {verb} {absorber}{bias}{times}"
        yield Item(symbol, subject, "", names, lines, letter, wrong or bool(first.problem))


def _kind(fold: FoldMatch) -> Hashable:
    verdicts = {(check.verdict, bool(check.message)) for check in fold.checks}
    pattern = fold_pattern(fold.layers, fold.into)[:2]
    return pattern, fold.way, fold.bias_added, fold.problem, frozenset(verdicts)


def _verb(fold: FoldMatch) -> str:
    way = " the input of" if fold.way == "input" else ""
    return f"{'split out of' if fold.inverse else 'folded into'}{way}"


def _verdicts(group: list[FoldMatch], plain: str) -> tuple[tuple[str, ...], bool]:
    """What the numbers say of a group of folds, and whether some are wrong."""
    lines = [f"no exact fold: {group[0].problem}"] if group[0].problem else []
    checks = [check for fold in group for check in fold.checks]
    wrong = [check for check in checks if check.verdict == "different"]
    refused = [check for check in checks if check.verdict == "refused"]
    if wrong:
        worst = max(wrong, key=lambda check: check.relative or 0.0)
        of = f" in {len(wrong)} of {len(checks)}" if len(checks) > 1 else ""
        what = worst.message
        known = [check.message for check in wrong if check.message]
        if worst.relative is not None:
            share = f"{worst.relative:.1e} of the largest weight"
            what = f"off by up to {worst.max_abs:.2g}, {share}"
        lines.append(f"does not match the fold of {plain}{of}: {what} ({worst.layer})")
        if known and worst.relative is not None:
            lines.append(known[0] if len(known) == len(wrong) else f"{known[0]}: {len(known)}")
    elif refused:
        lines.append(f"not checked: {refused[0].message}")
    elif checks:
        worst = max(checks, key=lambda check: check.relative or 0.0)
        same = f"to {worst.relative:.0e} of the largest" if worst.max_abs else "exactly"
        lines.append(f"weights match the fold of {plain}, {same}")
    return tuple(lines), bool(wrong)


def _one_sided(diff: Aligned, rows: Sequence[OneSided]) -> Iterator[Item]:
    """Removed or added layers that no fold and no replacement explains."""
    replaced = {name for r in diff.replacements for name in (*r.removed, *r.added)}
    folded = {name for f in diff.folds if f.into for name in f.layers}
    rest = [
        row
        for row in rows
        if not (row.reason == "fold" and row.layer.name in folded)
        and not (row.layer.name in replaced and not row.layer.phase)
    ]
    problems = {name: f.problem for f in diff.folds if not f.into for name in f.layers}
    for group in _groups(rest):
        layers = [row.layer for row in group]
        phase = layers[0].phase
        reasons = {row.reason for row in group}
        subject, names = several([layer.name for layer in layers])
        text = _counts(layer.type for layer in layers)
        if phase:
            text += f" ({_rule(phase)} only)"
        elif reasons == {"nothing"}:
            text += f", {_WHY['nothing']}"
        elif reasons <= {"loss", "training"} and len(layers) == 1:
            text += f", {_WHY['training']}"
        elif reasons <= {"loss", "training"}:
            losses = any(op_of(layer.type).category is not Category.MEASURE for layer in layers)
            ends = "losses and metrics" if losses else "metrics"
            head = ends if reasons == {"loss"} else "training head"
            made = {top for layer in layers for top in layer.tops} - set(layers[0].tops)
            source = next((blob for blob in layers[0].bottoms if blob not in made), "")
            after = f", after '{source}'" if source else ""
            text = f"{head}{after}: {text}"
        elif found := [problems[layer.name] for layer in layers if layer.name in problems]:
            text += f"; {found[0]}"
        yield Item(group[0].symbol, subject, text, names)


def _groups(rows: Sequence[OneSided]) -> list[list[OneSided]]:
    """Rows grouped by what they have to do with each other, in order.

    Losses, measures and what only they need: by the blobs they hand on, or by the blob they all
    read. Layers that do nothing: by type. Layers of another phase: by phase. Others: by the blobs
    they hand on.
    """
    makers: dict[tuple[str, str], int] = {}
    links = []
    for at, row in enumerate(rows):
        layer = row.layer
        training = row.reason in ("loss", "training")
        family = layer.phase + ("training" if training else row.reason)
        reads = [(family, blob) for blob in layer.bottoms]
        makes = [(family, blob) for blob in layer.tops]
        if row.reason == "nothing":
            reads = makes = [(family, layer.type)]
        elif layer.phase:
            reads = makes = [(layer.phase, "")]
        found = [makers[key] for key in reads if key in makers]
        links += [(other, at) for other in found]
        if training and not found:
            # The prediction comes first, the label behind it is read by all of them.
            makes = reads[:1] + makes
        makers.update(dict.fromkeys(makes, at))
    return [[rows[at] for at in group] for group in connected(range(len(rows)), links)]


def _rule(phase: str) -> str:
    """What a rule is called that keeps layers out of the compared phase."""
    return "other levels or stages" if phase == "other" else phase


def _template(changed: Sequence[Pair]) -> Iterator[Item]:
    """Placeholders that have a number on the other side."""
    groups = grouped(
        ((shown(change.before), shown(change.after)), row.before.name)
        for row in changed
        for change in row.fields
        if _is_template(change)
    )
    for (before, after), names in groups.items():
        yield Item("~", f"{before} -> {after}", f"in {counted(len(set(names)), 'layer')}")


def _is_template(change: FieldChange) -> bool:
    if change.before is None or change.after is None:
        return False
    return any(isinstance(v, str) and placeholder.present(v) for v in (change.before, change.after))


def _retyped(changed: Sequence[Pair]) -> Iterator[Item]:
    for row in changed:
        if row.retyped and row.reason not in _STANDS_IN:
            text = f"type: {row.before.type} -> {row.after.type}"
            yield Item("~", row.name, text, (), tuple(fact.line for fact in _field_facts(row)))


def _settings(changed: Sequence[Pair], folds: Sequence[FoldMatch]) -> Iterator[Item]:
    """Settings that changed alike in several layers are one item."""
    alike: list[tuple[tuple[FieldChange, ...], str]] = []
    biased = {name for f in folds if f.bias_added for name in f.into}
    for row in changed:
        if row.retyped:
            continue
        folded = row.after.name in biased or row.before.name in biased
        fields = tuple(
            change
            for change in row.fields
            if not is_training(change.path, change.given)
            and not _is_template(change)
            and not (folded and change.path.endswith(".bias_term"))
        )
        shapes = tuple(_shape_fact(b).line for b in row.blobs if b.max_abs is None)
        if shapes:
            first, *more = (*_lines(fields), *shapes)
            yield Item("~", row.name, first, (), tuple(more))
        elif fields:
            alike.append((fields, row.name))
    for fields, names in grouped(alike).items():
        first, *more = _lines(fields)
        subject, listed = (names[0], []) if len(names) == 1 else (f"{len(names)} layers", names)
        yield Item("~", subject, first, tuple(listed), tuple(more))


def _lines(fields: Sequence[FieldChange]) -> tuple[str, ...]:
    return tuple(_field_fact(change).line for change in fields)


def _renamed(changed: Sequence[Pair]) -> Iterator[Item]:
    """Layers with another name; a pattern that holds for several is one item."""
    layers = [
        (r.before.name, r.after.name) for r in changed if r.renamed and r.reason not in _STANDS_IN
    ]
    yield from _patterns(layers, "layer")
    blobs = dict.fromkeys(
        pair
        for row in changed
        if len(row.before.tops) == len(row.after.tops)
        for pair in zip(row.before.tops, row.after.tops, strict=True)
        if pair[0] != pair[1]
    )
    yield from _patterns([pair for pair in blobs if pair not in set(layers)], "blob")


def _patterns(pairs: list[tuple[str, str]], what: str) -> Iterator[Item]:
    """Old and new names, those of one pattern together, and those that share one name."""
    befores, afters = (
        Counter(names) for names in (zip(*pairs, strict=True) if pairs else ((), ()))
    )

    def pattern_of(before: str, after: str) -> str:
        if afters[after] >= _MANY:
            return f"{counted(afters[after], what)} -> {after}"
        if befores[before] >= _MANY:
            return f"{before} -> {counted(befores[before], what)}"
        return rename_pattern(before, after)

    for pattern, group in grouped((pattern_of(*pair), pair) for pair in pairs).items():
        if len(group) == 1:
            yield Item("~", f"{what} {group[0][0]} -> {group[0][1]}")
        else:
            names = tuple(new if befores[old] >= _MANY else old for old, new in group)
            many = counted(len(group), what)
            yield Item("~", pattern, "" if many in pattern else many, names)


def _moved(diff: Aligned) -> Iterator[Item]:
    """Neighbours that moved together are one item."""

    def shift(place: tuple[int, Row]) -> tuple[int, int] | None:
        at, row = place
        if not isinstance(row, Pair) or not row.moved:
            return None
        return row.before.position - at, row.after.position - at

    for moved, places in itertools.groupby(enumerate(diff.rows), shift):
        if moved is not None:
            run = [row for _, row in places if isinstance(row, Pair)]
            subject, names = several([row.name for row in run])
            wired = any(row.wiring.kind == "rewired" for row in run)
            text = f"position {run[0].before.position + 1} -> {run[0].after.position + 1}"
            yield Item(">", subject, text + ("" if wired else ", same inputs"), names)


def _rewired(changed: Sequence[Pair]) -> Iterator[Item]:
    kinds: Counter[str] = Counter()
    for row in changed:
        if row.reason in _STANDS_IN:
            continue
        kinds[row.wiring.kind] += row.consequence
        if row.wiring.kind == "rewired":
            pairs = ((one or "nothing", two or "nothing") for one, two in row.wiring.sources)
            sources = "; ".join(map(" -> ".join, pairs))
            yield Item("~", row.name, f"reads {sources or ', '.join(row.after.bottoms)}")
        if len(row.before.tops) != len(row.after.tops):
            before, after = ", ".join(row.before.tops), ", ".join(row.after.tops)
            yield Item("~", row.name, f"top: {before or 'none'} -> {after or 'none'}")
    for kind, text in (
        ("around", "bypass removed or added layers, otherwise unchanged"),
        ("renamed", "read the same values under other blob names"),
    ):
        if kinds[kind]:
            yield Item("~", counted(kinds[kind], "layer"), text)


def _training(changed: Sequence[Pair]) -> Iterator[Item]:
    """Training settings, by what they are: how many layers lost, got or changed them."""
    groups = grouped(
        (training_kind(change.path), (number, change.verb))
        for number, row in enumerate(changed)
        if row.reason not in _STANDS_IN and not row.retyped
        for change in row.fields
        if is_training(change.path, change.given) and not _is_template(change)
    )
    for kind, found in groups.items():
        layers, verbs = (set(values) for values in zip(*found, strict=True))
        verb = verbs.pop() if len(verbs) == 1 else "changed"
        yield Item("~", kind, f"{verb} in {counted(len(layers), 'layer')}")


# ------------------------------------------------------------------------------------- rows


def _rows(diff: Aligned) -> Iterator[RowView]:
    folded: dict[tuple[str, str], str] = {}
    for fold in diff.folds:
        why = f"{_verb(fold)} {', '.join(fold.into)}" if fold.into else fold.problem
        folded |= {("+" if fold.inverse else "-", name): why for name in fold.layers}
    for row in diff.rows:
        if isinstance(row, OneSided):
            layer = row.layer
            why = f"{_rule(layer.phase)} only" if layer.phase else _WHY.get(row.reason, "")
            why = folded.get((row.symbol, layer.name), why)
            before, after = (layer, None) if row.symbol == "-" else (None, layer)
            yield RowView(row.symbol, layer.name, layer.type, before, after, why)
            continue
        one, two = row.before, row.after
        if row.symbol == "=":
            yield RowView("=", two.name, two.type, one, two)
        else:
            kind = f"{one.type} -> {two.type}" if row.retyped else two.type
            yield RowView(row.symbol, row.name, kind, one, two, "", tuple(_facts(row)))


def _facts(row: Pair) -> Iterator[Fact]:
    """What differs in a pair, one thing after the other."""
    yield from _field_facts(row)
    for before, after in row.wiring.sources:
        reads = _fact("reads", before or "nothing", after or "nothing")
        yield reads._replace(implied=row.before.bottoms != row.after.bottoms)
    if row.before.bottoms != row.after.bottoms:
        yield _fact("bottom:", ", ".join(row.before.bottoms), ", ".join(row.after.bottoms))
    if row.tops_differ:
        yield _fact("top:", ", ".join(row.before.tops), ", ".join(row.after.tops))
    if row.moved:
        position = _fact("position", str(row.before.position + 1), str(row.after.position + 1))
        yield position._replace(line=f"moved: {position.line}")
    for blob in row.blobs:
        if blob.max_abs is None:
            yield _shape_fact(blob)
        elif not blob.equal:
            figures = f"max abs {blob.max_abs:.3g}, max rel {blob.max_rel:.3g}"
            cosine = "" if blob.cosine is None else f", cosine {blob.cosine:.6f}"
            shapes = _shape_fact(blob)
            yield Fact(
                shapes.before, f"{shapes.after}, {figures}", f"blob {blob.index}: {figures}{cosine}"
            )


def _fact(label: str, before: str, after: str) -> Fact:
    return Fact(f"{label} {before}", f"{label} {after}", f"{label} {before} -> {after}")


def _shape_fact(blob: BlobDiff) -> Fact:
    before, after = _dims(blob.before), _dims(blob.after)
    label = f"blob {blob.index}:"
    return Fact(f"{label} {before}", after, f"{label} {before} -> {after}")


def _dims(dims: Dims | None) -> str:
    """``64x3x3x3``; ``none`` when there is no such blob, ``scalar`` for no dimensions."""
    return "none" if dims is None else show(dims)


def _field_facts(row: Pair) -> Iterator[Fact]:
    """Settings that differ; where the type does, those of both, or how many there are."""
    lost = [change for change in row.fields if row.retyped and change.after is None]
    came = [change for change in row.fields if row.retyped and change.before is None]
    yield from (_field_fact(change) for change in row.fields if change not in (*lost, *came))
    for changes, before, after in (
        (lost, f"{len(lost)} of {row.before.type}", "none"),
        (came, "none", f"{len(came)} of {row.after.type}"),
    ):
        if len(changes) > _FEW:
            yield _fact("settings:", before, after)
        else:
            for change in changes:
                yield _fact(_label(change.path), shown(change.before), shown(change.after))


def _field_fact(change: FieldChange) -> Fact:
    """``num_output: 32 -> 64``; Caffe's default where none is set."""
    filler = training_kind(change.path).endswith("filler")
    default = None if filler else default_of(change.path)
    before, after = (default if v is None else v for v in (change.before, change.after))
    return _fact(_label(change.path), shown(before), shown(after))


def _label(path: str) -> str:
    """A path without its first message: the layer's type has that in it."""
    head, _, rest = path.partition(".")
    return f"{rest if rest and head.endswith('_param') else path}:"
