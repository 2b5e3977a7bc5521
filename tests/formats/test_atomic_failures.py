"""Whatever fails while files are written: the message says it, and nothing stays."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from caffefold.errors import CaffefoldError, OutputError
from caffefold.formats.atomic import Staging


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def is_folder(handle: int) -> bool:
    return stat.S_ISDIR(os.fstat(handle).st_mode)


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("error", [ValueError("ours"), KeyboardInterrupt(), CaffefoldError("ours")])
def test_an_error_on_the_way_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def work() -> None:
        with Staging() as staging:
            staging.write(tmp_path / "b", b"new")
            with staging.open(tmp_path / "a") as out:
                out.write(b"x" * 2_000_000)
                raise error

    with pytest.raises(type(error)) as caught:
        work()
    assert caught.value is error
    assert content(tmp_path) == {"a": b"old"}


def attempt(folder: Path, size: int = 10) -> str:
    """Stage and commit two files, the second of ``size``; the message of the OutputError."""

    def work() -> None:
        with Staging() as staging:
            staging.write(folder / "a", b"new")
            with staging.open(folder / "b") as out:
                for _ in range(size):
                    out.write(b"x")
            staging.commit()

    with pytest.raises(OutputError) as caught:
        work()
    assert caught.value.exit_code == 3
    return str(caught.value)


@pytest.mark.parametrize("size", [10, 3_000_000])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_writes_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, size: int
) -> None:
    """``size`` 10 fails when the buffer is flushed at the end, the other on the way."""
    write = os.write

    def written(handle: int, data: bytes) -> int:
        if bytes(data[:1]) == b"x":
            raise OSError(code, os.strerror(code))
        return write(handle, data)

    monkeypatch.setattr(os, "write", written)
    (tmp_path / "a").write_bytes(b"old")
    message = attempt(tmp_path, size)
    assert message == (
        f"{tmp_path / 'b'}: cannot write: {os.strerror(code)}; no output was written"
    )
    assert content(tmp_path) == {"a": b"old"}


def test_a_write_that_fails_once(tmp_path: Path) -> None:
    """What was buffered could be written after all; the file is not complete for that."""

    def work() -> None:
        with Staging() as staging, staging.open(tmp_path / "a") as out:
            out.write(b"x")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match=os.strerror(errno.ENOSPC)):
        work()
    assert content(tmp_path) == {}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_syncs_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failing(code))
    message = attempt(tmp_path)
    assert f"cannot write: {os.strerror(code)}; no output was written" in message
    assert content(tmp_path) == {"a": b"old"}


def test_a_sync_that_fails_early_does_not_close_the_file_under_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the number of the closed handle may be another file's, which is then written to."""
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    others: list[BinaryIO] = []

    def work() -> None:
        with Staging() as staging:
            with staging.open(tmp_path / "net") as out:
                time.sleep(0.05)
                others.extend((tmp_path / f"other{i}").open("wb+") for i in range(3))
                out.write(b"x" * 3_000_000)
            staging.commit()

    with pytest.raises(OutputError, match=os.strerror(errno.EIO)):
        work()
    for other in others:
        other.close()
    assert content(tmp_path) == {"other0": b"", "other1": b"", "other2": b""}


def test_a_folder_that_cannot_be_synced_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def only_files(handle: int) -> None:
        if is_folder(handle):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    with Staging() as staging:
        staging.write(tmp_path / "a", b"new")
        staging.commit()
    assert content(tmp_path) == {"a": b"new"}


def test_a_target_that_cannot_be_replaced(tmp_path: Path) -> None:
    """All or none: the first file is not put in place either."""
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b").mkdir()
    message = attempt(tmp_path)
    assert message.startswith(f"{tmp_path / 'b'}: cannot write: ")
    assert content(tmp_path) == {"a": b"old"}


@pytest.fixture(params=["a", "b"])
def unmovable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This file cannot be renamed to its target; another may be in place by then."""
    replace = os.replace

    def replaced(made: Path, target: Path) -> None:
        if target.name == request.param and made.suffix == ".part":
            raise PermissionError(errno.EACCES, "Permission denied")
        replace(made, target)

    monkeypatch.setattr(os, "replace", replaced)


@pytest.mark.parametrize("old", [{}, {"a": b"old"}, {"b": b"old"}, {"a": b"old a", "b": b"old b"}])
def test_a_rename_that_fails(tmp_path: Path, old: dict[str, bytes], unmovable: None) -> None:
    for name, data in old.items():
        (tmp_path / name).write_bytes(data)
    assert "cannot write: Permission denied; no output was written" in attempt(tmp_path)
    assert content(tmp_path) == old


def test_a_rename_that_fails_where_nothing_can_be_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unmovable: None
) -> None:
    """A file system without links: what stood there is moved away, and back."""
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    assert "cannot write: " in attempt(tmp_path)
    assert content(tmp_path) == {"a": b"old"}


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_folders_that_were_made_go_too(tmp_path: Path, names: list[str]) -> None:
    with Staging() as staging:
        for name in names:
            staging.write(tmp_path / "made" / "inside" / name, b"new")
    assert list(tmp_path.iterdir()) == []


def test_folders_that_somebody_uses_stay(tmp_path: Path) -> None:
    with Staging() as staging:
        staging.write(tmp_path / "made" / "a", b"new")
        (tmp_path / "made" / "other").write_bytes(b"theirs")
    assert content(tmp_path / "made") == {"other": b"theirs"}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "net"
    with Staging() as staging, pytest.raises(OutputError, match="cannot write: ") as caught:
        staging.write(target, b"new")
    assert str(target) in str(caught.value)
    assert content(tmp_path) == {"file": b""}


# -------------------------------------------------------------------------------- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_a_full_disk(small_disk: Path, size: int) -> None:
    (small_disk / "a").write_bytes(b"old")
    assert f"{small_disk / 'b'}: cannot write: No space left on device" in attempt(small_disk, size)
    assert content(small_disk) == {"a": b"old"}
