"""The inputs: a case is its family and a number, and gives the same bytes for the same seeds.

    python -m tests.fuzz.cases FAMILY NUMBER [FILE]

says what is wrong with a case, and writes its bytes to FILE.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.fuzz.harness import Target, examine
from tests.fuzz.mutations import GENTLE_TEXT, GENTLE_WIRE, TEXT, WIRE, spoil
from tests.fuzz.seeds import Pair, pairs, texts, weights
from tests.fuzz.targets import convert, read_text, read_weights

EXCERPT = 3_000
SEED = os.environ.get("CAFFEFOLD_FUZZ_SEED", "0")

# Share of all inputs that are of this family.
SHARES: dict[str, float] = {
    "text": 0.48,
    "weights": 0.46,
    "convert-text": 0.03,
    "convert-weights": 0.03,
}


def make(family: str, number: int) -> bytes:
    """The input of a case."""
    draw = _drawing(family, number)
    if family == "text":
        return spoil(_excerpt(draw.choice(texts()), draw), draw, texts(), TEXT)
    if family == "weights":
        return spoil(draw.choice(weights()), draw, weights(), WIRE)
    pair = _pair(draw)
    gentle = draw.random() < 0.7
    if family == "convert-text":
        if gentle:
            return draw.choice(GENTLE_TEXT)(pair.prototxt, draw, texts())
        return spoil(pair.prototxt, draw, texts(), TEXT)
    if gentle:
        return draw.choice(GENTLE_WIRE)(pair.caffemodel, draw, weights())
    return spoil(pair.caffemodel, draw, weights(), WIRE)


def target(family: str, number: int, folder: Path) -> Target:
    """What is done with the input of a case; files go to ``folder``."""
    if family == "text":
        return lambda data: read_text(data, folder)
    if family == "weights":
        return lambda data: read_weights(data, folder)
    whole = _pair(_drawing(family, number))
    given: Callable[[bytes], Pair] = {
        "convert-text": lambda data: whole._replace(prototxt=data),
        "convert-weights": lambda data: whole._replace(caffemodel=data),
    }[family]
    return lambda data: convert(given(data), folder)


def _drawing(family: str, number: int) -> Random:
    return Random(f"{SEED} {family} {number}")


def _pair(draw: Random) -> Pair:
    return draw.choice(pairs())


def _excerpt(data: bytes, draw: Random) -> bytes:
    """Some of a long text, from line to line; now and then all of it."""
    if len(data) <= EXCERPT or draw.random() < 0.01:
        return data
    start = data.rfind(b"\nlayer", 0, draw.randrange(len(data))) + 1
    stop = data.rfind(b"\n}", start, start + EXCERPT) + 2
    return data[start : max(stop, start + 20)]


def main(family: str, number: str, *files: str) -> None:
    """Replay one case."""
    data = make(family, int(number))
    for file in files:
        Path(file).write_bytes(data)
    with tempfile.TemporaryDirectory() as folder:
        found = examine(target(family, int(number), Path(folder)), data, f"{family} {number}")
    print(found or f"{family} {number}: {len(data)} bytes, nothing is wrong")


if __name__ == "__main__":
    main(*sys.argv[1:])
