"""HDF5 files that are no snapshots, are damaged, or cannot be read: one line, our exceptions."""

from __future__ import annotations

import contextlib
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from caffefold.errors import InputError, WeightsError
from caffefold.extras import install
from caffefold.formats.caffemodel.blob import size
from caffefold.formats.caffemodel.hdf5 import open_hdf5
from caffefold.formats.prototxt.parse import parse

h5py = pytest.importorskip("h5py")

Snapshot: TypeAlias = Callable[..., Path]
Fill: TypeAlias = Callable[[Any], object]
ONE = np.ones(2, "f4")


def read_all(path: Path) -> None:
    with open_hdf5(path) as weights:
        for record in weights.layers:
            for blob in record.blobs:
                blob.read(0, min(size(blob), 1 << 20))


def made(path: Path, fill: Fill) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def test_without_h5py(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    path = snapshot({"ip": [ONE]})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError) as caught:
        open_hdf5(path)
    assert str(caught.value) == (f"{path}: reading an HDF5 snapshot needs h5py; {install('h5py')}")


def solver_state(file: Any) -> None:
    file["iter"] = 5000
    file["learned_net"] = "net.caffemodel.h5"
    file.create_group("history/0")


def keras(file: Any) -> None:
    file.attrs["layer_names"] = ["conv"]


def training_data(file: Any) -> None:
    file["data"] = np.zeros((10, 3))
    file["label"] = np.zeros(10)


OTHER: list[tuple[Fill, str]] = [
    (solver_state, "this is a .solverstate.h5 (solver history), not weights"),
    (keras, "this is a Keras model"),
    (training_data, "this is a file of training data, not weights"),
    (lambda file: file.create_group("weights"), "it has no group 'data'"),
    (lambda file: file.create_group("data"), "no layers in this HDF5 file"),
]


@pytest.mark.parametrize(("fill", "message"), OTHER)
def test_another_kind_of_file(tmp_path: Path, fill: Fill, message: str) -> None:
    with pytest.raises(InputError) as caught:
        open_hdf5(made(tmp_path / "x.h5", fill))
    assert message in str(caught.value)


def soft_link(file: Any) -> None:
    file["data/ip/0"] = h5py.SoftLink("/nowhere")


def external_link(file: Any) -> None:
    file["data/ip"] = h5py.ExternalLink("/etc/passwd", "/")


def endless(file: Any) -> None:
    file["data/ip/0"] = ONE
    file["data/ip/again"] = file["data"]


def deep(file: Any) -> None:
    file["data/" + "x/" * 101 + "0"] = ONE


def in_other_files(file: Any) -> None:
    numbers = file.create_dataset(
        "data/ip/0", (2,), "f4", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)]
    )
    assert numbers.shape == (2,)


def never_written(file: Any) -> None:
    file.create_dataset("data/ip/0", (1 << 40,), "f4")


def never_written_in_chunks(file: Any) -> None:
    file.create_dataset("data/ip/0", (1 << 40,), "f4", chunks=(1024,))


BAD: list[tuple[Fill, str]] = [
    (soft_link, "'ip/0' is a link to another place"),
    (external_link, "'/ip' is a link to another place"),
    (endless, "is nested endlessly"),
    (deep, "is nested endlessly"),
    (in_other_files, "layer 'ip': blob 0: its numbers are in other files"),
    (never_written, "layer 'ip': blob 0: its numbers are not in the file"),
    (never_written_in_chunks, "layer 'ip': blob 0: its numbers are not in the file"),
    (lambda f: f.create_dataset("data/ip/0", data="text"), "holds 'object' values, not numbers"),
    (lambda f: f.create_dataset("data/ip/0", data=[1j]), "holds 'complex128' values, not numbers"),
    (lambda f: f.create_dataset("data/ip/0", data=h5py.Empty("f4")), "are not in the file"),
]


@pytest.mark.parametrize(("fill", "message"), BAD)
def test_what_caffe_would_not_write(tmp_path: Path, fill: Fill, message: str) -> None:
    path = made(tmp_path / "x.h5", fill)
    with pytest.raises(WeightsError) as caught:
        open_hdf5(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_blob(snapshot: Snapshot) -> None:
    document = parse('layer { name: "ip" type: "InnerProduct" }')
    with pytest.raises(
        WeightsError, match="layer 'ip': blob 0 is missing, although later ones are present"
    ):
        open_hdf5(snapshot({"ip": [None, ONE]}), document)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + b"\0" * 99])
def test_hardly_a_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is empty" if not content else "cut off or damaged"):
        open_hdf5(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_hdf5(tmp_path / "x.h5")
    with pytest.raises(InputError, match="this is a directory"):
        open_hdf5(tmp_path)


def test_cut_off(snapshot: Snapshot) -> None:
    path = snapshot({"ip": [np.arange(600.0)], "a/b": [ONE, ONE]})
    data = path.read_bytes()
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(InputError) as caught:
            read_all(path)
        assert "\n" not in str(caught.value)


def test_numbers_that_cannot_be_unpacked(snapshot: Snapshot) -> None:
    path = snapshot({"ip": [np.arange(500.0)]}, compression="gzip")
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        start = file["data/ip/0"].id.get_chunk_info(0).byte_offset
    data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    with (
        open_hdf5(path) as weights,
        pytest.raises(WeightsError, match="layer 'ip': blob 0: this HDF5 file is cut off"),
    ):
        weights.layers[0].blobs[0].read(0, 500)


@pytest.mark.parametrize("seed", range(4))
def test_changed_bytes(snapshot: Snapshot, seed: int) -> None:
    """Whatever h5py raises for damage, we raise ours."""
    path = snapshot({"ip": [np.arange(60.0).reshape(6, 10)], "a/b": [ONE, ONE]}, chunks=True)
    data = path.read_bytes()
    draw = random.Random(seed)
    for _ in range(100):
        spoiled = bytearray(data)
        for _ in range(draw.choice((1, 2, 5, 20))):
            at = draw.randrange(len(data))
            spoiled[at] = draw.choice((0, 255, draw.randrange(256), spoiled[at] ^ 1))
        path.write_bytes(spoiled)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with contextlib.suppress(InputError):
                read_all(path)
