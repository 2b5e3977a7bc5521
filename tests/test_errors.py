"""Every error is one line of bounded length, whatever a file puts into it."""

from __future__ import annotations

import copy
import pickle

import pytest

from caffefold.errors import (
    LONGEST,
    CaffefoldError,
    InputError,
    MissingShape,
    Option,
    Text,
    TextError,
    WeightsError,
)


@pytest.mark.parametrize(
    "mark", ["\n", "\r", "\x1b", "\x85", "\u2028", "\0", "\u202e", "\u2066", "\u200b"]
)
def test_one_line(mark: str) -> None:
    for error in (
        InputError(f"layer 'a{mark}b'"),
        TextError(f"layer 'a{mark}b'", path="p", line=1, column=1),
        WeightsError(f"layer 'a{mark}b'", path="p"),
    ):
        assert mark not in str(error)
        assert len(str(error).splitlines()) == 1
        assert f"a{mark.encode('unicode_escape').decode()}b" in str(error)


def test_what_can_be_read_stays() -> None:
    said = "größe 層: 'C:\\new'"
    assert str(CaffefoldError(said)) == said


def test_long_names_are_cut_in_the_middle() -> None:
    error = TextError("start " + "x" * 10_000_000 + " end", path="p", line=1, column=1)
    assert len(str(error)) == LONGEST
    assert str(error).startswith("p:1:1: start xx")
    assert str(error).endswith("xx end")


def spell(option: Option) -> str:
    return f"<{option.name}|{option.value}>"


def test_options_in_a_message_are_spelled_by_who_shows_it() -> None:
    text = Text("give ", Option("classes", "N"), " or ", Option("force"))
    assert text == "give classes N or force"
    assert text.spelled(spell) == "give <classes|N> or <force|>"
    copy = pickle.loads(pickle.dumps(text))
    assert (copy, copy.parts) == (text, text.parts)
    error = TextError("it is odd", path="p", line=1, column=2).advised("; ", *text.parts)
    assert str(error) == "p:1:2: it is odd; give classes N or force"
    assert error.spelled(spell) == "p:1:2: it is odd; give <classes|N> or <force|>"


def test_a_spelled_message_is_one_line_too() -> None:
    error = MissingShape("a\nb: no shape", blob="da\nta", layer="d", known=(2, None, 7, None))
    assert str(error) == "a\\nb: no shape; give input_shapes da\\nta=2,C,7,W"
    assert error.spelled(spell) == "a\\nb: no shape; give <input_shapes|da\\nta=2,C,7,W>"
    assert (error.blob, error.layer, error.known) == ("da\nta", "d", (2, None, 7, None))


def test_errors_travel_between_processes() -> None:
    """Pickled and copied, with what they carry."""
    sent = TextError("no field", path="net.prototxt", line=3, column=7, source_line="x: {")
    for back in (pickle.loads(pickle.dumps(sent)), copy.deepcopy(sent)):
        assert (type(back), str(back), back.line, back.source_line) == (
            TextError,
            str(sent),
            3,
            "x: {",
        )
    shape = MissingShape("no shape", blob="data", layer="d", known=(1, 3, None, None))
    assert pickle.loads(pickle.dumps(shape)).known == (1, 3, None, None)
