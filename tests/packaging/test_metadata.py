"""What the installed distribution promises, and whether the promises agree with each other."""

from __future__ import annotations

import importlib.metadata
import os
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import caffefold
from caffefold._proto import caffe_pb2

ROOT = Path(__file__).resolve().parents[2]
FLOOR = Path(__file__).with_name("floor.txt")
DIST = importlib.metadata.distribution("caffefold")

in_tox = pytest.mark.skipif(
    "TOX_ENV_NAME" not in os.environ, reason="an editable install is fine outside tox"
)


def requirements(extra: str = "") -> dict[str, Requirement]:
    found = [Requirement(line) for line in DIST.requires or []]
    return {
        entry.name: entry
        for entry in found
        if entry.marker is None or (extra and entry.marker.evaluate({"extra": extra}))
    }


def lower_bounds(extra: str = "") -> dict[str, Version]:
    return {
        name: Version(clause.version)
        for name, entry in requirements(extra).items()
        for clause in entry.specifier
        if clause.operator == ">="
    }


def floor() -> dict[str, Version]:
    lines = FLOOR.read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name: Version(version) for name, version in pins}


def test_the_run_time_needs_five_packages() -> None:
    """And tomli where Python has no tomllib."""
    assert set(requirements()) == {"numpy", "protobuf", "click", "rich", "jinja2"}


def test_the_floor_environment_tests_the_lower_bounds() -> None:
    pinned, promised = floor(), lower_bounds("test") | lower_bounds("lmdb") | lower_bounds("onnx")
    for name in requirements():
        assert pinned[name] == promised[name] or pinned[name].release[:2] == promised[name].release
    assert pinned["opencv-python-headless"].release[:2] == (4, 8)
    assert pinned["tomli"].release[:2] == (2, 0)
    for name in ("fsspec", "jsonschema", "lmdb", "onnx", "onnxruntime"):
        assert pinned[name].release[:2] == promised[name].release[:2]


@pytest.mark.skipif("CAFFEFOLD_FLOOR" not in os.environ, reason="only in `tox -e floor`")
def test_the_floor_is_installed() -> None:
    found = {name: Version(importlib.metadata.version(name)) for name in floor()}
    assert found == floor()


def test_generated_code_runs_on_the_promised_protobuf() -> None:
    """protoc writes the oldest runtime it accepts into the code; a newer generator raises it."""
    source = Path(str(caffe_pb2.__file__)).read_text(encoding="utf-8")
    match = re.search(r"^# Protobuf Python Version: ([\d.]+)$", source, re.MULTILINE)
    assert match is not None
    assert Version(match[1]) <= lower_bounds()["protobuf"]


def test_version() -> None:
    assert caffefold.__version__ == DIST.version


def test_the_changelog_goes_by_version() -> None:
    """Keep a Changelog: what is to come, then every release with its date, in known kinds."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *releases = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert first == "[Unreleased]"
    found = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d", line) for line in releases]
    numbers = [Version(match[1]) for match in found if match]
    assert len(numbers) == len(releases)
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] == Version(caffefold.__version__)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds


def test_entry_point() -> None:
    (script,) = DIST.entry_points.select(group="console_scripts")
    assert (script.name, script.value) == ("caffefold", "caffefold.cli.main:main")


def test_typed() -> None:
    assert Path(str(caffefold.__file__)).with_name("py.typed").exists()
    assert Path(str(caffe_pb2.__file__)).with_suffix(".pyi").exists()


@in_tox
def test_the_wheel_is_under_test() -> None:
    assert not Path(str(caffefold.__file__)).resolve().is_relative_to(ROOT / "caffefold")


@in_tox
def test_installed_files() -> None:
    """Our package and its metadata, nothing else."""
    files = {path.as_posix() for path in DIST.files or []}
    assert {
        "caffefold/py.typed",
        "caffefold/_proto/__init__.py",
        "caffefold/_proto/caffe_pb2.py",
        "caffefold/_proto/caffe_pb2.pyi",
    } <= files
    tops = {name.split("/")[0] for name in files if not name.startswith("..")}
    assert tops == {"caffefold", f"caffefold-{DIST.version}.dist-info"}
