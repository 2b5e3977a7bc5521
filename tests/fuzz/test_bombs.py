"""No small text makes a command take much time or memory: it ends, or is refused in one line.

What is done is counted in calls, and memory in bytes, so that neither a slow machine nor a tool
that watches the run matters.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import run_bomb
from tests.fuzz.bombs import BOMBS

CALLS = 6_000_000  # of Python and builtin functions; those take about two seconds
MEMORY = 160 << 20  # bytes on top of what the imports take
FEW = [*BOMBS][::4]
COMMANDS = ("convert", "inspect", "diff", "upgrade")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "bomb", [b if b in FEW else pytest.param(b, marks=pytest.mark.slow) for b in BOMBS]
)
def test_bounded(bomb: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(BOMBS[bomb], encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, run_bomb.__file__, str(path), *COMMANDS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    for command, calls, memory, error in json.loads(ran.stdout):
        assert calls < CALLS, command
        assert memory < MEMORY, command
        assert "\n" not in error, command
        assert len(error) <= 2_000, command
