"""What the tests of the upgrades share: parsing as protobuf does, upgrading text and bytes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

from google.protobuf import text_format

from caffefold._proto import caffe_pb2 as pb
from caffefold.formats.caffemodel.wire import ByteSource, write_parts
from caffefold.formats.prototxt import parse as text_parse
from caffefold.formats.upgrade.binary import WeightsUpgrade
from caffefold.formats.upgrade.text import upgrade_document

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
CORPUS = SHARED / "corpus" / "prototxts"
# What no released Caffe's schema has, in files that protobuf is to read all the same.
_FOREIGN = {
    "\ufeff": "",
    "engine: FFT": "engine: CAFFE",
    "engine: SPATIAL": "engine: CAFFE",
    "type: LOCAL": "type: SILENCE",
    'type: "memory_data"': 'type: "data"',
    'type: "data_blob"': 'type: "data"',
}


def message(text: str) -> pb.NetParameter:
    """The text as protobuf reads it; unknown fields and repeated singular ones are let through."""
    net = pb.NetParameter()
    text_format.Merge(text, net, allow_unknown_field=True)
    return net


def strictly(text: str) -> pb.NetParameter:
    """The text as protobuf reads it, nothing let through."""
    net = pb.NetParameter()
    text_format.Parse(text, net)
    return net


def upgraded(text: str) -> tuple[str, tuple[str, ...]]:
    """The upgraded text and what was done."""
    document, notes = upgrade_document(text_parse.parse(text))
    return document.encode().decode("utf-8", "surrogateescape"), notes


def upgraded_bytes(data: bytes, folder: Path) -> tuple[bytes, tuple[str, ...]]:
    """The upgraded caffemodel and what was done."""
    path = folder / "in.caffemodel"
    path.write_bytes(data)
    out = io.BytesIO()
    with ByteSource(path) as source:
        work = WeightsUpgrade(source)
        write_parts(out, source, work.parts())
        return out.getvalue(), work.notes() if work.needed else ()


def corpus(*kinds: str) -> list[str]:
    """Names of the real files of these kinds; none when the corpus is not here."""
    if not CORPUS.is_dir():
        return []
    index = json.loads((CORPUS / "index.json").read_text())
    return [entry["file"] for entry in index if entry["kind"] in kinds]


def real(name: str) -> str:
    """A real file's text, without the words that no Caffe release has."""
    text = (CORPUS / name).read_bytes().decode("utf-8", "surrogateescape")
    for word, stand_in in _FOREIGN.items():
        text = text.replace(word, stand_in)
    return text
