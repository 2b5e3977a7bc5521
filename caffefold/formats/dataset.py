"""Labelled items as Caffe's data layers read them: LMDB, HDF5, lists of images.

Values of an LMDB are Datum messages (data_layer.cpp) or, in the SSD branch, AnnotatedDatum
(annotated_data_layer.cpp); an HDF5Data layer's source is a list of files (hdf5_data_layer.cpp); an
ImageData layer's is a list of images and classes (image_data_layer.cpp).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from caffefold.errors import InputError
from caffefold.extras import lacking
from caffefold.formats.kinds import HDF5
from caffefold.formats.schema import message_class
from caffefold.humanize import visible

if TYPE_CHECKING:
    import h5py
    import lmdb

Array: TypeAlias = NDArray[Any]
Truth: TypeAlias = float | Array
"""The class of an item, or its objects: rows of class, x1, y1, x2, y2, relative to the image."""
LABEL = "label"
_BLOCK = 64  # rows of HDF5 that are read at once
_ANNOTATED = 0x0A  # field 1 is a message in AnnotatedDatum, a number in Datum
_NUMBER = r"\s+[-+]?[\d.]+(?:[eE][-+]?\d+)?"
_LINE = re.compile(rf"(\S.*?)((?:{_NUMBER}){{5}}|{_NUMBER})\s*")


class Record(NamedTuple):
    """One value of an LMDB."""

    array: Array | None
    """(C, H, W) as stored, uint8 or float32, colours as BGR; None: ``encoded`` has it."""
    encoded: bytes
    """An image file."""
    truth: Truth | None


# -------------------------------------------------------------------------------------- LMDB


def is_lmdb(path: Path) -> bool:
    """Whether a folder is an LMDB."""
    return (path / "data.mdb").is_file()


def is_leveldb(path: Path) -> bool:
    """Whether a folder is a LevelDB."""
    return (path / "CURRENT").is_file()


def lmdb_length(path: Path) -> int:
    """How many records there are.

    Raises:
        InputError: it cannot be read, or the package lmdb is not installed.
    """
    with _opened(path) as base:
        return int(base.stat()["entries"])


def lmdb_records(path: Path) -> Iterator[Record]:
    """The records in the order of their keys, which is Caffe's.

    Raises:
        InputError: as ``lmdb_length``, or a record is none of Caffe's.
    """
    with _opened(path) as base, base.begin(buffers=False) as reading:
        for key, value in reading.cursor():
            yield _record(value, f"{path}: record {visible(key.decode('utf-8', 'replace'))}")


@contextmanager
def _opened(path: Path) -> Iterator[lmdb.Environment]:
    try:
        import lmdb
    except ImportError:
        raise lacking("lmdb", path, "an LMDB") from None
    try:
        with lmdb.open(str(path), readonly=True, lock=False, create=False, max_readers=1) as base:
            # Pages are mapped: one that is not in the file would end the process.
            pages = base.info()["last_pgno"] + 1
            if pages * base.stat()["psize"] > (path / "data.mdb").stat().st_size:
                raise InputError(f"{path}: this LMDB is cut off: its last pages are missing")
            yield base
    except (lmdb.Error, OSError) as error:
        raise InputError(f"{path}: this LMDB cannot be read: {error}") from None


def _record(value: bytes, where: str) -> Record:
    from google.protobuf.message import DecodeError

    truth: Truth | None = None
    try:
        if value[:1] == bytes((_ANNOTATED,)):
            annotated = message_class("AnnotatedDatum").FromString(value)
            datum = annotated.datum
            rows = [
                (group.group_label, each.bbox.xmin, each.bbox.ymin, each.bbox.xmax, each.bbox.ymax)
                for group in annotated.annotation_group
                for each in group.annotation
            ]
            truth = np.array(rows, np.float64).reshape(-1, 5)
        else:
            datum = message_class("Datum").FromString(value)
    except DecodeError:
        raise InputError(f"{where}: it is no Datum of Caffe") from None
    if truth is None and datum.HasField("label"):
        truth = float(datum.label)
    if datum.encoded:
        return Record(None, datum.data, truth)
    shape = (datum.channels, datum.height, datum.width)
    numbers: Array = np.frombuffer(datum.data, np.uint8)
    if not numbers.size:
        numbers = np.array(datum.float_data, np.float32)
    if min(shape) < 1 or numbers.size != shape[0] * shape[1] * shape[2]:
        stated = " x ".join(map(str, shape))
        raise InputError(f"{where}: {numbers.size} numbers for an item of {stated}")
    return Record(numbers.reshape(shape), b"", truth)


# -------------------------------------------------------------------------------------- HDF5


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5."""
    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


def hdf5_list(path: Path) -> tuple[Path, ...]:
    """The files of a list, which are relative to it or to where Caffe is run; () for no such list.

    Raises:
        InputError: a file of it is not there.
    """
    names = [line.strip() for line in lines_of(path) if line.strip()]
    if not names or not all(name.lower().endswith((".h5", ".hdf5", ".hdf")) for name in names):
        return ()
    found = []
    for name in names:
        there = [each for each in (path.parent / name, Path(name)) if each.is_file()]
        if not there:
            raise InputError(f"{path}: {name} is not there")
        found.append(there[0])
    return tuple(found)


def hdf5_length(paths: Sequence[Path], names: Sequence[str]) -> int:
    """How many rows the files have.

    Raises:
        InputError: one cannot be read, lacks a dataset, or has datasets of different lengths.
    """
    return sum(_length(path, names) for path in paths)


def _length(path: Path, names: Sequence[str]) -> int:
    with _hdf5(path) as file:
        missing = [name for name in names if name not in file]
        if missing:
            there = ", ".join(visible(name) for name in file) or "none"
            raise InputError(f"{path}: there is no dataset '{missing[0]}'; there are: {there}")
        lengths = {file[name].shape[0] if file[name].shape else 0 for name in names}
        if len(lengths) != 1:
            raise InputError(f"{path}: {', '.join(names)} have different lengths")
        return int(lengths.pop())


def hdf5_rows(paths: Sequence[Path], names: Sequence[str]) -> Iterator[Mapping[str, Array]]:
    """Each row: what the datasets ``names`` have there.

    Raises:
        InputError: a file cannot be read.
    """
    for path in paths:
        length = _length(path, names)
        with _hdf5(path) as file:
            for first in range(0, length, _BLOCK):
                block = {name: np.asarray(file[name][first : first + _BLOCK]) for name in names}
                for row in range(min(_BLOCK, length - first)):
                    yield {name: values[row] for name, values in block.items()}


@contextmanager
def _hdf5(path: Path) -> Iterator[h5py.File]:
    try:
        import h5py
    except ImportError:
        raise lacking("h5py", path, "HDF5") from None
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: this HDF5 file cannot be read: {error}") from None


# ------------------------------------------------------------------------------------- lists


def lines_of(path: Path) -> list[str]:
    """The lines of a text.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def labels(path: Path) -> dict[str, Truth]:
    """What a list says of images, by their names as they stand there.

    A line is an image and its class, as in an ImageData layer's list; or an image, a class and a
    box, a line for each object.

    Raises:
        InputError: the file cannot be read, a line is something else, or an image has two classes.
    """
    found: dict[str, list[list[float]]] = {}
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip():
            continue
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise InputError(f"{path}:{number}: expected IMAGE CLASS, or IMAGE CLASS X1 Y1 X2 Y2")
        try:
            row = [float(word) for word in parts[2].split()]
        except ValueError:
            raise InputError(f"{path}:{number}: '{parts[2].strip()}' are not numbers") from None
        rows = found.setdefault(parts[1], [])
        if rows and len(rows[0]) == 1 == len(row):
            raise InputError(f"{path}:{number}: a second class for {visible(parts[1])}")
        rows.append(row)
    if len({len(row) for rows in found.values() for row in rows}) > 1:
        raise InputError(f"{path}: some lines have a box and some have none")
    return {
        name: rows[0][0] if len(rows[0]) == 1 else np.array(rows) for name, rows in found.items()
    }
