"""What was folded, merged and left, for people: layers alike in one line, with their number.

17 BatchNorm + Scale became one Scale each, 12 of them behind an Eltwise and 5 behind what others
read as well: that is said in three lines, and not in seventeen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from caffefold.humanize import counted, some
from caffefold.ops.base import SkipCode
from caffefold.passes.infra import Change, ChangeKind, Skip

_SHOWN = 8  # groups
_NAMES = 3
_QUOTED = re.compile(r"'([^']*)'(?: \((\w+)\))?")


def account(
    changes: Sequence[Change], skips: Sequence[Skip], types: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Labelled lines; of what there is nothing, nothing is said.

    Args:
        changes: what the passes did.
        skips: the layers that could not be folded.
        types: the type of each layer before folding, by name.
    """
    folds = [change for change in changes if change.kind is ChangeKind.FOLDED]
    merged = [change for change in changes if change.kind is ChangeKind.COLLAPSED]
    idle = [change for change in changes if change.kind is ChangeKind.UNIT_DROPPED]
    why = {name: skip for skip in skips for name in skip.layers}
    yield from labelled("folded", list(_folded(folds, types)))
    yield from labelled("merged", list(_merged(merged, why, types)))
    names = [name for change in idle for name in change.removed]
    if names:
        yield "dropped", f"{counted(len(names), 'layer')} that changed nothing: {some(names)}"
    gone = {name for change in (*merged, *idle) for name in (*change.removed, *change.modified)}
    left = [skip for skip in skips if not gone.issuperset(skip.layers)]
    yield from labelled("left", list(_left(left, types)))


def labelled(label: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    """The first lines, the very first with its label, and how many more there are."""
    for number, line in enumerate(lines[:_SHOWN]):
        yield "" if number else label, line
    if len(lines) > _SHOWN:
        yield "", f"... and {len(lines) - _SHOWN} more, see the report"


def _folded(folds: Sequence[Change], types: Mapping[str, str]) -> Iterator[str]:
    if not folds:
        return
    kinds: dict[str, int] = {}
    for change in folds:
        way = "into" if change.absorbed else "into the input of"
        kind = f"{_kinds(change.removed, types)} {way} {_kinds(change.modified, types, ', ')}"
        kinds[kind] = kinds.get(kind, 0) + 1
    into = len({name for change in folds for name in change.modified})
    total = f"{counted(sum(len(change.removed) for change in folds), 'layer')} into {into}"
    if len(kinds) == 1:
        yield f"{total}: {next(iter(kinds))}"
        return
    yield total
    for kind, count in sorted(kinds.items(), key=lambda item: -item[1]):
        yield f"{count} {kind}"


def _merged(
    merged: Sequence[Change], why: Mapping[str, Skip], types: Mapping[str, str]
) -> Iterator[str]:
    groups: dict[str, dict[str, list[str]]] = {}
    for change in merged:
        (stays,) = change.modified
        members = sorted((*change.removed, stays), key=list(types).index) if types else ()
        reasons = groups.setdefault(_kinds(members, types), {})
        skip = why.get(stays)
        reasons.setdefault(
            "" if skip is None else general(skip.code, skip.message, types), []
        ).append(stays)
    for kind, reasons in groups.items():
        number = sum(map(len, reasons.values()))
        became = f"{number} {kind} became one Scale{' each' if number > 1 else ''}"
        if len(reasons) == 1:
            (reason,) = reasons
            yield f"{became}: {reason}" if reason else became
            continue
        yield f"{became}:"
        for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
            yield f"  {len(names)}: {reason or 'they need no more'}"


def _left(skips: Sequence[Skip], types: Mapping[str, str]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[Skip]] = {}
    for skip in skips:
        key = _kinds(skip.layers, types), general(skip.code, skip.message, types)
        groups.setdefault(key, []).append(skip)
    for (kind, common), alike in groups.items():
        names = [name for skip in alike for name in skip.layers]
        own = {f"{skip.message} [{skip.code.value}]" for skip in alike}
        reason = own.pop() if len(own) == 1 else common
        yield f"{len(names)} {kind} ({some(names, _NAMES)}): {reason}"


def general(code: SkipCode, message: str, types: Mapping[str, str]) -> str:
    """Why, with the type of each layer in place of its name."""

    def kind(found: re.Match[str]) -> str:
        name = found[2] or types.get(found[1], "layer")
        return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"

    return f"{_QUOTED.sub(kind, message)} [{code.value}]"


def _kinds(names: Iterable[str], types: Mapping[str, str], between: str = " + ") -> str:
    return between.join(dict.fromkeys(types.get(name, "layer") for name in names))
