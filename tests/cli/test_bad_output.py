"""Results that can not be written: one line, exit 3, and what was there is still there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Pair, Refused

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
RESULTS = ("net.prototxt", "net.caffemodel", "net.report.json")


@pytest.mark.parametrize("name", RESULTS)
def test_output_exists(pair: Pair, refused: Refused, name: str) -> None:
    (refused.cli.folder / "out" / name).write_text("mine", encoding="utf-8")
    message = refused(pair.prototxt, pair.caffemodel)
    assert f"out/{name}: already exists; use --force" in message


def test_force_replaces_what_exists(cli: Cli, pair: Pair) -> None:
    for name in RESULTS:
        (cli.folder / name).write_text("mine", encoding="utf-8")
    cli("convert", pair.prototxt, pair.caffemodel, "-o", "net", "--force")
    assert not any((cli.folder / name).read_bytes() == b"mine" for name in RESULTS)
    assert sorted(path.name for path in cli.folder.iterdir()) == sorted([*RESULTS, "in"])


@pytest.mark.parametrize(
    ("prefix", "force"),
    [
        ("in/net", ()),
        ("in/net", ("--force",)),
        ("in/net.prototxt", ("--force",)),
        ("in/net.caffemodel", ()),
        ("in/../in/net", ()),
        ("link/net", ("--force",)),
    ],
)
def test_output_equals_input(
    pair: Pair, refused: Refused, prefix: str, force: tuple[str, ...]
) -> None:
    (refused.cli.folder / "link").symlink_to("in")
    message = refused(pair.prototxt, pair.caffemodel, *force, output=prefix)
    assert "this is an input; choose another output prefix" in message


@pytest.mark.parametrize("suffix", [".prototxt", ".caffemodel"])
@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_output_is_a_link_to_an_input(pair: Pair, refused: Refused, suffix: str, kind: str) -> None:
    link = refused.cli.folder / f"out/net{suffix}"
    source = pair.prototxt if suffix == ".prototxt" else pair.caffemodel
    if kind == "symlink":
        link.symlink_to(source)
    else:
        link.hardlink_to(source)
    message = refused(pair.prototxt, pair.caffemodel, "--force")
    assert f"out/net{suffix}: this is an input" in message


def test_input_given_through_a_link(pair: Pair, refused: Refused) -> None:
    link = refused.cli.folder / "link.prototxt"
    link.symlink_to(pair.prototxt)
    assert "this is an input" in refused(link, pair.caffemodel, "--force", output="in/net")


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "-o", "..", "n\\033[2J"])
def test_a_net_does_not_choose_its_folder(cli: Cli, pair: Pair, name: str) -> None:
    """A name that is no plain one of a file gives way to that of the prototxt."""
    pair.replace('name: "tiny"', f'name: "{name}"')
    pair.prototxt.rename(cli.folder / "in/text.prototxt")
    cli("convert", "in/text.prototxt", pair.caffemodel, "-o", "out/")
    assert sorted(path.name for path in cli.folder.rglob("*.prototxt")) == ["text.prototxt"] * 2


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_a_directory(pair: Pair, refused: Refused, name: str) -> None:
    """It can not be replaced, and is found out before the others have been."""
    (refused.cli.folder / "out" / name).mkdir()
    assert f"out/{name}: " in refused(pair.prototxt, pair.caffemodel, "--force")


def test_folder_of_the_output_is_a_file(pair: Pair, refused: Refused) -> None:
    message = refused(pair.prototxt, pair.caffemodel, output="in/net.prototxt/net")
    assert "in/net.prototxt/net.prototxt: cannot write: " in message


@pytest.mark.parametrize("output", ["", ".prototxt", "out/.caffemodel"])
def test_a_prefix_without_a_name(pair: Pair, refused: Refused, output: str) -> None:
    assert "prefix" in refused(pair.prototxt, pair.caffemodel, output=output)


def test_name_too_long(pair: Pair, refused: Refused) -> None:
    assert "too long" in refused(pair.prototxt, pair.caffemodel, output="out/" + "n" * 300)


def test_a_refused_run_leaves_no_folder(pair: Pair, refused: Refused) -> None:
    """The output's folder is made when it is missing, and goes again when nothing comes of it."""
    pair.set_number("fc", 0, 0, float("nan"))
    refused(pair.prototxt, pair.caffemodel, output="new/folder/net")


# ------------------------------------------------------------------------------- permission


# Takes from root what lets it pass over permissions (CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, with
# PR_CAPBSET_DROP); does nothing to anybody else.
_DROP = """
import ctypes
for capability in (1, 2):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
"""


@pytest.fixture
def plain(refused: Refused, tmp_path: Path) -> Iterator[Refused]:
    """``refused`` as a user to whom permissions apply."""
    cli = refused.cli.after(_DROP)
    locked = tmp_path / "locked"
    locked.write_text("text", encoding="utf-8")
    locked.chmod(0)
    probe = subprocess.run([*cli.prefix[:3], "/bin/cat", locked], capture_output=True, check=False)
    locked.unlink()
    if probe.returncode == 0:
        pytest.skip("root here can not give its privileges up")
    yield replace(refused, cli=cli)
    for path in (tmp_path, *tmp_path.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o700)


@linux
@pytest.mark.parametrize("role", ["prototxt", "caffemodel"])
def test_no_permission_to_read(pair: Pair, plain: Refused, role: str) -> None:
    path = getattr(pair, role)
    path.chmod(0)
    message = plain(pair.prototxt, pair.caffemodel)
    assert f"{path}: cannot read this {role}: Permission denied" in message


@linux
@pytest.mark.parametrize("mode", [0o500, 0o600, 0o000])
def test_no_permission_in_the_folder_of_the_output(pair: Pair, plain: Refused, mode: int) -> None:
    (plain.cli.folder / "out").chmod(mode)
    message = plain(pair.prototxt, pair.caffemodel)
    assert "out/net" in message
    assert "Permission denied" in message


@linux
def test_no_permission_to_make_the_folder(pair: Pair, plain: Refused) -> None:
    (plain.cli.folder / "out").chmod(0o500)
    message = plain(pair.prototxt, pair.caffemodel, output="out/new/net")
    assert "Permission denied" in message


# -------------------------------------------------------------------------------- full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system takes a root who may")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@linux
def test_full_disk(pair: Pair, refused: Refused, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(3 * 4096))  # the prototxt fits, the weights do not
    message = refused(pair.prototxt, pair.caffemodel, output="small/net")
    assert "small/net.caffemodel: cannot write: No space left on device" in message


@linux
def test_full_disk_keeps_older_results(pair: Pair, refused: Refused, small_disk: Path) -> None:
    (small_disk / "net.prototxt").write_bytes(b"older" * 2000)
    message = refused(pair.prototxt, pair.caffemodel, "--force", output="small/net")
    assert "No space left on device" in message


@linux
def test_file_size_limit(pair: Pair, refused: Refused) -> None:
    """A write that fails half way, wherever the tests run."""
    pair.replace("num_output: 3", f"# {'long ' * 3000}\n num_output: 3")

    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))"
    limited = replace(refused, cli=refused.cli.after(limit))
    message = limited(pair.prototxt, pair.caffemodel)
    assert "out/net.prototxt: cannot write: File too large" in message
