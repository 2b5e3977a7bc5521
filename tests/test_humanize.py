"""Names as they are shown, and documents that are exact for programs and harmless to look at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffefold.humanize import all_visible, json_text, short, visible

TEXT = st.text(st.characters(codec="utf-8"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 層/bn-1", "größe 層/bn-1"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\u202egnp.\u2066\u200b", r"\u202egnp.\u2066\u200b"),
        ("a\u2028b", r"a\u2028b"),
        ("n\udce9t", r"n\xe9t"),
    ],
)
def test_what_is_not_visible_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_everything_becomes_one_visible_line(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert visible(shown) == shown
    assert visible(text, keep="\t").replace("\t", "").isprintable()


class _Named(NamedTuple):
    name: str
    number: int


@dataclass(frozen=True)
class _Whole:
    parts: tuple[_Named, ...]
    name: str


def test_all_text_of_a_value() -> None:
    plain = _Whole((_Named("a", 1),), "x")
    assert all_visible(plain) is plain
    odd = _Whole((_Named("a", 1), _Named("\n", 2)), "x")
    assert all_visible(odd) == _Whole((_Named("a", 1), _Named(r"\n", 2)), "x")


def test_json_keeps_bytes_that_are_no_utf_8() -> None:
    said = json_text(["scal\udce9\udce9"])
    assert said.isascii()
    assert json.loads(said) == ["scal\udce9\udce9"]


@given(TEXT)
def test_json_is_exact_and_visible(text: str) -> None:
    said = json_text({text: [text]})
    assert json.loads(said) == {text: [text]}
    assert said.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1K"),
        (388_507, "388.5K"),
        (999_960, "1M"),
        (2_074_682, "2.075M"),
        (15_470_264_320, "15.47G"),
        (3 * 10**15, "3000T"),
    ],
)
def test_counts_are_short(number: int, shown: str) -> None:
    assert short(number) == shown
