"""Short names for groups of layers: patterns, prefixes, lists."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from caffefold.compare.entries import Added, Changed, LayerInfo, Removed, Shape

ONE_SIDED = (Removed, Added)


def pair(row: Changed) -> str:
    """The name of a layer that both nets have; both names when they differ."""
    if row.before.name == row.after.name:
        return row.before.name
    return f"{row.before.name} -> {row.after.name}"


def shape(dims: Shape | None) -> str:
    """``64x3x3x3``; ``-`` when there is no such blob, ``scalar`` for no dimensions."""
    return "-" if dims is None else "x".join(map(str, dims)) or "scalar"


def fold_pattern(layers: tuple[str, ...], into: tuple[str, ...]) -> tuple[str, str, str]:
    """(layers, into, X) with what all names share written as X: ``X/bn, X/scale``, ``X``, conv1."""
    names = (*layers, *into)
    stem = into[0] if all(into[0] in name for name in names) else _common_part(names).strip("/_-.")
    if not stem or len(into) > 1:
        return ", ".join(layers), ", ".join(into), into[0]
    marked = [name.replace(stem, "X", 1) for name in names]
    return ", ".join(marked[: len(layers)]), marked[-1], stem


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
    """A subject for some names, and the names to list when the subject does not say them."""
    if len(names) <= 3:
        return ", ".join(names), ()
    prefix = _common_start(names)
    cut = max(prefix.rfind(mark) for mark in "/_-.") + 1
    subject = f"{prefix[:cut]}* ({len(names)} layers)" if cut > 1 else f"{len(names)} layers"
    return subject, tuple(names)


def kinds(layers: Sequence[LayerInfo]) -> str:
    """``2 Convolution, ReLU``, in order of appearance."""
    counts = Counter(layer.type for layer in layers)
    return ", ".join(f"{n} {kind}" if n > 1 else kind for kind, n in counts.items())


def source(layers: Sequence[LayerInfo]) -> str:
    """The one blob from outside that a group begins with; empty when there are several."""
    made = {top for layer in layers for top in layer.tops}
    first = [b for b in layers[0].bottoms if b not in made or b in layers[0].tops]
    return first[0] if first else ""


def training_kind(path: str) -> str:
    """What a training setting is called: ``param (lr_mult, decay_mult)``, ``weight_filler``."""
    parts = path.split(".")
    root = parts[0].partition("[")[0]
    if root == "param":
        return f"param {parts[-1]}"
    filler = next((p for p in parts if p == "filler" or p.endswith("_filler")), "")
    return filler or ("use_global_stats: true" if root == "batch_norm_param" else root)


def components(
    layers: list[tuple[LayerInfo, str]],
) -> list[list[tuple[LayerInfo, str]]]:
    """Layers grouped by what they have to do with each other, in order.

    Losses, measures and what only they need: by the blobs they hand on, or by the blob they all
    read. Layers that do nothing: by type. Layers of another phase: by phase. Others: by the blobs
    they hand on.
    """
    home: dict[int, int] = {}
    makers: dict[tuple[str, str], int] = {}
    groups: dict[int, list[int]] = defaultdict(list)

    def join(at: int, other: int) -> None:
        old, new = max(home[at], home[other]), min(home[at], home[other])
        if old != new:
            groups[new] += groups.pop(old)
            for member in groups[new]:
                home[member] = new

    for at, (layer, reason) in enumerate(layers):
        home[at] = at
        groups[at].append(at)
        training = reason in ("loss", "training")
        family = layer.phase + ("training" if training else reason)
        keys = [(family, blob) for blob in layer.bottoms]
        alike = (family, layer.type) if reason == "nothing" else (layer.phase, "")
        if reason == "nothing" or layer.phase:
            keys = [alike]
        found = [makers[key] for key in keys if key in makers]
        for other in found:
            join(at, other)
        if training and not found:
            # The prediction comes first, the label behind it is read by all of them.
            makers[keys[0] if keys else (family, layer.name)] = at
        if reason == "nothing" or layer.phase:
            makers.setdefault(alike, at)
        makers.update({(family, top): at for top in layer.tops})
    return [[layers[at] for at in sorted(groups[first])] for first in sorted(groups)]
