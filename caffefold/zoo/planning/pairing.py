"""Which prototxt goes with which weights, and which snapshots are of one net.

Content decides: names and shapes of layers. Where several prototxts fit, the nearest folder, then
what explains all of the weights, then the role asked for (train or deploy), then names decide.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from caffefold.zoo.planning.folder import Agreement, NetFacts, WeightsFacts, folder_of

_ROLES = {"train": ("train", "test", "deploy"), "deploy": ("deploy", "test", "train")}
_ITERATION = re.compile(r"(.*?)[-_.]?iter(?:ation)?[-_]?(\d+)$", re.IGNORECASE)
_SUFFIX = re.compile(r"(\.caffemodel)?(\.h5|\.hdf5)?$")
_TEXT_SUFFIX = re.compile(r"\.(prototxt(\.txt)?|pbtxt|prototext)$")
_MAX_TRIED = 3


class Choice(NamedTuple):
    """The prototxts to use, best first; or why there is none."""

    prototxts: tuple[str, ...] = ()
    problem: str = ""


def choose(
    weights: WeightsFacts,
    agreements: Iterable[Agreement],
    nets: Mapping[str, NetFacts],
    *,
    prefer: str,
    solvers: Mapping[str, Sequence[str]],
) -> Choice:
    """The prototxts for ``weights`` out of those they were compared with.

    ``solvers`` are by net the names that solvers give to its snapshots.
    """
    if weights.error:
        return Choice(problem=weights.error)
    ranked = _ranked(weights, agreements, nets, prefer, solvers)
    fitting = [each for each in ranked if each.fits]
    if fitting:
        distance = _distance(weights.path, fitting[0].net)
        near = [each for each in fitting if _distance(weights.path, each.net) == distance]
        return Choice(_one_of_each_role([nets[each.net] for each in near]))
    # Nothing fits: convert reports exactly why. Only what lies beside the weights is theirs.
    ranked = [each for each in ranked if folder_of(each.net) == folder_of(weights.path)]
    if not ranked:
        return Choice(problem=_nothing_fits(weights, nets.values()))
    stem = _stem_of(weights.path)
    named = next((each.net for each in ranked if _text_stem(each.net) == stem), "")
    if named:
        return Choice((named,))
    best = ranked[0]
    if best.feeding and not best.missing and not best.wrong:
        shown = ", ".join(f"'{name}'" for name in best.feeding[:3])
        more = f" and {len(best.feeding) - 3} more" if len(best.feeding) > 3 else ""
        return Choice(
            problem=f"{weights.path}: no prototxt fits; the nearest, {best.net}, lacks layers that "
            f"stand between others in the caffemodel: {shown}{more}; name the right one in zoo.toml"
        )
    return Choice((best.net,))


def fitting(
    weights: WeightsFacts, agreements: Iterable[Agreement], nets: Mapping[str, NetFacts]
) -> list[str]:
    """The prototxts that fit ``weights``, best first."""
    ranked = _ranked(weights, agreements, nets, "train", {})
    return [each.net for each in ranked if each.fits]


def _ranked(
    weights: WeightsFacts,
    agreements: Iterable[Agreement],
    nets: Mapping[str, NetFacts],
    prefer: str,
    solvers: Mapping[str, Sequence[str]],
) -> list[Agreement]:
    return sorted(
        agreements, key=lambda each: _rank(weights, each, nets[each.net], prefer, solvers)
    )


def _nothing_fits(weights: WeightsFacts, nets: Iterable[NetFacts]) -> str:
    """Why no prototxt was found: what is in the same folder explains it best."""
    if not weights.layers:
        return f"{weights.path}: no layer in this caffemodel holds any weights"
    here = [net for net in nets if folder_of(net.path) == folder_of(weights.path)]
    for net in here:
        if net.error:
            return (
                f"{weights.path}: no prototxt fits; the one beside it cannot be read: {net.error}"
            )
    here = [net for net in here if net.layers]
    if here:
        near = max(here, key=lambda net: (len(net.layers & weights.layers), net.path))
        known = len(near.layers & weights.layers)
        return (
            f"{weights.path}: no prototxt fits; it holds {known or 'none'} of the "
            f"{len(near.layers)} layers with weights in {near.path}"
        )
    return f"{weights.path}: no prototxt in the zoo has these layers; add its train or deploy net"


def _rank(
    weights: WeightsFacts,
    agreement: Agreement,
    net: NetFacts,
    prefer: str,
    solvers: Mapping[str, Sequence[str]],
) -> tuple[object, ...]:
    """Smaller is better."""
    stem = _stem_of(weights.path)
    named = any(prefix and stem.startswith(prefix) for prefix in solvers.get(net.path, ()))
    roles = _ROLES[prefer]
    own = PurePosixPath(net.path).name.lower()
    return (
        not agreement.fits,
        agreement.missing + agreement.wrong,
        len(agreement.feeding),
        -agreement.shared if not agreement.fits else 0,
        _distance(weights.path, net.path),
        # A deploy net lacks the heads that only training has: no fault when it is asked for.
        len(agreement.strangers) if prefer == "train" or net.role != "deploy" else 0,
        roles.index(net.role) if net.role in roles else len(roles),
        not named,
        net.template,
        agreement.unlike,
        ("test" in own or "val" in own) and "train" not in own,
        -len(os.path.commonprefix([stem.lower(), own])),  # noqa: RUF071 (of strings, not of paths)
        len(agreement.strangers),
        net.path,
    )


def _one_of_each_role(nets: Sequence[NetFacts]) -> tuple[str, ...]:
    """The best of each role: another one may have what the first leaves open (input shapes)."""
    best: dict[str, str] = {}
    for net in nets:
        best.setdefault(net.role, net.path)
    return tuple(best.values())[:_MAX_TRIED]


def _distance(one: str, other: str) -> int:
    """Steps up and down from folder to folder."""
    return len(PurePosixPath(posixpath.relpath(folder_of(one), folder_of(other))).parts)


def _stem_of(path: str) -> str:
    """The file name without ``.caffemodel`` and ``.h5``."""
    return _SUFFIX.sub("", PurePosixPath(path).name)


def _text_stem(path: str) -> str:
    """The file name without what prototxts end with."""
    return _TEXT_SUFFIX.sub("", PurePosixPath(path).name)


def superseded(weights: Iterable[WeightsFacts], *, every: bool) -> dict[str, str]:
    """Snapshots to leave out: their path and the reason.

    Of one net's snapshots the last counts, unless ``every``; of one snapshot in two formats the
    binary one.
    """
    first: dict[tuple[str, str], WeightsFacts] = {}
    gone: dict[str, str] = {}
    kept: list[WeightsFacts] = []
    for facts in sorted(weights, key=lambda w: (bool(w.error), w.path.endswith(".h5"), w.path)):
        best = first.setdefault((folder_of(facts.path), _stem_of(facts.path)), facts)
        same = facts.error or facts.shape == best.shape
        if facts is not best and not best.error and same:
            gone[facts.path] = f"the same snapshot as {best.path}"
        else:
            kept.append(facts)
    if every:
        return gone
    series: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    for facts in kept:
        match = _ITERATION.match(_stem_of(facts.path))
        if match and not facts.error:
            same_net = folder_of(facts.path), match[1], facts.shape
            series.setdefault(same_net, []).append((int(match[2]), facts.path))
    for snapshots in series.values():
        last = max(snapshots)[1]
        for path in {path for _, path in snapshots} - {last}:
            gone[path] = f"an earlier snapshot than {last}; snapshots='all' converts it too"
    return gone
