"""Every real weight file: the numbers we read are those that protobuf reads, and twins agree."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffefold._proto import caffe_pb2
from caffefold.formats.caffemodel.open import open_snapshot

SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or Path(__file__).resolve().parents[3] / "shared")
FILES = sorted([*SHARED.rglob("*.caffemodel"), *SHARED.rglob("*.caffemodel.h5")])
RAW = {0: "<f8", 1: "<f4", 2: "<f2"}  # NVCaffe's enum Type

pytestmark = pytest.mark.skipif(not FILES, reason="CAFFEFOLD_SHARED is not here")


def wanted(blob: Any) -> np.ndarray[Any, Any]:
    """The numbers of a BlobProto as blob.cpp, FromProto, takes them."""
    if blob.double_data:
        return np.array(blob.double_data)
    if blob.HasField("raw_data"):
        return np.frombuffer(blob.raw_data, RAW[blob.raw_data_type])
    return np.array(blob.data, np.float32)


def numbers(path: Path) -> dict[str, list[np.ndarray[Any, Any]]]:
    with open_snapshot(path) as weights:
        return {
            name: [np.asarray(blob) for blob in record.blobs]
            for name, record in weights.by_name().items()
            if record.blobs
        }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SHARED)))
def test_as_protobuf_reads_it(path: Path) -> None:
    if path.suffix == ".h5":
        twin = numbers(path.with_suffix(""))
        found = numbers(path)
        assert found.keys() == twin.keys()
        assert all(
            a.tobytes() == b.tobytes()
            for name in twin
            for a, b in zip(found[name], twin[name], strict=True)
        )
        return
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    first: dict[str, list[Any]] = {}
    records: list[Any] = [*net.layers, *net.layer]
    for layer in records:
        if layer.blobs:
            first.setdefault(layer.name, list(layer.blobs))
    found = numbers(path)
    assert found.keys() == first.keys()
    for name, blobs in first.items():
        assert len(found[name]) == len(blobs)
        for ours, theirs in zip(found[name], blobs, strict=True):
            assert np.array_equal(ours.reshape(-1), wanted(theirs).astype(np.float32))


def test_halves_equal_their_float_twin() -> None:
    """One net of HyperLPR is stored both ways."""
    half = SHARED / "corpus/formats/hyperlpr-finemapping-fp16/weights.caffemodel"
    if not half.exists():
        pytest.skip("the corpus is not here")
    single = numbers(half.parent.with_name("hyperlpr-finemapping-float") / half.name)
    found = numbers(half)
    assert found.keys() == single.keys()
    for name, arrays in single.items():
        for a, b in zip(found[name], arrays, strict=True):
            assert (np.abs(a - b) <= np.abs(b) * 2.0**-11 * 1.001 + 2.0**-25).all()
