"""A snapshot of weights in either of Caffe's formats: binary caffemodel or HDF5."""

from __future__ import annotations

from pathlib import Path

from caffefold import log
from caffefold.formats import detect
from caffefold.formats.caffemodel.index import WeightsFile, open_current
from caffefold.formats.prototxt.tree import Document


def open_snapshot(path: str | Path, document: Document | None = None) -> WeightsFile:
    """Index a ``.caffemodel`` of any age or a ``.caffemodel.h5``.

    An HDF5 snapshot holds neither the types nor the order of its layers: ``document``, the net,
    gives them.

    Raises:
        InputError: missing, another kind of file (which is named), or h5py is not installed.
        WeightsError: truncated or damaged.
    """
    if detect.is_hdf5(path):
        from caffefold.formats.caffemodel.hdf5 import open_hdf5  # h5py comes with an extra

        found = open_hdf5(path, document)
    else:
        found = open_current(path)
    log.info(__name__, "%s: %d layers", path, len(found.layers))
    return found
