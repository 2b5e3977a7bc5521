"""Every error is one line of bounded length, whatever a file puts into it."""

from __future__ import annotations

import pytest

from caffefold.errors import LONGEST, CaffefoldError, InputError, TextError, WeightsError


@pytest.mark.parametrize("mark", ["\n", "\r", "\x1b", "\x85", "\u2028", "\0"])
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
    said = "größe 層: 'C:\\new'; \udcff"
    assert str(CaffefoldError(said)) == said


def test_long_names_are_cut_in_the_middle() -> None:
    error = TextError("start " + "x" * 10_000_000 + " end", path="p", line=1, column=1)
    assert len(str(error)) == LONGEST
    assert str(error).startswith("p:1:1: start xx")
    assert str(error).endswith("xx end")
