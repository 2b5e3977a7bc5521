"""A snapshot of weights in either of Caffe's formats: binary caffemodel or HDF5."""

from __future__ import annotations

from pathlib import Path

from caffefold.formats import recognise
from caffefold.formats.text import Document
from caffefold.formats.weights import WeightsFile, open_current


def open_snapshot(path: str | Path, document: Document | None = None) -> WeightsFile:
    """Index a ``.caffemodel`` of any age or a ``.caffemodel.h5``.

    An HDF5 snapshot holds neither the types nor the order of its layers: ``document``, the net,
    gives them.

    Raises:
        InputError: missing, another kind of file (which is named), or h5py is not installed.
        WeightsError: truncated or damaged.
    """
    if not recognise.is_hdf5(path):
        return open_current(path)
    # h5py comes with an extra.
    from caffefold.formats.hdf5 import open_hdf5

    return open_hdf5(path, document)
