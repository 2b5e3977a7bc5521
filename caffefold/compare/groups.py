"""Groups of layers, by key or by links, and short names for them: patterns, prefixes, lists."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


def grouped(keyed: Iterable[tuple[_K, _V]]) -> dict[_K, list[_V]]:
    """The values of each key; keys and values in order."""
    groups: dict[_K, list[_V]] = defaultdict(list)
    for key, value in keyed:
        groups[key].append(value)
    return groups


def connected(members: Iterable[int], links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The members in groups that ``links`` hold together; groups and members are in order."""
    home = {member: member for member in members}

    def first(member: int) -> int:
        while home[member] != member:
            home[member] = home[home[member]]
            member = home[member]
        return member

    for link in links:
        low, high = sorted(map(first, link))
        home[high] = low
    return list(grouped((first(member), member) for member in sorted(home)).values())


def fold_pattern(layers: tuple[str, ...], into: tuple[str, ...]) -> tuple[str, str, str]:
    """(layers, into, X) with what all names share written as X: ``X/bn, X/scale``, ``X``, conv1."""
    names = (*layers, *into)
    stem = into[0] if all(into[0] in name for name in names) else _common_part(names).strip("/_-.")
    if not stem or len(into) > 1:
        return ", ".join(layers), ", ".join(into), into[0]
    marked = [name.replace(stem, "X", 1) for name in names]
    return ", ".join(marked[: len(layers)]), marked[-1], stem


def rename_pattern(before: str, after: str) -> str:
    """``X -> net/X`` for conv1 -> net/conv1: what stays the same is X (Y, when it is the end)."""
    head = _common_start([before, after])
    tail = _common_start([before[len(head) :][::-1], after[len(head) :][::-1]])[::-1]
    old = before[len(head) : len(before) - len(tail)]
    new = after[len(head) : len(after) - len(tail)]
    if not head and not tail:
        return f"{before} -> {after}"
    left, right = "X" if head else "", ("Y" if head else "X") if tail else ""
    return f"{left}{old}{right} -> {left}{new}{right}"


def several(names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """A subject for some names, and the names to list when the subject does not hold them."""
    if len(names) <= 3:
        return ", ".join(names), ()
    prefix = _common_start(names)
    cut = max(prefix.rfind(mark) for mark in "/_-.") + 1
    subject = f"{prefix[:cut]}* ({len(names)} layers)" if cut > 1 else f"{len(names)} layers"
    return subject, tuple(names)


def _common_part(names: Sequence[str]) -> str:
    """The longest text that all names contain."""
    first = min(names, key=len)
    for length in range(len(first), 0, -1):
        for start in range(len(first) - length + 1):
            part = first[start : start + length]
            if all(part in name for name in names):
                return part
    return ""


def _common_start(names: Sequence[str]) -> str:
    """The longest text that all names begin with."""
    low, high = min(names), max(names)
    length = next((n for n, (x, y) in enumerate(zip(low, high, strict=False)) if x != y), len(low))
    return low[:length]
