"""Reads and upgrades one large file, and prints what it took: seconds, bytes of memory, the errors.

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


def peak() -> int:
    """The most memory that was resident, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10


def main(path: Path) -> None:
    """Do both."""
    before, start = peak(), time.process_time()
    errors = []
    for task in (read, lambda given: upgrade(given, given.with_name("upgraded"))):
        try:
            task(path)
        except caffefold.CaffefoldError as error:
            errors.append(str(error))
    print(json.dumps([time.process_time() - start, peak() - before, errors]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
