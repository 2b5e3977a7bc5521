"""Real Caffe's outputs of other people's models, and of the tiny nets, after conversion.

The folded nets are run by torch in float64 (tests/reference); what lies behind a PriorBox is left
to the OpenCV tests beside this file.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import caffefold
from tests.reference.caffe_torch import run
from tests.support.goldens import EDGE, SHARED, assert_close, deployed, golden

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
    found = run(tmp_path / "out.prototxt", tmp_path / "out.caffemodel", golden(folder, "in_"))
    assert_close(found, deployed(folder), EDGE_LIMIT)


@pytest.mark.parametrize("folder", EDGE, ids=lambda folder: folder.name)
def test_names_of_blobs(tmp_path: Path, folder: Path) -> None:
    """A blob name that is left holds what it held; what is gone is reported."""
    given = folder / "net.prototxt", folder / "weights.caffemodel"
    report = caffefold.convert(*given, tmp_path / "out")
    inputs = golden(folder, "in_")
    net = caffefold.to_deploy(caffefold.load(*given)).net
    text, weights = net.to_document().encode().decode(), given[1].read_bytes()
    wanted = run(text, weights, inputs)
    found = run(tmp_path / "out.prototxt", tmp_path / "out.caffemodel", inputs)
    assert sorted(report.gone) == sorted(wanted.keys() - found.keys())
    left = {blob: wanted[blob] for blob in wanted.keys() & found.keys()}
    assert_close(found, left, EDGE_LIMIT)


@pytest.mark.parametrize(("folder", "name"), CORPUS, ids=[f"{f.name}-{n}" for f, n in CORPUS])
def test_corpus(tmp_path: Path, folder: Path, name: str) -> None:
    inputs = golden(folder, "input:")
    shapes = {k: (1, *v.shape[1:]) for k, v in inputs.items()}
    caffefold.convert(
        folder / name, folder / "weights.caffemodel", tmp_path / "out", input_shapes=shapes
    )
    pair = tmp_path / "out.prototxt", tmp_path / "out.caffemodel"
    tops = {
        top for layer in caffefold.load(pair[0]).layers for top in (*layer.tops, *layer.bottoms)
    }
    others = {k: v for k, v in golden(folder, "").items() if k not in HEAD_OF_A_FORK}
    blobs = {key.partition(":")[2]: v for key, v in others.items() if not key.startswith("input:")}
    wanted = {k: v for k, v in blobs.items() if k in tops and k not in BY_ORDER}
    found = run(*pair, inputs, sorted(wanted))
    assert_close(found, wanted, DEEP_LIMIT)
