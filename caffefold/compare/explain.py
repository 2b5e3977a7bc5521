"""Why a layer of one net has no partner in the other, as a code (``reason``):

fold       folded into another layer (compare/folds.py)
nothing    does nothing at test time: Dropout, a Split with one reader
data       reads a data set
loss       a loss, or it only measures: Accuracy, Silence
training   only losses and measures read its result: an auxiliary head
input      an Input layer that stands for a data layer, or a layer that does what its transform did
head       the inference head that stands for a loss: Softmax, DetectionOutput
"""

from __future__ import annotations

from dataclasses import replace

from caffefold.compare.entries import Replacement, mirrored
from caffefold.compare.folds import is_affine
from caffefold.compare.groups import connected
from caffefold.compare.load import ComparedNet
from caffefold.compare.match import source_of
from caffefold.errors import TextError
from caffefold.frozen import dataclass
from caffefold.ir.net import Layer
from caffefold.ops.base import Category, Op
from caffefold.ops.detection import Detections
from caffefold.ops.table import op, op_of

_HEADS = frozenset(
    map(
        op_of,
        (
            *("Softmax", "Sigmoid", "TanH", "ArgMax", "Reshape", "Flatten"),
            *("Permute", "Concat", "Slice", "Power", "Scale", "Eltwise", "Reduction", "Split"),
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Reasons:
    """Codes by position, for both sides, and what stands for what."""

    a: dict[int, str]
    b: dict[int, str]
    replacements: tuple[Replacement, ...]


def explain(a: ComparedNet, b: ComparedNet, ab: dict[int, int], ba: dict[int, int]) -> Reasons:
    """Codes for all layers without a partner that folding does not explain."""
    reasons = Reasons(_going(a, ab), _going(b, ba), ())
    there = _replaced(a, b, ab, ba, reasons.b)
    back = _replaced(b, a, ba, ab, reasons.a)
    return Reasons(reasons.a, reasons.b, (*there, *mirrored(tuple(back))))


def _going(net: ComparedNet, partner: dict[int, int]) -> dict[int, str]:
    """Codes that one net alone gives: data, losses, what only losses need, what does nothing."""
    codes: dict[int, str] = {}
    for at in reversed(range(len(net.layers))):
        layer = net.layers[at]
        if at in partner:
            continue
        if op(layer).is_data(layer):
            codes[at] = "data"
        elif op(layer).is_loss(layer) or op(layer).category is Category.MEASURE:
            codes[at] = "loss"
        elif at < net.in_phase:
            readers = _readers(net, at)
            if readers and all(codes.get(r) in ("loss", "training") for r in readers):
                codes[at] = "training"
            elif op(layer).is_identity(layer):
                codes[at] = "nothing"
    return codes


def _readers(net: ComparedNet, at: int) -> set[int]:
    """The layers that read what the layer at this position makes."""
    wired = net.wiring
    return {reader for v in wired.writes[at] for reader in wired.versions[v].readers}


def _replaced(
    old: ComparedNet,
    new: ComparedNet,
    partner: dict[int, int],
    back: dict[int, int],
    new_codes: dict[int, str],
) -> list[Replacement]:
    """Data layers and losses of ``old``, and what stands for them in ``new``."""
    found: list[Replacement] = []
    kinds: dict[int, Op] = {}  # of the losses, by place in ``found``
    loose = [j for j in range(new.in_phase) if j not in back]
    for i in range(old.in_phase):
        layer = old.layers[i]
        other = new.layers[partner[i]] if i in partner else None
        if op(layer).is_data(layer) and (other is None or other.is_input):
            inputs = [j for j in loose if new.layers[j].is_input]
            inputs = [j for j in inputs if set(new.layers[j].tops) & set(layer.tops)]
            chain = _made_for(old, new, partner, back, i)
            if not inputs and other is None:
                inputs = chain[:1]
            if _transforms(layer):
                inputs += [j for j in chain if not new.layers[j].is_input]
            new_codes.update(dict.fromkeys(inputs, "input"))
            names = tuple(new.layers[j].name for j in inputs)
            names = (other.name, *names) if other is not None else names
            if names:
                found.append(Replacement("input", (layer.name,), names))
    links = [(maker, j) for j in loose for v in new.wiring.reads[j] if (maker := new.maker(v)) >= 0]
    parts = connected(loose, [link for link in links if link[0] not in back])
    heads = [(part, _sources(new, part, back)) for part in parts if _is_head(new, part)]
    serves: dict[int, int] = {}  # a part's first layer -> its place in ``found``
    for i in range(old.in_phase):
        layer = old.layers[i]
        other = new.layers[partner[i]] if i in partner else None
        if not op(layer).is_loss(layer) or (other is not None and op(other).is_loss(other)):
            continue
        fed = {source_of(old.wiring, v, partner, past=True) for v in old.wiring.reads[i]}
        wanted = {(partner[s[0]], s[1]) for s in fed if s is not None}
        names = () if other is None else (other.name,)
        for part, sources in heads:
            shared = sources & wanted
            data_only = all(not new.wiring.reads[s[0]] for s in shared)
            if not shared or data_only:
                continue
            known = serves.get(part[0])
            if known is not None and kinds[known] is op(layer):  # one detector for all scales
                removed = (*found[known].removed, layer.name)
                found[known] = replace(found[known], removed=removed)
            elif not new_codes.keys() & set(part):
                new_codes.update(dict.fromkeys(part, "head"))
                names += tuple(new.layers[j].name for j in part)
                serves[part[0]] = len(found)
        if names:
            kinds[len(found)] = op(layer)
            found.append(Replacement("head", (layer.name,), names))
    return found


def _made_for(
    old: ComparedNet, new: ComparedNet, partner: dict[int, int], back: dict[int, int], data: int
) -> list[int]:
    """What makes in ``new``, instead of a data layer of ``old``, what the same layer reads: an
    Input and layers that are maps per channel; without the Input if it is the partner."""
    for version in old.wiring.writes[data]:
        for reader in old.wiring.versions[version].readers:
            at = partner.get(reader, -1)
            slot = old.wiring.reads[reader].index(version)
            if not 0 <= at < new.in_phase or slot >= len(new.wiring.reads[at]):
                continue
            chain: list[int] = []
            maker = new.maker(new.wiring.reads[at][slot])
            while maker >= 0 and maker not in back and is_affine(new.layers[maker]):
                chain.insert(0, maker)
                maker = new.maker(new.wiring.reads[maker][0])
            if maker >= 0 and new.layers[maker].is_input:
                if maker == partner.get(data):
                    return chain
                if maker not in back:
                    return [maker, *chain]
    return []


def _transforms(data: Layer) -> bool:
    """Whether a data layer subtracts a mean or scales what it reads (data_transformer.cpp)."""
    try:
        params = data.params("transform_param")
        return params.number("scale") != 1 or params.has("mean_value") or params.has("mean_file")
    except TextError:
        return False


def _sources(net: ComparedNet, part: list[int], back: dict[int, int]) -> set[tuple[int, int]]:
    """The layers with a partner (and their top) that a group reads."""
    versions = {version for at in part for version in net.wiring.reads[at]}
    found = (source_of(net.wiring, version, back, past=False) for version in versions)
    return {source for source in found if source is not None}


def _is_head(net: ComparedNet, part: list[int]) -> bool:
    """Whether a group looks like a head: of such layers, and what it computes is an output."""
    inside = set(part)
    return all(
        (op(net.layers[at]) in _HEADS or isinstance(op(net.layers[at]), Detections))
        and _readers(net, at) <= inside
        for at in part
    )
