"""Sizes that no file should have, one by one, through the public doors: read, or one clear error.

The modules' own tests have the limits in detail (`tests/formats/prototxt/test_parse_errors.py`,
`tests/formats/caffemodel/test_index_damage.py`, `tests/analysis/test_fit.py`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold._proto import caffe_pb2
from caffefold.formats.caffemodel.index import open_weights
from caffefold.formats.caffemodel.wire import len_field, len_header, varint_field
from tests.fuzz.seeds import TINY, Pair, pairs, tiny_weights


def converted(
    prototxt: bytes, caffemodel: bytes, folder: Path, **options: Any
) -> caffefold.ConvertReport:
    (folder / "net.prototxt").write_bytes(prototxt)
    (folder / "net.caffemodel").write_bytes(caffemodel)
    pair = folder / "net.prototxt", folder / "net.caffemodel"
    return caffefold.convert(*pair, folder / "out", force=True, **options)


def refused(prototxt: bytes, caffemodel: bytes, folder: Path) -> str:
    with pytest.raises(caffefold.InputError) as caught:
        converted(prototxt, caffemodel, folder)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) <= 2_000
    assert not (folder / "out.prototxt").exists()
    return message.removeprefix(str(folder))


TEXTS: list[tuple[str, bytes, bytes, str]] = [
    ("nesting", b"{ name:", b"{ x " + b"{ y " * 200 + b"name:", "nested deeper than 100 levels"),
    ("a negative size", b"dim: 5", b"dim: -5", "input 'data' has the shape 1, 2, -5, 5"),
    ("sizes that overflow", b"dim: 1", b"dim: 99999999", "at most 2147483647 elements"),
    ("a size beyond 64 bits", b"dim: 1", b"dim: 9223372036854775808", "expected an integer from"),
    ("a size of digits", b"dim: 1", b"dim: " + b"1" * 9_999, "expected an integer"),
    ("no outputs", b"num_output: 4", b"num_output: 0", "'conv' has num_output 0"),
    ("negative outputs", b"num_output: 4", b"num_output: -4", "expected an integer from 0 to"),
    ("no groups", b"group: 2", b"group: 0", "'conv' has group 0"),
    ("no kernel", b"kernel_size: 3", b"kernel_size: 0", "'conv' has kernel_size 0"),
    (
        "an axis too far",
        b"num_output: 3",
        b"num_output: 3 axis: 3",
        "its weights expect 4 inputs, its input has 1",
    ),
    ("a long name", b'"fc" type', b'"' + b"x" * 100_000 + b'" type', "no weights for 1 layers"),
    ("an unclosed string", b' top: "prob"', b' top: "' + b"x" * 100_000, "is not closed"),
]


@pytest.mark.parametrize(("old", "new", "what"), [t[1:] for t in TEXTS], ids=[t[0] for t in TEXTS])
def test_prototxt(old: bytes, new: bytes, what: str, tmp_path: Path) -> None:
    assert old in TINY
    assert what in refused(TINY.replace(old, new, 1), tiny_weights(), tmp_path)


WHOLE = tiny_weights()
FIRST = re.compile(rb"\xa2\x06").search(WHOLE).start()  # type: ignore[union-attr]
LONG = len_field(1, b"x" * 70_000)
DATA = b"\x2a\x04\0\0\0\0"


def with_first(layer: bytes) -> bytes:
    """The weights of TINY with ``layer`` before all others."""
    return WHOLE[:FIRST] + layer + WHOLE[FIRST:]


def blob(payload: bytes) -> bytes:
    return len_field(100, len_field(1, b"conv") + len_field(7, payload))


WEIGHTS: list[tuple[str, bytes, str]] = [
    ("a length past the end", len_header(100, 1 << 40), "the file is cut off or damaged"),
    ("a length of 2**64 - 1", len_header(100, (1 << 64) - 1), "the file is cut off or damaged"),
    ("a varint of 11 bytes", b"\xa2\x06" + b"\xff" * 10 + b"\x01", "longer than 10 bytes"),
    ("a varint beyond 64 bits", b"\xa2\x06" + b"\xff" * 9 + b"\x7f", "larger than 64 bits"),
    ("field 0", b"\x02\x00", "field number 0 is invalid"),
    ("a negative size", blob(DATA + len_field(7, varint_field(1, -1))), "impossible shape [-1]"),
    ("a negative old size", blob(DATA + varint_field(1, -1)), "impossible shape [-1, 0, 0, 0]"),
    (
        "sizes that overflow",
        blob(DATA + len_field(7, varint_field(1, 1 << 62) * 4)),
        "needs 452312848583266388373324160190187140051835877600158453279131187530910662656 numbers",
    ),
    (
        "sizes that overflow to the right number",
        blob(DATA + len_field(7, varint_field(1, (1 << 32) + 1) * 2)),
        "needs 18446744082299486209 numbers, 1 stored",
    ),
    ("too few numbers", blob(DATA + len_field(7, varint_field(1, 2))), "needs 2 numbers, 1 stored"),
    (
        "too many numbers",
        blob(DATA + len_field(7, varint_field(1, 0))),
        "needs 0 numbers, 1 stored",
    ),
    ("33 axes", blob(DATA + len_field(7, varint_field(1, 1) * 33)), "more than 32 dimensions"),
    ("a long name", len_field(100, b"\x28\x01" * 999 + LONG), "a name of more than 64 KiB"),
    ("a name of lines", blob(b"").replace(b"conv", b"c\nnv") + blob(DATA + b"\x08\x03"), "shape"),
    ("numbers cut off", blob(b"\x2a\x08\0\0\0\0"), "claims 8 bytes, only 4 are left"),
]


@pytest.mark.parametrize(("layer", "what"), [w[1:] for w in WEIGHTS], ids=[w[0] for w in WEIGHTS])
def test_caffemodel(layer: bytes, what: str, tmp_path: Path) -> None:
    assert what in refused(TINY, with_first(layer), tmp_path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [b"\x01\0\x80\x7f", b"\xff\xff\xff\xff", b"\0\0\x80\x7f"])
def test_numbers_that_are_none(number: bytes, tmp_path: Path) -> None:
    """NaN that signals, NaN, infinity: refused by name, and no warning of numpy."""
    start = WHOLE.index(b"\x2a\x90\x01") + 3  # the weights of conv
    damaged = WHOLE[:start] + number + WHOLE[start + 4 :]
    assert re.search("'conv': blob 0 would hold (nan|inf)", refused(TINY, damaged, tmp_path))


def test_nested_messages_of_a_caffemodel_are_not_followed(tmp_path: Path) -> None:
    """Nobody recurses into what nobody needs: any depth is carried along."""
    deep = b""
    for _ in range(5_000):
        deep = len_field(7, deep)
    layer = len_field(100, len_field(1, b"other") + len_field(7, DATA + len_field(99, deep)))
    converted(TINY, WHOLE + layer, tmp_path, keep_records=True)
    assert layer in (tmp_path / "out.caffemodel").read_bytes()


def test_of_several_layers_of_one_name_the_first_counts(tmp_path: Path) -> None:
    other = caffe_pb2.NetParameter.FromString(WHOLE)
    for layer in other.layer:
        for found in layer.blobs:
            found.data[:] = [9.0] * len(found.data)
    converted(TINY, WHOLE, tmp_path)
    once = (tmp_path / "out.caffemodel").read_bytes()
    converted(TINY, WHOLE + other.SerializeToString(), tmp_path)
    with open_weights(tmp_path / "out.caffemodel") as file:
        names = [record.name for record in file.layers]
        assert len(names) == len(set(names))
        again = [np.asarray(b) for record in file.layers for b in record.blobs]
    (tmp_path / "out.caffemodel").write_bytes(once)
    with open_weights(tmp_path / "out.caffemodel") as file:
        first = [np.asarray(b) for record in file.layers for b in record.blobs]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def old_shapes(data: bytes) -> bytes:
    """The weights with num, channels, height and width for shapes, as Caffe wrote until 2014."""
    net = caffe_pb2.NetParameter.FromString(data)
    for layer in net.layer:
        for found in layer.blobs:
            dims = [1] * (4 - len(found.shape.dim)) + list(found.shape.dim)
            found.ClearField("shape")
            found.num, found.channels, found.height, found.width = dims
    return net.SerializeToString()


@pytest.mark.parametrize("pair", pairs()[:2], ids=["tiny", "forks"])
def test_legacy_shapes_of_every_layer(pair: Pair, tmp_path: Path) -> None:
    """Caffe takes 1x1xNxK for NxK, and 1x1x1xN for N (blob.cpp, ShapeEquals)."""
    given: list[list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = []
    for weights in (pair.caffemodel, old_shapes(pair.caffemodel)):
        report = converted(pair.prototxt, weights, tmp_path)
        with open_weights(tmp_path / "out.caffemodel") as file:
            given.append([np.asarray(b) for r in file.layers for b in r.blobs])
        assert not report.skips
    modern, legacy = given
    assert all(np.array_equal(a, b) for a, b in zip(modern, legacy, strict=True))
