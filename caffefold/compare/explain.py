"""Why a layer of one net has no partner in the other, as a code (``reason``):

fold       folded into another layer (compare/folds.py)
nothing    does nothing at test time: Dropout, a Split with one reader
data       reads a data set
loss       a loss, or it only measures: Accuracy, Silence
training   only losses and measures read its result: an auxiliary head
input      an Input layer that stands for a data layer
head       the inference head that stands for a loss: Softmax, DetectionOutput
"""

from __future__ import annotations

from dataclasses import dataclass

from caffefold.compare.entries import Replacement
from caffefold.compare.match import source_of
from caffefold.compare.sides import Side
from caffefold.ops.kinds import is_data, is_identity, is_loss, measures

_HEADS = frozenset(
    {"Softmax", "Sigmoid", "TanH", "ArgMax", "DetectionOutput", "Reshape", "Flatten", "Permute"}
    | {"Concat", "Slice", "Power", "Scale", "Eltwise", "Reduction", "Split"}
)


@dataclass(frozen=True, slots=True)
class Reasons:
    """Codes by position, for both sides, and what stands for what."""

    a: dict[int, str]
    b: dict[int, str]
    replacements: tuple[Replacement, ...]


def explain(a: Side, b: Side, ab: dict[int, int], ba: dict[int, int]) -> Reasons:
    """Codes for all layers without a partner that folding does not explain."""
    reasons_a, reasons_b = _going(a, ab), _going(b, ba)
    found = [*_replaced(a, b, ab, ba, reasons_b)]
    found += [r.mirrored() for r in _replaced(b, a, ba, ab, reasons_a)]
    return Reasons(reasons_a, reasons_b, tuple(found))


def _going(side: Side, partner: dict[int, int]) -> dict[int, str]:
    """Codes that one net alone tells: data, losses, what only losses need, what does nothing."""
    codes: dict[int, str] = {}
    wired = side.wiring
    for at in reversed(range(side.in_phase)):
        layer = side.layers[at]
        if at in partner:
            continue
        readers = [r for v in wired.writes[at] for r in wired.versions[v].readers]
        if is_data(layer):
            codes[at] = "data"
        elif is_loss(layer) or measures(layer.type):
            codes[at] = "loss"
        elif readers and all(codes.get(r) in ("loss", "training") for r in readers):
            codes[at] = "training"
        elif is_identity(layer):
            codes[at] = "nothing"
    for at in range(side.in_phase, len(side.layers)):
        layer = side.layers[at]
        if at not in partner:
            is_training = is_loss(layer) or measures(layer.type)
            code = "data" if is_data(layer) else "loss" if is_training else ""
            codes |= {at: code} if code else {}
    return codes


def _replaced(
    old: Side,
    new: Side,
    partner: dict[int, int],
    back: dict[int, int],
    new_codes: dict[int, str],
) -> list[Replacement]:
    """Data layers and losses of ``old``, and what stands for them in ``new``."""
    found = []
    loose = [j for j in range(new.in_phase) if j not in back]
    for i in range(old.in_phase):
        layer = old.layers[i]
        other = new.layers[partner[i]] if i in partner else None
        if is_data(layer) and (other is None or other.type == "Input"):
            inputs = [j for j in loose if new.layers[j].type == "Input"]
            inputs = [j for j in inputs if set(new.layers[j].tops) & set(layer.tops)]
            new_codes.update(dict.fromkeys(inputs, "input"))
            names = tuple(new.layers[j].name for j in inputs)
            names = (other.name, *names) if other is not None else names
            if names:
                found.append(Replacement("input", (layer.name,), names))
    parts = _components(new, loose)
    for i in range(old.in_phase):
        layer = old.layers[i]
        other = new.layers[partner[i]] if i in partner else None
        if not is_loss(layer) or (other is not None and is_loss(other)):
            continue
        fed = {source_of(old.wiring, v, partner, past=True) for v in old.wiring.reads[i]}
        wanted = {(partner[s[0]], s[1]) for s in fed if s is not None}
        names = () if other is None else (other.name,)
        for part in parts:
            sources = _sources(new, part, back)
            data_only = all(not new.wiring.reads[s[0]] for s in sources & wanted)
            if (
                sources & wanted
                and not data_only
                and _ends(new, part)
                and not part & new_codes.keys()
            ):
                new_codes.update(dict.fromkeys(part, "head"))
                names += tuple(new.layers[j].name for j in sorted(part))
        if names:
            found.append(Replacement("head", (layer.name,), names))
    return found


def _components(side: Side, loose: list[int]) -> list[set[int]]:
    """Layers without a partner, grouped by what they read of each other."""
    home: dict[int, set[int]] = {}
    for at in loose:
        group = {at}
        for version in side.wiring.reads[at]:
            producer = side.wiring.versions[version].producer if version >= 0 else -1
            if producer in home:
                group |= home[producer]
        for member in group:
            home[member] = group
    groups: dict[int, set[int]] = {}
    for at in loose:
        groups.setdefault(min(home[at]), home[at])
    return [group for first, group in sorted(groups.items()) if len(group) == len(home[first])]


def _sources(side: Side, part: set[int], back: dict[int, int]) -> set[tuple[int, int]]:
    """The layers with a partner (and their top) that a group reads."""
    found = {
        source_of(side.wiring, version, back, past=False)
        for at in part
        for version in side.wiring.reads[at]
    }
    return {source for source in found if source is not None}


def _ends(side: Side, part: set[int]) -> bool:
    """Whether a group looks like a head: of such layers, and what it computes is an output."""
    readers = {
        r for at in part for v in side.wiring.writes[at] for r in side.wiring.versions[v].readers
    }
    return readers <= part and all(side.layers[at].type in _HEADS for at in part)
