"""OpenCV as a Caffe runtime: it reads prototxt and caffemodel itself and shares no code with us."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

import caffefold
from caffefold._proto import caffe_pb2

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Model:
    """A pair of files that OpenCV can run."""

    prototxt: Path
    caffemodel: Path

    def layers(self) -> list[tuple[str, str]]:
        """(name, type) of every layer, Input apart."""
        net = text_format.Parse(
            self.prototxt.read_text(encoding="utf-8"),
            caffe_pb2.NetParameter(),
            allow_unknown_field=True,
        )
        return [(layer.name, layer.type) for layer in net.layer if layer.type != "Input"]

    def run(self, inputs: Mapping[str, Floats], blobs: Sequence[str]) -> dict[str, Floats]:
        """The values of ``blobs`` when the net is fed with ``inputs``."""
        cv2 = pytest.importorskip("cv2")
        net = cv2.dnn.readNetFromCaffe(str(self.prototxt), str(self.caffemodel))
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        net.enableFusion(False)  # its fused grouped deconvolution is wrong
        for name, value in inputs.items():
            net.setInput(value, name)
        # OpenCV is asked for layers: a blob's value is what the last layer that writes it computes.
        text = text_format.Parse(
            self.prototxt.read_text(encoding="utf-8"), caffe_pb2.NetParameter()
        )
        writers = {top: layer.name for layer in text.layer for top in layer.top}
        found = net.forward([writers[blob] for blob in blobs])
        return dict(zip(blobs, found, strict=True))


def rows(detections: Floats) -> Floats:
    """The rows of a DetectionOutput by image, label and falling score, without its padding."""
    flat = detections.reshape(-1, 7)
    flat = flat[flat.any(axis=1)]
    return flat[np.lexsort((-flat[:, 2], flat[:, 1], flat[:, 0]))]


def difference(found: Floats, wanted: Floats) -> float:
    """The largest difference, relative to the largest value."""
    assert found.size == wanted.size, (found.shape, wanted.shape)
    assert np.isfinite(found).all()
    apart = np.abs(found.reshape(-1).astype(np.float64) - wanted.reshape(-1))
    return float(apart.max() / np.abs(wanted).max())


@dataclass(frozen=True)
class Workbench:
    """A folder for converted models, and the comparisons."""

    folder: Path

    def convert(self, given: Model, name: str, **options: Any) -> Model:
        """Convert a model."""
        prefix = self.folder / name
        caffefold.convert(given.prototxt, given.caffemodel, prefix, **options)
        return Model(Path(f"{prefix}.prototxt"), Path(f"{prefix}.caffemodel"))

    def model(self, prototxt: Path, caffemodel: Path) -> Model:
        """A pair of files."""
        return Model(prototxt, caffemodel)

    rows = staticmethod(rows)
    difference = staticmethod(difference)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="session")
def shapes(samples: Path) -> Model:
    """The small MobileNet-SSD that real Caffe trained, as a training net."""
    folder = samples / "mobilenet_ssd_shapes"
    return Model(folder / "train_template.prototxt", folder / "shapes_iter_9000.caffemodel")


@pytest.fixture(scope="session")
def full_size(samples: Path, bench: Workbench) -> Model:
    """The full-size MobileNet-SSD, 21 classes, with generated weights."""
    folder = samples / "mobilenet_ssd"
    weights = bench.folder / "full_size_train.caffemodel"
    subprocess.run(
        [sys.executable, folder / "make_weights.py", weights], check=True, capture_output=True
    )
    return Model(folder / "train_template.prototxt", weights)


def _for_21_classes(match: re.Match[str]) -> str:
    return f"num_output: {int(match[1]) // 3}"


@pytest.fixture(scope="session")
def filled(bench: Workbench, shared: Path) -> Any:
    """A template of the corpus with numbers for 21 classes."""

    def fill(name: str) -> Path:
        text = (shared / "corpus/prototxts" / name).read_text(encoding="utf-8")
        made = bench.folder / name
        text = re.sub(r"\bcls(\d)x\b", lambda match: str(21 * int(match[1])), text)
        # One author left the numbers of 63 classes in.
        text = re.sub(r"num_output: (189|378)$", _for_21_classes, text, flags=re.MULTILINE)
        made.write_text(text, encoding="utf-8")
        return made

    return fill
