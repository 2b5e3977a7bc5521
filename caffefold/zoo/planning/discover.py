"""Find the models of a zoo: every caffemodel, with the prototxts that are its own.

Given   ssd/{train,test,deploy,solver}.prototxt, ssd/net_iter_{1000,9000}.caffemodel, ssd/readme.md
Result  one model ``ssd/net_iter_9000`` with train.prototxt (then test, deploy); orphans: the solver
        and the earlier snapshot
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from caffefold.zoo import processes
from caffefold.zoo.planning import folder as folders
from caffefold.zoo.planning import pairing, readme
from caffefold.zoo.planning.folder import Agreement, Found, NetFacts, WeightsFacts, folder_of
from caffefold.zoo.planning.manifest import RESERVED, default_name
from caffefold.zoo.records import Model, Orphan
from caffefold.zoo.storage import TEMPORARY, UNREADABLE, Copies, Entry, Storage

# Never nets or weights, and often large or many.
_IGNORED = (
    ".solverstate", ".binaryproto", ".npz", ".npy", ".jpg", ".jpeg", ".png", ".bmp", ".json",
    ".csv", ".html", ".py", ".sh", ".log", ".zip", ".gz", ".mdb", ".toml", readme.NAME,
)  # fmt: skip


def discover(
    storage: Storage,
    listing: Iterable[Entry],
    taken: frozenset[str],
    *,
    prefer: str = "train",
    snapshots: str = "last",
    jobs: int = 1,
) -> tuple[list[Model], list[Orphan]]:
    """The models among the files of ``listing``, and the files that belong to none.

    ``taken`` are caffemodels that a manifest names or skips; ``prefer`` and ``snapshots`` as
    for ``caffefold.zoo.plan``.
    """
    listed = list(listing)
    unreadable = [Orphan(e.path, "folder", e.stamp) for e in listed if e.size == UNREADABLE]
    sizes = {entry.path: entry.size for entry in listed if entry.size != UNREADABLE}
    found = Found()
    # A folder for copies, where files have no paths of their own.
    with nullcontext("") if storage.local else TemporaryDirectory(prefix=TEMPORARY) as scratch:
        copies = Copies(storage, Path(scratch))
        by_folder: dict[str, list[str]] = {}
        for path in sizes:
            if not path.lower().endswith(_IGNORED):
                by_folder.setdefault(folder_of(path), []).append(path)
        with processes.mapper(jobs) as mapper:
            work = [[(path, copies.of(path)) for path in inside] for inside in by_folder.values()]
            for result in mapper(folders.read_folder, work):
                for path, net in result.nets.items():
                    found.nets[path] = replace(net, error=copies.named(net.error))
                for path, each in result.weights.items():
                    found.weights[path] = replace(each, error=copies.named(each.error))
                found.agreements.update(result.agreements)
            gone = pairing.superseded(found.weights.values(), every=snapshots == "all")
            live = [w for p, w in found.weights.items() if p not in gone and p not in taken]
            unpaired = [
                w for w in live if not any(a.fits for a in found.agreements.get(w.path, ()))
            ]
            for path, agreements in _elsewhere(unpaired, found, copies, mapper):
                found.agreements.setdefault(path, []).extend(agreements)
    front, orphans = readme.read_all(storage, sizes)
    solvers = _solvers(found.nets)
    live.sort(key=lambda weights: (weights.path.endswith(".h5"), weights.path))
    names = unique((default_name(w.path) for w in live), RESERVED)
    models = []
    for name, weights in zip(names, live, strict=True):
        agreements = found.agreements.get(weights.path, [])
        choice = pairing.choose(weights, agreements, found.nets, prefer=prefer, solvers=solvers)
        title, sha1 = front.get(weights.path, ("", ""))
        model = Model(name, weights.path, choice.prototxts, size=sizes[weights.path])
        models.append(replace(model, title=title, sha1=sha1, problem=choice.problem))
    orphans += unreadable
    orphans += [Orphan(path, "snapshot", reason) for path, reason in sorted(gone.items())]
    orphans += _unused(models, found, gone, taken)
    return (
        sorted(models, key=lambda model: model.name),
        sorted(orphans, key=lambda orphan: orphan.path),
    )


def _elsewhere(
    unpaired: list[WeightsFacts], found: Found, copies: Copies, mapper: processes.Mapper
) -> Iterable[tuple[str, list[Agreement]]]:
    """Agreements of weights that fit nothing in their folder with the nets of other folders."""
    work, paths = [], []
    for weights in unpaired:
        here = folder_of(weights.path)
        others = [net for net in found.nets.values() if folder_of(net.path) != here]
        candidates = folders.related(weights, others)
        if candidates:
            pairs = [(net, copies.of(net.path)) for net in candidates]
            work.append(((weights, copies.of(weights.path)), pairs))
            paths.append(weights.path)
    return zip(paths, mapper(folders.compare, work), strict=True)


def _solvers(nets: Mapping[str, NetFacts]) -> dict[str, list[str]]:
    """By net the names that solvers give to its snapshots."""
    found: dict[str, list[str]] = {}
    for net in nets.values():
        if net.role == "solver" and (target := _solved(net, nets)):
            found.setdefault(target, []).append(PurePosixPath(net.snapshots).name)
    return found


def _solved(solver: NetFacts, nets: Mapping[str, NetFacts]) -> str:
    """The net in the zoo that a solver names: beside it, by the path, or by the end of the path."""
    here, name = PurePosixPath(solver.path).parent, PurePosixPath(solver.net).name
    paths = (posixpath.join(here, solver.net), solver.net, posixpath.join(here, name))
    return next((path for path in map(posixpath.normpath, paths) if path in nets), "")


def _unused(
    models: Iterable[Model], found: Found, gone: Mapping[str, str], taken: frozenset[str]
) -> Iterator[Orphan]:
    """Prototxts that no model uses, though all of its own may be tried."""
    used = {path for model in models for path in model.prototxts}
    fit = {a.net: a.weights for each in found.agreements.values() for a in each if a.fits}
    for net in found.nets.values():
        if net.path in used:
            continue
        if net.role == "solver":
            target = _solved(net, found.nets)
            reason = f"trains {target}" if target else f"trains {net.net}, which is not in the zoo"
            yield Orphan(net.path, "solver", reason)
        elif net.error:
            yield Orphan(net.path, "prototxt", net.error)
        elif net.path in fit:
            weights = fit[net.path]
            other = "left out" if weights in gone or weights in taken else "converted with another"
            yield Orphan(net.path, "prototxt", f"fits {weights}, which is {other}")
        elif not net.layers:
            yield Orphan(net.path, "prototxt", "has no layers with weights")
        else:
            alike = (w.path for w in found.weights.values() if net.layers <= w.layers)
            like = next(alike, "")
            alike_too = f"; {like} has layers of the same names, and another net" if like else ""
            yield Orphan(net.path, "prototxt", f"no weights in the zoo{alike_too}")


def unique(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """``names``, numbered where one is taken; also where the file system ignores case."""
    seen = {name.lower() for name in taken}
    found = []
    for name in names:
        free, number = name, 1
        while free.lower() in seen:
            number += 1
            free = f"{name}-{number}"
        seen.add(free.lower())
        found.append(free)
    return found
