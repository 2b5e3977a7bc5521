"""The public names: exactly these, each with a docstring, in whatever order they are used."""

from __future__ import annotations

import ast
import inspect
import itertools
import os
import pkgutil
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import caffefold
from tests.support.forked import Forks

if TYPE_CHECKING:
    from tests.architecture.conftest import Module

PUBLIC = {
    # the main job
    "convert",
    "ConvertOptions",
    "ConvertReport",
    "DetectionOptions",
    # the same in steps
    "load",
    "to_deploy",
    "fold",
    "prove",
    "retarget",
    "save",
    "slim",
    "DeployResult",
    "FoldResult",
    "SlimResult",
    "TargetResult",
    "Proof",
    # for runtimes other than Caffe
    "export",
    "ExportOptions",
    "ExportReport",
    # both run side by side
    "verify",
    "VerifyOptions",
    "Verification",
    # the net of a caffemodel alone
    "extract",
    "ExtractReport",
    # what is in a net
    "inspect",
    "Inspection",
    # what changed between two nets
    "diff",
    "NetDiff",
    # what load() gives
    "Net",
    "Layer",
    # errors.py
    "CaffefoldError",
    "UsageError",
    "UnknownName",
    "UnknownInput",
    "MissingShape",
    "InputError",
    "TextError",
    "WeightsError",
    "ModelError",
    "OutputError",
    "ExistingOutput",
    "ProofError",
    # and
    "__version__",
}
NAMES = sorted(PUBLIC - {"__version__"})


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """Processes that have imported what caffefold needs, and nothing of caffefold."""
    with Forks(os.environ, "numpy", "click", "google.protobuf.internal.builder") as made:
        yield made


@pytest.fixture
def run_quickly(tmp_path: Path, forks: Forks) -> Callable[[str], None]:
    """Like ``run``, with the packages from outside already imported."""

    def run_code(code: str) -> None:
        exit_code, _, complaint = forks.run(["-c", code], tmp_path, os.environ)
        assert exit_code == 0, complaint.decode()

    return run_code


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], None]:
    """Runs code in a process of its own, away from the checkout."""

    def run_code(code: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    return run_code


def test_all_is_the_documented_names() -> None:
    assert set(caffefold.__all__) == PUBLIC
    assert len(caffefold.__all__) == len(PUBLIC)
    assert list(caffefold.__all__) == sorted(caffefold.__all__)


def test_dir_is_the_documented_names() -> None:
    assert set(dir(caffefold)) >= PUBLIC | {"zoo"}


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_there_and_documented(name: str) -> None:
    found = getattr(caffefold, name)
    assert inspect.isclass(found) or inspect.isfunction(found)
    assert found.__name__ == name
    assert (inspect.getdoc(found) or "").endswith((".", "``", "`"))


@pytest.mark.parametrize("name", NAMES)
def test_public_methods_are_documented(name: str) -> None:
    found = getattr(caffefold, name)
    bare = [
        attribute
        for attribute, value in vars(found).items()
        if not attribute.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, (property, classmethod)))
        and not inspect.getdoc(getattr(found, attribute))
    ]
    assert bare == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'frobnicate'"):
        _ = caffefold.frobnicate


def test_no_public_name_is_the_name_of_a_module() -> None:
    """Importing a submodule puts it into the package under its name, over what was there."""
    modules = {info.name for info in pkgutil.iter_modules(caffefold.__path__)}
    assert modules & PUBLIC == set()


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.permutations(["convert", "diff", "inspect", "load"], 2))
)
def test_names_work_in_any_order(
    run_quickly: Callable[[str], None], first: str, second: str
) -> None:
    run_quickly(
        "import sys\n"
        "assert not [name for name in sys.modules if name.startswith('caffefold')]\n"
        "import caffefold, types\n"
        f"for name in ({first!r}, {second!r}, {first!r}):\n"
        "    assert isinstance(getattr(caffefold, name), types.FunctionType), name"
    )
    run_quickly(
        f"from caffefold import {first}, {second}\n"
        "import types\n"
        f"for found in ({first}, {second}):\n"
        "    assert isinstance(found, types.FunctionType), found"
    )


def test_names_work_after_the_command_line_was_used(run: Callable[[str], None]) -> None:
    run(
        "import caffefold, types\n"
        "from caffefold.cli.main import run\n"
        "assert run(['convert', 'missing', 'missing', '-o', 'out']) == 3\n"
        "assert isinstance(caffefold.convert, types.FunctionType), caffefold.convert"
    )


def test_importing_the_package_loads_nothing_else(run: Callable[[str], None]) -> None:
    run(
        "import caffefold, sys\n"
        "found = [n for n in ('numpy', 'google.protobuf', 'click') if n in sys.modules]\n"
        "assert not found, found\n"
        "assert [n for n in sys.modules if n.startswith('caffefold.')] == ['caffefold._version']"
    )


@pytest.mark.parametrize(
    "name",
    [
        "convert",
        "diff",
        "fold",
        "inspect",
        "load",
        "prove",
        "retarget",
        "save",
        "slim",
        "to_deploy",
    ],
)
def test_functions_are_typed(name: str) -> None:
    function = getattr(caffefold, name)
    hints = typing.get_type_hints(function)
    assert set(hints) == {*inspect.signature(function).parameters, "return"}


def test_options_of_convert_are_given_by_name() -> None:
    parameters = inspect.signature(caffefold.convert).parameters.values()
    by_place = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert by_place == ["prototxt", "caffemodel", "output"]
    doc = inspect.getdoc(caffefold.convert) or ""
    for parameter in parameters:
        assert f"    {parameter.name}: " in doc
    for error in ("InputError", "OutputError", "ProofError", "UsageError"):
        assert f"    {error}: " in doc


def test_errors_are_one_tree_with_exit_codes() -> None:
    codes = {name: getattr(caffefold, name).exit_code for name in NAMES if name.endswith("Error")}
    assert codes == {
        "CaffefoldError": 4,
        "UsageError": 2,
        "InputError": 3,
        "TextError": 3,
        "WeightsError": 3,
        "ModelError": 3,
        "OutputError": 3,
        "ProofError": 1,
    }
    assert issubclass(caffefold.UnknownInput, caffefold.UnknownName)
    assert issubclass(caffefold.UnknownName, caffefold.UsageError)
    assert issubclass(caffefold.MissingShape, caffefold.UsageError)
    assert issubclass(caffefold.ExistingOutput, caffefold.OutputError)
    assert all(issubclass(getattr(caffefold, name), caffefold.CaffefoldError) for name in codes)


def test_the_version_is_written_once() -> None:
    """In _version.py, and nowhere else in the source."""
    package = Path(str(caffefold.__file__)).parent
    holders = [
        path.name
        for path in package.rglob("*.py")
        if f'"{caffefold.__version__}"' in path.read_text(encoding="utf-8")
    ]
    assert holders == ["_version.py"]


def test_no_flag_of_the_command_line_in_an_error(modules: tuple[Module, ...]) -> None:
    """Errors and warnings name options as ``Option``; only the command line spells them."""
    found = [
        f"{module.where(node.lineno)}: {part.value}"
        for module in modules
        if module.room != "cli"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Raise)
        or (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Text", "Option"))
        for part in ast.walk(node)
        if isinstance(part, ast.Constant)
        and isinstance(part.value, str)
        and re.search(r"(?<![\w-])--[a-z]", part.value)
    ]
    assert found == []
