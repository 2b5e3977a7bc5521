"""Wrong files are refused by name, in one line that says what to do."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from caffefold._proto import caffe_pb2
from caffefold.errors import InputError
from caffefold.formats.caffemodel.index import open_weights
from caffefold.formats.detect import expect_caffemodel, head_of, is_text, read_prototxt

Expect = Callable[[str | Path], object]
BOTH = pytest.mark.parametrize(
    ("expect", "role"), [(expect_caffemodel, "caffemodel"), (read_prototxt, "prototxt")]
)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("net.caffemodel", "x")
    return out.getvalue()


def saved_array() -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


PROTOTXT = b'name: "net"\nlayer {\n  name: "conv"\n}\n'
SOLVERSTATE = caffe_pb2.SolverState(iter=5000, learned_net="net.caffemodel").SerializeToString()
CAFFEMODEL = caffe_pb2.NetParameter(
    name="net", layer=[caffe_pb2.LayerParameter(name="relu", type="ReLU")]
).SerializeToString()
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 23\n"
HTML = b'<!DOCTYPE html>\n<html lang="en">\n<body class="player layer">404</body></html>\n'

# (what, content, what it is called, advice)
ARCHIVES: list[tuple[str, bytes, str, str]] = [
    ("zip", zipped(), "a ZIP archive", "unpack it"),
    ("gzip", gzip.compress(CAFFEMODEL), "a gzip archive", "unpack it"),
    ("bzip2", b"BZh91AY&SY" + bytes(20), "a bzip2 archive", "unpack it"),
    ("xz", b"\xfd7zXZ\x00\x00\x04", "an xz archive", "unpack it"),
    ("7z", b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7z archive", "unpack it"),
    ("rar", b"Rar!\x1a\x07\x00", "a RAR archive", "unpack it"),
    ("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file", "give the "),
    ("numpy", saved_array(), "a numpy array", "give the ."),
    ("png", b"\x89PNG\r\n\x1a\n" + bytes(20), "a PNG image", "give the ."),
    ("jpeg", b"\xff\xd8\xff\xe0" + bytes(20), "a JPEG image", "give the ."),
    ("git-lfs", LFS, "a Git LFS pointer", "run 'git lfs pull'"),
    ("html", HTML, "an HTML page", ""),
    ("upper case html", HTML.upper(), "an HTML page", ""),
]


def refusal(expect: Expect, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        expect(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert caught.value.exit_code == 3
    return message


@BOTH
@pytest.mark.parametrize(
    ("content", "name", "advice"), [a[1:] for a in ARCHIVES], ids=[a[0] for a in ARCHIVES]
)
def test_other_kinds_of_files(
    tmp_path: Path, expect: Expect, role: str, content: bytes, name: str, advice: str
) -> None:
    path = tmp_path / f"net.{role}"
    path.write_bytes(content)
    message = refusal(expect, path)
    assert f"this is {name}" in message
    assert f"not a {role}" in message or name in "a Git LFS pointer"
    assert advice in message


@BOTH
def test_advice_asks_for_the_right_file(tmp_path: Path, expect: Expect, role: str) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(20))
    other = {"caffemodel": "prototxt", "prototxt": "caffemodel"}[role]
    assert f".{role}" in refusal(expect, path)
    assert f"the .{other}" not in refusal(expect, path)


def test_solverstate_given_as_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.solverstate"
    path.write_bytes(SOLVERSTATE)
    message = refusal(expect_caffemodel, path)
    assert "this is a .solverstate" in message
    assert "give the .caffemodel of the same iteration" in message


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (PROTOTXT, "a prototxt (text)"),
        (b"\xef\xbb\xbf" + PROTOTXT, "a prototxt (text)"),
        (b'net: "train.prototxt"\nbase_lr: 0.1\n', "a prototxt (text)"),
        ('layer { name: "数据" }'.encode("gbk"), "a prototxt (text)"),
        (b"loss = 0.5\n", "a text file"),
    ],
)
def test_text_given_as_weights(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(content)
    message = refusal(expect_caffemodel, path)
    assert f"this is {name}, not a caffemodel" in message
    assert "the order is PROTOTXT CAFFEMODEL" in message


@pytest.mark.parametrize("content", [CAFFEMODEL, SOLVERSTATE, PROTOTXT.decode().encode("utf-16")])
def test_weights_given_as_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    message = refusal(read_prototxt, path)
    assert "this is a binary file (a caffemodel?), not a prototxt" in message
    assert "the order is PROTOTXT CAFFEMODEL" in message


@BOTH
def test_paths_without_a_file(tmp_path: Path, expect: Expect, role: str) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert f"this {role} is empty" in refusal(expect, empty)
    assert f"give the {role} file itself" in refusal(expect, tmp_path)
    assert "no such file" in refusal(expect, tmp_path / "missing" / "net")
    assert f"cannot read this {role}: Not a directory" in refusal(expect, empty / "net")
    assert f"cannot read this {role}: " in refusal(expect, tmp_path / ("n" * 300))


@BOTH
def test_files_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expect: Expect, role: str
) -> None:
    path = tmp_path / "net"
    path.touch()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(expect, path) == f"{path}: cannot read this {role}: Permission denied"


def test_right_files_pass(tmp_path: Path) -> None:
    text, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    text.write_bytes(PROTOTXT)
    weights.write_bytes(CAFFEMODEL)
    read_prototxt(text)
    read_prototxt(str(text))
    expect_caffemodel(weights)
    with open_weights(weights) as opened:
        assert opened.path == str(weights)
    assert head_of(text, "prototxt") == PROTOTXT


@pytest.mark.parametrize(
    "content", [b"# \x0c\t\x1b[0m\r\n", "größe 数据".encode(), b'a: "\xff\xfe"']
)
def test_text_in_any_encoding_is_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(content)
    assert is_text(content)
    read_prototxt(path)


def test_a_few_control_characters_do_not_make_it_binary() -> None:
    assert is_text(b"a" * 199 + b"\x01")
    assert not is_text(b"a" * 198 + b"\x01")


def test_opening_weights_names_the_wrong_file(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(zipped())
    with pytest.raises(InputError, match="this is a ZIP archive"):
        open_weights(path)
    with pytest.raises(InputError, match="no such file"):
        open_weights(tmp_path / "missing")
