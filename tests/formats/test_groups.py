"""The journal of a group: what readers and writers make of it, and of what stands in its place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import caffefold
from caffefold.errors import OutputError, TornGroup
from caffefold.formats import detect, disk, groups
from caffefold.formats.atomic import Staging
from tests.support.crash import content
from tests.support.zoo import model

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
NAMES = ("net.prototxt", "net.caffemodel", "net.report.json")
DIE = """
import itertools, os, sys
import caffefold
replace, renamed = os.replace, itertools.count()
def second(made, target):
    if next(renamed) == int(sys.argv[3]):
        os._exit(9)
    replace(made, target)
def removed(path):
    if str(path).endswith(".commit"):
        os._exit(9)
    unlink(path)
unlink = os.unlink
os.replace, os.unlink = second, removed
folder, output = sys.argv[1:3]
caffefold.convert(folder + "/net.prototxt", folder + "/net.caffemodel", output, force=True)
"""


def die(source: Path, output: Path, renames: int) -> None:
    """A forced conversion that is killed after so many renames."""
    command = [sys.executable, "-c", DIE, str(source), str(output), str(renames)]
    assert subprocess.run(command, check=False).returncode == 9


@pytest.fixture
def torn(tmp_path: Path) -> Path:
    """The prefix of a torn pair; its old version is ``before/net``, its new one ``after/net``."""
    for number, name in enumerate(("one", "two")):
        model(tmp_path / name, seed=number)
    files = [
        (tmp_path / n / "net.prototxt", tmp_path / n / "net.caffemodel") for n in ("one", "two")
    ]
    output = tmp_path / "out/net"
    caffefold.convert(*files[0], output)
    shutil.copytree(output.parent, tmp_path / "before")
    die(tmp_path / "two", output, 1)
    return output


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "caffefold", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_command_refuses_a_torn_pair(torn: Path, tmp_path: Path) -> None:
    pair = torn.with_suffix(".prototxt"), torn.with_suffix(".caffemodel")
    before = content(torn.parent)
    for arguments in (
        ("convert", *pair, "-o", tmp_path / "x/net"),
        ("inspect", *pair),
        ("inspect", pair[1]),
        ("inspect", "--textconv", pair[1]),
        ("diff", torn.parent, tmp_path / "one"),
        ("diff", pair[0], tmp_path / "one/net.prototxt"),
        ("upgrade", pair[1], tmp_path / "x"),
    ):
        done = command(*arguments)
        assert done.returncode == 3, (arguments, done.stderr)
        assert "net.prototxt, net.caffemodel, net.report.json are partly old" in done.stderr
        assert "'caffefold convert'" in done.stderr
        assert done.stderr.count("\n") == 1
    assert content(torn.parent) == before  # who reads does not write


@pytest.mark.parametrize("force", [True, False])
def test_the_next_run_mends(torn: Path, tmp_path: Path, force: bool) -> None:
    """Without ``--force`` too, though it then finds the old group in its place."""
    two = tmp_path / "two"
    given = ("convert", two / "net.prototxt", two / "net.caffemodel", "-o", torn)
    done = command(*given, *["--force"] * force)
    assert done.returncode == (0 if force else 3)
    if not force:
        assert "already exists" in done.stderr
        assert content(torn.parent) == content(tmp_path / "before")
    assert set(content(torn.parent)) == set(NAMES)


def test_a_torn_folder_that_was_copied_is_torn(torn: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(torn.parent, copy)
    with pytest.raises(TornGroup):
        caffefold.load(copy / "net.prototxt")
    for name in reversed(NAMES):
        groups.mend(copy / name)
    assert content(copy) == content(tmp_path / "before")


def test_a_group_that_cannot_be_put_back_says_so(torn: Path) -> None:
    for path in torn.parent.glob(".*.old"):
        path.unlink()
    with pytest.raises(OutputError, match=r"net\.prototxt\.\d+\.old is gone"):
        groups.mend(torn.with_suffix(".prototxt"))
    with pytest.raises(TornGroup):
        caffefold.load(torn.with_suffix(".prototxt"))


@pytest.mark.parametrize("renames", [0, 3])
def test_no_false_alarm_before_and_after(torn: Path, tmp_path: Path, renames: int) -> None:
    """Killed before the first rename, or after the last: the files belong together."""
    groups.mend(torn.with_suffix(".prototxt"))
    die(tmp_path / "two", torn, renames)
    caffefold.load(torn.with_suffix(".prototxt"), torn.with_suffix(".caffemodel")).close()
    assert list(torn.parent.glob(".*.commit"))
    groups.mend(torn.with_suffix(".prototxt"))
    for name in NAMES:
        groups.mend(torn.parent / name)
    assert set(content(torn.parent)) == set(NAMES)
    same = content(torn.parent) == content(tmp_path / "before")
    assert same == (renames == 0)


def test_files_of_others_are_no_group(torn: Path) -> None:
    (torn.parent / "net.json").write_text("{}")
    assert detect.head_of(torn.parent / "net.json", "file") == b"{}"


def test_a_reader_waits_for_a_living_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    half, replace = threading.Event(), os.replace

    def slowly(made: Path, target: Path) -> None:
        replace(made, target)
        half.set()
        time.sleep(0.1)

    def run() -> None:
        with Staging() as staging:
            staging.write(tmp_path / "a", b"new")
            staging.write(tmp_path / "b", b"new")
            staging.commit()

    monkeypatch.setattr(os, "replace", slowly)
    writer = threading.Thread(target=run)
    writer.start()
    half.wait(10)
    assert not (tmp_path / "b").exists()
    assert detect.head_of(tmp_path / "a", "file") == b"new"
    assert (tmp_path / "b").exists()
    writer.join()


def test_a_part_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "net"
    handle = disk.create(tmp_path / ".net.1.part")
    (tmp_path / ".net.2.part").touch()
    (tmp_path / ".net.2.old").touch()
    (tmp_path / ".net.x.old").touch()
    (tmp_path / ".net2.2.part").touch()
    groups.mend(target)
    assert set(content(tmp_path)) == {".net.1.part", ".net.x.old", ".net2.2.part"}
    os.close(handle)
    groups.mend(target)
    assert ".net.1.part" not in content(tmp_path)


def test_two_who_write_one_file(tmp_path: Path) -> None:
    with Staging() as staging:
        staging.write(tmp_path / "net", b"mine")
        with Staging() as other, pytest.raises(OutputError, match="another process is writing it"):
            other.write(tmp_path / "net", b"theirs")
        staging.commit()
    assert content(tmp_path) == {"net": b"mine"}


# ---------------------------------------------------------------------------------- what is planted


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere/victim"
    path.parent.mkdir()
    path.write_bytes(b"precious")
    return path


def commit(folder: Path) -> None:
    with Staging() as staging:
        for name in ("a", "b"):
            staging.write(folder / name, b"new")
        staging.commit()


@pytest.mark.parametrize("name", ["a", "b", ".a.PID.part", ".a.commit", ".b.commit", ".a.PID.old"])
@pytest.mark.parametrize("there", [True, False])
def test_links_are_replaced_not_followed(
    tmp_path: Path, victim: Path, name: str, there: bool
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a").write_bytes(b"old")
    link = folder / name.replace("PID", str(os.getpid()))
    link.unlink(missing_ok=True)
    link.symlink_to(victim if there else victim.with_name("new"))
    commit(folder)
    assert content(victim.parent) == {"victim": b"precious"}
    assert content(folder) == {"a": b"new", "b": b"new"}
    assert not any(path.is_symlink() for path in folder.iterdir())


@pytest.mark.parametrize(
    "planted",
    [
        b"", b"{", b"[]", b'{"group": 1}', b'{"group": []}', b'{"group": [["a", 1, 2]]}', b"\xff",
        b'{"group": [["../elsewhere/victim", 1, null, "../elsewhere/.victim.1.old"]]}',
        b'{"group": [["a", 1, null, "../elsewhere/victim"]]}',
        b'{"group": [["a", "x", null, ".a.1.old"]]}',
    ],
)  # fmt: skip
def test_journals_that_make_no_sense(tmp_path: Path, victim: Path, planted: bytes) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a").write_bytes(b"old")
    (folder / ".a.commit").write_bytes(planted)
    assert detect.head_of(folder / "a", "file") == b"old"
    commit(folder)
    assert content(folder) == {"a": b"new", "b": b"new"}
    assert content(victim.parent) == {"victim": b"precious"}


def test_a_pipe_in_place_of_the_journal_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    os.mkfifo(tmp_path / ".a.commit")
    assert detect.head_of(tmp_path / "a", "file") == b"old"
    commit(tmp_path)
    assert content(tmp_path) == {"a": b"new", "b": b"new"}


def test_long_names(tmp_path: Path) -> None:
    """255 bytes, the longest there are: the names beside them are cut, and still differ."""
    names = [letter * 255 for letter in "ab"] + ["é" * 127, "é" * 126 + "ab"]
    for _ in range(2):
        with Staging() as staging:
            for name in names:
                staging.write(tmp_path / name, name.encode())
            staging.commit()
    assert content(tmp_path) == {name: name.encode() for name in names}
    assert len({disk.beside(tmp_path / name, "commit") for name in names}) == len(names)


def test_the_journal_is_as_documented(torn: Path) -> None:
    (head, *others) = (torn.parent / f".{name}.commit" for name in NAMES)
    found = json.loads(head.read_bytes())
    assert found["schema"] == 1
    assert [each[0] for each in found["group"]] == list(NAMES)
    assert {path.stat().st_ino for path in others} == {head.stat().st_ino}
