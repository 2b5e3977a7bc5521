"""As git's external diff driver: a real repository, and the arguments git gives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compare.conftest import DATA, conv
from tests.support.nets import Numbers, data, weights

Git = Callable[..., str]
NET = 'name: "net"\n' + DATA + conv("conv1", "data")


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A repository whose prototxts and caffemodels go through ``caffefold diff``."""
    program = shutil.which("git")
    if program is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repository"
    folder.mkdir()
    home = {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "PYTHON"))}
    keep.pop("NO_COLOR", None)
    keep.pop("FORCE_COLOR", None)

    def run(*arguments: str, codes: str = "0", **variables: str) -> str:
        done = subprocess.run(
            [program, *arguments],
            cwd=folder,
            env={**keep, **home, **variables},
            capture_output=True,
            check=False,
        )
        assert str(done.returncode) in codes, done.stderr.decode()
        return done.stdout.decode()

    run("init", "-q")
    run("config", "user.name", "t")
    run("config", "user.email", "t@example.org")
    run("config", "diff.caffe.command", f"{sys.executable} -m caffefold diff")
    (folder / ".gitattributes").write_text("*.prototxt diff=caffe\n*.caffemodel diff=caffe\n")
    (folder / "net.prototxt").write_text(NET)
    random = Numbers()
    layers = [data(1, 3, 8, 8), random.conv("conv1", "data", 3, 8)]
    (folder / "net.caffemodel").write_bytes(weights(layers))
    (folder / "labelmap.prototxt").write_text('item { name: "cat" }\n')
    run("add", ".")
    run("commit", "-qm", "first")
    return run


def _folder(git: Git) -> Path:
    return Path(git("rev-parse", "--show-toplevel").strip())


def test_a_changed_prototxt(git: Git) -> None:
    (_folder(git) / "net.prototxt").write_text(NET.replace("num_output: 8", "num_output: 9"))
    assert git("diff").splitlines() == [
        "caffefold diff a/net.prototxt b/net.prototxt",
        "A         a/net.prototxt: net, 2 layers",
        "B         b/net.prototxt: net, 2 layers",
        "changed   ~ conv1  num_output: 8 -> 9",
        "same      = 1 layer: 1 Input",
        "total     ~ 1 changed   = 1 same",
    ]


def test_a_changed_caffemodel(git: Git) -> None:
    other = [data(1, 3, 8, 8), Numbers(1).conv("conv1", "data", 3, 8)]
    (_folder(git) / "net.caffemodel").write_bytes(weights(other))
    shown = git("diff")
    assert "weights   ~ 2 blobs: 2 different" in shown
    assert "8x3x3x3" in shown


def test_between_commits(git: Git) -> None:
    (_folder(git) / "net.prototxt").write_text(NET + conv("conv2", "conv1"))
    git("commit", "-qam", "second")
    assert "added     + conv2  Convolution" in git("diff", "HEAD~1", "HEAD")
    assert "added     + conv2  Convolution" in git("log", "-p", "--ext-diff", "-1")


def test_what_is_no_net_is_shown_as_text(git: Git) -> None:
    (_folder(git) / "labelmap.prototxt").write_text('item { name: "dog" }\n')
    shown = git("diff")
    assert "cannot compare as nets: " in shown
    assert '-item { name: "cat" }\n+item { name: "dog" }' in shown


def test_a_broken_net_is_shown_as_text(git: Git) -> None:
    (_folder(git) / "net.prototxt").write_text(NET.replace("}", "", 1))
    shown = git("diff")
    assert "cannot compare as nets: b/net.prototxt:" in shown
    assert tempfile.gettempdir() not in shown


def test_a_broken_caffemodel(git: Git) -> None:
    path = _folder(git) / "net.caffemodel"
    path.write_bytes(path.read_bytes()[:200])
    assert "Binary files a/net.caffemodel and b/net.caffemodel differ" in git("diff")


def test_new_and_deleted_files(git: Git) -> None:
    folder = _folder(git)
    (folder / "net.prototxt").unlink()
    (folder / "new.prototxt").write_text(NET)
    git("add", "-A")
    shown = git("diff", "--cached", "--no-renames")
    assert "caffefold diff a/net.prototxt /dev/null" in shown
    assert "caffefold diff /dev/null b/new.prototxt" in shown
    assert '+name: "net"' in shown
    assert '-name: "net"' in shown


def test_a_renamed_file(git: Git) -> None:
    git("mv", "net.prototxt", "deploy.prototxt")
    path = _folder(git) / "deploy.prototxt"
    path.write_text(NET.replace("num_output: 8", "num_output: 9"))
    git("add", "-A")
    shown = git("diff", "--cached", "-M10%")
    assert "caffefold diff a/net.prototxt b/deploy.prototxt" in shown
    assert "num_output: 8 -> 9" in shown


def test_an_unmerged_path(git: Git) -> None:
    path = _folder(git) / "net.prototxt"
    start = git("rev-parse", "HEAD").strip()
    for branch, number in (("left", "9"), ("right", "10")):
        git("checkout", "-qb", branch, start)
        path.write_text(NET.replace("num_output: 8", f"num_output: {number}"))
        git("commit", "-qam", branch)
    git("merge", "-q", "left", codes="1")
    shown = git("diff", "--ours").splitlines()
    assert shown[:2] == [
        "* Unmerged path net.prototxt",
        "caffefold diff a/net.prototxt b/net.prototxt",
    ]
    assert "git conflict marker" in shown[2]


def test_a_pager_that_is_left_early(tmp_path: Path) -> None:
    """git takes any exit code but 0 for a crash of the driver."""
    files = [tmp_path / "old.prototxt", tmp_path / "new.prototxt"]
    for number, file in enumerate(files):
        file.write_text(NET.replace("num_output: 8", f"num_output: {number + 8}"))
    old, new = ([str(file), "0" * 40, "100644"] for file in files)
    command = [sys.executable, "-m", "caffefold", "diff", "net.prototxt", *old, *new]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_colour_as_git_has_it(git: Git) -> None:
    (_folder(git) / "net.prototxt").write_text(NET.replace("num_output: 8", "num_output: 9"))
    assert "\x1b[33m~ conv1" in git("diff", GIT_PAGER_IN_USE="1")
    assert "\x1b" not in git("diff", GIT_PAGER_IN_USE="1", NO_COLOR="1")
    assert "\x1b" not in git("diff")
