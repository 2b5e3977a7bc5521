"""Damaged caffemodels: a WeightsError with the byte, never a crash and never wrong numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffefold._proto import caffe_pb2
from caffefold.errors import InputError, WeightsError
from caffefold.formats.caffemodel import index
from caffefold.formats.caffemodel.blob import StoredBlob
from caffefold.formats.caffemodel.index import WeightsFile
from caffefold.formats.caffemodel.wire import (
    FIXED32,
    FIXED64,
    len_field,
    len_header,
    tag,
    varint_field,
)
from tests.support.formats_weights import Opened, layer_field, legacy_shape, shape_field


def ip(*blobs: bytes) -> bytes:
    return layer_field("ip", *blobs)


ONE = np.array([1.5], "<f4").tobytes()
TWO = np.array([1.5, -2.5], "<f4").tobytes()
NET = len_field(1, b"net")  # 5 bytes: the layer record starts behind it


GOOD = len_field(5, TWO) + shape_field(1, 2)
V2_NET = NET + ip(GOOD, len_field(5, ONE) + shape_field(1)) + layer_field("b", GOOD)
V1_NET = len_field(
    2,
    len_field(4, b"ip") + varint_field(5, 14) + len_field(6, legacy_shape(1, 1, 1, 2) + GOOD[:10]),
)
UNPACKED = ip(b"".join(tag(5, FIXED32) + ONE for _ in range(3)) + shape_field(3))
RAW = ip(varint_field(10, 2) + len_field(12, TWO[:4]) + shape_field(2))
FILES = {"V2": V2_NET, "V1": V1_NET, "unpacked": NET + UNPACKED, "raw": NET + RAW}


def read_all(weights: WeightsFile) -> list[list[float]]:
    with weights:
        blobs = [blob for record in weights.layers for blob in record.blobs]
        assert [np.asarray(blob).shape for blob in blobs] == [blob.shape for blob in blobs]
        return [np.asarray(blob).ravel().tolist() for blob in blobs]


def attempt(opened: Opened, data: bytes) -> list[list[float]] | InputError:
    try:
        return read_all(opened(data))
    except InputError as error:
        return error


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_cut_off_at_every_byte(opened: Opened, data: bytes) -> None:
    whole = read_all(opened(data))
    for length in range(len(data)):
        found = attempt(opened, data[:length])
        if isinstance(found, WeightsError):
            assert found.offset is None or found.offset <= length
        elif isinstance(found, InputError):
            assert length < 3, found  # nothing, or a line end, which a name's tag looks like
        else:
            assert found == whole[: len(found)]
            assert len(found) < len(whole)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_changed_bytes_are_refused_or_read(opened: Opened, kind: str, draw: st.DataObject) -> None:
    data = bytearray(FILES[kind])
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    attempt(opened, bytes(data))


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_read(opened: Opened, data: bytes) -> None:
    found = attempt(opened, b"\x0a\x01\x00" + data)
    assert isinstance(found, list) or "\n" not in str(found)


LAYER = 5  # where the layer record starts
BLOB = LAYER + 3 + 4  # where its first blob record starts, in a record of one length byte


# (what, bytes behind the net's name, offset of the error, words of the message)
DAMAGE: list[tuple[str, bytes, int | None, str]] = [
    ("record cut off", len_header(100, 50) + b"\x0a", LAYER, "claims 50 bytes, only 1 are left"),
    ("record of 2**62 bytes", len_header(100, 1 << 62), LAYER, "the file is cut off or damaged"),
    ("length of 11 bytes", b"\xa2\x06" + b"\xff" * 10 + b"\x01", LAYER + 2, "longer than 10 bytes"),
    (
        "length beyond 64 bits",
        b"\xa2\x06" + b"\xff" * 9 + b"\x7f",
        LAYER + 2,
        "larger than 64 bits",
    ),
    ("length cut off", b"\xa2\x06\x80", LAYER + 2, "in the middle of a number"),
    ("field 0", b"\x00\x01", LAYER, "field number 0 is invalid"),
    ("group", b"\x13\x14", LAYER, "a group is not allowed here"),
    ("end of a group", b"\x14", LAYER, "the end of a group"),
    ("wire type 7", b"\x17\x00", LAYER, "wire type 7"),
    (
        "field of a layer cut off",
        len_field(100, b"\x0a\x09ip"),
        LAYER + 3,
        "field 1 claims 9 bytes, only 2 are left",
    ),
    ("field 0 in a layer", len_field(100, b"\x03"), LAYER + 3, "field number 0 is invalid"),
    (
        "numbers cut off",
        ip(b"\x2a\x08" + ONE),
        BLOB + 2,
        "field 5 claims 8 bytes, only 4 are left",
    ),
    (
        "floats of 6 bytes",
        ip(len_field(5, TWO[:6]) + shape_field(1)),
        BLOB + 2,
        "6 bytes are not a multiple of",
    ),
    (
        "doubles of 4 bytes",
        ip(len_field(8, TWO[:4]) + shape_field(1)),
        BLOB + 2,
        "4 bytes are not a multiple of",
    ),
    (
        "too few numbers",
        ip(len_field(5, TWO) + shape_field(3)),
        BLOB,
        "shape [3] needs 3 numbers, 2 stored",
    ),
    (
        "too many numbers",
        ip(len_field(5, TWO) + shape_field(1)),
        BLOB,
        "shape [1] needs 1 numbers, 2 stored",
    ),
    ("no numbers", ip(shape_field(2)), BLOB, "shape [2] needs 2 numbers, 0 stored"),
    (
        "negative dimensions",
        ip(len_field(5, TWO) + shape_field(-1, -2)),
        BLOB,
        "impossible shape [-1, -2]",
    ),
    (
        "negative legacy dimension",
        ip(len_field(5, TWO) + varint_field(1, -2)),
        BLOB,
        "impossible shape [-2, ",
    ),
    (
        "33 packed dimensions",
        ip(len_field(5, ONE) + shape_field(*[1] * 33)),
        BLOB + 8,
        "more than 32 dimensions",
    ),
    (
        "33 dimensions",
        ip(len_field(5, ONE) + b"\x3a\x42" + b"\x08\x01" * 33),
        BLOB + 8,
        "more than 32 dimensions",
    ),
    (
        "huge dimensions",
        ip(len_field(5, ONE) + shape_field(1 << 60, 1 << 60)),
        BLOB,
        "needs 13292279957849",
    ),
    (
        "dimension cut off",
        ip(len_field(5, ONE) + b"\x3a\x03\x0a\x01\x80"),
        BLOB + 12,
        "in the middle of a number",
    ),
    (
        "raw type 9",
        ip(varint_field(10, 9) + len_field(12, ONE) + shape_field(1)),
        BLOB,
        "number type",
    ),
    (
        "raw of 3 bytes",
        ip(varint_field(10, 2) + len_field(12, b"abc")),
        BLOB + 4,
        "3 bytes are not a multiple of",
    ),
    ("unpacked number cut off", ip(tag(5, FIXED32) + b"\0\0"), BLOB + 2, "claims 4 bytes"),
    ("second blob cut off", ip(GOOD, len_field(5, ONE)[:-1]), None, "field 5 claims 4 bytes"),
    (
        "float of 8 bytes",
        ip(tag(5, FIXED64) + ONE * 2 + shape_field(1)),
        None,
        "layer 'ip': blob 0: ",
    ),
    (
        "floats of 8 bytes",
        ip((tag(5, FIXED64) + bytes(8)) * 5 + shape_field(9)),
        None,
        "layer 'ip': blob 0: ",
    ),
    (
        "doubles of 4 bytes each",
        ip((tag(8, FIXED32) + ONE) * 9 + shape_field(5)),
        None,
        "layer 'ip': blob 0: ",
    ),
    (
        "long name",
        len_field(100, len_field(1, b"x\x01" * 35_000)),
        LAYER + 5,
        "a name of more than 64 KiB",
    ),
]


@pytest.mark.parametrize(
    ("record", "offset", "words"), [d[1:] for d in DAMAGE], ids=[d[0] for d in DAMAGE]
)
def test_damage(opened: Opened, record: bytes, offset: int | None, words: str) -> None:
    with pytest.raises(WeightsError) as caught:
        opened(NET + record)
    assert words in str(caught.value)
    assert caught.value.offset is not None
    assert offset is None or caught.value.offset == offset
    assert f": byte {caught.value.offset}: " in str(caught.value)
    assert caught.value.exit_code == 3


def test_messages_name_layer_and_blob(opened: Opened) -> None:
    with pytest.raises(WeightsError, match="layer 'ip': blob 1: shape"):
        opened(NET + ip(GOOD, len_field(5, TWO) + shape_field(5)))


@pytest.mark.parametrize(
    "data",
    [NET + varint_field(7, 1), NET + len_field(3, b"data") + bytes([0x38, 0x00])],
    ids=["a flag", "an input"],
)
def test_without_layers_it_is_no_caffemodel(opened: Opened, data: bytes) -> None:
    with pytest.raises(WeightsError, match="no layers in this file") as caught:
        opened(data)
    assert caught.value.offset is None


def test_a_layer_field_of_another_type_is_carried_along(opened: Opened) -> None:
    """protobuf treats a known number of the wrong type as an unknown field."""
    odd = tag(100, FIXED32) + ONE
    with opened(NET + odd + ip(GOOD)) as weights:
        assert len(weights.layers) == 1
        assert weights.other == ((0, LAYER + len(odd)),)


def test_protobuf_agrees_on_what_is_damaged(opened: Opened) -> None:
    """The files above are good: what is refused is refused for its damage."""
    for data in FILES.values():
        parsed = caffe_pb2.NetParameter.FromString(data)
        assert len(parsed.layer) + len(parsed.layers) == len(opened(data).layers)


@pytest.mark.parametrize("number", [100, 2])
def test_more_layers_than_any_net_has(
    opened: Opened, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MAX_LAYERS", 100)
    record = len_field(number, b"")
    assert len(opened(NET + record * 100).layers) == 100
    with pytest.raises(WeightsError, match="more than 100 layers") as caught:
        opened(NET + record * 101)
    assert caught.value.offset == len(NET + record * 100)


@pytest.mark.parametrize(
    ("blob", "counted"),
    [(b"", 1), (len_field(5, ONE) + shape_field(1), 2), (b"\x2a\x00" * 3 + shape_field(0), 4)],
    ids=["empty blobs", "blobs", "empty pieces"],
)
def test_more_pieces_than_any_net_has(
    opened: Opened, blob: bytes, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MAX_PIECES", 100)
    fits = 100 // counted
    assert len(opened(NET + ip(*[blob] * fits)).layers[0].blobs) == fits
    for layers in (ip(*[blob] * (fits + 1)), ip(blob) * (fits + 1)):
        with pytest.raises(WeightsError, match="more than 100 blobs, or pieces of them"):
            opened(NET + layers)


def test_neighbours_are_one_range(opened: Opened) -> None:
    """Fields that pass through are remembered as ranges, not one by one."""
    odd = varint_field(77, 5)
    with opened(NET + odd * 50 + ip(odd * 50 + GOOD + odd * 50) + odd * 50) as weights:
        assert len(weights.other) == 2
        blob = weights.layers[0].blobs[0]
        assert isinstance(blob, StoredBlob)
        assert len(blob.extra) == 2
