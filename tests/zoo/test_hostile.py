"""Names, links, pipes and URLs that could stop a zoo, or make it write where it should not."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from caffefold import zoo
from caffefold.errors import CaffefoldError, InputError, OutputError, UsageError
from caffefold.testing import net_weights
from caffefold.zoo.records import Outcome
from caffefold.zoo.storage import open_storage, public
from tests.support.zoo import body, deploy, model, put

LONG = "x" * 244


def convert(source: Path | str, target: Path | str, *, force: bool = False) -> dict[str, Outcome]:
    result = zoo.run(zoo.plan(source, target, jobs=1), engine="threads", jobs=1, force=force)
    return {outcome.name: outcome for outcome in result.outcomes}


def landed(target: Path) -> set[str]:
    return {path.name for path in target.rglob("*.caffemodel")}


# ----------------------------------------------------------------- one model's names cost one model


@pytest.mark.parametrize("force", [False, True])
def test_a_name_that_is_too_long_for_its_results(source: Path, target: Path, force: bool) -> None:
    """``NAME.report.json`` is one byte too long. The next run is not kept from running either."""
    layers = body(1)
    put(source / "long" / f"{LONG}.caffemodel", net_weights(layers))
    put(source / "long/net.prototxt", deploy(layers))
    model(source / "good", seed=2)
    for _ in range(2):
        found = convert(source, target, force=force)
        assert found["good/net"].status == "converted"
        assert found[f"long/{LONG}"].status == "failed"
        assert "File name too long" in found[f"long/{LONG}"].reason
    assert landed(target) == {"net.caffemodel"}
    assert not list((target / ".caffefold-zoo").glob("work/*"))


def test_a_model_beside_a_folder_of_its_name(source: Path, target: Path) -> None:
    """``x.prototxt/net`` lands first, as it is the larger one."""
    model(source, "x", seed=1)
    put(source / "y/x.prototxt", (source / "x.prototxt").read_bytes())
    (source / "x.prototxt").unlink()
    model(source / "x.prototxt", "net", seed=2, channels=8)
    for _ in range(2):
        found = convert(source, target)
        assert found["x.prototxt/net"].status == "converted"
        assert found["x"].status == "failed"
        assert "x.prototxt: cannot write: Is a directory" in found["x"].reason


def test_a_file_where_a_folder_must_go(source: Path, target: Path) -> None:
    model(source / "a", seed=1)
    model(source / "b", seed=2)
    put(target / "a", b"mine")
    found = convert(source, target)
    assert found["a/net"].reason == "a: a file, where a folder of results belongs; remove it"
    assert found["b/net"].status == "converted"
    assert (target / "a").read_bytes() == b"mine"
    (target / "a").unlink()
    assert convert(source, target)["a/net"].status == "converted"


@pytest.mark.parametrize("record", [b"", b"{", b'{"name": "a"}', b"\xff"])
def test_records_that_cannot_be_finished(source: Path, target: Path, record: bytes) -> None:
    model(source / "a")
    put(target / ".caffefold-zoo/work/1.json", record)
    assert convert(source, target)["a/net"].status == "converted"


def test_a_record_whose_files_cannot_be_put_in_place(source: Path, target: Path) -> None:
    """Recovery never prevents a run."""
    model(source / "a", seed=1)
    done = convert(source, target)["a/net"]
    lost = {**done.to_json(), "name": f"b/{LONG}"}
    work = target / ".caffefold-zoo/work"
    for suffix in (".prototxt", ".caffemodel", ".html", ".report.json"):
        put(work / f"1{suffix}", b"made")
    put(work / "1.json", json.dumps(lost).encode())
    assert convert(source, target)["a/net"].status == "converted"
    assert not list(work.parent.glob("work/*"))


# ---------------------------------------------------------------------------- links in a shared DST


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "elsewhere/victim"
    put(path, b"precious")
    yield path
    assert path.read_bytes() == b"precious"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["lock", "workers.lock", "journal.jsonl"])
def test_links_in_the_state_folder(source: Path, target: Path, victim: Path, name: str) -> None:
    model(source)
    (target / ".caffefold-zoo").mkdir(parents=True)
    (target / ".caffefold-zoo" / name).symlink_to(victim)
    with pytest.raises(OutputError, match=rf"{name}: cannot write: .*symbolic links"):
        convert(source, target)


@pytest.mark.parametrize(
    "name",
    [
        *("zoo.json", ".zoo.json.part", "index.html", ".index.html.part", "net.caffemodel"),
        *("net.html", ".net.prototxt.commit", ".caffefold-zoo/plan.json"),
        ".caffefold-zoo/.plan.json.part",
    ],
)
def test_links_in_place_of_results(source: Path, target: Path, victim: Path, name: str) -> None:
    model(source)
    put(target / name, b"").unlink()
    (target / name).symlink_to(victim)
    assert convert(source, target, force=True)["net"].status == "converted"
    assert not (target / name).is_symlink()


@pytest.mark.parametrize("name", ["a", ".caffefold-zoo", ".caffefold-zoo/work"])
def test_links_in_place_of_folders(source: Path, target: Path, victim: Path, name: str) -> None:
    model(source / "a")
    put(target / name, b"").unlink()
    (target / name).symlink_to(victim.parent)
    try:
        found = convert(source, target)
    except OutputError as error:
        reason = str(error)
    else:
        reason = found["a/net"].reason
    assert reason.endswith("a symbolic link, where a folder of results belongs; remove it")


# ------------------------------------------------------------------------- names the zoo has itself


@pytest.mark.parametrize(
    "name", [".caffefold-zoo/work/x", "a/.caffefold-zoo/x", "index", "INDEX", "zoo", "./zoo"]
)
def test_names_in_a_manifest(source: Path, target: Path, name: str) -> None:
    model(source)
    put(source / "zoo.toml", f'[[model]]\ncaffemodel = "net.caffemodel"\nname = "{name}"\n')
    with pytest.raises(UsageError, match="which the zoo needs itself; choose another"):
        zoo.plan(source, target)


def test_the_state_of_another_zoo_holds_no_models(source: Path) -> None:
    model(source / ".caffefold-zoo/work", "x")
    model(source, "y", seed=1)
    assert [each.name for each in zoo.plan(source, jobs=1).models] == ["y"]


# --------------------------------------------------------------------- what is no file, or has gone


def test_nobody_waits_for_pipes_and_devices(source: Path, target: Path) -> None:
    model(source)
    for name in ("a.prototxt", "a.caffemodel", "zoo.toml", "readme.md"):
        os.mkfifo(source / name)
    (source / "b.caffemodel").symlink_to("/dev/zero")
    (source / "c.prototxt").symlink_to("/proc/self/environ")
    (source / "proc").symlink_to("/proc")
    for name in ("index.html", "zoo.json"):
        put(target / name, b"").unlink()
        os.mkfifo(target / name)
    found: list[dict[str, Outcome]] = []
    work = threading.Thread(target=lambda: found.append(convert(source, target)), daemon=True)
    work.start()
    work.join(60)
    assert [each.status for each in found[0].values()] == ["converted"]
    orphans = {o.path.rstrip("/"): o.reason for o in zoo.plan(source, jobs=1).orphans}
    assert orphans["proc"] == orphans["c.prototxt"] == "a link to a file of the system"


def test_weights_that_are_gone(source: Path, target: Path) -> None:
    model(source / "a", seed=1)
    model(source / "b", seed=2)
    plan = zoo.plan(source, target, jobs=1)
    (source / "a/net.caffemodel").unlink()
    result = zoo.run(plan, engine="threads", jobs=1)
    assert [o.status for o in result.outcomes] == ["failed", "converted"] or [
        o.status for o in result.outcomes
    ] == ["refused", "converted"]
    assert result.outcomes[0].reason == "a/net.caffemodel: no such file"


def test_no_more_open_files(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the system that has no more of them: that is no property of the model."""
    model(source / "a")
    plan = zoo.plan(source, target, jobs=1)
    real = os.open

    def opened(path: object, *args: int, **options: int) -> int:
        if str(path).endswith("net.caffemodel"):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opened)
        (outcome,) = zoo.run(plan, engine="threads", jobs=1).outcomes
    assert (outcome.status, outcome.code) == ("failed", "WeightsError")
    assert outcome.reason == "a/net.caffemodel: cannot read: Too many open files"
    assert zoo.run(plan, engine="threads", jobs=1).ok


# -------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://me:hunter2@host/zoo", "ftp://me:***@host/zoo"),
        ("zip://x::https://me:hunter2@host/z.zip", "zip://x::https://me:***@host/z.zip"),
        ("https://h/z?X-Amz-Signature=hunter2&a=1", "https://h/z?X-Amz-Signature=***&a=1"),
        ("https://h/z?a=1&sas_token=hunter2", "https://h/z?a=1&sas_token=***"),
        ("s3://bucket/zoo@2", "s3://bucket/zoo@2"),
        ("plain: me@host, see https://h:80/x", "plain: me@host, see https://h:80/x"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert public(url) == shown


def test_passwords_are_written_nowhere(source: Path, target: Path) -> None:
    pytest.importorskip("fsspec")
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/me:hunter2@box/a/net.prototxt", deploy(body(1)).encode())
    memory.pipe_file("/me:hunter2@box/a/net.caffemodel", net_weights(body(1)))
    memory.pipe_file("/me:hunter2@box/b.caffemodel", b"PK\x03\x04")
    url = "memory://me:hunter2@box"
    plan = zoo.plan(url, target)
    again = zoo.plan(url, target)
    assert plan.source == again.source == "memory://me:***@box"
    result = zoo.run(plan)
    assert [outcome.status for outcome in result.outcomes] == ["converted", "refused"]
    assert zoo.run(zoo.plan(url, target)).worked == 0
    assert "hunter2" not in repr(plan) + repr(result)
    for path in target.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


@pytest.mark.parametrize(
    "url",
    ["zip://", "zip:///nowhere.zip", "zip://x::/nowhere.zip", "reference://", "reference://x",
     "dask::file:///tmp", "simplecache::dask::file:///tmp", "s3://", "s3://Not_A Bucket/",
     "http://", "https://[::1", "github://", "nosuch://x", "ftp://127.0.0.1:1/x", "::", "://",
     "tar://x::ftp://me:hunter2@127.0.0.1:1/x"],
)  # fmt: skip
def test_urls_that_lead_nowhere(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours, at once, without the password."""
    pytest.importorskip("fsspec")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(CaffefoldError) as caught:
        zoo.plan(url)
    assert isinstance(caught.value, (InputError, UsageError, OutputError))
    assert "hunter2" not in str(caught.value)


def test_a_storage_does_not_show_its_password() -> None:
    assert "hunter2" not in repr(open_storage("sftp://me:hunter2@host/x"))
