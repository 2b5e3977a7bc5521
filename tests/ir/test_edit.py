"""Layers that are taken out: all that were named, or none."""

from __future__ import annotations

import copy

import pytest

from caffefold.ir.edit import Editor
from tests.support.formats_model import wires


def state(editor: Editor) -> dict[str, object]:
    return copy.deepcopy({name: x for name, x in vars(editor).items() if name not in FIXED})


FIXED = {"graph", "_net", "layers"}


def test_a_reader_of_what_goes_reads_what_it_read() -> None:
    editor = Editor(wires("a: data > a", "b: a > b", "c: a > c", inputs="data"))
    assert editor.bypass([0])
    assert [layer.bottoms for layer in editor.to_net()] == [("data",), ("data",)]


@pytest.mark.parametrize(
    "lines",
    [
        ("a: data > a", "b: a > b"),
        ("a: data > data", "b: data > b"),
        ("a: data > a", "b: a > b", "c: data > c"),
        ("conv: data > data", "a: data > a", "b: a > b", "c: data > c"),
    ],
)
def test_when_one_must_stay_all_stay(lines: tuple[str, ...]) -> None:
    """``b`` makes the net's output, whose name and that of the input cannot be one."""
    editor = Editor(wires(*lines, inputs="data"))
    before = state(editor)
    a, b = (next(i for i, line in enumerate(lines) if line[0] == name) for name in "ab")
    assert not editor.bypass([a, b])
    assert state(editor) == before
    assert editor.bypass([a]), "alone, the first one may go"
    assert state(editor) != before
