"""What real Caffe computed of the nets outside the repository: ``golden.npz`` beside each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

AnyArray: TypeAlias = npt.NDArray[Any]

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
EDGE = sorted(path.parent for path in SHARED.glob("models/edge/*/golden.npz"))
LAYERS = sorted(path.parent for path in SHARED.glob("layers/*/golden.npz"))


def golden(folder: Path, *prefixes: str) -> dict[str, AnyArray]:
    """The arrays whose key has one of these prefixes, without it."""
    with np.load(folder / "golden.npz") as arrays:
        return {
            key[len(prefix) :]: arrays[key]
            for prefix in prefixes
            for key in arrays
            if key.startswith(prefix)
        }


def deployed(folder: Path) -> dict[str, AnyArray]:
    """The outputs that a deploy net of an edge net shall give.

    Where Caffe used the statistics of the batch, ``global_`` has them.
    """
    return golden(folder, "global_") or golden(folder, "out_")


def assert_close(
    found: Mapping[str, AnyArray], wanted: Mapping[str, AnyArray], limit: float
) -> None:
    """Every wanted blob is there, within ``limit`` of its largest value."""
    assert wanted
    for blob, values in wanted.items():
        assert np.abs(found[blob] - values).max() <= limit * np.abs(values).max(), blob
