"""Every layer type against real Caffe: one tiny net per type and parameter.

`layers/` of the shared material holds what real Caffe computes for each. The shapes that
`analysis.shapes` infers are those of Caffe's outputs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from caffefold.analysis.shapes import infer
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.ops.shape import Shape

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
FOLDERS = sorted(path.parent for path in SHARED.glob("layers/*/golden.npz"))

pytestmark = pytest.mark.skipif(not FOLDERS, reason="CAFFEFOLD_SHARED is not there")

KNOWN: dict[tuple[str, str], Shape] = {}
"""(net, blob) whose inferred shape differs from Caffe's, with what is inferred."""

BY_VALUE = {"DetectionEvaluate": 2, "DetectionOutput": 2, "Filter": 0}
"""Layer types with an axis whose extent depends on the numbers, which inference leaves unknown."""


def shapes(folder: Path) -> Mapping[str, tuple[int, ...]]:
    """The shape of every input and output, from real Caffe."""
    with np.load(folder / "golden.npz") as arrays:
        return {name.partition(":")[2]: arrays[name].shape for name in arrays}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_shapes(folder: Path) -> None:
    net = Net.of(parse((folder / "net.prototxt").read_text(encoding="utf-8"), "net.prototxt"))
    makers = {top: layer.type for layer in net.layers for top in layer.tops}
    inferred = infer(net)
    assert not inferred.problems
    differing = {}
    for blob, wanted in shapes(folder).items():
        expected: list[int | None] = list(wanted)
        if makers[blob] in BY_VALUE:
            expected[BY_VALUE[makers[blob]]] = None
        if inferred.of(blob) != tuple(expected):
            differing[folder.name, blob] = inferred.of(blob)
    assert differing == {key: known for key, known in KNOWN.items() if key[0] == folder.name}
