"""One run at a time: the second is told who is at work; the dead hold nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from caffefold.errors import OutputError
from caffefold.zoo.running import lock
from caffefold.zoo.storage import LocalStorage

HOLD = """
import sys, time
from caffefold.zoo.running import lock
from caffefold.zoo.storage import LocalStorage
with lock.held(LocalStorage(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(target: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_and_told_who(target: Path) -> None:
    with hold(target) as first:
        try:
            with (
                pytest.raises(OutputError, match=f"in use by process {first.pid} on .* since 20"),
                lock.held(LocalStorage(str(target))),
            ):
                pass
        finally:
            first.kill()


def test_the_dead_hold_nothing(target: Path) -> None:
    with hold(target) as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        with lock.held(LocalStorage(str(target))):
            pass


def test_it_is_free_again_afterwards(target: Path) -> None:
    for _ in range(2):
        with lock.held(LocalStorage(str(target))):
            holder = json.loads((target / lock.LOCK).read_text())
            assert holder["pid"] == os.getpid()


def test_workers_of_a_dead_run_are_waited_for(target: Path) -> None:
    code = (
        "import sys, time, pathlib\nfrom caffefold.zoo.running.lock import hold_shared\n"
        "hold_shared(pathlib.Path(sys.argv[1]))\nprint('held', flush=True)\ntime.sleep(0.5)\n"
        "pathlib.Path(sys.argv[2]).touch()"
    )
    guard, over = target / lock.GUARD, target / "over"
    command = [sys.executable, "-c", code, str(guard), str(over)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        with lock.held(LocalStorage(str(target))):
            assert over.exists()
            assert worker.wait(10) == 0


def test_a_target_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(OutputError, match="cannot write"),
        lock.held(LocalStorage(str(tmp_path / "file"))),
    ):
        pass
