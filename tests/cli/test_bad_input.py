"""Files that are missing, broken or something else: one line, exit 3, nothing written."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING

import pytest

from caffefold._proto import caffe_pb2

if TYPE_CHECKING:
    from tests.cli.conftest import Pair, Refused

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(64)


@pytest.mark.parametrize("role", ["prototxt", "caffemodel"])
def test_missing_file(pair: Pair, refused: Refused, role: str) -> None:
    path = getattr(pair, role)
    path.unlink()
    message = refused(pair.prototxt, pair.caffemodel)
    assert f"{path}: no such file" in message
    assert role in message


@pytest.mark.parametrize("role", ["prototxt", "caffemodel"])
def test_empty_file(pair: Pair, refused: Refused, role: str) -> None:
    path = getattr(pair, role)
    path.write_bytes(b"")
    assert f"{path}: this {role} is empty" in refused(pair.prototxt, pair.caffemodel)


@pytest.mark.parametrize("role", ["prototxt", "caffemodel"])
def test_directory(pair: Pair, refused: Refused, role: str) -> None:
    path = getattr(pair, role)
    path.unlink()
    path.mkdir()
    assert f"{path}: this is a directory" in refused(pair.prototxt, pair.caffemodel)


def test_swapped_arguments(pair: Pair, refused: Refused) -> None:
    message = refused(pair.caffemodel, pair.prototxt)
    assert "the order is PROTOTXT CAFFEMODEL" in message


@pytest.mark.parametrize("role", ["prototxt", "caffemodel"])
def test_the_same_kind_twice(pair: Pair, refused: Refused, role: str) -> None:
    path = getattr(pair, role)
    assert f"{path}: this is a" in refused(path, path)


def test_zip(pair: Pair, refused: Refused) -> None:
    weights = pair.caffemodel.read_bytes()
    with zipfile.ZipFile(pair.caffemodel, "w") as archive:
        archive.writestr("net.caffemodel", weights)
    assert "this is a ZIP archive, not a caffemodel" in refused(pair.prototxt, pair.caffemodel)


def test_zip_as_prototxt(pair: Pair, refused: Refused) -> None:
    with zipfile.ZipFile(pair.prototxt, "w") as archive:
        archive.writestr("net.prototxt", "name: 'net'")
    assert "this is a ZIP archive, not a prototxt" in refused(pair.prototxt, pair.caffemodel)


def test_hdf5(pair: Pair, refused: Refused) -> None:
    pair.caffemodel.write_bytes(HDF5)
    assert "HDF5" in refused(pair.prototxt, pair.caffemodel)


def test_solverstate(pair: Pair, refused: Refused) -> None:
    state = caffe_pb2.SolverState(iter=5000, learned_net="net_iter_5000.caffemodel")
    state.history.add().data.extend([1.0] * 8)
    pair.caffemodel.write_bytes(state.SerializeToString())
    message = refused(pair.prototxt, pair.caffemodel)
    assert "this is a .solverstate" in message
    assert "give the .caffemodel" in message


def test_solver_as_prototxt(pair: Pair, refused: Refused) -> None:
    pair.prototxt.write_text('net: "train_val.prototxt"\nbase_lr: 0.01\n', encoding="utf-8")
    message = refused(pair.prototxt, pair.caffemodel)
    assert "this is a solver" in message
    assert "train_val.prototxt" in message


def test_git_lfs_pointer(pair: Pair, refused: Refused) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    pair.caffemodel.write_text(pointer, encoding="utf-8")
    assert "Git LFS pointer" in refused(pair.prototxt, pair.caffemodel)


def test_noise_as_caffemodel(pair: Pair, refused: Refused) -> None:
    pair.caffemodel.write_bytes(bytes(range(255, 0, -1)) * 4)
    message = refused(pair.prototxt, pair.caffemodel)
    assert re.search(r"net\.caffemodel: byte \d+: ", message)


def test_truncated_caffemodel_names_the_record_that_is_cut(pair: Pair, refused: Refused) -> None:
    net = pair.read()
    whole = net.SerializeToString()
    del net.layer[-1]
    last = len(net.SerializeToString())  # where the record of the last layer starts
    pair.caffemodel.write_bytes(whole[: (last + len(whole)) // 2])
    message = refused(pair.prototxt, pair.caffemodel)
    assert f"net.caffemodel: byte {last}: " in message
    assert "cut off" in message


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_truncated_caffemodel(pair: Pair, refused: Refused, share: float) -> None:
    whole = pair.caffemodel.read_bytes()
    cut = int(len(whole) * share)
    pair.caffemodel.write_bytes(whole[:cut])
    message = refused(pair.prototxt, pair.caffemodel)
    match = re.search(r"net\.caffemodel: byte (\d+): ", message)
    assert match is not None
    assert int(match[1]) <= cut


def test_caffemodel_without_a_layer(pair: Pair, refused: Refused) -> None:
    pair.write(caffe_pb2.NetParameter(name="tiny", input=["data"] * 3))
    assert "no layers" in refused(pair.prototxt, pair.caffemodel)


def test_not_a_net(pair: Pair, refused: Refused) -> None:
    pair.prototxt.write_text('item { name: "none" label: 0 }\n', encoding="utf-8")
    assert "no layers in this prototxt" in refused(pair.prototxt, pair.caffemodel)
