"""Caffe's HDF5 snapshots (``.caffemodel.h5``), read as a WeightsFile.

Layout (net.cpp, ToHDF5): ``data/<layer>/<index>`` is blob ``index`` of a layer, a group without
datasets a layer without blobs. A ``/`` in a layer's name makes groups in groups. There are no layer
types and no order: both come from the prototxt. Of weights that layers share by param name, only
the first layer's are stored; the others get theirs from it, as Caffe shares them (net.cpp,
AppendParam).

The numbers stay in the file until they are read. It needs h5py (the extra ``hdf5``).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caffefold.errors import CaffefoldError, InputError, WeightsError
from caffefold.extras import lacking
from caffefold.formats import detect
from caffefold.formats.caffemodel.blob import Blob, Floats
from caffefold.formats.caffemodel.index import MAX_LAYERS, WeightsFile, weights_in_memory
from caffefold.formats.kinds import CONVERT
from caffefold.formats.prototxt.tree import Document, Message
from caffefold.frozen import dataclass

if TYPE_CHECKING:
    import h5py

MAX_DEPTH = 100
_KINDS = "fiu"  # numpy's letters for floating point and integers, which Caffe reads alike

Datasets = dict[int, "h5py.Dataset"]


def open_hdf5(path: str | Path, document: Document | None = None) -> WeightsFile:
    """Index an HDF5 snapshot; ``document`` gives its layers their types, order and sharing.

    Raises:
        InputError: missing, not a snapshot (what it is, is named), or h5py is not installed.
        WeightsError: damaged, or not laid out as Caffe lays it out.
    """
    detect.head_of(path, "caffemodel")
    try:
        import h5py
    except ImportError:
        raise lacking("h5py", path, "an HDF5 snapshot") from None

    try:
        file = h5py.File(path, "r")
    except Exception as error:
        raise _damaged(str(path), error) from None
    try:
        return _index(str(path), file, document)
    except BaseException:
        file.close()
        raise


@dataclass(frozen=True, slots=True, eq=False)
class Hdf5Blob(Blob):
    """A blob inside an HDF5 file: its numbers stay there until they are read."""

    dataset: h5py.Dataset
    shape: tuple[int, ...]
    path: str
    what: str

    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop``; raises WeightsError when the file cannot give them."""
        try:
            found = [np.asarray(part).reshape(-1) for part in self._parts((), start, stop)]
        except Exception as error:
            raise _damaged(self.path, error, f"{self.what}: ") from None
        numbers = found[0] if len(found) == 1 else np.concatenate([np.empty(0, "<f4"), *found])
        wide = numbers.dtype.kind == "f" and numbers.dtype.itemsize > 4
        with np.errstate(over="ignore"):  # an infinity is reported where it is read
            return numbers.astype("<f8" if wide else "<f4", copy=False)

    def _parts(self, at: tuple[int, ...], start: int, stop: int) -> Iterator[Any]:
        """``start:stop`` of the sub-array ``at`` as blocks: part of a row, whole rows, a part."""
        shape = self.shape[len(at) :]
        row = prod(shape[1:])
        if start >= stop:
            return
        if not shape:
            yield self.dataset[at]
            return
        first, last = -(-start // row), stop // row
        if first > last:  # inside one row
            yield from self._parts((*at, last), start - last * row, stop - last * row)
            return
        if start < first * row:
            yield from self._parts((*at, first - 1), start - (first - 1) * row, row)
        if first < last:
            rows = (*at, slice(first, last))
            yield self.dataset[rows]
        if last * row < stop:
            yield from self._parts((*at, last), 0, stop - last * row)


def _index(path: str, file: h5py.File, document: Document | None) -> WeightsFile:
    try:
        stored = dict(_walk(path, _data(path, file)))
    except CaffefoldError:
        raise
    except Exception as error:
        raise _damaged(path, error) from None
    if not stored:
        raise WeightsError("no layers in this HDF5 file; is it a Caffe snapshot?", path=path)
    known = {} if document is None else _described(document)
    blobs = {
        name: _blobs(path, name, datasets) for name, datasets in _with_shared(stored, known).items()
    }
    # Layers the prototxt does not name come last; one that lacks blobs cannot be carried along.
    blobs |= {
        name: _blobs(path, name, datasets)
        for name, datasets in stored.items()
        if name not in known and max(datasets, default=-1) < len(datasets)
    }
    net = "" if document is None else document.root.string("name")
    types = {name: kind for name in known if (kind := known[name].string("type"))}
    return weights_in_memory(path, net, types, blobs, file)


def _data(path: str, file: h5py.File) -> h5py.Group:
    """The group that holds the layers; other kinds of HDF5 file are named."""
    import h5py

    names = set(file)
    if {"iter", "history"} <= names or "learned_net" in names:
        raise InputError(
            f"{path}: this is a .solverstate.h5 (solver history), not weights; "
            "give the .caffemodel.h5 of the same iteration"
        )
    if "layer_names" in file.attrs or "model_weights" in names:
        raise InputError(f"{path}: this is a Keras model, not a Caffe snapshot; {CONVERT}")
    data = file["data"] if "data" in names else None
    if isinstance(data, h5py.Dataset):
        raise InputError(
            f"{path}: this is a file of training data, not weights; give the .caffemodel.h5"
        )
    if not isinstance(data, h5py.Group):
        raise InputError(f"{path}: an HDF5 file, but not a Caffe snapshot: it has no group 'data'")
    return data


def _walk(path: str, data: h5py.Group) -> Iterator[tuple[str, Datasets]]:
    """(layer, its datasets) for every group that has datasets or is empty."""
    import h5py

    seen: set[int] = set()
    waiting: list[tuple[str, h5py.Group, int]] = [("", data, 0)]
    while waiting:
        name, group, depth = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen or depth > MAX_DEPTH:
            raise WeightsError(f"group '{name}' is nested endlessly; it is damaged", path=path)
        seen.add(address)
        if len(seen) > MAX_LAYERS:
            raise WeightsError(f"more than {MAX_LAYERS} layers", path=path)
        datasets: Datasets = {}
        groups: list[tuple[str, h5py.Group, int]] = []
        for key in group:
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise WeightsError(
                    f"'{name}/{key}' is a link to another place; Caffe never writes links",
                    path=path,
                )
            item = group[key]
            if isinstance(item, h5py.Group):
                groups.append((f"{name}/{key}" if name else key, item, depth + 1))
            elif isinstance(item, h5py.Dataset) and key.isascii() and key.isdigit():
                datasets[int(key[:9])] = item
        if name and (datasets or not len(group)):
            yield name, datasets
        waiting += reversed(groups)


def _described(document: Document) -> dict[str, Message]:
    """The layers of the prototxt by name; of twins the first counts."""
    found: dict[str, Message] = {}
    for value in document.root.all("layer"):
        if isinstance(value, Message):
            found.setdefault(value.string("name"), value)
    return found


def _with_shared(stored: dict[str, Datasets], known: dict[str, Message]) -> dict[str, Datasets]:
    """The datasets of the prototxt's layers, with those that they share by param name."""
    shared: dict[str, h5py.Dataset] = {}
    for name, body in known.items():
        for index, param in enumerate(_param_names(body)):
            if param and index in stored.get(name, {}):
                shared.setdefault(param, stored[name][index])
    return {
        name: {i: shared[p] for i, p in enumerate(_param_names(body)) if p in shared} | stored[name]
        for name, body in known.items()
        if name in stored
    }


def _param_names(layer: Message) -> list[str]:
    """ParamSpec names of a layer by blob; ``""`` where it has none."""
    return [v.string("name") if isinstance(v, Message) else "" for v in layer.all("param")]


def _blobs(path: str, layer: str, datasets: Datasets) -> tuple[Blob, ...]:
    blobs = []
    for index in range(len(datasets)):
        what = f"layer '{layer}': blob {index}"
        if index not in datasets:
            raise WeightsError(f"{what} is missing, although later ones are present", path=path)
        blobs.append(_blob(path, what, datasets[index]))
    return tuple(blobs)


def _blob(path: str, what: str, dataset: h5py.Dataset) -> Hdf5Blob:
    try:
        shape, kind, itemsize = dataset.shape, dataset.dtype.kind, dataset.dtype.itemsize
        elsewhere = bool(dataset.external) or dataset.is_virtual
        stored = dataset.id.get_storage_size()
        chunked = dataset.chunks is not None
    except Exception as error:
        raise _damaged(path, error, f"{what}: ") from None
    if kind not in _KINDS:
        raise WeightsError(f"{what}: holds '{dataset.dtype}' values, not numbers", path=path)
    if elsewhere:
        raise WeightsError(f"{what}: its numbers are in other files", path=path)
    if shape is None or stored < (bool(prod(shape)) if chunked else prod(shape) * itemsize):
        raise WeightsError(f"{what}: its numbers are not in the file; it is damaged", path=path)
    return Hdf5Blob(dataset, tuple(map(int, shape)), path, what)


def _damaged(path: str, error: Exception, what: str = "") -> WeightsError:
    """h5py's message, in one line: it raises nearly every type of exception for a damaged file."""
    reason = " ".join(str(error).split()) or type(error).__name__
    start, end = reason.find("("), reason.rfind(")")
    inner = reason[start + 1 : end] if 0 <= start < end else reason
    return WeightsError(f"{what}this HDF5 file is cut off or damaged: {inner}", path=path)
