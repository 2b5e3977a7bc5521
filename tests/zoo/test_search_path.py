"""Nothing is imported from the working directory, by no command and no worker process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import caffefold
from caffefold.cli import main
from tests.support.zoo import many

ROOT = str(Path(caffefold.__file__).parents[1])
PLANTED = (
    "click", "numpy", "google", "rich", "h5py", "jinja2", "markupsafe", "fsspec", "distributed",
    "dask", "grpc_tools", "tomli", "onnx", "yaml",
)  # fmt: skip
# What the script that pip installs does, with the package where the tests have it.
SCRIPT = "import sys; from caffefold.cli.main import main; sys.exit(main())"
SPY = "import pathlib; pathlib.Path({marker!r}).touch()\nraise ImportError('planted')\n"


@pytest.fixture
def trap(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with a zoo and a module for every dependency; the file that these would make."""
    folder, marker = tmp_path / "downloaded", tmp_path / "executed"
    many(folder / "zoo", 30)  # enough for processes that plan
    spy = SPY.format(marker=str(marker))
    for name in PLANTED:
        (folder / f"{name}.py").write_text(spy)
    for name in ("caffefold", "multiprocessing"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(spy)
    return folder, marker


# fmt: off
COMMANDS = {
    "convert": ("convert", "zoo/m000/net.prototxt", "zoo/m000/net.caffemodel", "-o", "x/net"),
    "diff": ("diff", "zoo/m000", "zoo/m001", "--format", "html"),
    "export": ("export", "zoo/m000/net.prototxt", "zoo/m000/net.caffemodel", "-o", "x.onnx"),
    "extract": ("extract", "zoo/m000/net.caffemodel", "-o", "x.prototxt"),
    "inspect": ("inspect", "zoo/m000/net.prototxt", "zoo/m000/net.caffemodel"),
    "slim": ("slim", "zoo/m000/net.prototxt", "zoo/m000/net.caffemodel", "-o", "x/slim"),
    "targets": ("targets",),
    "upgrade": ("upgrade", "zoo/m000/net.caffemodel", "x.caffemodel"),
    "verify": (
        "verify", "zoo/m000/net.prototxt", "zoo/m000/net.caffemodel",
        "zoo/m000/net.prototxt", "zoo/m000/net.caffemodel", "--runtime", "reference",
    ),
    "zoo": ("zoo", "zoo", "out", "--jobs", "2"),
    "completion": ("completion", "bash"),
}
# fmt: on


def test_the_commands_are_all() -> None:
    assert set(COMMANDS) == set(main.COMMANDS)


@pytest.mark.parametrize("how", ["script", "module"])
@pytest.mark.parametrize("command", COMMANDS)
def test_commands(trap: tuple[Path, Path], tmp_path: Path, command: str, how: str) -> None:
    folder, marker = trap
    script = tmp_path / "bin/caffefold"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": ROOT}
    start = [str(script)] if how == "script" else ["-m", "caffefold"]
    if how == "module":  # python itself imports the package from here, before there is anybody
        for name in ("caffefold", "multiprocessing"):  # to prevent it
            (folder / name / "__init__.py").unlink()
            (folder / name).rmdir()
    done = subprocess.run(
        [sys.executable, *start, *COMMANDS[command]],
        cwd=folder, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not marker.exists()
    assert done.returncode in (0, 1 if command == "diff" else 0), done.stderr


@pytest.mark.parametrize("call", ["plan", "run"])
def test_a_plain_script(trap: tuple[Path, Path], tmp_path: Path, call: str) -> None:
    """No ``if __name__ == "__main__":`` is needed; the script is executed once."""
    folder, marker = trap
    script = tmp_path / "work.py"
    script.write_text(
        "print('executed')\n"
        "import caffefold\n"
        f"plan = caffefold.zoo.plan('zoo', {str(tmp_path / 'out')!r}, jobs=2)\n"
        "print(len(plan.models))\n"
        + ("print(caffefold.zoo.run(plan, jobs=2).ok)\n" if call == "run" else "")
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder, env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["executed", "30"] + ["True"] * (call == "run"), done.stderr
    assert not marker.exists()


def test_run_from_a_clone(tmp_path: Path) -> None:
    """The working directory holds the package: it is used, but comes last."""
    many(tmp_path / "zoo", 2)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "caffefold", "zoo", str(tmp_path / "zoo"), str(tmp_path / "out")],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
