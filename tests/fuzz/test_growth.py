"""What a net takes grows with its layers, whatever its shape: no step looks at all the others.

The default run counts calls of functions, which no machine changes; the slow one compares times
for a thousand layers and for ten thousand. ``python -m tests.bench.growth`` prints the figures.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.bench.growth import COMMANDS, seconds
from tests.support.growing import SHAPES

ROOM = 1.5  # times as many calls a layer; what looks at all layers makes it 4
SLOWER = 4.0  # times as long a layer
TRIES = 3

each = pytest.mark.parametrize("shape", SHAPES)
command = pytest.mark.parametrize("command", COMMANDS)


def calls(name: str, text: str, folder: Path) -> int:
    """How many functions are called."""
    found = 0

    def count(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal found
        del frame, arg
        found += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        seconds(COMMANDS[name], text, folder)
    finally:
        sys.setprofile(before)
    return found


@each
@command
def test_calls(shape: str, command: str, tmp_path: Path) -> None:
    few, many = (calls(command, SHAPES[shape](n), tmp_path) / n for n in (60, 240))
    assert many < few * ROOM


@pytest.mark.slow
@each
@command
def test_time(shape: str, command: str, tmp_path: Path) -> None:
    for _ in range(TRIES):
        few, many = (
            seconds(COMMANDS[command], SHAPES[shape](n), tmp_path) / n for n in (1_000, 10_000)
        )
        if many < few * SLOWER:
            return
    pytest.fail(f"{few * 1e3:.2f} ms a layer of 1,000, {many * 1e3:.2f} ms of 10,000")
