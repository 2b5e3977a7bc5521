"""Runs commands on one prototxt and prints, of each: calls, bytes of memory, the error if any.

A process of its own, so that its memory is its own too; it may not have more than a few GB.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import caffefold
from caffefold.compare.diff import diff
from caffefold.upgrading import upgrade

LIMIT = 3 << 30


def run(command: str, net: Path) -> None:
    """One of the commands that take a prototxt alone."""
    if command == "convert":
        caffefold.convert(net, None, net.with_name("out"), force=True)
    elif command == "inspect":
        caffefold.inspect(net).to_json()
        str(caffefold.inspect(net))
    elif command == "diff":
        str(diff(net, net))
    elif command == "upgrade":
        upgrade(net, net.with_name("upgraded.prototxt"), force=True)
    else:
        raise ValueError(command)


def peak(*, anew: bool = False) -> int:
    """The most memory that was resident, in bytes; counted from now on with ``anew``."""
    if anew:
        Path("/proc/self/clear_refs").write_bytes(b"5")
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10


def main(net: Path, commands: list[str]) -> None:
    """Run them, one after another."""
    np.ones(1) @ np.ones(1)  # the library that multiplies takes its memory now
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    found = []
    for command in commands:
        calls, error = 0, ""

        def count(frame: FrameType, event: str, arg: Any) -> None:
            nonlocal calls
            del frame, arg
            calls += event in ("call", "c_call")

        before = peak(anew=True)
        sys.setprofile(count)
        try:
            run(command, net)
        except caffefold.CaffefoldError as problem:
            error = str(problem)
        finally:
            sys.setprofile(None)
        found.append([command, calls, peak() - before, error])
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
