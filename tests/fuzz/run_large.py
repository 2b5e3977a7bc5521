"""Reads and upgrades one large file, and prints what it took: time, bytes of memory, the errors.

Time is told in units: what reading a small file takes in the same process.

A process of its own, so that its peak memory is its own too.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

import caffefold
from caffefold.formats.caffemodel.open import open_current
from caffefold.formats.prototxt.parse import parse
from caffefold.upgrading import upgrade


def read(path: Path) -> None:
    """Read all there is."""
    if path.suffix == ".prototxt":
        caffefold.load(path)
        return
    with open_current(path) as file:
        file.by_name()
        for record in file.layers:
            for blob in record.blobs:
                np.asarray(blob)


def unit() -> float:
    """Seconds of processor time to read a prototxt of 2,000 layers here and now."""
    text = b'layer { name: "a" type: "ReLU" bottom: "x" top: "x" }\n' * 2_000
    found = []
    for _ in range(3):
        start = time.process_time()
        parse(text)
        found.append(time.process_time() - start)
    return min(found)


def peak() -> int:
    """The most memory that was resident, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10


def main(path: Path) -> None:
    """Do both."""
    one = unit()
    before, start = peak(), time.process_time()
    errors = []
    for task in (read, lambda given: upgrade(given, given.with_name("upgraded"))):
        try:
            task(path)
        except caffefold.CaffefoldError as error:
            errors.append(str(error))
    print(json.dumps([(time.process_time() - start) / one, peak() - before, errors]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
