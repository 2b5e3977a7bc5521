"""What commands take for nets of one shape and growing size, and how that grows.

    python -m tests.bench.growth [--sizes 1000,2000,10000] [SHAPE ...]

A line for each shape and command: milliseconds of processor time a layer at each size, and the
exponent of the growth, fitted to all sizes: 1 is linear, 2 is quadratic.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import caffefold
from caffefold.compare.diff import diff
from caffefold.upgrading import upgrade
from tests.support.growing import SHAPES


def convert(net: Path, other: Path, folder: Path) -> None:
    """Without weights."""
    caffefold.convert(net, None, folder / "out", force=True)


def inspect(net: Path, other: Path, folder: Path) -> None:
    """As text."""
    str(caffefold.inspect(net))


def compare(net: Path, other: Path, folder: Path) -> None:
    """With the same net, of which one layer is called otherwise."""
    str(diff(net, other))


def upgraded(net: Path, other: Path, folder: Path) -> None:
    """A net that is up to date."""
    upgrade(net, folder / "upgraded.prototxt", force=True)


COMMANDS: dict[str, Callable[[Path, Path, Path], None]] = {
    "convert": convert,
    "inspect": inspect,
    "diff": compare,
    "upgrade": upgraded,
}


def seconds(command: Callable[[Path, Path, Path], None], text: str, folder: Path) -> float:
    """Of processor time."""
    net, other = folder / "net.prototxt", folder / "other.prototxt"
    net.write_text(text, encoding="utf-8")
    other.write_text(text.replace('name: "c', 'name: "k', 1), encoding="utf-8")
    start = time.process_time()
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            command(net, other, folder)
        except caffefold.CaffefoldError as error:
            print(f"    {str(error).removeprefix(str(folder))[:150]}")
    return time.process_time() - start


def exponent(sizes: list[int], found: list[float]) -> float:
    """The slope of a line through the logarithms (least squares)."""
    x, y = [math.log(n) for n in sizes], [math.log(max(t, 1e-6)) for t in found]
    middle, height = sum(x) / len(x), sum(y) / len(y)
    across = sum((a - middle) ** 2 for a in x)
    return sum((a - middle) * (b - height) for a, b in zip(x, y, strict=True)) / across


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shapes", nargs="*", default=[*SHAPES])
    parser.add_argument("--sizes", default="1000,2000,10000")
    parser.add_argument("--commands", default=",".join(COMMANDS))
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    print(f"{'shape':20} {'command':8} " + " ".join(f"{n:>10,}" for n in sizes) + "  ms a layer")
    with tempfile.TemporaryDirectory() as folder:
        for shape in given.shapes:
            for name in given.commands.split(","):
                seconds(COMMANDS[name], SHAPES[shape](20), Path(folder))  # imports
                found = [seconds(COMMANDS[name], SHAPES[shape](n), Path(folder)) for n in sizes]
                shown = " ".join(f"{t / n * 1e3:10.3f}" for t, n in zip(found, sizes, strict=True))
                print(f"{shape:20} {name:8} {shown}  n^{exponent(sizes, found):.2f}", flush=True)


if __name__ == "__main__":
    main()
