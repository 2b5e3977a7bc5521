"""The difference as a person would tell it: named groups instead of single layers.

35 times ``X/bn, X/scale folded into X`` is one item, a dropped auxiliary head is one, a setting
that changed alike in 57 layers is one. Renderers (text, markdown, html) only lay this out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from caffefold.compare import naming
from caffefold.compare.canonical import Value, is_training, shown
from caffefold.compare.entries import Changed, FieldChange, Fold, LayerInfo, NetDiff
from caffefold.compare.wording import change_text, row_changes, rule
from caffefold.humanize import counted
from caffefold.ir import placeholder
from caffefold.ops.kinds import measures


@dataclass(frozen=True, slots=True)
class Item:
    """One line: a symbol, what it is about, what happened; ``names`` are layers it holds for."""

    symbol: str
    subject: str
    text: str = ""
    names: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    letter: str = ""
    """What stands for each of ``names`` in ``subject``."""
    alarm: bool = False
    """Whether ``more`` says that something is wrong."""


@dataclass(frozen=True, slots=True)
class Section:
    """Items of one kind under a short title."""

    title: str
    items: tuple[Item, ...]


def tell(diff: NetDiff) -> tuple[Section, ...]:
    """The sections of the story, those with nothing to say left out."""
    sections = (
        Section("net", tuple(_net(diff))),
        Section("replaced", tuple(_replaced(diff))),
        Section("folded", tuple(_folded(diff, inverse=False))),
        Section("unfolded", tuple(_folded(diff, inverse=True))),
        Section(
            "removed", tuple(_one_sided(diff, [(r.layer, r.reason) for r in diff.removed], "-"))
        ),
        Section("added", tuple(_one_sided(diff, [(r.layer, r.reason) for r in diff.added], "+"))),
        Section("template", tuple(_template(diff))),
        Section("changed", (*_retyped(diff), *_settings(diff))),
        Section("renamed", tuple(_renamed(diff))),
        Section("moved", tuple(_moved(diff))),
        Section("rewired", tuple(_rewired(diff))),
        Section("training", tuple(_training(diff))),
    )
    return tuple(section for section in sections if section.items)


# --------------------------------------------------------------------------------- sections


def _net(diff: NetDiff) -> Iterator[Item]:
    for change in diff.net_fields:
        yield Item("~", change.path, f"{shown(change.before)} -> {shown(change.after)}")


def _replaced(diff: NetDiff) -> Iterator[Item]:
    before = {r.layer.name: r.layer for r in diff.removed}
    before |= {r.before.name: r.before for r in diff.changed}
    after = {r.layer.name: r.layer for r in diff.added}
    after |= {r.after.name: r.after for r in diff.changed}
    for item in diff.replacements:
        old = [before[name] for name in item.removed if name in before]
        new = [after[name] for name in item.added if name in after]
        if not old or not new:
            continue
        text = f"{_types(old)} -> {_types(new)}"
        gone = {top for layer in old for top in layer.tops} - {t for x in new for t in x.tops}
        if item.kind == "input":
            lost = ", ".join(f"'{top}'" for top in sorted(gone))
            text += f"; {lost} {'is' if len(gone) == 1 else 'are'} gone" if gone else ""
        names = tuple(layer.name for layer in new)
        more = () if names == tuple(x.name for x in old) else (", ".join(names),)
        yield Item("~", ", ".join(x.name for x in old), text, (), more)


def _types(layers: list[LayerInfo]) -> str:
    return ", ".join(
        f"Input {shape}" if layer.type == "Input" and (shape := _input_shape(layer)) else layer.type
        for layer in layers
    )


def _input_shape(layer: LayerInfo) -> str:
    dims = dict(layer.settings).get("input_param.shape[0].dim")
    return "x".join(map(str, dims)) if isinstance(dims, tuple) else ""


def _folded(diff: NetDiff, *, inverse: bool) -> Iterator[Item]:
    """Folds of one pattern and one verdict are one item."""
    groups: dict[Hashable, list[Fold]] = defaultdict(list)
    for fold in diff.folds:
        if fold.inverse == inverse and fold.into:
            pattern = naming.fold_pattern(fold.layers, fold.into)
            verdict = {(check.verdict, bool(check.message)) for check in fold.checks}
            key = (pattern[:2], fold.way, fold.bias_added, fold.problem, tuple(sorted(verdict)))
            groups[key].append(fold)
    symbol = "+" if inverse else "-"
    every = [fold for group in groups.values() for fold in group]
    if len(every) > 1:
        inside = len({name for fold in every for name in fold.into})
        into = f"out of {inside}" if inverse else f"into {inside}"
        yield Item(symbol, f"{sum(len(f.layers) for f in every)} layers {into}")
    for group in groups.values():
        first = group[0]
        layers, into, _ = naming.fold_pattern(first.layers, first.into)
        names: tuple[str, ...] = ()
        if len(group) == 1:
            layers, into = ", ".join(first.layers), ", ".join(first.into)
        else:
            names = tuple(naming.fold_pattern(f.layers, f.into)[2] for f in group)
        verb = {"input": "folded into the input of", "scale": "put together into"}.get(
            first.way, "folded into"
        )
        verb = (
            f"taken out of {'the input of ' if first.way == 'input' else ''}" if inverse else verb
        )
        bias = f" (bias {'removed' if inverse else 'added'})" if first.bias_added else ""
        times = f", {len(group)} times" if len(group) > 1 else ""
        more = _verdicts(group, diff, "B" if inverse else "A")
        subject = f"{layers} {verb.strip()} {into}{bias}{times}"
        alarm = any(c.verdict == "different" for f in group for c in f.checks)
        alarm = alarm or bool(first.problem)
        yield Item(symbol, subject, "", names, more, "X" if names else "", alarm)


def _verdicts(group: list[Fold], diff: NetDiff, plain: str) -> tuple[str, ...]:
    """What the numbers say of a group of folds."""
    lines = [f"no exact fold: {group[0].problem}"] if group[0].problem else []
    checks = [check for fold in group for check in fold.checks]
    wrong = [check for check in checks if check.verdict == "different"]
    refused = [check for check in checks if check.verdict == "refused"]
    if not checks:
        return tuple(lines) if lines or diff.weights_compared else ()
    if wrong:
        worst = max(wrong, key=lambda check: check.relative or 0.0)
        of = f" in {len(wrong)} of {len(checks)}" if len(checks) > 1 else ""
        if worst.relative is None:
            lines.append(f"not what the fold of {plain} gives{of}: {worst.message} ({worst.layer})")
        else:
            lines.append(
                f"not what the fold of {plain} gives{of}: off by up to {worst.max_abs:.2g}, "
                f"{worst.relative:.1e} of the largest weight ({worst.layer})"
            )
            known = [check.message for check in wrong if check.message]
            if known:
                lines.append(known[0] if len(known) == len(wrong) else f"{known[0]}: {len(known)}")
    elif refused:
        lines.append(f"not checked: {refused[0].message}")
    else:
        worst = max(checks, key=lambda check: check.relative or 0.0)
        same = (
            "number for number" if not worst.max_abs else f"to {worst.relative:.0e} of the largest"
        )
        lines.append(f"weights are those that the fold of {plain} gives, {same}")
    return tuple(lines)


def _one_sided(diff: NetDiff, layers: list[tuple[LayerInfo, str]], symbol: str) -> Iterator[Item]:
    """Removed or added layers that no fold and no replacement tells of."""
    told = {name for r in diff.replacements for name in (*r.removed, *r.added)}
    told_fold = {name for f in diff.folds if f.into for name in f.layers}
    rest = [
        (layer, reason)
        for layer, reason in layers
        if not (reason == "fold" and layer.name in told_fold)
        and not (layer.name in told and not layer.phase)
    ]
    problems = {name: f.problem for f in diff.folds if not f.into for name in f.layers}
    for group in naming.components(rest):
        infos = [layer for layer, _ in group]
        reason = {code for _, code in group}
        subject, names = naming.several([layer.name for layer in infos])
        kinds = naming.kinds(infos)
        if len(infos) > 1 and reason <= {"loss", "training"} and not infos[0].phase:
            source = naming.source(infos)
            behind = f", behind '{source}'" if source else ""
            losses = any(not measures(x.type) for x in infos)
            ends = "losses and measures" if losses else "measures"
            head = ends if reason == {"loss"} else "training head"
            yield Item(symbol, subject, f"{head}{behind}: {kinds}", names)
        else:
            where = f" ({rule(infos[0].phase)} only)" if infos[0].phase else ""
            why = _WHY.get(next(iter(reason)), "") if len(reason) == 1 and not where else ""
            found = next((problems[x.name] for x in infos if x.name in problems), "")
            text = f"{kinds}{where}" + (f", {why}" if why else f"; {found}" if found else "")
            yield Item(symbol, subject, text, names)


_WHY = {
    "nothing": "does nothing at test time",
    "loss": "needed in training",
    "training": "needed in training",
}


def _template(diff: NetDiff) -> Iterator[Item]:
    """Placeholders that have a number on the other side."""
    groups: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in diff.changed:
        for change in row.fields:
            if _is_template(change):
                groups[shown(change.before), shown(change.after)].add(row.before.name)
    for (before, after), names in groups.items():
        yield Item("~", f"{before} -> {after}", f"in {counted(len(names), 'layer')}")


def _is_template(change: FieldChange) -> bool:
    if change.before is None or change.after is None:
        return False
    return any(isinstance(v, str) and placeholder.present(v) for v in (change.before, change.after))


def _retyped(diff: NetDiff) -> Iterator[Item]:
    for row in diff.changed:
        if row.retyped and row.reason not in ("input", "head"):
            text = f"type: {row.before.type} -> {row.after.type}"
            lines = (f"{name}: {old} -> {new}" for name, old, new in row_changes(row))
            yield Item("~", naming.pair(row), text, (), tuple(lines))


def _settings(diff: NetDiff) -> Iterator[Item]:
    """Settings that changed alike in several layers are one item."""
    groups: dict[tuple[FieldChange, ...], list[str]] = defaultdict(list)
    biased = {name for f in diff.folds if f.bias_added for name in f.into}
    for row in diff.changed:
        if row.retyped:
            continue
        told = row.after.name in biased or row.before.name in biased
        fields = tuple(
            change
            for change in row.fields
            if not is_training(change.path, _one(change))
            and not _is_template(change)
            and not (told and change.path.endswith(".bias_term"))
        )
        shapes = tuple(
            f"blob {b.index}: {naming.shape(b.before)} -> {naming.shape(b.after)}"
            for b in row.blobs
            if b.max_abs is None
        )
        if fields and not shapes:
            groups[fields].append(naming.pair(row))
        elif shapes:
            texts = (*map(change_text, fields), *shapes)
            yield Item("~", naming.pair(row), texts[0], (), texts[1:])
    for group, layers in groups.items():
        texts = tuple(map(change_text, group))
        if len(layers) == 1:
            yield Item("~", layers[0], texts[0], (), texts[1:])
        else:
            yield Item("~", counted(len(layers), "layer"), texts[0], tuple(layers), texts[1:])


def _renamed(diff: NetDiff) -> Iterator[Item]:
    """Layers with another name; a pattern that holds for several is one item."""
    layers = [
        (r.before.name, r.after.name)
        for r in diff.changed
        if r.renamed and r.reason not in ("input", "head")
    ]
    yield from _patterns(layers, "layer")
    blobs = dict.fromkeys(
        pair
        for row in diff.changed
        if len(row.before.tops) == len(row.after.tops)
        for pair in zip(row.before.tops, row.after.tops, strict=True)
        if pair[0] != pair[1]
    )
    yield from _patterns([pair for pair in blobs if pair not in set(layers)], "blob")


def _patterns(pairs: list[tuple[str, str]], what: str) -> Iterator[Item]:
    """Old and new names, those of one pattern together."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for old, new in pairs:
        groups[naming.rename_pattern(old, new)].append((old, new))
    for pattern, group in groups.items():
        if len(group) == 1:
            yield Item("~", f"{what} {group[0][0]} -> {group[0][1]}")
        else:
            names = tuple(old for old, _ in group)
            yield Item("~", pattern, counted(len(group), what), names)


def _moved(diff: NetDiff) -> Iterator[Item]:
    """Neighbours that moved together are one item."""
    run: list[Changed] = []
    for row in (*diff.rows, None):
        moved = isinstance(row, Changed) and row.moved
        if run and not (moved and isinstance(row, Changed) and _follows(run[-1], row)):
            subject, names = naming.several([naming.pair(item) for item in run])
            wired = any(item.wiring.kind == "rewired" for item in run)
            text = f"place {run[0].before.position + 1} -> {run[0].after.position + 1}"
            yield Item(">", subject, text + ("" if wired else ", reads the same"), names)
            run = []
        if moved and isinstance(row, Changed):
            run.append(row)


def _follows(one: Changed, two: Changed) -> bool:
    return (
        two.before.position == one.before.position + 1
        and two.after.position == one.after.position + 1
    )


def _rewired(diff: NetDiff) -> Iterator[Item]:
    around = renamed = 0
    for row in diff.changed:
        if row.reason in ("input", "head"):
            continue
        if row.wiring.kind == "rewired":
            sources = "; ".join(
                f"{a or 'nothing'} -> {b or 'nothing'}" for a, b in row.wiring.sources
            )
            yield Item("~", naming.pair(row), f"reads {sources or ', '.join(row.after.bottoms)}")
        around += row.wiring.kind == "around" and row.consequence
        renamed += row.wiring.kind == "renamed" and row.consequence
        if len(row.before.tops) != len(row.after.tops):
            before, after = ", ".join(row.before.tops), ", ".join(row.after.tops)
            yield Item("~", naming.pair(row), f"top: {before or '-'} -> {after or '-'}")
    if around:
        yield Item("~", counted(around, "layer"), "read past what went or came, else the same")
    if renamed:
        yield Item("~", counted(renamed, "layer"), "read the same from blobs of another name")


def _training(diff: NetDiff) -> Iterator[Item]:
    """Training settings, by what they are: how many layers lost, got or changed them."""
    layers: dict[str, set[int]] = defaultdict(set)
    sides: dict[str, set[str]] = defaultdict(set)
    for number, row in enumerate(diff.changed):
        if row.reason in ("input", "head") or row.retyped:
            continue
        for change in row.fields:
            if is_training(change.path, _one(change)) and not _is_template(change):
                kind = naming.training_kind(change.path)
                layers[kind].add(number)
                gone, came = change.after is None, change.before is None
                sides[kind].add("dropped" if gone else "added" if came else "changed")
    for kind, found in layers.items():
        verb = next(iter(sides[kind])) if len(sides[kind]) == 1 else "changed"
        yield Item("~", kind, f"{verb} in {counted(len(found), 'layer')}")


def _one(change: FieldChange) -> Value | None:
    return change.after if change.before is None else change.before
