"""Prototxts that are wrong at one place: line, column, the line, and a caret under the place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Pair, Refused

TEXT = """\
layer {
  name: "conv1"
  type: "Convolution"
  convolution_param {
    num_output: 2
  }
}
"""
# (what to replace, by what, line and column of the complaint, a part of it)
SYNTAX = [
    pytest.param('name: "conv1"', 'name "conv1"', 2, 8, "':' is missing", id="no colon"),
    pytest.param("num_output: 2", "num_output:", 5, 5, "'num_output' has no value", id="no value"),
    pytest.param("num_output: 2", "num_output: %", 5, 17, "'%'", id="no readable value"),
    pytest.param("num_output: 2", "num_output", 5, 5, "'num_output'", id="only a name"),
    pytest.param("num_output: 2", "num_output: [1, 2", 6, 3, "list", id="open list"),
    pytest.param('"conv1"', '"conv1', 2, 9, "not closed on its line", id="open string"),
    pytest.param("name:", "? name:", 2, 3, "'?'", id="stray sign"),
    pytest.param("  }\n}", "  }\n}}", 7, 2, "stray '}'", id="one brace too many"),
    pytest.param("  }\n}", "  >\n}", 6, 3, "expected '}'", id="other brace"),
]


@pytest.mark.parametrize(("old", "new", "line", "column", "word"), SYNTAX)
def test_syntax_error(
    pair: Pair, refused: Refused, old: str, new: str, line: int, column: int, word: str
) -> None:
    text = TEXT.replace(old, new)
    assert text != TEXT
    pair.prototxt.write_text(text, encoding="utf-8")
    message = refused(pair.prototxt, pair.caffemodel, caret=True)
    first, shown, mark = message.splitlines()
    assert f"net.prototxt:{line}:{column}: " in first
    assert word in first
    source = text.splitlines()[line - 1]
    assert shown.endswith(source)
    assert mark.index("^") - shown.index(source) == column - 1


def test_the_caret_stands_under_its_place_behind_tabs(pair: Pair, refused: Refused) -> None:
    text = TEXT.replace("  ", "\t").replace("num_output: 2", "num_output: %")
    pair.prototxt.write_text(text, encoding="utf-8")
    _, shown, mark = refused(pair.prototxt, pair.caffemodel, caret=True).splitlines()
    assert mark.expandtabs().index("^") == shown.expandtabs().index("%")


def test_the_place_is_shown_in_a_long_line(pair: Pair, refused: Refused) -> None:
    """A net in one line: the part around the place is shown, not the beginning."""
    text = " ".join(TEXT.split()) * 50 + " layer { name: % }" + " ".join(TEXT.split()) * 50
    pair.prototxt.write_text(text, encoding="utf-8")
    first, shown, mark = refused(pair.prototxt, pair.caffemodel, caret=True).splitlines()
    assert f"net.prototxt:1:{text.index('%') + 1}: " in first
    assert len(shown) <= 250
    assert shown[mark.index("^")] == "%"


def test_unclosed_brace_points_at_its_opening(pair: Pair, refused: Refused) -> None:
    text = pair.prototxt.read_text(encoding="utf-8").rstrip()
    pair.prototxt.write_text(text.removesuffix("}"), encoding="utf-8")
    message = refused(pair.prototxt, pair.caffemodel, caret=True)
    line = text[: text.rindex("layer {")].count("\n") + 1
    assert f"net.prototxt:{line}:7: " in message
    assert "never closed" in message
    assert "layer {" in message.splitlines()[1]


@pytest.mark.parametrize(
    ("marker", "ending"),
    [
        ("<<<<<<< HEAD", "\n"),
        ("||||||| base", "\n"),
        ("=======", "\n"),
        ("=======", "\r\n"),
        (">>>>>>> theirs", "\n"),
    ],
)
def test_git_conflict_marker(pair: Pair, refused: Refused, marker: str, ending: str) -> None:
    text = pair.prototxt.read_text(encoding="utf-8")
    lines = text.splitlines()
    at = lines.index('layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }')
    lines.insert(at, marker)
    pair.prototxt.write_bytes(ending.join(lines).encode())
    first, shown, _ = refused(pair.prototxt, pair.caffemodel, caret=True).splitlines()
    assert f"net.prototxt:{at + 1}:1: git conflict marker" in first
    assert shown.strip() == marker


def test_conflict_inside_a_layer(pair: Pair, refused: Refused) -> None:
    pair.replace(
        "  convolution_param { num_output: 2",
        "<<<<<<< HEAD\n  convolution_param { num_output: 2",
    )
    message = refused(pair.prototxt, pair.caffemodel, caret=True)
    assert "net.prototxt:8:1: git conflict marker" in message


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("num_output: 2", "num_output: -1.5", "num_output is -1.5"),
        ("bias_term: true", "bias_term: perhaps", "bias_term is perhaps"),
        ('bottom: "data"', 'bottom: "dada"', "bottom 'dada' is not made by any"),
        ('name: "conv1"', "", "no name, by which"),
        ('type: "ReLU"', "", "no type"),
    ],
)
def test_wrong_content_is_shown_in_its_line(
    pair: Pair, refused: Refused, old: str, new: str, word: str
) -> None:
    pair.replace(old, new)
    assert word in refused(pair.prototxt, pair.caffemodel, caret=True)
