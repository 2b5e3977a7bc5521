"""The bar of what takes long: on a terminal only, and gone at the end."""

from __future__ import annotations

import io
import sys

import pytest

from caffefold.cli import progress
from caffefold.cli.console import Console


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_AFTER", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def shown(console: Console, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.Bar(console) as bar:
        for done in range(3):
            bar("float64", done, 3)
        bar("accuracy", 1, 250)
    return stream.getvalue()


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(Console(), Screen(), monkeypatch)
    assert "float64" in text or "accuracy" in text
    assert "1/250" in text
    assert text.endswith("\x1b[2K")  # the line is gone


def test_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(Console(), io.StringIO(), monkeypatch) == ""
    assert shown(Console(quiet=True), Screen(), monkeypatch) == ""


def test_nothing_of_what_is_soon_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_AFTER", 60.0)
    assert shown(Console(), Screen(), monkeypatch) == ""
