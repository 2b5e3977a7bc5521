"""Real Caffe's outputs of other people's models, and of the tiny nets, after conversion.

The folded nets are run by torch in float64 (tests/reference); what lies behind a PriorBox is left
to the OpenCV tests beside this file.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import caffefold
from tests.reference.caffe_torch import run

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
EDGE = sorted(path.parent for path in SHARED.glob("models/edge/*/golden.npz"))
CORPUS = [
    (path.parent, name)
    for path in sorted(SHARED.glob("corpus/*/*/golden.npz"))
    for name in ("train.prototxt", "train_val.prototxt", "deploy.prototxt")
    if (path.parent / name).exists()
]
EDGE_LIMIT, DEEP_LIMIT = 2e-5, 5e-5  # of the largest value
# The training net ends in a loss of its fork; the author's deploy net adds a Sigmoid (--head).
HEAD_OF_A_FORK = {"output:sigmoid"}
BY_ORDER = {"detection_out"}  # the last bit of a score may exchange rows

pytestmark = pytest.mark.skipif(not EDGE, reason="CAFFEFOLD_SHARED is not there")


@pytest.mark.parametrize("folder", EDGE, ids=lambda folder: folder.name)
def test_edge(tmp_path: Path, folder: Path) -> None:
    caffefold.convert(folder / "net.prototxt", folder / "weights.caffemodel", tmp_path / "out")
    with np.load(folder / "golden.npz") as golden:
        inputs = {k[3:]: golden[k] for k in golden if k.startswith("in_")}
        # Where Caffe used the statistics of the batch, `global_` is what a deploy net shall give.
        prefix = "global_" if any(k.startswith("global_") for k in golden) else "out_"
        wanted = {k[len(prefix) :]: golden[k] for k in golden if k.startswith(prefix)}
    found = run(tmp_path / "out.prototxt", tmp_path / "out.caffemodel", inputs)
    assert wanted
    for blob, values in wanted.items():
        assert np.abs(found[blob] - values).max() <= EDGE_LIMIT * np.abs(values).max(), blob


@pytest.mark.parametrize("folder", EDGE, ids=lambda folder: folder.name)
def test_names_of_blobs(tmp_path: Path, folder: Path) -> None:
    """A blob name that is left holds what it held; what is gone is reported."""
    given = folder / "net.prototxt", folder / "weights.caffemodel"
    report = caffefold.convert(*given, tmp_path / "out")
    with np.load(folder / "golden.npz") as golden:
        inputs = {k[3:]: golden[k] for k in golden if k.startswith("in_")}
    net = caffefold.to_deploy(caffefold.load(*given)).net
    text, weights = net.to_document().encode().decode(), given[1].read_bytes()
    wanted = run(text, weights, inputs)
    found = run(tmp_path / "out.prototxt", tmp_path / "out.caffemodel", inputs)
    assert sorted(report.gone) == sorted(wanted.keys() - found.keys())
    for blob in wanted.keys() & found.keys():
        values = wanted[blob]
        assert np.abs(found[blob] - values).max() <= EDGE_LIMIT * np.abs(values).max(), blob


@pytest.mark.parametrize(("folder", "name"), CORPUS, ids=[f"{f.name}-{n}" for f, n in CORPUS])
def test_corpus(tmp_path: Path, folder: Path, name: str) -> None:
    with np.load(folder / "golden.npz") as golden:
        arrays = {k: golden[k] for k in golden if ":" in k}
    inputs = {k[6:]: v for k, v in arrays.items() if k.startswith("input:")}
    shapes = {k: (1, *v.shape[1:]) for k, v in inputs.items()}
    caffefold.convert(
        folder / name, folder / "weights.caffemodel", tmp_path / "out", input_shapes=shapes
    )
    pair = tmp_path / "out.prototxt", tmp_path / "out.caffemodel"
    tops = {
        top for layer in caffefold.load(pair[0]).layers for top in (*layer.tops, *layer.bottoms)
    }
    wanted = {
        k.partition(":")[2]: v
        for k, v in arrays.items()
        if not k.startswith("input:") and k not in HEAD_OF_A_FORK and k.partition(":")[2] in tops
    }
    wanted = {k: v for k, v in wanted.items() if k not in BY_ORDER}
    found = run(*pair, inputs, sorted(wanted))
    assert wanted
    for blob, values in wanted.items():
        assert np.abs(found[blob] - values).max() <= DEEP_LIMIT * np.abs(values).max(), blob
