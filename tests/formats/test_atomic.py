"""Output files appear complete or not at all."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from caffefold.formats import atomic
from caffefold.formats.atomic import Staging


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def is_folder(handle: int) -> bool:
    return stat.S_ISDIR(os.fstat(handle).st_mode)


# ------------------------------------------------------------------------------- all goes well


def test_commit_puts_all_files_in_place(tmp_path: Path) -> None:
    first, second = tmp_path / "new" / "net.prototxt", tmp_path / "new" / "net.caffemodel"
    with Staging() as staging:
        assert staging.write(first, b"text") == staging.path_of(first)
        with staging.open(second) as out:
            out.write(b"x" * 3_000_000)
            out.write(b"y")
        staging.commit()
    assert content(first.parent) == {
        "net.prototxt": b"text",
        "net.caffemodel": b"x" * 3_000_000 + b"y",
    }


def test_nothing_appears_before_commit(tmp_path: Path) -> None:
    target = tmp_path / "net"
    target.write_bytes(b"old")
    with Staging() as staging:
        temporary = staging.write(target, b"new")
        assert target.read_bytes() == b"old"
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".net.")
        assert temporary.read_bytes() == b"new"
        staging.commit()
        assert target.read_bytes() == b"new"
    assert content(tmp_path) == {"net": b"new"}


def test_without_commit_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with Staging() as staging:
        staging.write(tmp_path / "a", b"new")
        staging.write(tmp_path / "b", b"new")
    assert content(tmp_path) == {"a": b"old"}


def test_files_are_on_the_disk_before_the_first_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        events.append("folder" if is_folder(handle) else "file")
        fsync(handle)

    def replaced(made: Path, target: Path) -> None:
        events.append("rename")
        replace(made, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with Staging() as staging:
        staging.write(tmp_path / "a", b"a")
        staging.write(tmp_path / "b", b"b")
        staging.commit()
    journal = ["file", "folder"]
    assert events == ["file", "file", *journal, "rename", "rename", "folder"]


def test_the_disk_is_set_to_work_while_a_large_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    synced = threading.Event()

    def sync(handle: int) -> None:
        sizes.append(os.fstat(handle).st_size)
        synced.set()

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(atomic, "_EARLY", 3 << 20)
    with Staging() as staging:
        with staging.open(tmp_path / "net") as out:
            out.write(bytes(4 << 20))
            assert synced.wait(60)
            out.write(bytes(1 << 20))
        staging.finish()
        assert sizes == [4 << 20, 5 << 20]
        staging.commit()


def test_what_an_earlier_run_left_behind_is_replaced(tmp_path: Path) -> None:
    (tmp_path / f".net.{os.getpid()}.part").write_bytes(b"much longer than the new content")
    with Staging() as staging:
        staging.write(tmp_path / "net", b"new")
        staging.commit()
    assert content(tmp_path) == {"net": b"new"}
