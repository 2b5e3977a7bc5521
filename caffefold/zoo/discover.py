"""Walk a zoo and find its models: every caffemodel, with the prototxts that are its own.

Given   ssd/{train,test,deploy,solver}.prototxt, ssd/net_iter_{1000,9000}.caffemodel, ssd/readme.md
Result  one model ``ssd/net_iter_9000`` with train.prototxt (then test, deploy); orphans: the solver
        and the earlier snapshot
"""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from caffefold.zoo import facts as folder_facts
from caffefold.zoo import frontmatter, pairing, processes
from caffefold.zoo.facts import Agreement, FolderFacts, NetFacts, WeightsFacts, folder_of
from caffefold.zoo.frontmatter import FrontMatter
from caffefold.zoo.manifest import default_name
from caffefold.zoo.storage import UNREADABLE, Entry, Storage
from caffefold.zoo.values import Model, Orphan

_README = "readme.md"
# Never nets or weights, and often large or many.
_IGNORED: tuple[str, ...] = (
    ".solverstate",
    ".binaryproto",
    ".npz",
    ".npy",
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
)
_IGNORED += (".json", ".csv", ".html", ".py", ".sh", ".log", ".zip", ".gz", ".mdb", ".toml")


@dataclass(frozen=True, slots=True)
class Settings:
    """What discovery may decide."""

    prefer: str = "train"
    snapshots: str = "last"
    jobs: int = 1


@dataclass(slots=True)
class _Found:
    """What all folders together hold."""

    nets: dict[str, NetFacts] = field(default_factory=dict)
    weights: dict[str, WeightsFacts] = field(default_factory=dict)
    agreements: dict[str, list[Agreement]] = field(default_factory=dict)

    def add(self, folder: FolderFacts, places: _Places) -> None:
        for net in folder.nets:
            self.nets[net.path] = replace(net, error=places.named(net.error, net.path))
        for each in folder.weights:
            self.weights[each.path] = replace(each, error=places.named(each.error, each.path))
        for agreement in folder.agreements:
            self.agreements.setdefault(agreement.weights, []).append(agreement)


def discover(
    storage: Storage, listing: Iterable[Entry], settings: Settings, taken: frozenset[str]
) -> tuple[list[Model], list[Orphan]]:
    """The models among the files of ``listing``, and the files that belong to none.

    ``taken`` are caffemodels that a manifest speaks for already.
    """
    entries = list(listing)
    unreadable = [Orphan(e.path, "folder", e.stamp) for e in entries if e.size == UNREADABLE]
    entries = [entry for entry in entries if entry.size != UNREADABLE]
    found = _Found()
    with _scratch(storage) as scratch:
        places = _Places(storage, Path(scratch))
        folders: dict[str, list[str]] = {}
        for entry in entries:
            if not entry.path.lower().endswith((*_IGNORED, _README)):
                folders.setdefault(folder_of(entry.path), []).append(entry.path)
        with processes.mapper(settings.jobs) as mapper:
            work = [[(path, places.of(path)) for path in paths] for paths in folders.values()]
            for result in mapper(folder_facts.read_folder, work):
                found.add(result, places)
            gone = pairing.superseded(found.weights.values(), every=settings.snapshots == "all")
            live = [w for p, w in found.weights.items() if p not in gone and p not in taken]
            lonely = [w for w in live if not any(a.fits for a in found.agreements.get(w.path, ()))]
            for agreements in _elsewhere(lonely, found, places, mapper):
                for agreement in agreements:
                    found.agreements.setdefault(agreement.weights, []).append(agreement)
    readmes, orphans = _readmes(storage, entries)
    solvers = _solvers(found.nets)
    models = [_model(w, found, solvers, settings.prefer, readmes) for w in live]
    orphans += unreadable
    orphans += [Orphan(path, "snapshot", reason) for path, reason in sorted(gone.items())]
    orphans += _unused(models, found, gone, taken)
    return _named(models), sorted(orphans, key=lambda orphan: orphan.path)


def _scratch(storage: Storage) -> AbstractContextManager[str]:
    """A folder for copies, where files have no paths of their own."""
    if storage.local:
        return nullcontext("")
    return tempfile.TemporaryDirectory(prefix="caffefold-zoo-")


class _Places:
    """Where files of the zoo are on this machine; remote ones are copied when asked for."""

    def __init__(self, storage: Storage, scratch: Path) -> None:
        self.storage = storage
        self.scratch = scratch
        self.known: dict[str, str] = {}

    def of(self, path: str) -> str:
        if path not in self.known:
            folder = self.scratch
            if not self.storage.local:
                folder = self.scratch / f"f{len(self.known)}"
                folder.mkdir()
            self.known[path] = str(self.storage.fetch(path, folder))
        return self.known[path]

    def named(self, text: str, path: str) -> str:
        """A message about a file, with its URL in place of that of its copy."""
        return text.replace(self.of(path), self.storage.shown(path)) if text else text


def _elsewhere(
    lonely: list[WeightsFacts], found: _Found, places: _Places, mapper: processes.Mapper
) -> Iterator[list[Agreement]]:
    """Agreements of weights that fit nothing in their folder with the nets of other folders."""
    work = []
    for weights in lonely:
        nets = [
            net for net in found.nets.values() if folder_of(net.path) != folder_of(weights.path)
        ]
        candidates = folder_facts.related(weights, nets)
        if candidates:
            pairs = [(net, places.of(net.path)) for net in candidates]
            work.append(((weights, places.of(weights.path)), pairs))
    yield from mapper(_compare, work)


def _compare(
    work: tuple[tuple[WeightsFacts, str], list[tuple[NetFacts, str]]],
) -> list[Agreement]:
    return folder_facts.compare(*work)


def _solvers(nets: Mapping[str, NetFacts]) -> list[pairing.Solver]:
    solvers = []
    for net in nets.values():
        if net.role == "solver":
            target = _solved(net, nets)
            if target is not None:
                solvers.append(pairing.Solver(target, PurePosixPath(net.snapshots).name))
    return solvers


def _solved(solver: NetFacts, nets: Mapping[str, NetFacts]) -> str | None:
    """The net in the zoo that a solver names: beside it, by the path, or by the end of the path."""
    beside = posixpath.normpath(posixpath.join(folder_of(solver.path), solver.net))
    name = PurePosixPath(solver.net).name
    for path in (
        beside,
        posixpath.normpath(solver.net),
        str(PurePosixPath(solver.path).parent / name),
    ):
        if path in nets:
            return path
    return None


def _model(
    weights: WeightsFacts,
    found: _Found,
    solvers: list[pairing.Solver],
    prefer: str,
    readmes: Mapping[str, FrontMatter],
) -> Model:
    front = readmes.get(weights.path)
    model = Model(
        default_name(weights.path),
        weights.path,
        size=weights.size,
        title=front.name if front else "",
        sha1=front.sha1 if front else "",
    )
    if weights.error:
        return replace(model, problem=weights.error)
    agreements = found.agreements.get(weights.path, [])
    choice = pairing.choose(weights, agreements, found.nets, prefer=prefer, solvers=solvers)
    if choice.prototxts or choice.problem:
        return replace(model, prototxts=choice.prototxts, problem=choice.problem)
    return replace(model, problem=_nothing_fits(weights, found))


def _nothing_fits(weights: WeightsFacts, found: _Found) -> str:
    """Why no prototxt was found: what is in the same folder explains it best."""
    if not weights.layers:
        return f"{weights.path}: no layer in this caffemodel holds any weights"
    here = [net for net in found.nets.values() if folder_of(net.path) == folder_of(weights.path)]
    for net in here:
        if net.error:
            return (
                f"{weights.path}: no prototxt fits; the one beside it can not be read: {net.error}"
            )
    nets = [net for net in here if net.layers]
    if nets:
        near = max(nets, key=lambda net: (len(net.layers & weights.layers), net.path))
        known = len(near.layers & weights.layers)
        return (
            f"{weights.path}: no prototxt fits; of the {len(near.layers)} layers with weights in "
            f"{near.path} it knows {known or 'none'}"
        )
    return f"{weights.path}: no prototxt of the zoo has these layers; add its train or deploy net"


def _readmes(storage: Storage, entries: list[Entry]) -> tuple[dict[str, FrontMatter], list[Orphan]]:
    """Front matter by the caffemodel it speaks of; what it gets wrong."""
    known = {entry.path for entry in entries}
    found: dict[str, FrontMatter] = {}
    orphans: list[Orphan] = []
    for path in sorted(known):
        if PurePosixPath(path).name.lower() != _README:
            continue
        front = frontmatter.parse((storage.read(path) or b"").decode("utf-8", "replace"))
        if front is None:
            continue
        target = posixpath.normpath(posixpath.join(folder_of(path), front.caffemodel))
        if front.problem:
            orphans.append(Orphan(path, "readme", front.problem))
        if target in known:
            found[target] = front
        else:
            where = f"; it is at {front.url}" if front.url else ""
            reason = f"names {front.caffemodel}, which is not there{where}"
            orphans.append(Orphan(path, "readme", reason))
    return found, orphans


def _unused(
    models: Iterable[Model], found: _Found, gone: Mapping[str, str], taken: frozenset[str]
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


def _named(models: Iterable[Model]) -> list[Model]:
    """The models with unique names, also where the file system ignores case."""
    taken = {"index", "zoo"}  # index.html and zoo.json are the zoo's own
    named = []
    for model in sorted(
        models, key=lambda each: (each.caffemodel.endswith(".h5"), each.caffemodel)
    ):
        name, number = model.name, 1
        while name.lower() in taken:
            number += 1
            name = f"{model.name}-{number}"
        taken.add(name.lower())
        named.append(replace(model, name=name))
    return sorted(named, key=lambda each: each.name)
