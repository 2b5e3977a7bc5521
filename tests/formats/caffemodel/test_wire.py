"""The wire format: varints and fields as protobuf writes them, errors at the right byte."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffefold._proto import caffe_pb2
from caffefold.errors import WeightsError
from caffefold.formats.caffemodel.wire import (
    FIXED32,
    FIXED64,
    LEN,
    VARINT,
    ByteSource,
    WireField,
    len_field,
    len_header,
    tag,
    varint,
    varint_field,
)

Sourced = Callable[[bytes], ByteSource]
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
MAX_NUMBER = (1 << 29) - 1
FIXED = {FIXED32: 4, FIXED64: 8}


@pytest.fixture(scope="session")
def sourced(tmp_path_factory: pytest.TempPathFactory) -> Sourced:
    path = tmp_path_factory.mktemp("wire") / "bytes"

    def source(data: bytes) -> ByteSource:
        path.write_bytes(data)
        opened = ByteSource(path)
        path.unlink()
        return opened

    return source


def all_fields(source: ByteSource) -> list[WireField]:
    return list(source.fields(0, source.size))


# ---------------------------------------------------------------------------------- writing


@given(INT64)
def test_varints_are_those_of_protobuf(value: int) -> None:
    wanted = caffe_pb2.BlobShape(dim=[value]).SerializeToString()
    assert len_field(1, varint(value)) == wanted


@given(st.integers(1, MAX_NUMBER), st.sampled_from([VARINT, FIXED64, LEN, FIXED32]))
def test_tag_is_number_and_type(number: int, wire_type: int) -> None:
    assert tag(number, wire_type) == varint(number * 8 + wire_type)


def test_known_bytes() -> None:
    assert varint(300) == b"\xac\x02"
    assert varint(-1) == b"\xff" * 9 + b"\x01"
    assert tag(100, LEN) == b"\xa2\x06"
    assert len_field(1, b"net") == b"\x0a\x03net"
    assert len_header(7, 200) == b"\x3a\xc8\x01"
    assert varint_field(2, 1) == b"\x10\x01"


# ---------------------------------------------------------------------------------- reading


@given(st.lists(st.integers(0, (1 << 64) - 1)))
def test_varints_read_back(sourced: Sourced, numbers: list[int]) -> None:
    data = b"".join(map(varint, numbers))
    at = 0
    found = []
    with sourced(data) as source:
        for _ in numbers:
            value, at = source.varint(at, len(data))
            found.append(value)
    assert (found, at) == (numbers, len(data))


FIELDS = st.one_of(
    st.tuples(st.just(VARINT), st.integers(0, (1 << 64) - 1).map(varint)),
    st.tuples(st.just(FIXED32), st.binary(min_size=4, max_size=4)),
    st.tuples(st.just(FIXED64), st.binary(min_size=8, max_size=8)),
    st.tuples(st.just(LEN), st.integers(0, 20_000).map(bytes)),  # beyond the window of 16 KiB
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, MAX_NUMBER), FIELDS), max_size=8))
def test_fields_are_the_ranges_that_were_written(
    sourced: Sourced, wanted: list[tuple[int, tuple[int, bytes]]]
) -> None:
    data = b""
    ranges = []
    for number, (wire_type, payload) in wanted:
        start = len(data)
        data += len_header(number, len(payload)) if wire_type == LEN else tag(number, wire_type)
        ranges.append((number, wire_type, start, len(data), len(data) + len(payload)))
        data += payload
    with sourced(data) as source:
        found = all_fields(source)
        assert [field[:5] for field in found] == ranges
        for field, (_, (wire_type, payload)) in zip(found, wanted, strict=True):
            assert source.read(field.start, field.end) == payload
            assert varint(field.value) == (payload if wire_type == VARINT else b"\0")


def test_fields_of_a_part(sourced: Sourced) -> None:
    inner = varint_field(2, 300)
    data = varint_field(1, 1) + len_field(3, inner) + varint_field(4, 1)
    with sourced(data) as source:
        outer = all_fields(source)[1]
        assert [(f.number, f.value) for f in source.fields(outer.start, outer.end)] == [(2, 300)]


def test_a_number_may_lie_across_the_window(sourced: Sourced) -> None:
    for size in range(16_370, 16_390):
        with sourced(len_field(1, bytes(size)) + varint_field(2, 1 << 40)) as source:
            assert all_fields(source)[-1].value == 1 << 40


def test_payloads_are_not_read(sourced: Sourced, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    pread = os.pread

    def counted(fd: int, length: int, offset: int) -> bytes:
        nonlocal read
        data = pread(fd, length, offset)
        read += len(data)
        return data

    with sourced(len_field(1, bytes(10_000_000)) * 2) as source:
        monkeypatch.setattr(os, "pread", counted)
        assert len(all_fields(source)) == 2
    assert read < 100_000


# ----------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("data", "offset", "words"),
    [
        (b"\x0a", 1, "in the middle of a number"),
        (b"\x08\x80", 1, "in the middle of a number"),
        (b"\x08\x01\x80", 2, "in the middle of a number"),
        (b"\x08" + b"\x80" * 10 + b"\x01", 1, "longer than 10 bytes"),
        (b"\x08" + b"\xff" * 9 + b"\x02", 1, "larger than 64 bits"),
        (b"\x08\x01\x0a\x05abcd", 2, "field 1 claims 5 bytes, only 4 are left"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", 0, "field 1 claims 18446744073709551615 bytes"),
        (b"\x0d\x00\x00\x00", 0, "field 1 claims 4 bytes, only 3 are left"),
        (b"\x09" + bytes(7), 0, "field 1 claims 8 bytes, only 7 are left"),
        (b"\x08\x01\x02\x00", 2, "field number 0 is invalid"),
        (
            varint((MAX_NUMBER + 1) << 3) + b"\x00",
            0,
            f"field number {MAX_NUMBER + 1} is invalid",
        ),
        (b"\x08\x01\x0b\x0c", 2, "a group is not allowed here"),
        (b"\x0c", 0, "the end of a group is not allowed here"),
        (b"\x0e\x00", 0, "wire type 6 is not allowed here"),
        (b"\x0f\x00", 0, "wire type 7 is not allowed here"),
    ],
)
def test_damage(sourced: Sourced, data: bytes, offset: int, words: str) -> None:
    with sourced(data) as source, pytest.raises(WeightsError) as caught:
        all_fields(source)
    assert caught.value.offset == offset
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{source.path}: byte {offset}: ")


def test_a_field_may_not_reach_beyond_its_message(sourced: Sourced) -> None:
    """The bytes are there, but they belong to the next record."""
    with sourced(b"\x0a\x03\x0a\x05ab" + b"more") as source, pytest.raises(WeightsError) as caught:
        list(source.fields(2, 5))
    assert caught.value.offset == 2


def test_reading_a_file_that_shrank(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(bytes(100))
    with ByteSource(path) as source:
        assert source.size == 100
        os.truncate(path, 60)
        assert source.read(10, 60) == bytes(50)
        with pytest.raises(WeightsError, match="the file ends in the middle of a value") as caught:
            source.read(50, 70)
        assert caught.value.offset == 60
        with pytest.raises(WeightsError, match="the file ends here") as caught:
            source.varint(80, 100)
        assert caught.value.offset == 80


def test_reads_that_come_in_parts_are_joined(
    sourced: Sourced, monkeypatch: pytest.MonkeyPatch
) -> None:
    pread = os.pread
    with sourced(bytes(range(200))) as source:
        monkeypatch.setattr(os, "pread", lambda fd, n, at: pread(fd, min(n, 7), at))
        assert source.read(3, 180) == bytes(range(3, 180))


def test_closing_twice_does_nothing(sourced: Sourced) -> None:
    source = sourced(b"abc")
    source.close()
    source.close()
    with pytest.raises(OSError, match="descriptor"):
        source.read(0, 1)


def test_no_handle_is_left_when_a_file_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot read: No such file"):
        ByteSource(tmp_path / "missing")
