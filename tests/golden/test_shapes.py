"""Inferred shapes against blobs that real Caffe computed, and against OpenCV's shapes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.model.shapes import Shapes, infer
from caffefold.rewrite.phase import SelectPhase

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
EDGE = sorted(path.parent for path in SHARED.glob("models/edge/*/golden.npz"))
CORPUS = [
    (path.parent, name)
    for path in sorted(SHARED.glob("corpus/*/*/golden.npz"))
    for name in ("train.prototxt", "train_val.prototxt", "test.prototxt", "deploy.prototxt")
    if (path.parent / name).exists()
]
DEPLOY = sorted(SHARED.glob("corpus/*/*/deploy.prototxt"))

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


def in_opencv(prototxt: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each layer's first top, by layer name."""
    cv2 = pytest.importorskip("cv2")
    try:
        net = cv2.dnn.readNetFromCaffe(str(prototxt))
        ids, _, tops = net.getLayersShapes([])
    except cv2.error as error:
        pytest.skip(f"OpenCV does not read it: {' '.join(str(error).split())[:80]}")
    names = ["", *net.getLayerNames()]
    return {
        names[int(i)]: tuple(map(int, top[0]))
        for i, top in zip(np.ravel(ids), tops, strict=True)
        if 0 < int(i) < len(names) and len(top)
    }


def test_a_detector_in_opencv(samples: Path) -> None:
    """Every layer of a MobileNet-SSD; OpenCV pads what a detector finds to keep_top_k rows."""
    check_opencv(samples / "mobilenet_ssd_shapes/deploy_bn.prototxt", enough=100)


@needs_shared
@pytest.mark.parametrize("path", DEPLOY, ids=lambda path: path.parent.name)
def test_deploy_nets_in_opencv(path: Path) -> None:
    check_opencv(path, enough=5)


def check_opencv(prototxt: Path, *, enough: int) -> None:
    wanted = in_opencv(prototxt)
    net = caffefold.load(prototxt)
    found = infer(net)
    assert not found.problems
    compared = 0
    for position, layer in enumerate(net.layers):
        if layer.name not in wanted or layer.type in ("Input", "DetectionOutput", "Slice"):
            continue
        (known, *_), shape = found.tops(position), wanted[layer.name]
        assert known is not None, layer.name
        assert tuple(d or s for d, s in zip(known, shape, strict=True)) == shape, layer.name
        compared += 1
    assert compared >= enough
