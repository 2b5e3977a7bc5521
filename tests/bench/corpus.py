"""How many real prototxts strict protobuf parsing refuses and caffefold reads, and at what cost.

    python tests/bench/corpus.py FOLDER [--json FILE]

FOLDER holds ``*.prototxt`` and an ``index.json`` that names, for each ``file``, the ``message`` it
is (NetParameter, SolverParameter, ...). Strict parsing is google.protobuf.text_format with this
project's schema. Times are the best of three, in one process.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from caffefold._proto import caffe_pb2
from caffefold.errors import TextError
from caffefold.formats.prototxt import parse as text_parse


def attempt(action: Callable[[], Any], errors: tuple[type[Exception], ...]) -> tuple[bool, float]:
    """Whether ``action`` succeeds, and its best time of three in seconds."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        try:
            action()
        except errors:
            return False, 0.0
        best = min(best, time.perf_counter() - start)
    return True, best


def _parse_strictly(data: bytes, message: Callable[[], Any]) -> None:
    text_format.Parse(data.decode(), message())


def measure(folder: Path) -> dict[str, float]:
    """The figures of one folder."""
    found = {"files": 0.0, "strict": 0.0, "caffefold": 0.0, "strict_seconds": 0.0, "seconds": 0.0}
    for entry in json.loads((folder / "index.json").read_text(encoding="utf-8")):
        data = (folder / entry["file"]).read_bytes()
        message = getattr(caffe_pb2, entry["message"])
        strict, strict_seconds = attempt(
            partial(_parse_strictly, data, message), (text_format.ParseError, UnicodeDecodeError)
        )
        read, seconds = attempt(partial(text_parse.parse, data), (TextError,))
        found["files"] += 1
        found["strict"] += strict
        found["caffefold"] += read
        found["strict_seconds"] += strict_seconds
        found["seconds"] += seconds
    return found


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Prototxts that only caffefold reads.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.folder)
    refused, files = found["files"] - found["strict"], found["files"]
    more = found["caffefold"] - found["strict"]
    sys.stdout.write(
        f"{files:.0f} files: strict parsing refuses {refused:.0f} ({refused / files:.0%}), "
        f"of which caffefold reads {more:.0f}; "
        f"it refuses {files - found['caffefold']:.0f}\n"
        f"time: caffefold on all files it reads {found['seconds']:.2f} s, text_format on those "
        f"it can parse {found['strict_seconds']:.2f} s, "
        f"ratio {found['seconds'] / found['strict_seconds']:.2f}\n"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
