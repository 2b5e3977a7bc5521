"""Inferred shapes against blobs that real Caffe computed, and against OpenCV's shapes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.analysis.shapes import Shapes, infer
from caffefold.ops.shape import Known
from caffefold.passes.view.phase import SelectPhase

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
EDGE = sorted(path.parent for path in SHARED.glob("models/edge/*/golden.npz"))
CORPUS = [
    (path.parent, name)
    for path in sorted(SHARED.glob("corpus/*/*/golden.npz"))
    for name in ("train.prototxt", "train_val.prototxt", "test.prototxt", "deploy.prototxt")
    if (path.parent / name).exists()
]
DEPLOY = [folder / name for folder, name in CORPUS if name == "deploy.prototxt"]

needs_shared = pytest.mark.skipif(not EDGE, reason="CAFFEFOLD_SHARED is not there")


def shapes(prototxt: Path, weights: Path, inputs: Mapping[str, tuple[int, ...]]) -> Shapes:
    with caffefold.load(prototxt, weights) as net:
        return infer(SelectPhase().run(net).net, inputs)


def compare(found: Shapes, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Equal; only how many boxes a detector finds can not be known."""
    assert wanted
    assert not found.problems
    for blob, shape in wanted.items():
        known = found.of(blob)
        assert known is not None, blob
        if known[:2] == (1, 1) and known[2:] == (None, 7):
            known = (1, 1, shape[2], 7)
        assert known == shape, blob


@needs_shared
@pytest.mark.parametrize("folder", EDGE, ids=lambda folder: folder.name)
def test_edge(folder: Path) -> None:
    with np.load(folder / "golden.npz") as golden:
        arrays = {key: golden[key].shape for key in golden}
    inputs = {key[3:]: shape for key, shape in arrays.items() if key.startswith("in_")}
    wanted = {k.split("_", 1)[1]: s for k, s in arrays.items() if not k.startswith("in_")}
    compare(shapes(folder / "net.prototxt", folder / "weights.caffemodel", inputs), wanted)


@needs_shared
@pytest.mark.parametrize(("folder", "name"), CORPUS, ids=[f"{f.name}-{n}" for f, n in CORPUS])
def test_corpus(folder: Path, name: str) -> None:
    with np.load(folder / "golden.npz") as golden:
        arrays = {key.partition(":"): golden[key].shape for key in golden if ":" in key}
    inputs = {blob: shape for (kind, _, blob), shape in arrays.items() if kind == "input"}
    found = shapes(folder / name, folder / "weights.caffemodel", inputs)
    made = {version.blob for version in found.graph.versions}
    wanted = {b: s for (kind, _, b), s in arrays.items() if kind != "input" and b in made}
    compare(found, wanted)


def in_opencv(prototxt: Path, weights: Path, shape: Known) -> dict[str, list[tuple[int, ...]]]:
    """Shapes of each layer's tops, by layer name."""
    cv2 = pytest.importorskip("cv2")
    try:
        net = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))
        ids, _, made = net.getLayersShapes([list(shape)])
    except cv2.error as error:
        pytest.skip(f"OpenCV has no such layer: {' '.join(str(error).split())[-80:]}")
    names = ["", *net.getLayerNames()]
    return {
        names[int(i)]: [tuple(map(int, top)) for top in tops]
        for i, tops in zip(np.ravel(ids), made, strict=True)
    }


def check_opencv(prototxt: Path, weights: Path) -> int:
    """Compare every top; how many layers there were."""
    with caffefold.load(prototxt, weights) as net:
        found = infer(net)
    assert not found.problems
    shape = found.of(net.inputs[0])
    assert shape is not None
    wanted = in_opencv(prototxt, weights, shape)
    layers = [(i, layer) for i, layer in enumerate(net.layers) if layer.name in wanted]
    for position, layer in layers:
        for known, top in zip(found.tops(position), wanted[layer.name], strict=False):
            # OpenCV pads what a detector finds to keep_top_k rows.
            known_top = known if layer.type != "DetectionOutput" else (1, 1, top[2], 7)
            assert known_top == top, layer.name
    return len(layers)


def test_a_detector_in_opencv(samples: Path) -> None:
    folder = samples / "mobilenet_ssd_shapes"
    found = check_opencv(folder / "deploy_bn.prototxt", folder / "shapes_iter_9000.caffemodel")
    assert found > 180


@needs_shared
@pytest.mark.parametrize("path", DEPLOY, ids=lambda path: path.parent.name)
def test_deploy_nets_in_opencv(path: Path) -> None:
    assert check_opencv(path, path.with_name("weights.caffemodel")) > 0
