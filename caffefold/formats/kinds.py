"""Files of other programs, recognised by their first bytes: what each is, and what to do about it.

Sources: the specifications of the formats (onnx.proto, graph.proto and saved_model.proto of
TensorFlow, schema.fbs of TFLite, safetensors' README, torch/serialization.py, darknet's parser.c,
ncnn's modelbin.cpp and paramdict.cpp, git-lfs and git-annex pointer files).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from caffefold.humanize import size

HDF5 = b"\x89HDF\r\n\x1a\n"


class Kind(NamedTuple):
    """What a file is ("this is ..."), and what to do; ``{role}`` stands for what was wanted."""

    what: str
    advice: str


_UNPACK = "unpack it and give the {role} inside"
_GIVE = "give the .{role}"
_MADE_FROM = "caffefold reads Caffe's files; give the .prototxt and .caffemodel that it was made of"
CONVERT = "caffefold reads Caffe's files; convert the model to Caffe first (MMdnn does that)"
"""What to do about models of other frameworks."""
_DARKNET = (
    "caffefold reads Caffe's files; convert the model to Caffe first (darknet2caffe does that)"
)

_SIGNATURES = (
    (b"\x1f\x8b", Kind("a gzip archive", "unpack it (gunzip -k) and give the {role} inside")),
    (b"BZh", Kind("a bzip2 archive", _UNPACK)),
    (b"\xfd7zXZ\x00", Kind("an xz archive", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", _UNPACK)),
    (b"Rar!", Kind("a RAR archive", _UNPACK)),
    (b"\x93NUMPY", Kind("a numpy array", _GIVE)),
    (b"\x89PNG", Kind("a PNG image", _GIVE)),
    (b"\xff\xd8\xff", Kind("a JPEG image", _GIVE)),
    (HDF5, Kind("an HDF5 file", _GIVE)),
    (b"7767517", Kind("an ncnn .param file", _MADE_FROM)),
    ((7767517).to_bytes(4, "little"), Kind("an ncnn .param.bin file", _MADE_FROM)),
)
# Of ncnn's .bin: float16, int8 and quantized weights (modelbin.cpp).
_NCNN_TAGS = tuple(tag.to_bytes(4, "little") for tag in (0x01306B47, 0x000D4B38, 0x0002C056))
_DARKNET_VERSIONS = tuple(
    b"".join(part.to_bytes(4, "little") for part in version)
    for version in ((0, 1, 0), (0, 2, 0), (0, 2, 5))
)
_TORCH = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number of torch/serialization.py
_DARKNET_TEXT = re.compile(rb"^\[(?:net|network)\]\s*$", re.MULTILINE)
_ANNEX = re.compile(rb"/annex/objects/[\w.-]+")
_LFS = b"version https://git-lfs"
_PRINTABLE = re.compile(rb"[\x20-\x7e]+")
# What a NetParameter may begin with: name, layers, input, input_dim, force_backward, state,
# debug_info, input_shape, layer.
_NET_TAGS = (0x0A, 0x12, 0x1A, 0x20, 0x28, 0x32, 0x38, 0x42, 0xA2)


def recognise(path: str, head: bytes) -> Kind | None:
    """What the file is that begins with ``head``; None where it may be Caffe's, or is unknown."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    for ask in (_pointer, _page, _utf16, _zip, _pickle, _tensors, _flat, _darknet, _protobuf, _raw):
        found = ask(path, head)
        if found is not None:
            return found
    return None


def may_be_net(head: bytes) -> bool:
    """Whether a NetParameter may begin like this."""
    return head[0] in _NET_TAGS


def is_html(head: bytes) -> bool:
    """Whether this is a web page, which was saved in place of a file."""
    lower = head.lower()
    return head.lstrip()[:1] == b"<" and (b"<html" in lower or b"<!doctype html" in lower)


def annexed(path: str | Path) -> Kind | None:
    """What a link that leads nowhere is, if it is one."""
    try:
        target = str(Path(path).readlink())
    except OSError:
        return None
    if "annex/objects" in target:
        return _annex(str(path))
    return Kind(f"a link to {target}, which does not exist", "give the file itself")


def _annex(path: str) -> Kind:
    return Kind(
        "a git-annex link, whose content is not here", f"run 'git annex get {Path(path).name}'"
    )


def _pointer(path: str, head: bytes) -> Kind | None:
    if _ANNEX.match(head):
        return _annex(path)
    if not head.startswith(_LFS):
        return None
    stated = re.search(rb"^size (\d{1,15})$", head, re.MULTILINE)
    of = f" to {size(int(stated[1]))}" if stated else ""
    return Kind(
        f"a Git LFS pointer{of}",
        "the {role} itself was not downloaded: run 'git lfs pull' in its repository and try again",
    )


def _page(path: str, head: bytes) -> Kind | None:
    if is_html(head):
        advice = "download the {role} again: on a code host, the link called 'raw' or 'download'"
        return Kind("an HTML page", advice)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith((b"<?xml", b"<net ")):
        openvino = b"<net " in text and b"<layer" in text
        return Kind("an OpenVINO model (.xml)" if openvino else "an XML file", _MADE_FROM)
    return None


def _utf16(path: str, head: bytes) -> Kind | None:
    codec = "utf-16"
    if not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        even, odd = any(head[0:64:2]), any(head[1:64:2])
        if even == odd:
            return None
        codec = "utf-16-le" if even else "utf-16-be"
    text = head.decode(codec, "ignore")[:200]
    plain = sum(char.isascii() and (char.isprintable() or char.isspace()) for char in text)
    if len(text) < 4 or plain * 2 < len(text):
        return None
    name = Path(path).name
    return Kind("UTF-16 text", f"save it as UTF-8: iconv -f UTF-16 -t UTF-8 {name} > utf8_{name}")


def _zip(path: str, head: bytes) -> Kind | None:
    if not head.startswith(b"PK\x03\x04"):
        return None
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if name.endswith((b"/data.pkl", b"/version", b"/byteorder", b"/.format_version")):
        return Kind("a PyTorch checkpoint", CONVERT)
    if name.endswith(b".npy"):
        return Kind("a numpy archive (.npz)", _GIVE)
    return Kind("a ZIP archive", _UNPACK)


def _pickle(path: str, head: bytes) -> Kind | None:
    if head[:1] != b"\x80" or head[1:2] not in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return None
    torch = head[2:].startswith(_TORCH) or b"torch" in head
    return Kind("a PyTorch checkpoint" if torch else "a Python pickle", CONVERT)


def _tensors(path: str, head: bytes) -> Kind | None:
    length = int.from_bytes(head[:8], "little")
    if head[8:10] in (b'{"', b"{}") and 2 <= length < 1 << 30:
        return Kind("a safetensors file", CONVERT)
    return None


def _flat(path: str, head: bytes) -> Kind | None:
    """FlatBuffers: the offset of the root, whose table says where its fields stand."""
    if head[4:8] == b"TFL3":
        return Kind("a TensorFlow Lite model", CONVERT)
    root = int.from_bytes(head[:4], "little")
    if len(head) < 16 or root % 4 or not 4 <= root <= len(head) - 4:
        return None
    table = root - int.from_bytes(head[root : root + 4], "little", signed=True)
    length = int.from_bytes(head[table : table + 2], "little") if 4 <= table < len(head) else 0
    if length % 2 or not 4 <= length <= 256 or table + length > len(head):
        return None
    sure = path.lower().endswith(".mnn")
    return Kind("an MNN model" if sure else "a FlatBuffers file (an MNN model?)", _MADE_FROM)


def _darknet(path: str, head: bytes) -> Kind | None:
    if head.startswith(_DARKNET_VERSIONS):
        return Kind("a Darknet .weights file", _DARKNET)
    if b"\0" not in head and _DARKNET_TEXT.search(head):
        return Kind("a Darknet .cfg file", _DARKNET)
    return None


class _Field(NamedTuple):
    number: int
    wire: int
    value: int
    """A varint, or the length of ``content``."""
    content: bytes
    """As far as the head reaches."""


def _varint(head: bytes, at: int) -> tuple[int, int] | None:
    value = 0
    for i in range(10):
        if at + i >= len(head):
            return None
        value |= (head[at + i] & 0x7F) << 7 * i
        if head[at + i] < 0x80:
            return value, at + i + 1
    return None


def _fields(head: bytes) -> Iterator[_Field]:
    """The first fields of a protobuf message; ends where it is none."""
    at = 0
    while at < len(head):
        tag = _varint(head, at)
        if tag is None or not tag[0] >> 3:
            return
        (key, at), value, content = tag, 0, b""
        if key & 7 in (0, 2):
            read = _varint(head, at)
            if read is None:
                return
            value, at = read
        if key & 7 == 2:
            content, at = head[at : at + value], at + value
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
        elif key & 7:
            return
        yield _Field(key >> 3, key & 7, value, content)


def _protobuf(path: str, head: bytes) -> Kind | None:
    """Messages of other kinds than NetParameter."""
    if head[:1] not in (b"\x08", b"\x0a", b"\x2a", b"\x3a"):
        return None
    found = list(_fields(head))
    if not found:
        return None
    lead = found[0]
    if lead.number == 1 and lead.wire == 2:
        return _graph_def(lead.content)
    kinds = [(field.number, field.wire) for field in found]
    second = next((f.content for f in found if (f.number, f.wire) == (2, 2)), None)
    if kinds[:4] == [(1, 0), (2, 0), (3, 0), (4, 0)] or lead.number in (5, 7):  # BlobProto
        return Kind("a mean image (.binaryproto)", _GIVE)
    if lead.value < 100 and {(7, 2), (8, 2)} & set(kinds):
        return Kind("an ONNX model", _MADE_FROM)
    if second is not None and not _PRINTABLE.fullmatch(second):
        return Kind("a protobuf file of another program (a TensorFlow SavedModel?)", CONVERT)
    advice = "give the .caffemodel of the same iteration"
    return Kind("a .solverstate (solver history)", advice)


def _graph_def(node: bytes) -> Kind | None:
    """A GraphDef begins with a node: its name, then its type; a net's name is no message."""
    pair = [f for f, _ in zip(_fields(node), range(2), strict=False)]
    if [(f.number, f.wire) for f in pair] != [(1, 2), (2, 2)]:
        return None
    if all(_PRINTABLE.fullmatch(f.content) for f in pair):
        return Kind("a TensorFlow graph (.pb)", CONVERT)
    return None


def _raw(path: str, head: bytes) -> Kind | None:
    """Numbers without a header; the name of the file must help."""
    suffix = Path(path).suffix.lower()
    if head.startswith(_NCNN_TAGS):
        return Kind("an ncnn .bin file", _MADE_FROM)
    if suffix == ".bin" and not may_be_net(head):
        return Kind("a .bin file of raw weights (of ncnn or OpenVINO?)", _MADE_FROM)
    return None
