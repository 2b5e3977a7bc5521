"""The harness must be able to fail: planted bugs are found, and innocent inputs are not."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from caffefold.errors import CaffefoldError, TextError
from caffefold.formats.caffemodel import blob
from caffefold.formats.caffemodel import index as weights
from caffefold.formats.caffemodel import write as weights_writer
from caffefold.formats.prototxt import parse as text_parse
from caffefold.formats.prototxt import tree as text
from caffefold.formats.upgrade.text import upgrade_document
from tests.fuzz import harness
from tests.fuzz.cases import SHARES, make, target
from tests.fuzz.harness import TRIES, Finding, Target, examine, shrunk
from tests.fuzz.mutations import lengths, varint
from tests.fuzz.seeds import ROOT, pairs, texts, tiny_weights
from tests.fuzz.seeds import weights as weight_seeds
from tests.fuzz.targets import convert, read_text, read_weights
from tests.fuzz.test_fuzz import PARTS, hunt

Plant = Callable[[Callable[..., object]], None]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Puts a bug into the parser: it runs for inputs with a ``7`` in them."""
    parse = text_parse.parse

    def put(bug: Callable[..., object]) -> None:
        def parse_with_bug(data: bytes, *rest: Any) -> Any:
            if b"7" in data:
                bug()
            return parse(data, *rest)

        monkeypatch.setattr(text_parse, "parse", parse_with_bug)

    return put


@pytest.fixture
def text_target(tmp_path: Path) -> Target:
    """Reads a prototxt."""
    return partial(read_text, folder=tmp_path)


@pytest.fixture
def weights_target(tmp_path: Path) -> Target:
    """Reads a caffemodel."""
    return partial(read_weights, folder=tmp_path)


def raise_value_error() -> None:
    raise ValueError("planted")


def loop() -> None:
    for _ in itertools.count():
        pass


def loop_that_swallows() -> None:
    while True:
        with contextlib.suppress(Exception):
            loop()


def recurse() -> None:
    recurse()


def allocate() -> None:
    bytearray(b"x") * (120 << 20)


def allocate_everything() -> None:
    bytearray(1 << 50)


class TwoLinesError(CaffefoldError):
    def __str__(self) -> str:
        return "one\ntwo"


def say_two_lines() -> None:
    raise TwoLinesError


BUGS = [
    (raise_value_error, "escape", "ValueError: planted"),
    (lambda: 1 // 0, "escape", "ZeroDivisionError"),
    ([].pop, "escape", "IndexError"),
    (recurse, "escape", "RecursionError"),
    (sys.exit, "escape", "SystemExit"),
    (loop, "slow", "more than 100 units"),
    (loop_that_swallows, "slow", "more than 100 units"),
    (allocate, "memory", "MiB for"),
    (allocate_everything, "escape", "MemoryError"),
    (say_two_lines, "escape", "several lines"),
]


@pytest.mark.parametrize(("bug", "kind", "detail"), BUGS)
def test_a_planted_bug_is_found(
    plant: Plant,
    monkeypatch: pytest.MonkeyPatch,
    text_target: Target,
    bug: Callable[[], object],
    kind: str,
    detail: str,
) -> None:
    plant(bug)
    if kind == "slow":
        monkeypatch.setattr(harness, "allowed", lambda size: 0.3)
    found = examine(text_target, b"num: 7")
    assert found is not None
    assert found.kind == kind
    assert detail in found.detail
    assert examine(text_target, b"num: 8") is None


def test_waiting_for_ever_is_found(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, text_target: Target
) -> None:
    plant(lambda: time.sleep(100))
    monkeypatch.setattr(harness, "allowed", lambda size: 0.01)
    found = examine(text_target, b"7")
    assert found is not None
    assert found.kind == "slow"


def test_lossy_text_is_found(monkeypatch: pytest.MonkeyPatch, text_target: Target) -> None:
    pieces = text._pieces

    def without_vertical_tabs(message: text.Message) -> Any:
        return (piece.replace("\v", " ") for piece in pieces(message))

    monkeypatch.setattr(text, "_pieces", without_vertical_tabs)
    assert examine(text_target, b"a: 1\n") is None
    found = examine(text_target, b"a:\v1\n")
    assert found is not None
    assert (found.kind, found.detail[:21]) == ("lossy", "an unchanged document")


def test_lossy_upgrades_of_text_are_found(
    monkeypatch: pytest.MonkeyPatch, text_target: Target
) -> None:
    def once_too_often(document: text.Document) -> Any:
        upgraded, notes = upgrade_document(document)
        return (replace(upgraded, tail=upgraded.tail + " "), notes)

    monkeypatch.setattr("tests.fuzz.targets.upgrade_document", once_too_often)
    found = examine(text_target, b'layer { name: "a" }')
    assert found is not None
    assert "upgrade without a change" in found.detail
    found = examine(text_target, b'layers { name: "a" }')
    assert found is not None
    assert "second upgrade" in found.detail


def test_lossy_copies_of_weights_are_found(
    monkeypatch: pytest.MonkeyPatch, weights_target: Target
) -> None:
    assert examine(weights_target, tiny_weights()) is None
    read = blob.StoredBlob.read
    monkeypatch.setattr(weights_writer, "_DATA", 6)  # the numbers become a gradient
    found = examine(weights_target, tiny_weights())
    assert found is None or found.kind == "lossy"
    monkeypatch.undo()
    flips = itertools.count()
    monkeypatch.setattr(blob.StoredBlob, "read", lambda *args: read(*args) + (next(flips) > 30))
    found = examine(weights_target, tiny_weights())
    assert found is not None
    assert found.kind == "lossy"


def test_lost_layers_are_found(monkeypatch: pytest.MonkeyPatch, weights_target: Target) -> None:
    parts = weights_writer._record_parts

    def all_but_biases(new: Any) -> Any:
        return parts(new._replace(blobs=new.blobs[:1], shapes=new.shapes[:1]))

    monkeypatch.setattr(weights_writer, "_record_parts", all_but_biases)
    found = examine(weights_target, tiny_weights())
    assert found is not None
    assert (found.kind, found.detail) == ("lossy", "what was written anew holds something else")


def test_a_hunt_finds_a_bug_and_makes_it_small(plant: Plant, tmp_path: Path) -> None:
    plant(raise_value_error)
    found = hunt("text", range(40), tmp_path)
    smallest = min(found, key=lambda finding: len(finding.data))
    assert smallest.kind == "escape"
    assert smallest.data == b"7"
    assert "ValueError: planted" in str(smallest)
    family, number = smallest.case.split()
    assert b"7" in make(family, int(number))
    assert (tmp_path / f"{family}-{number}").read_bytes() == make(family, int(number))


def test_a_hunt_finds_a_bug_in_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "_SHRINKS", 20)
    monkeypatch.setattr(weights, "_signed", lambda value: 1 // (value - 1))
    found = hunt("weights", range(60), tmp_path)
    assert any("ZeroDivisionError" in finding.detail for finding in found)


@pytest.mark.parametrize("family", ["convert-text", "convert-weights"])
def test_a_hunt_finds_a_bug_in_the_passes(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(harness, "_SHRINKS", 20)
    monkeypatch.setattr("caffefold.conversion._prove", fail)
    found = hunt(family, range(12), tmp_path)
    assert any("KeyError: 'planted'" in finding.detail for finding in found)


def test_our_errors_are_no_findings(tmp_path: Path, text_target: Target) -> None:
    with pytest.raises(TextError):
        read_text(b"a {", tmp_path)
    assert examine(text_target, b"a {") is None


def test_slow_once_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "allowed", lambda size: 0.3)
    runs = iter([True, *[False] * TRIES])

    def slow_first(data: bytes) -> None:
        if next(runs):
            loop()

    assert examine(slow_first, b"") is None


def test_memory_is_judged_by_the_size_of_the_input() -> None:
    def copies(data: bytes) -> None:
        bytes(bytearray(data) * 3)

    assert examine(copies, bytes(60 << 20)) is None


def test_shrinking_keeps_the_finding() -> None:
    def between_marks(data: bytes) -> None:
        if b"<<" in data and b">>" in data:
            raise KeyError("x")

    given = examine(between_marks, bytes(3000) + b"<<" + bytes(500) + b">>" + bytes(200))
    assert given is not None
    assert shrunk(between_marks, given).data == b"<<>>"
    assert isinstance(shrunk(between_marks, given), Finding)


@pytest.mark.parametrize("family", SHARES)
def test_cases_are_repeatable_and_differ(family: str) -> None:
    first = [make(family, number) for number in range(30)]
    assert first == [make(family, number) for number in reversed(range(30))][::-1]
    assert len(set(first)) > 25


def test_a_case_is_replayed(tmp_path: Path) -> None:
    file = tmp_path / "case"
    # The installed package: the one in the sources has no bindings unless it is the installed one.
    start = f"import runpy, sys; sys.path.append({str(ROOT)!r}); "
    start += "runpy.run_module('tests.fuzz.cases', run_name='__main__', alter_sys=True)"
    command = [sys.executable, "-c", start, "text", "20", str(file)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout.startswith("text 20: "), ran.stderr
    assert file.read_bytes() == make("text", 20)


def test_parts_make_up_the_whole() -> None:
    parts = [range(part, 1000, PARTS) for part in range(PARTS)]
    assert sorted(number for part in parts for number in part) == list(range(1000))


@pytest.mark.parametrize("family", SHARES)
def test_most_inputs_come_far(family: str, tmp_path: Path) -> None:
    """Mutations are no use when all inputs are refused at the first byte, or none at all."""
    fine, count = 0, 60 if family.startswith("convert") else 200
    for number in range(count):
        with contextlib.suppress(CaffefoldError):
            target(family, number, tmp_path)(make(family, number))
            fine += 1
    assert 0.1 < fine / count < 0.95


def test_seeds_are_good(tmp_path: Path) -> None:
    for data in texts()[:5]:
        read_text(data, tmp_path)
    for data in weight_seeds()[:5]:
        read_weights(data, tmp_path)
    for pair in pairs():
        convert(pair, tmp_path)


def test_the_scanner_sees_every_length() -> None:
    blob_field = b"\x3a\x02\x0a\x00"
    layer = b"\x0a\x01a" + b"\x3a" + varint(len(blob_field)) + blob_field
    data = b"\x0a\x03net" + b"\xa2\x06" + varint(len(layer)) + layer
    shown = sorted(data[start:end] for _, start, end in lengths(data))
    assert shown == sorted([b"net", layer, b"a", blob_field, b"\x0a\x00", b""])
    assert varint(300, 3) == b"\xac\x82\x80\x80\x00"
