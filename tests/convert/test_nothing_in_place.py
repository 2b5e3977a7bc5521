"""Runs that fail or are interrupted, at any point: what was there is still there, and no more."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import caffefold
from caffefold.ir.affine import Affine
from caffefold.ir.blob import ScaledBlob

if TYPE_CHECKING:
    from tests.convert.conftest import Workshop

JOB = sys.modules[caffefold.load.__module__]
FILES = importlib.import_module("caffefold.files")
OLDER = ("out.prototxt", "out.caffemodel", "out.report.json")


@pytest.fixture(params=["new", "older"])
def refused(workshop: Workshop, request: pytest.FixtureRequest) -> Callable[[type], None]:
    """Converts, expects an exception, and compares all there was with all there is."""
    pair = workshop.make()
    if request.param == "older":
        for name in OLDER:
            (workshop.folder / name).write_text("older", encoding="utf-8")

    def run(kind: type[BaseException]) -> None:
        before = workshop.listing()
        with pytest.raises(kind):
            workshop.convert(pair, force=True)
        assert workshop.listing() == before

    return run


def _raiser(error: BaseException) -> Callable[..., Any]:
    def fail(*_arguments: object, **_options: object) -> Any:
        raise error

    return fail


# -------------------------------------------------------------------------------- interrupted

Refusal = Callable[[type], None]


@pytest.mark.parametrize("where", ["_to_deploy", "write_weights", "_prove", "ConvertReport"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), RuntimeError("a bug")])
def test_a_step_that_raises(
    monkeypatch: pytest.MonkeyPatch, refused: Refusal, where: str, error: BaseException
) -> None:
    monkeypatch.setattr(FILES if where == "write_weights" else JOB, where, _raiser(error))
    refused(type(error))


@pytest.mark.parametrize("written", [0, 100])
def test_writing_breaks_off(
    monkeypatch: pytest.MonkeyPatch, refused: Refusal, written: int
) -> None:
    def write_weights(out: io.BufferedWriter, *_: object, **__: object) -> None:
        out.write(bytes(written))
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(FILES, "write_weights", write_weights)
    refused(caffefold.OutputError)


@pytest.mark.parametrize("name", ["fsync", "open"])
def test_the_disk_fails(monkeypatch: pytest.MonkeyPatch, refused: Refusal, name: str) -> None:
    real = getattr(os, name)

    def fail(*arguments: Any) -> Any:
        if name == "open" and not str(arguments[0]).endswith(".part"):
            return real(*arguments)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, name, fail)
    refused(caffefold.OutputError)


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_putting_in_place_fails(
    monkeypatch: pytest.MonkeyPatch, refused: Refusal, failing: int, error: BaseException
) -> None:
    """Three files are put in place one after another; all or none."""
    seen: set[str] = set()

    def failing_at(real: Callable[..., Any]) -> Callable[..., Any]:
        def rename(source: Any, target: Any, **options: Any) -> Any:
            if str(source).endswith(".part") and str(source) not in seen:
                seen.add(str(source))
                if len(seen) == failing:
                    raise error
            return real(source, target, **options)

        return rename

    for owner in (os, Path):  # a Path may or may not ask os
        for name in ("replace", "rename"):
            monkeypatch.setattr(owner, name, failing_at(getattr(owner, name)))
    refused(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else caffefold.OutputError)


# ------------------------------------------------------------------- files that come back wrong


def _damages() -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    yield "a bit of a weight", lambda data: _flipped(data, data.rindex(b"fc") + 200)
    yield "a bit of a folded weight", lambda data: _flipped(data, data.index(b"conv1") + 150)
    yield "the last byte", lambda data: data[:-1]
    yield "the second half", lambda data: data[: len(data) // 2]
    yield "everything", lambda _: b""
    yield "the name of a layer", lambda data: data.replace(b"\x02fc", b"\x02cf", 1)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


@pytest.mark.parametrize(("what", "damage"), list(_damages()))
def test_what_was_written_is_read_back(
    monkeypatch: pytest.MonkeyPatch, refused: Refusal, what: str, damage: Callable[[bytes], bytes]
) -> None:
    """The proof looks at the files, not at what was meant to be in them."""
    del what
    real = FILES.write_weights

    def write_weights(out: io.BufferedWriter, *arguments: object, **named: object) -> None:
        memory = io.BytesIO()
        real(memory, *arguments, **named)
        out.write(damage(memory.getvalue()))

    monkeypatch.setattr(FILES, "write_weights", write_weights)
    refused(caffefold.CaffefoldError)


# ------------------------------------------------------------- faults in the package's own fold


def _then(self: Affine, after: Affine) -> Affine:
    return Affine(self.scale * after.scale, self.shift + after.shift)


def _over(self: Affine, channels: int) -> Affine:
    return Affine(self.scale[:1].repeat(channels), self.shift[:1].repeat(channels))


def _times(self: ScaledBlob, **_factors: object) -> ScaledBlob:
    return self


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [(Affine, "then", _then), (Affine, "over", _over), (ScaledBlob, "times", _times)],
)
def test_a_fault_in_the_algebra(
    monkeypatch: pytest.MonkeyPatch, refused: Refusal, owner: type, name: str, wrong: object
) -> None:
    monkeypatch.setattr(owner, name, wrong)
    refused(caffefold.ProofError)


# ------------------------------------------------------------------------------- other refusals


def test_no_force(workshop: Workshop) -> None:
    pair = workshop.make()
    workshop.convert(pair)
    before = workshop.listing()
    with pytest.raises(caffefold.OutputError, match="already exists"):
        workshop.convert(pair)
    assert workshop.listing() == before


def test_leftovers_of_a_killed_run_do_no_harm(workshop: Workshop) -> None:
    """Nothing can clean up behind SIGKILL; the next run neither trips over it nor takes it."""
    pair = workshop.make()
    leftover = workshop.folder / f".out.caffemodel.{os.getpid()}.part"
    leftover.write_bytes(b"half a file")
    workshop.convert(pair)
    parts = [path for path in workshop.folder.iterdir() if path.name.endswith(".part")]
    assert [path for path in parts if path.read_bytes() != b"half a file"] == []


def test_every_file_is_synced_before_the_first_is_put_in_place(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle: int) -> None:
        fsync(handle)
        target = Path(f"/proc/self/fd/{handle}")
        events.append(f"sync {target.readlink().name if target.is_symlink() else ''}")

    def noted_replace(made: Path, target: Path) -> None:
        events.append("replace")
        replace(made, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    workshop.convert(workshop.make())
    first = events.index("replace")
    assert events.count("replace") == 3
    assert sum(event.endswith(".part") for event in events[:first]) == 3
