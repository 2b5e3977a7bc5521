"""Plan from manifest and discovery, or reuse the cached plan when nothing has changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from caffefold._version import VERSION
from caffefold.errors import InputError, Option, UsageError
from caffefold.options import ConvertOptions, PathLike, plain, read
from caffefold.zoo.planning import manifest as manifests
from caffefold.zoo.planning.manifest import Manifest
from caffefold.zoo.records import Model, Orphan, Plan
from caffefold.zoo.storage import STATE, Entry, Storage, failing, open_storage

PREFER = ("train", "deploy")
SNAPSHOTS = ("last", "all")
_CACHE = f"{STATE}/plan.json"


def plan(
    source: PathLike,
    target: PathLike = "",
    *,
    options: Mapping[str, Any] | None = None,
    prefer: str = "train",
    snapshots: str = "last",
    manifest: PathLike = "",
    onnx: bool = False,
    verify: bool = False,
    jobs: int = 0,
    fresh: bool = False,
) -> Plan:
    """Find the models of a zoo, without converting anything.

    Args:
        source: the folder of the zoo, or a URL that fsspec reaches.
        target: where results will go; also where the plan of an unchanged zoo is kept.
        options: keyword options of ``caffefold.convert`` for every model.
        prefer: of several prototxts that fit, use ``"train"`` or ``"deploy"``.
        snapshots: convert the ``"last"`` snapshot of a net, or ``"all"``.
        manifest: a zoo.toml; by default the one in ``source``, if there is one.
        onnx: write each model as ONNX as well, beside its pair; where that is refused, the result
            says why.
        verify: run each model before and after, on random input; one that is different fails. What
            the manifest says of a model comes first.
        jobs: processes that read files; 0: one for each core.
        fresh: do not use the plan of an earlier run.

    Returns:
        The models in the order of their names, and the files that belong to none.

    Raises:
        InputError: the source cannot be read, or the manifest is not TOML.
        UsageError: a wrong option or key of the manifest, or a target that holds the source.
    """
    if prefer not in PREFER:
        raise UsageError(Option("prefer", prefer), f": choose one of {', '.join(PREFER)}")
    if snapshots not in SNAPSHOTS:
        raise UsageError(Option("snapshots", snapshots), f": choose one of {', '.join(SNAPSHOTS)}")
    shared = plain(options or {})
    storage = open_storage(os.fspath(source))
    results = open_storage(os.fspath(target)) if target else None
    _apart(storage, results)
    where = os.fspath(manifest) or storage.shown(manifests.NAME)
    if manifest:
        with failing(InputError, where, "read this manifest"):
            data = Path(where).read_bytes()
    else:
        data = storage.read(manifests.NAME) or b""
    root = results.root if results else ""
    entries = list(storage.walk(root))
    asked = [VERSION, storage.root, root, shared, prefer, snapshots, data.hex(), entries, onnx]
    asked += ["verify"] if verify else []
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    cached = _cached(results, key) if results and not fresh else None
    urls = (storage.address, results.address if results else "")
    if cached is not None:
        return replace(cached, urls=urls)
    read(ConvertOptions, shared, "options")
    named = manifests.parse(data, where) if data else Manifest()
    models, orphans = _planned(storage, entries, named, prefer, snapshots, jobs)
    common = _merged(named.options, shared)
    runtime = named.verify or (manifests.DEFAULT_RUNTIME if verify else "")
    models = [
        replace(
            model,
            options=_merged(common, model.options),
            onnx=onnx or model.onnx,
            verify=runtime if model.verify is None else model.verify,
        )
        for model in models
    ]
    orphans += [Orphan(path, "skipped", f"skip = true in {where}") for path in named.skipped]
    return Plan(storage.root, root, tuple(models), tuple(orphans), key, urls)


def _planned(
    storage: Storage,
    entries: list[Entry],
    named: Manifest,
    prefer: str,
    snapshots: str,
    jobs: int,
) -> tuple[list[Model], list[Orphan]]:
    known = {entry.path: entry for entry in entries}
    models = [_of_manifest(model, known) for model in named.models]
    # What the manifest names without a prototxt is paired like the rest.
    unpaired = {m.caffemodel for m in models if not m.prototxts and not m.problem}
    if not named.discover and not unpaired:
        return models, []
    from caffefold.zoo import processes

    jobs = jobs or processes.cores()
    if jobs > 1 and len(entries) > processes.FEW:
        processes.context()  # loads what workers need, while this process does something else
    else:
        jobs = 1
    from caffefold.zoo.planning.discover import discover, unique

    taken = {model.caffemodel for model in named.models}.union(named.skipped) - unpaired
    found, orphans = discover(
        storage, entries, frozenset(taken), prefer=prefer, snapshots=snapshots, jobs=jobs
    )
    by_weights = {model.caffemodel: model for model in found}
    for position, model in enumerate(models):
        if model.caffemodel in unpaired and model.caffemodel in by_weights:
            pair = by_weights.pop(model.caffemodel)
            models[position] = replace(model, prototxts=pair.prototxts, problem=pair.problem)
    if not named.discover:
        return models, []
    used = {path for model in models for path in model.prototxts}
    names = unique((m.name for m in by_weights.values()), (m.name for m in models))
    models += [
        replace(m, name=name, onnx=named.onnx)
        for m, name in zip(by_weights.values(), names, strict=True)
    ]
    orphans = [orphan for orphan in orphans if orphan.path not in used]
    return sorted(models, key=lambda model: model.name), orphans


def _of_manifest(model: Model, known: Mapping[str, Entry]) -> Model:
    """A model of the manifest with the size of its weights; a file that is missing is a problem."""
    entry = known.get(model.caffemodel)
    missing = [path for path in (model.caffemodel, *model.prototxts) if path not in known]
    problem = f"{missing[0]}: named in the manifest, but not in the zoo" if missing else ""
    return replace(model, size=entry.size if entry else 0, problem=problem)


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """``second`` over ``first``; tables inside are merged, too."""
    result = dict(first)
    for name, value in second.items():
        old = result.get(name)
        tables = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = {**dict(old or {}), **value} if tables else value
    return result


def _apart(source: Storage, target: Storage | None) -> None:
    """Refuse a target that holds the source, or is it: results would lie among the inputs."""
    if target is None or source.local != target.local:
        return
    one, other = source.root, target.root
    if source.local:
        one, other = os.path.realpath(one), os.path.realpath(other)
    if one == other or one.startswith(other.rstrip("/") + "/"):
        raise UsageError(f"{target.root}: holds the zoo itself; choose another target")


def keep(plan: Plan, target: Storage) -> None:
    """Cache a plan in its target, for the next time that everything is as it was."""
    if plan.key:
        data = json.dumps(plan.to_json()).encode()
        if target.read(_CACHE) != data:
            target.write(_CACHE, data)


def _cached(target: Storage, key: str) -> Plan | None:
    """The cached plan, if it was made from the same."""
    with suppress(ValueError, KeyError, TypeError):
        found = Plan.of_json(json.loads(target.read(_CACHE) or b"{}"))
        return found if found.key == key else None
    return None
