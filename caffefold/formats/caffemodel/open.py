"""The one door for snapshots of weights: binary caffemodels of any age, and HDF5."""

from __future__ import annotations

from pathlib import Path

from caffefold import log
from caffefold.formats import detect
from caffefold.formats.caffemodel.index import V2, WeightsFile, index, open_weights
from caffefold.formats.caffemodel.wire import SplicedSource
from caffefold.formats.prototxt.tree import Document


def open_snapshot(path: str | Path, document: Document | None = None) -> WeightsFile:
    """Index a ``.caffemodel`` of any age or a ``.caffemodel.h5``.

    Layers of V0 and V1 read as V2's, without a copy of the file. An HDF5 snapshot holds neither the
    types nor the order of its layers: ``document``, the net, gives them.

    Raises:
        InputError: missing, another kind of file (which is named), or h5py is not installed.
        WeightsError: truncated, damaged, or a net that Caffe cannot upgrade.
    """
    if detect.is_hdf5(path):
        from caffefold.formats.caffemodel.hdf5 import open_hdf5  # h5py comes with an extra

        found = open_hdf5(path, document)
    else:
        found = open_current(path)
    log.info(__name__, "%s: %d layers", path, len(found.layers))
    return found


def open_current(path: str | Path) -> WeightsFile:
    """``open_snapshot`` for binary files alone.

    Raises:
        InputError, WeightsError: as ``open_snapshot``.
    """
    found = open_weights(path)
    if all(layer.layout is V2 for layer in found.layers):
        return found
    from caffefold.formats.upgrade.binary import WeightsUpgrade  # seldom needed

    try:
        parts = WeightsUpgrade(found.source, layers_only=True).parts()
        return index(SplicedSource(found.path, parts, found.source))
    except BaseException:
        found.close()
        raise
