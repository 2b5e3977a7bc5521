"""Each file operation of a run fails, or the process ends there: the group is old, new or torn.

Torn: every look at its files says so, in one line. The next run then succeeds and leaves nothing
behind. For a group of files as such, for ``convert``, ``save`` and ``upgrade``.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import caffefold
from caffefold.errors import ExistingOutput, TornGroup
from caffefold.formats import detect
from caffefold.formats.atomic import Staging
from caffefold.upgrading import upgrade
from tests.support.crash import DEATHS, ERRORS, content, everywhere
from tests.support.zoo import model

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lost if it was not synced, ``power`` decides: nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Case(NamedTuple):
    """A run that writes ``names`` into a folder; ``again`` is how the next run is called."""

    run: Callable[[Path], object]
    names: tuple[str, ...]
    old: bool
    again: Callable[[Path], object]


def staged(version: bytes) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        with Staging() as staging:
            for name in ("a", "b", "c"):
                staging.write(folder / name, name.encode() + version)
            staging.commit()

    return run


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    kind, _, force = request.param.partition("+")
    if kind == "group":
        return Case(staged(b" new"), ("a", "b", "c"), bool(force), staged(b" new"))
    model(tmp_path / "in", seed=1)
    files = tmp_path / "in/net.prototxt", tmp_path / "in/net.caffemodel"
    if kind == "upgrade":
        return Case(
            lambda folder: upgrade(files[1], folder / "net", force=bool(force)),
            ("net",), bool(force),
            lambda folder: upgrade(files[1], folder / "net", force=bool(force)),
        )  # fmt: skip
    if kind == "save":

        def save(folder: Path) -> None:
            with caffefold.load(*files) as net:
                caffefold.save(net, folder / "net", force=bool(force))

        return Case(save, ("net.prototxt", "net.caffemodel"), bool(force), save)

    def convert(folder: Path) -> None:
        caffefold.convert(*files, folder / "net", force=bool(force))

    names = "net.prototxt", "net.caffemodel", "net.report.json"
    return Case(convert, names, bool(force), convert)


def look(folder: Path, names: tuple[str, ...]) -> Files | None:
    """The files as a command sees them; None: it refuses them, as torn."""
    found: Files = {}
    for name in names:
        if (folder / name).exists():
            try:
                detect.head_of(folder / name, "file")
            except TornGroup as error:
                return None if all(each in str(error) for each in names) else {}
            found[name] = (folder / name).read_bytes()
    return found


GROUPS = ("group", "group+force")
WRITERS = ("convert", "convert+force", "save+force", "upgrade", "upgrade+force")
"""What writes a group does what the two above do: one error and one death, the others are slow."""
RUNS = [
    *itertools.product(GROUPS, (*ERRORS, *DEATHS)),
    *(
        pytest.param(
            case, how, marks=pytest.mark.once if how in ("EIO", "kill") else pytest.mark.slow
        )
        for case, how in itertools.product(WRITERS, (*ERRORS, *DEATHS))
    ),
]


@pytest.mark.parametrize(("case", "how"), RUNS, indirect=["case"])
def test_every_operation(case: Case, how: str, tmp_path: Path) -> None:
    old: Files = {name: f"old {name}".encode() for name in case.names} if case.old else {}
    places = (tmp_path / f"out{number}" for number in itertools.count())
    reference = next(places)
    reference.mkdir()
    case.run(reference)
    plain = content(reference)
    assert set(plain) == set(case.names)
    folder = reference
    torn = 0

    def prepare() -> Callable[[], object]:
        nonlocal folder
        shutil.rmtree(folder)
        folder = tmp_path / "out"  # one place: reports name it
        folder.mkdir()
        for name, data in old.items():
            (folder / name).write_bytes(data)
            (folder / name).chmod(0o640)
        return lambda: case.run(folder)

    new = {}
    prepare()()
    new = content(folder)
    for number, done in everywhere(how, prepare):
        seen = look(folder, case.names)
        torn += seen is None
        assert seen in (None, old, new), (how, number)
        if how in ERRORS:
            assert seen == (new if done else old), (how, number)
        else:
            assert not done
        try:
            case.again(folder)
        except ExistingOutput:
            assert seen == new
            assert not case.old
        assert content(folder) == new, (how, number)
        if case.old:
            assert {(folder / name).stat().st_mode & 0o777 for name in case.names} == {0o640}
    # Between the first rename and the last; of what is one file there is no between.
    assert (torn > 0) == (how in DEATHS and len(case.names) > 1)


@pytest.mark.once
@pytest.mark.parametrize("how", DEATHS)
def test_mending_is_interrupted_too(how: str, tmp_path: Path) -> None:
    """The run that puts a torn group back dies at each of its operations."""
    folder = tmp_path / "out"
    old = {name: f"old {name}".encode() for name in ("a", "b", "c")}

    def die_half_way() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, data in old.items():
            (folder / name).write_bytes(data)
        pid = os.fork()
        if pid == 0:
            replace, renamed = os.replace, itertools.count()

            def second(made: Path, target: Path) -> None:
                if next(renamed) == 1:
                    os._exit(9)
                replace(made, target)

            os.replace = second  # type: ignore[assignment]
            staged(b" new")(folder)
        os.waitpid(pid, 0)
        assert look(folder, ("a", "b", "c")) is None

    def prepare() -> Callable[[], object]:
        die_half_way()
        return lambda: staged(b" newer")(folder)

    new = {name: f"{name} newer".encode() for name in old}
    for number, _ in everywhere(how, prepare):
        assert look(folder, ("a", "b", "c")) in (None, old, new), (how, number)
        staged(b" newer")(folder)
        assert content(folder) == new
