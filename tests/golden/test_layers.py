"""Every layer type against real Caffe: one tiny net per type and parameter.

`layers/` of the shared material holds what real Caffe computes for each. The shapes that
`analysis.shapes` infers are those of Caffe's outputs, and the float64 reference that other tests
rely on (tests/reference) computes their values.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffefold.analysis.shapes import infer
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.ops.shape import Shape
from tests.support.goldens import LAYERS, golden

pytestmark = pytest.mark.skipif(not LAYERS, reason="CAFFEFOLD_SHARED is not there")

LIMIT = 8 * 2.0**-24
"""Of the largest value: Caffe rounds to float32 a few dozen times on the way to a number, each time
by 2**-24 at most, and the errors partly cancel; what is measured is below 4 * 2**-24."""

NOT_COVERED = {"DetectionEvaluate"}
"""Layer types that the reference does not compute."""

KNOWN: dict[tuple[str, str], Shape] = {}
"""(net, blob) whose inferred shape differs from Caffe's, with what is inferred."""

BY_VALUE = {"DetectionEvaluate": 2, "DetectionOutput": 2, "Filter": 0}
"""Layer types with an axis whose extent depends on the numbers, which inference leaves unknown."""


@pytest.mark.parametrize("folder", LAYERS, ids=lambda folder: folder.name)
def test_shapes(folder: Path) -> None:
    net = Net.of(parse((folder / "net.prototxt").read_text(encoding="utf-8"), "net.prototxt"))
    makers = {top: layer.type for layer in net.layers for top in layer.tops}
    inferred = infer(net)
    assert not inferred.problems
    differing = {}
    for blob, wanted in golden(folder, "input:", "output:").items():
        expected: list[int | None] = list(wanted.shape)
        if makers[blob] in BY_VALUE:
            expected[BY_VALUE[makers[blob]]] = None
        if inferred.of(blob) != tuple(expected):
            differing[folder.name, blob] = inferred.of(blob)
    assert differing == {key: known for key, known in KNOWN.items() if key[0] == folder.name}


@pytest.mark.parametrize("folder", LAYERS, ids=lambda folder: folder.name)
def test_values_of_the_reference(folder: Path) -> None:
    pytest.importorskip("torch")
    from tests.reference.caffe_torch import run, unsupported

    net, weights = folder / "net.prototxt", folder / "weights.caffemodel"
    missing = unsupported(net)
    assert missing <= NOT_COVERED
    if missing:
        pytest.skip(f"not covered: {', '.join(missing)}")
    outputs = golden(folder, "output:")
    learned = weights if weights.exists() else b""
    found = run(net, learned, golden(folder, "input:"), list(outputs))
    for blob, wanted in outputs.items():
        assert found[blob].shape == wanted.shape
        np.testing.assert_array_equal(np.isnan(found[blob]), np.isnan(wanted), blob)
        extreme = ~np.isfinite(wanted) | (np.abs(wanted) == np.finfo(np.float32).max)
        np.testing.assert_array_equal(found[blob][extreme], wanted[extreme], blob)
        plain = wanted[~extreme]
        if plain.size:
            apart = np.abs(found[blob][~extreme] - plain).max()
            assert apart <= LIMIT * np.abs(plain).max(), blob
