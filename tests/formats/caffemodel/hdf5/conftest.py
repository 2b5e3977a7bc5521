"""Fixtures: HDF5 snapshots as Caffe lays them out, and one that Caffe itself wrote."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

ROOT = Path(__file__).resolve().parents[4]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
LENET = "lenet_bn/lenet_bn_iter_5000.caffemodel"
Snapshot: TypeAlias = Callable[..., Path]


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """Writes ``{layer: [numbers, ...]}`` as Caffe's ToHDF5 does; None leaves an index out."""

    def write(
        blobs: Mapping[str, Sequence[Any]], name: str = "net.caffemodel.h5", **options: Any
    ) -> Path:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            for layer, numbers in blobs.items():
                group = data.require_group(layer)
                for index, given in enumerate(numbers):
                    if given is not None:
                        group.create_dataset(str(index), data=np.asarray(given), **options)
        return path

    return write


@pytest.fixture
def lenet() -> tuple[Path, Path]:
    """(binary caffemodel, HDF5 snapshot of the same solver state), both written by Caffe."""
    binary = ROOT / "sample_models" / LENET
    for folder in (ROOT / "sample_models", SHARED / "models"):
        twin = folder / (LENET + ".h5")
        if twin.exists():
            return binary, twin
    pytest.skip("no HDF5 snapshot by Caffe itself: CAFFEFOLD_SHARED is not here")
