"""Wrong files are refused by name, in one line that says what to do."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from caffefold._proto import caffe_pb2
from caffefold.errors import InputError
from caffefold.formats.caffemodel.index import open_weights
from caffefold.formats.detect import expect_caffemodel, head_of, is_text, read_prototxt
from caffefold.formats.kinds import recognise

Expect = Callable[[str | Path], object]
BOTH = pytest.mark.parametrize(
    ("expect", "role"), [(expect_caffemodel, "caffemodel"), (read_prototxt, "prototxt")]
)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("net.caffemodel", "x")
    return out.getvalue()


def npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.zeros(3))
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

CONVERT = "convert the model to Caffe first"
MADE_FROM = "give the .prototxt and .caffemodel that it was made of"


def torch_zip() -> bytes:
    """As torch.save writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": 1.0}, 2))
        archive.writestr("archive/version", "3\n")
    return out.getvalue()


def torch_legacy() -> bytes:
    """As torch.save wrote it before 1.6: a magic number, the protocol, what the system is like."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"weight": 1.0})
    return b"".join(pickle.dumps(part, 2) for part in parts)


def safetensors() -> bytes:
    header = b'{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return len(header).to_bytes(8, "little") + header + bytes(4)


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protobuf message: a varint below 128, or up to 127 bytes."""
    if isinstance(content, int):
        return bytes((number << 3, content))
    return bytes((number << 3 | 2, len(content))) + content


ONNX = field(1, 8) + field(2, b"pytorch") + field(3, b"1.13.1") + field(7, field(2, b"torch_jit"))
NODE = field(1, b"input") + field(2, b"Placeholder") + field(5, field(1, b"dtype"))
SAVED_MODEL = field(1, 1) + field(2, field(1, field(4, b"serve") + field(5, b"2.11.0")))
# The root at 12, its table of two fields at 4.
MNN = bytes.fromhex("0c000000 08000800 04000000 08000000 00000000 00000000".replace(" ", ""))
DARKNET = b"[net]\nbatch=1\nwidth=416\n\n[convolutional]\nfilters=16\n"
OPENVINO = b'<?xml version="1.0"?>\n<net name="net" version="10">\n<layers>\n</layers>\n</net>\n'
NCNN = b"7767517\n3 3\nInput  data  0 1 data 0=3 1=4 2=4\n"
MEAN = caffe_pb2.BlobProto(num=1, channels=3, height=2, width=2, data=[1.0] * 12)
ANNEX = b"/annex/objects/SHA256E-s553432081--0f1e.caffemodel\n"
# What it is called, content, advice.
OTHERS: list[tuple[str, bytes, str]] = [
    ("an ONNX model", ONNX, MADE_FROM),
    ("a PyTorch checkpoint", torch_zip(), CONVERT),
    ("a PyTorch checkpoint", torch_legacy(), CONVERT),
    ("a Python pickle", pickle.dumps([1, 2]), CONVERT),
    ("a safetensors file", safetensors(), CONVERT),
    ("a TensorFlow graph (.pb)", field(1, NODE) * 2, CONVERT),
    ("a protobuf file of another program (a TensorFlow SavedModel?)", SAVED_MODEL, CONVERT),
    ("a TensorFlow Lite model", b"\x1c\0\0\0TFL3" + bytes(40), CONVERT),
    ("a Darknet .cfg file", DARKNET, "darknet2caffe"),
    ("a Darknet .weights file", struct.pack("<3iq8f", 0, 2, 5, 32013312, *[0.5] * 8), "darknet2c"),
    ("an ncnn .param file", NCNN, MADE_FROM),
    ("an ncnn .param.bin file", struct.pack("<3i", 7767517, 3, 3), MADE_FROM),
    ("an ncnn .bin file", struct.pack("<I4e", 0x01306B47, 1, 2, 3, 4), MADE_FROM),
    ("a FlatBuffers file (an MNN model?)", MNN, MADE_FROM),
    ("an OpenVINO model (.xml)", OPENVINO, MADE_FROM),
    ("an XML file", b'<?xml version="1.0"?>\n<a/>\n', MADE_FROM),
    ("UTF-16 text", PROTOTXT.decode().encode("utf-16"), "iconv -f UTF-16 -t UTF-8 net"),
    ("UTF-16 text", PROTOTXT.decode().encode("utf-16-be"), "save it as UTF-8"),
    ("a git-annex link, whose content is not here", ANNEX, "run 'git annex get net'"),
    ("a Git LFS pointer to 553.4 MB", LFS.replace(b"size 23", b"size 553432081"), "was not downlo"),
    ("a mean image (.binaryproto)", MEAN.SerializeToString(), "give the ."),
    ("a .solverstate (solver history)", SOLVERSTATE, "the .caffemodel of the same iteration"),
    ("a numpy archive (.npz)", npz(), "give the ."),
    ("an HTML page", HTML, "download the "),
]

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
    ("git-lfs", LFS, "a Git LFS pointer to 23 B", "run 'git lfs pull' in its repository"),
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
    assert f"not a {role}" in message
    assert advice in message


@BOTH
@pytest.mark.parametrize(("name", "content", "advice"), OTHERS)
def test_files_of_other_programs(
    tmp_path: Path, expect: Expect, role: str, name: str, content: bytes, advice: str
) -> None:
    path = tmp_path / "net"
    path.write_bytes(content)
    message = refusal(expect, path)
    assert f"this is {name}, not a {role}; " in message
    assert advice in message


@BOTH
def test_what_only_its_name_tells(tmp_path: Path, expect: Expect, role: str) -> None:
    for name, content, what in (
        ("net.mnn", MNN, "an MNN model"),
        ("net.bin", struct.pack("<I8f", 0, *[0.5] * 8), "a .bin file of raw weights (of ncnn"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert f"this is {what}" in refusal(expect, path)


@BOTH
def test_a_real_checkpoint(tmp_path: Path, expect: Expect, role: str) -> None:
    torch = pytest.importorskip("torch", reason="pip install 'caffefold[torch]'")
    path = tmp_path / "net.pth"
    for new in (True, False):
        torch.save({"w": torch.zeros(3)}, path, _use_new_zipfile_serialization=new)
        assert "this is a PyTorch checkpoint" in refusal(expect, path)


@BOTH
@pytest.mark.parametrize(
    "url", ["https://example.org/net.caffemodel", "http:/example.org/net", "s3://bucket/net"]
)
def test_a_url(expect: Expect, role: str, url: str) -> None:
    with pytest.raises(InputError) as caught:
        expect(url)
    assert f"{url}: this is a URL; download the {role} first" in str(caught.value)


@BOTH
def test_links_that_lead_nowhere(tmp_path: Path, expect: Expect, role: str) -> None:
    link = tmp_path / f"net.{role}"
    link.symlink_to(".git/annex/objects/Xk/9m/SHA256E-s5--ab/SHA256E-s5--ab")
    assert f"run 'git annex get net.{role}'" in refusal(expect, link)
    link.unlink()
    link.symlink_to("gone")
    assert "this is a link to gone, which does not exist" in refusal(expect, link)


def shared_files() -> list[Path]:
    root = Path(os.environ.get("CAFFEFOLD_SHARED") or "shared")
    return [p for p in sorted(root.rglob("*")) if p.suffix in (".prototxt", ".caffemodel")]


@pytest.mark.skipif(not shared_files(), reason="needs models: set CAFFEFOLD_SHARED to a folder")
def test_real_files_are_none_of_these() -> None:
    for path in shared_files():
        with path.open("rb") as file:
            assert recognise(str(path), file.read(4096)) is None, path


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


def test_weights_given_as_text(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(CAFFEMODEL)
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
