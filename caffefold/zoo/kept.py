"""What is still as it was: files by their stamps and digests, the plan of an unchanged zoo."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from caffefold.zoo import digest
from caffefold.zoo.storage import STATE, Storage
from caffefold.zoo.values import FileState, Plan

_PLAN = f"{STATE}/plan.json"


def same(storage: Storage, files: tuple[FileState, ...]) -> tuple[FileState, ...] | None:
    """The files with their present stamps when their content is the same, else None."""
    found = []
    for file in files:
        entry = storage.stat(file.path)
        if entry is None or entry.size != file.bytes:
            return None
        if entry.stamp != file.stamp:
            if not storage.local or not file.sha256:
                return None
            if digest.sha256(Path(storage.shown(file.path))) != file.sha256:
                return None
        found.append(replace(file, stamp=entry.stamp))
    return tuple(found)


def keep(plan: Plan, target: Storage) -> None:
    """Keep a plan for the next time that everything is as it was."""
    if plan.key:
        data = json.dumps(plan.to_json()).encode()
        if target.read(_PLAN) != data:
            target.write(_PLAN, data)


def plan(target: Storage, key: str) -> Plan | None:
    """The plan that was kept, if it was made from the same."""
    with suppress(ValueError, KeyError, TypeError):
        found = Plan.of_json(json.loads(target.read(_PLAN) or b"{}"))
        return found if found.key == key else None
    return None
