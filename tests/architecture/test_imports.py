"""Imports go only downward in the house (DESIGN, section 2); packages stay in certain rooms."""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.architecture.conftest import Module

# From the ground up: a room may use itself, those below it, and none beside or above it.
HOUSE = (
    {"_proto"},
    {"frozen", "humanize", "log", "search_path", "_version"},
    {"errors", "html"},
    {"extras", "options"},
    {"targets"},
    {"formats", "next_step"},
    {"testing"},
    {"ir"},
    {"ops"},
    {"analysis"},
    {"passes"},
    {"account", "check", "rails"},
    {"report", "extraction"},
    {"page", "reduction"},
    {"files"},
    {"conversion", "upgrading"},
    {"onnx_export"},
    {"inspection", "compare"},
    {"verification"},
    {"slimming"},
    {"zoo"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(HOUSE) for room in rooms}
# The rooms that may import a package from outside.
OUTSIDE = {
    "click": {"cli"},
    "rich": {"cli"},
    "h5py": {"formats"},
    "lmdb": {"formats"},
    "jinja2": {"html", "compare", "inspection", "zoo"},
    "numpy": {
        "formats",
        "testing",
        "ir",
        "ops",
        "analysis",
        "passes",
        "check",
        "onnx_export",
        "compare",
        "verification",
    },
    "cv2": {"verification"},
    "google": {"formats", "testing", "ir", "ops", "compare", "verification"},
    "fsspec": {"zoo"},
    "distributed": {"zoo"},
    "tomli": {"zoo"},
    "tomllib": {"zoo"},
    "onnx": {"onnx_export", "verification"},
    "onnxruntime": {"verification"},
}


def _own(name: str) -> str | None:
    """The room that ``caffefold.room.module.thing`` lies in."""
    parts = name.split(".")
    return parts[1] if parts[0] == "caffefold" and len(parts) > 1 else None


def test_every_module_has_its_place(modules: tuple[Module, ...]) -> None:
    """A new room is put into HOUSE first, with those it may use below it."""
    assert {module.room for module in modules} - {"__init__"} <= set(FLOOR)


def test_imports_go_downward(modules: tuple[Module, ...]) -> None:
    upward = [
        f"{module.where(line)}: {name}"
        for module in modules
        if module.room != "__init__"
        for line, name in module.imports()
        if (room := _own(name)) is not None
        and room != module.room
        and FLOOR.get(room, 99) >= FLOOR.get(module.room, 0)
    ]
    assert upward == []


def test_nobody_imports_through_the_top(modules: tuple[Module, ...]) -> None:
    """``from caffefold import convert`` inside would load the public face, and hide the room."""
    found = [
        f"{module.where(line)}: {name}"
        for module in modules
        for line, name in module.imports()
        if name == "caffefold" or (_own(name) or "") not in {*FLOOR, ""}
    ]
    assert found == []


# What the proof believes of Caffe it knows from Caffe's sources: of the package it reads formats,
# nets, shapes, what was asked for, what passes say they did, and what a fork's type is called.
PROOF_READS = (
    "errors",
    "frozen",
    "humanize",
    "options",
    "formats",
    "ir",
    "check",
    "analysis.shapes",
    "ops.shape",
    "passes.infra",
)


def test_the_proof_is_independent_of_the_fold(modules: tuple[Module, ...]) -> None:
    """Nothing of the fold, of channel flow, of layouts or of affine maps: a fault would pass both.

    ``op(layer)`` is asked for the ``name`` alone.
    """
    found = []
    for module in modules:
        if module.room != "check":
            continue
        for line, name in module.imports():
            inner = name.removeprefix("caffefold.")
            known = any(f"{inner}.".startswith(f"{each}.") for each in PROOF_READS)
            if inner != name and not known and inner != "ops.table.op":
                found.append(f"{module.where(line)}: {name}")
        asked = [
            node.value
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and node.attr == "name"
        ]
        found += [
            f"{module.where(node.lineno)}: more than the name of op(layer)"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "op"
            and node not in asked
        ]
    assert found == []


def test_no_relative_imports(modules: tuple[Module, ...]) -> None:
    found = [
        module.where(node.lineno)
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert found == []


def test_no_circles(modules: tuple[Module, ...]) -> None:
    """Inside a room, too: modules can be put in an order in which each uses only earlier ones."""
    names = {module.name for module in modules}

    def targets(module: Module) -> set[str]:
        found = set()
        for _, name in module.imports():
            inner = name.removeprefix("caffefold.")
            found |= {inner, inner.rpartition(".")[0]} if inner != name else set()
        return (found & names) - {module.name, module.room}

    uses = {module.name: targets(module) for module in modules}
    while ready := {name for name, used in uses.items() if not used & uses.keys()}:
        uses = {name: used for name, used in uses.items() if name not in ready}
    assert uses == {}


def test_the_schema_has_one_door(modules: tuple[Module, ...]) -> None:
    """The generated bindings are reached through formats.schema alone."""
    users = {
        module.name
        for module in modules
        for _, name in module.imports()
        if name.startswith("caffefold._proto")
    }
    assert users == {"formats.schema"}


@pytest.mark.parametrize("package", OUTSIDE)
def test_packages_from_outside_stay_in_their_rooms(
    modules: tuple[Module, ...], package: str
) -> None:
    users = {
        module.room
        for module in modules
        for _, name in module.imports()
        if name.split(".")[0] == package
    }
    assert users <= OUTSIDE[package]


def test_no_other_package_from_outside(modules: tuple[Module, ...]) -> None:
    known = {"caffefold", "__future__", *OUTSIDE, *sys.stdlib_module_names}
    found = [
        f"{module.where(line)}: {name}"
        for module in modules
        for line, name in module.imports()
        if name.split(".")[0] not in known
    ]
    assert found == []


@pytest.mark.parametrize(
    "room", ["__init__", "__main__", "_version", "errors", "humanize", "options", "targets", "cli"]
)
def test_the_entrance_is_light(modules: tuple[Module, ...], room: str) -> None:
    """What loads before any work: nothing that costs time."""
    heavy = {"numpy", "google", "rich", "h5py"}
    light = {"errors", "_version", "frozen", "humanize", "options", "targets", "search_path", "cli"}
    for module in modules:
        for line, name in module.imports(at_start=True) if module.room == room else ():
            assert name.split(".")[0] not in heavy, module.where(line)
            assert (_own(name) or "cli") in light, module.where(line)
