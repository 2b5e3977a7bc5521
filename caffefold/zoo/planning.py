"""Make a plan: manifest and discovery together, or the plan of last time when nothing changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from caffefold._version import VERSION
from caffefold.errors import InputError, UsageError
from caffefold.options import ConvertOptions, plain, read
from caffefold.zoo import kept as kept_plans
from caffefold.zoo import manifest as manifests
from caffefold.zoo.manifest import Manifest
from caffefold.zoo.places import open_storage
from caffefold.zoo.storage import Entry, Storage
from caffefold.zoo.values import Model, Orphan, Plan

PREFER = ("train", "deploy")
SNAPSHOTS = ("last", "all")


def plan(
    source: str,
    target: str,
    *,
    options: Mapping[str, Any],
    prefer: str,
    snapshots: str,
    manifest: str,
    jobs: int,
    fresh: bool,
) -> Plan:
    """Plan a zoo; see ``caffefold.zoo.plan``."""
    if prefer not in PREFER:
        raise UsageError(f"--prefer {prefer}: choose one of {', '.join(PREFER)}")
    if snapshots not in SNAPSHOTS:
        raise UsageError(f"--snapshots {snapshots}: choose one of {', '.join(SNAPSHOTS)}")
    shared = plain(options)
    storage = open_storage(source)
    place = open_storage(target) if target else None
    _apart(storage, place)
    where = storage.shown(manifests.NAME)
    if manifest:
        where = manifest
        data = _read(manifest)
    else:
        data = storage.read(manifests.NAME) or b""
    entries = list(storage.walk(place.root if place else ""))
    asked = [VERSION, storage.root, target and place and place.root, shared, prefer, snapshots]
    key = _key(entries, json.dumps(asked, sort_keys=True).encode(), data)
    if place is not None and not fresh:
        kept = kept_plans.plan(place, key)
        if kept is not None:
            return kept
    read(ConvertOptions, shared, "options")
    named = manifests.parse(data, where) if data else Manifest()
    models, orphans = _planned(storage, entries, named, prefer, snapshots, jobs)
    everybody = merged(named.options, shared)
    models = [replace(model, options=merged(everybody, model.options)) for model in models]
    orphans += manifests.orphans_of(named, where)
    return Plan(storage.root, place.root if place else "", tuple(models), tuple(orphans), key)


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
    taken = frozenset(model.caffemodel for model in named.models) | frozenset(named.skipped)
    wanting = any(not model.prototxts and not model.problem for model in models)
    if not named.discover and not wanting:
        return models, []
    from caffefold.zoo import processes

    jobs = jobs or processes.cores()
    if jobs > 1 and len(entries) > processes.FEW:
        processes.warm_up()
    else:
        jobs = 1
    from caffefold.zoo.discover import Settings, discover  # loads much, meanwhile

    # What the manifest names without a prototxt is paired like the rest.
    open_ = frozenset(m.caffemodel for m in models if not m.prototxts and not m.problem)
    found, orphans = discover(storage, entries, Settings(prefer, snapshots, jobs), taken - open_)
    by_weights = {model.caffemodel: model for model in found}
    for position, model in enumerate(models):
        if model.caffemodel in open_ and model.caffemodel in by_weights:
            pair = by_weights.pop(model.caffemodel)
            models[position] = replace(model, prototxts=pair.prototxts, problem=pair.problem)
    used = {path for model in models for path in model.prototxts}
    orphans = [orphan for orphan in orphans if orphan.path not in used]
    if not named.discover:
        return models, []
    names = {model.name.lower() for model in models}
    for model in by_weights.values():
        name, number = model.name, 1
        while name.lower() in names:
            number += 1
            name = f"{model.name}-{number}"
        names.add(name.lower())
        models.append(replace(model, name=name))
    return sorted(models, key=lambda model: model.name), orphans


def _of_manifest(model: Model, known: Mapping[str, Entry]) -> Model:
    """A model of the manifest with the size of its weights; a file that is missing is a problem."""
    entry = known.get(model.caffemodel)
    size = entry.size if entry else 0
    missing = [p for p in (model.caffemodel, *model.prototxts) if p not in known]
    problem = f"{missing[0]}: named in the manifest, but not in the zoo" if missing else ""
    return replace(model, size=size, problem=problem)


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """``second`` over ``first``; tables inside are merged, too."""
    result = dict(first)
    for name, value in second.items():
        old = result.get(name)
        tables = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = {**dict(old or {}), **value} if tables else value
    return result


def _key(entries: list[Entry], asked: bytes, manifest: bytes) -> str:
    digest = hashlib.sha256(asked + b"\0" + manifest)
    for entry in entries:
        line = f"\0{entry.path}\0{entry.size}\0{entry.stamp}"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read this manifest: {error.strerror}") from None


def _apart(source: Storage, target: Storage | None) -> None:
    """Refuse a target that holds the source, or is it: results would lie among the inputs."""
    if target is None or source.local != target.local:
        return
    one, other = source.root, target.root
    if source.local:
        one, other = os.path.realpath(one), os.path.realpath(other)
    if one == other or one.startswith(other.rstrip("/") + "/"):
        raise UsageError(f"{target.root}: holds the zoo itself; choose another target")
