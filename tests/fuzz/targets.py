"""What is done with an input: everything that reads, and what must be true of what was read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import caffefold
from caffefold.errors import CaffefoldError
from caffefold.formats.caffemodel.blob import chunks
from caffefold.formats.caffemodel.index import V1, LayerRecord, open_weights
from caffefold.formats.caffemodel.open import open_current
from caffefold.formats.caffemodel.write import NewLayer, write_weights
from caffefold.formats.prototxt import parse as text_parse
from caffefold.formats.prototxt.tree import Document, Message, Scalar, unquote
from caffefold.formats.upgrade.text import upgrade_document
from caffefold.ir.net import Net
from caffefold.upgrading import upgrade
from tests.fuzz.seeds import Pair

Numbers = list[tuple[str, list[NDArray[Any]]]]


class LossyError(Exception):
    """What was read is not what was given, or not what is read from the copy."""


def read_text(data: bytes, folder: Path) -> None:
    """Parse, print, look at all there is, upgrade, load."""
    path = folder / "net.prototxt"
    path.write_bytes(data)
    _all_of(
        lambda: _round_trip(text_parse.parse(data), data),
        lambda: _upgraded(text_parse.parse(data)),
        lambda: _loaded(caffefold.load(path)),
    )


def read_weights(data: bytes, folder: Path) -> None:
    """Index, read every number, copy, compute anew, upgrade, load."""
    path = folder / "net.caffemodel"
    path.write_bytes(data)
    _all_of(lambda: _copied(path, folder), lambda: _upgraded_weights(path, folder))


def convert(pair: Pair, folder: Path) -> None:
    """The whole job."""
    prototxt, caffemodel = folder / "in.prototxt", folder / "in.caffemodel"
    prototxt.write_bytes(pair.prototxt)
    caffemodel.write_bytes(pair.caffemodel)
    caffefold.convert(prototxt, caffemodel, folder / "out", force=True)


def _all_of(*steps: Callable[[], None]) -> None:
    """Each step, though one before it was refused; then the first refusal."""
    refused: list[CaffefoldError] = []
    for step in steps:
        try:
            step()
        except CaffefoldError as error:
            refused.append(error)
    if refused:
        raise refused[0]


# ------------------------------------------------------------------------------------------ text


def _round_trip(document: Document, data: bytes) -> None:
    if document.encode() != data:
        raise LossyError("an unchanged document prints otherwise than it was written")
    waiting: list[Message] = [document.root]
    while waiting:
        for field in waiting.pop().fields:
            for value in getattr(field.value, "items", (field.value,)):
                if isinstance(value, Scalar):
                    unquote(value.raw)
                elif isinstance(value, Message):
                    waiting.append(value)
    if Net.of(document).to_document().encode() != data:
        raise LossyError("an unchanged net prints otherwise than it was written")


def _upgraded(document: Document) -> None:
    upgraded, notes = upgrade_document(document)
    if not notes and upgraded.encode() != document.encode():
        raise LossyError("an upgrade without a change changed the text")
    again, more = upgrade_document(text_parse.parse(upgraded.encode()))
    if again.encode() != upgraded.encode():
        raise LossyError(f"a second upgrade did more: {more}")


def _loaded(net: Net) -> None:
    if len(net.inputs) < len(net.legacy_inputs):
        raise LossyError("inputs are gone")


# --------------------------------------------------------------------------------------- weights


def _numbers(layers: tuple[LayerRecord, ...]) -> Numbers:
    """Every number, read in steps and as an array."""
    found: Numbers = []
    for record in layers:
        blobs = [np.asarray(blob) for blob in record.blobs]
        for blob, array in zip(record.blobs, blobs, strict=True):
            if sum(part.size for part in chunks(blob)) != array.size or array.shape != blob.shape:
                raise LossyError(f"layer '{record.name}': numbers are missing")
        found.append((record.name, blobs))
    return found


def _same(one: Numbers, other: Numbers) -> bool:
    def plain(numbers: Numbers) -> list[tuple[str, list[tuple[tuple[int, ...], bytes]]]]:
        return [(n, [(a.shape, a.astype("<f4").tobytes()) for a in found]) for n, found in numbers]

    with np.errstate(over="ignore", invalid="ignore"):
        return plain(one) == plain(other)


def _copied(path: Path, folder: Path) -> None:
    copy = folder / "copy.caffemodel"
    with open_weights(path) as file:
        with copy.open("wb") as out:
            write_weights(out, file, (), strangers=file.layers)
        numbers = _numbers(file.layers)
        with open_weights(copy) as written:
            if not _same(numbers, _numbers(written.layers)):
                raise LossyError("the copy holds something else")
        first = file.by_name()
        new = [NewLayer(n, r.type, ("a",), ("b",), (), r.blobs) for n, r in first.items()]
        with copy.open("wb") as out:
            write_weights(out, file, new)
        with open_weights(copy) as written:
            if not _same(_numbers(tuple(first.values())), _numbers(written.layers)):
                raise LossyError("what was written anew holds something else")


def _upgraded_weights(path: Path, folder: Path) -> None:
    target = folder / "upgraded.caffemodel"
    with open_current(path) as file:
        numbers = _numbers(file.layers)
    with open_weights(path) as given:
        v0 = any(
            record.layout is V1
            and any(f.number == 1 for f in given.source.fields(record.body, record.end))
            for record in given.layers
        )
        if not v0 and not _same(numbers, _numbers(given.layers)):
            raise LossyError("the view of an old file holds something else")
    upgrade(path, target, force=True)
    with open_weights(target) as written:
        kept = written.layers[len(written.layers) - len(numbers) :]
        if not _same(numbers, _numbers(kept)):
            raise LossyError("the upgraded file holds something else")
    if not upgrade(target, folder / "again.caffemodel", force=True).up_to_date:
        raise LossyError("a second upgrade did more")
