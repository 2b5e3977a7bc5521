"""An sdist holds all that a wheel needs; a wheel holds the package and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # the build environment comes from a package index

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {
    "caffefold/_proto/__init__.py",
    "caffefold/_proto/caffe_pb2.py",
    "caffefold/_proto/caffe_pb2.pyi",
}
PARTS = [
    "caffefold",
    "proto",
    "tests",
    "sample_models",
    "pyproject.toml",
    "MANIFEST.in",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "mkdocs.yml",
    "tox.ini",
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: building writes into the tree it builds."""
    copy = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__", ".*", "*.caffemodel")
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=ignore)
        elif source.exists():
            shutil.copy(source, copy / name)
    return copy


def python(*arguments: str, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(checkout: Path) -> Path:
    """``python -m build`` makes the wheel from the sdist, not from the checkout."""
    stale = checkout / "caffefold" / "_proto"
    stale.mkdir(exist_ok=True)
    (stale / "__init__.py").write_text("raise ImportError('stale')\n", encoding="utf-8")
    (stale / "caffe_pb2.py").write_text("raise ImportError('stale')\n", encoding="utf-8")
    python("-m", "build", "--outdir", "out", ".", cwd=checkout)
    return checkout / "out"


def test_sdist(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"proto/caffe.proto", "proto/build_hook.py", "LICENSE", "caffefold/py.typed"} <= names
    assert "tests/packaging/test_build.py" in names
    assert not {name for name in names if name.startswith("caffefold/_proto")}


def test_wheel(built: Path) -> None:
    (path,) = built.glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        bindings = archive.read("caffefold/_proto/caffe_pb2.py")
        record = archive.read(next(name for name in names if name.endswith("/RECORD"))).decode()
    assert names >= GENERATED | {"caffefold/py.typed", "caffefold/__init__.py"}
    assert b"stale" not in bindings
    tops = {name.split("/")[0] for name in names}
    shared = {name for name in names if ".data/" in name}
    assert [name.partition(".data/")[2] for name in shared] == ["data/share/man/man1/caffefold.1"]
    tops -= {name.split("/")[0] for name in shared}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"caffefold"}
    assert {line.split(",")[0] for line in record.splitlines()} == names


@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_editable(checkout: Path, tmp_path: Path, mode: str) -> None:
    """The bindings appear in the checkout, where the editable package looks for them."""
    tree = tmp_path / "tree"
    shutil.copytree(checkout, tree)
    shutil.rmtree(tree / "caffefold" / "_proto", ignore_errors=True)
    python("-m", "venv", "env", cwd=tmp_path)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    settings = [f"--config-settings=editable_mode={mode}"]
    install = [str(scripts / "python"), "-m", "pip", "install", "-q", *settings, "-e", str(tree)]
    subprocess.run(install, check=True, timeout=600)
    program = "from caffefold._proto import caffe_pb2; print(caffe_pb2.LayerParameter.__name__)"
    done = subprocess.run(
        [str(scripts / "python"), "-I", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "LayerParameter\n", done.stderr
    for name in GENERATED:
        assert (tree / name).exists()
