"""Files of a million layers, and other sizes nobody has: bounded time and memory, one clear error.

By default they are smaller; the slow run has the whole million.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.fuzz import run_large
from tests.fuzz.harness import MARGIN, examine
from tests.fuzz.mutations import varint
from tests.fuzz.targets import read_text, read_weights

MILLION = 1_000_000
FEW = 2_000
UNITS = 1_000  # of the time that 2,000 layers take, for files of up to 60 MB

Content: TypeAlias = Callable[[int], bytes]
X = b"\x0a\x01x"  # the net's name


def times(unit: Callable[[int], bytes]) -> Content:
    return lambda count: b"".join(map(unit, range(count)))


def length(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def layer(payload: bytes) -> bytes:
    return length(100, payload)


def v2(number: int) -> bytes:
    return layer(length(1, b"a%d" % number) + length(2, b"ReLU"))


def v1(number: int) -> bytes:
    return length(2, length(4, b"a%d" % number) + b"\x28\x12" + length(2, b"x") + length(3, b"x"))


def v0(number: int) -> bytes:
    return length(2, length(1, length(1, b"a%d" % number) + length(2, b"relu")))


ONE = b"\x2a\x04\0\0\0\0"  # data: 0
BLOB = length(7, ONE + length(7, b"\x0a\x01\x01"))

TEXTS: dict[str, Content] = {
    "layers": times(lambda n: b'layer { name: "a%d" type: "ReLU" bottom: "x" top: "x" }\n' % n),
    "V1 layers": times(lambda n: b'layers { name: "a%d" type: RELU bottom: "x" top: "x" }\n' % n),
    "V0 layers": times(lambda n: b'layers { layer { name: "a%d" type: "relu" z: 1 } }\n' % n),
    "unknown types": times(lambda n: b"layers { type: X%d }\n" % n),
    "empty layers": lambda n: b"layer{}" * n,
    "values": lambda n: b"a:1 " * n,
    "values in one layer": lambda n: b"layer{" + b"a:1 " * n + b"}",
    "a list": lambda n: b"layer{a:[" + b"1," * n + b"1]}",
    "a list of messages": lambda n: b"layer{a:[" + b"{}," * n + b"{}]}",
    "a list of layers": lambda n: b"layers:[" + b"{}," * n + b"{}]",
    "inputs": times(lambda n: b'input: "a%d" ' % n),
    "rates": lambda n: b"layers{" + b"blobs_lr:1 " * n + b"}",
    "comments": lambda n: b"# \xf0\x9f\x98\x80\n" * (2 * n) + b"layer{}",
    "comments behind": lambda n: b"layer{}\n" + b"#\n" * n,
    "comments inside": lambda n: b"layer{ name:" + b"#\n" * n + b'"x" }',
    "one string": lambda n: b'layer{name: "' + b"x" * (15 * n) + b'"}',
    "one word": lambda n: b"a: " + b"x" * (15 * n) + b" layer{}",
    "one name": lambda n: b"x" * (15 * n) + b":1 layer{}",
    "escapes": lambda n: b'a: "' + rb"\n" * (7 * n) + b'"',
    "one comment": lambda n: b"a: 1 # " + b"x" * (15 * n) + b"\nlayer{}",
    "carriage returns": lambda n: b"layer{} # " + b"\r" * n + b"\n",
    "placeholders": lambda n: b"a: " + b"${x}" * (3 * n),
    "60 MB": lambda n: b"# 5 bytes\n" * (6 * n),
    "strings": lambda n: b"a: " + b'"x" ' * n,
    "strings, comments between": lambda n: b"a: " + b'"x"#\n#\n' * n,
    "spaces": lambda n: b"layer{ a:" + b" " * (15 * n) + b"1}",
    "braces": lambda n: b"a{" * n,
}
WEIGHTS: dict[str, Content] = {
    "layers": times(v2),
    "V1 layers": times(v1),
    "V0 layers": times(v0),
    "empty layers": lambda n: X + layer(b"") * n,
    "layers of one name": lambda n: X + layer(length(1, b"a") + BLOB) * n,
    "unknown fields": lambda n: X + v2(1) + b"\x80\x7d\x01" * n,
    "unknown fields between": lambda n: X + (layer(b"") + b"\x80\x7d\x01") * n,
    "fields in layers": lambda n: X + layer(b"\x28\x01" * (n // 10)) * 10,
    "blobs in a layer": lambda n: X + layer(b"\x3a\x00" * n),
    "blobs": lambda n: X + layer(BLOB * (n // 10)) * 10,
    "fields in a blob": lambda n: X + layer(length(7, b"\x70\x01" * n)),
    "pieces of a blob": lambda n: X + layer(length(7, ONE * n)),
    "pieces of a blob apart": lambda n: X + layer(length(7, (ONE + b"\x70\x01") * n)),
    "empty pieces": lambda n: X + layer(length(7, b"\x2a\x00\x70\x01" * n)),
    "dimensions": lambda n: X + layer(length(7, length(7, b"\x08\x01" * n))),
    "packed dimensions": lambda n: X + layer(length(7, length(7, length(1, b"\x01" * n)))),
    "inputs": lambda n: X + b"\x1a\x01x" * n + v2(1),
    "rates": lambda n: X + length(2, b"\x3d\0\0\0\0" * n),
    "one name": lambda n: X + layer(length(1, b"x" * n)),
}
FILES = [("prototxt", name, made) for name, made in TEXTS.items()]
FILES += [("caffemodel", name, made) for name, made in WEIGHTS.items()]
each = pytest.mark.parametrize(
    ("kind", "name", "content"), FILES, ids=[f"{kind} {name}" for kind, name, _ in FILES]
)


# As many as are read: what is remembered of them must fit too.
MOST: dict[tuple[str, str], int] = {
    ("prototxt", "layers"): 39_000,
    ("prototxt", "V1 layers"): 39_000,
    ("prototxt", "V0 layers"): 39_000,
    ("prototxt", "unknown types"): 90_000,
    ("prototxt", "empty layers"): 199_000,
    ("prototxt", "a list of layers"): 190_000,
    ("prototxt", "values in one layer"): 190_000,
    ("caffemodel", "layers"): 99_000,
    ("caffemodel", "V1 layers"): 99_000,
    ("caffemodel", "V0 layers"): 99_000,
    ("caffemodel", "layers of one name"): 99_000,
    ("caffemodel", "blobs"): 149_000,
}


@each
def test_small(kind: str, name: str, content: Content, tmp_path: Path) -> None:
    target = read_text if kind == "prototxt" else read_weights
    found = examine(lambda data: target(data, tmp_path), content(FEW), name)
    assert found is None, str(found)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@each
def test_bounded(kind: str, name: str, content: Content, tmp_path: Path) -> None:
    for error in measured(kind, name, content(MILLION), tmp_path):
        assert "\n" not in error
        assert len(error) <= 2_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("kind", "name"), MOST)
def test_the_most_that_is_read(kind: str, name: str, tmp_path: Path) -> None:
    content = (TEXTS if kind == "prototxt" else WEIGHTS)[name]
    assert not measured(kind, name, content(MOST[kind, name]), tmp_path)


def measured(kind: str, name: str, data: bytes, folder: Path) -> list[str]:
    """The errors of reading and upgrading ``data``, which must not take too much."""
    path = folder / f"large.{kind}"
    path.write_bytes(data)
    ran = subprocess.run(
        [sys.executable, run_large.__file__, str(path)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    units, memory, errors = json.loads(ran.stdout)
    print(f"{kind} {name}: {len(data) >> 20} MiB, {units:.0f} units, {memory >> 20} MiB")
    print(*(f"    {error.removeprefix(str(path))[:150]}" for error in errors), sep="\n")
    assert memory < 5 * len(data) + MARGIN
    assert units < UNITS
    return list(errors)
