"""The shared models, with real Caffe's answers: what every consumer is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

import caffefold
from caffefold._proto import caffe_pb2


@dataclass(frozen=True)
class Model:
    """A pair as somebody has it, and what real Caffe answers."""

    name: str
    prototxt: Path
    caffemodel: Path
    inputs: dict[str, NDArray[Any]]
    wanted: dict[str, NDArray[Any]]

    def error(self, blob: str, found: NDArray[Any]) -> float:
        """How far from Caffe, of the largest value; inf for another size."""
        wanted = self.wanted[blob]
        if blob == "detection_out":  # rows, in no set order
            if found.size % 7 and found.size % 6:
                return float("inf")
            found, wanted = _rows(found), _rows(wanted)
            if found.shape != wanted.shape:
                return float("inf")
            # Of nearly equal scores, either may come first.
            between = np.abs(found[:, None, 1:] - wanted[None, :, 1:]).max(axis=2)
            nearest = max(between.min(axis=0).max(), between.min(axis=1).max())
            return float(nearest / np.abs(wanted).max())
        if found.size != wanted.size:
            return float("inf")
        apart = np.abs(found.reshape(-1).astype(np.float64) - wanted.reshape(-1))
        worst = float(apart.max() / np.abs(wanted).max())
        return worst if np.isfinite(worst) else float("inf")


def _rows(found: NDArray[Any]) -> NDArray[Any]:
    """Rows of detections by label and falling score, without padding."""
    flat = found.reshape(-1, 7 if found.size % 7 == 0 and found.shape[-1] != 6 else 6)
    if flat.shape[1] == 6:  # MNN leaves out which image it is
        flat = np.insert(flat, 0, 0, axis=1)
    flat = flat[flat[:, 2] > 0]
    return flat[np.lexsort((-flat[:, 2], flat[:, 1]))]


def writers(prototxt: Path) -> dict[str, str]:
    """The layer that writes each blob last: some consumers are asked for layers."""
    text = prototxt.read_text(encoding="utf-8")
    net = text_format.Parse(text, caffe_pb2.NetParameter(), allow_unknown_field=True)
    made: dict[str, str] = {}
    for layer in net.layer:
        made.update(dict.fromkeys(layer.top, layer.name))
    for v1 in net.layers:
        made.update(dict.fromkeys(v1.top, v1.name))
    return made


def models(shared: Path, corpus: bool = False, scratch: Path | None = None) -> Iterator[Model]:
    """The nets of ``models/``; with ``corpus``, also other people's.

    Of those, one is a training net alone: its deploy net, not folded, is written to the folder
    ``scratch``; without one it is left out.
    """
    for folder in sorted(path.parent for path in shared.glob("models/edge/*/golden.npz")):
        with np.load(folder / "golden.npz") as golden:
            inputs = {key[3:]: golden[key] for key in golden if key.startswith("in_")}
            prefix = "global_" if any(key.startswith("global_") for key in golden) else "out_"
            wanted = {k[len(prefix) :]: golden[k] for k in golden if k.startswith(prefix)}
        yield Model(
            folder.name, folder / "net.prototxt", folder / "weights.caffemodel", inputs, wanted
        )
    folder = shared / "models/lenet_bn"
    with np.load(folder / "golden.npz") as golden:
        inputs, wanted = {"data": golden["inputs"]}, {"prob": golden["prob"]}
    weights = folder / "lenet_bn_iter_5000.caffemodel"
    yield Model(folder.name, folder / "deploy_bn.prototxt", weights, inputs, wanted)
    folder = shared / "models/mobilenet_ssd_shapes"
    with np.load(folder / "golden.npz") as golden:
        first = golden["detection_out"][:, 0] == 0
        inputs, wanted = (
            {"data": golden["data"][:1]},
            {"detection_out": golden["detection_out"][first]},
        )
    weights = folder / "shapes_iter_9000.caffemodel"
    yield Model(folder.name, folder / "deploy_bn.prototxt", weights, inputs, wanted)
    if corpus:
        yield from _corpus(shared, scratch)


def _corpus(shared: Path, scratch: Path | None) -> Iterator[Model]:
    for path in sorted(shared.glob("corpus/*/*/golden.npz")):
        text, weights = path.parent / "deploy.prototxt", path.parent / "weights.caffemodel"
        if not text.exists():
            if scratch is None:
                continue
            prefix = scratch / path.parent.name
            given = path.parent / "train_val.prototxt", weights
            caffefold.convert(*given, prefix, fold="none", heads={"*": "none"}, batch=4)
            text, weights = Path(f"{prefix}.prototxt"), Path(f"{prefix}.caffemodel")
        made = writers(text)
        with np.load(path) as golden:
            arrays = {tuple(key.split(":", 1)): golden[key] for key in golden if ":" in key}
        inputs = {name: value for (kind, name), value in arrays.items() if kind == "input"}
        wanted = {
            name: value
            for (kind, name), value in arrays.items()
            if kind == "output" and name in made
        }
        if scratch is not None:
            text = _of_shape(text, inputs, scratch / f"{path.parent.name}.prototxt")
        if wanted:
            yield Model(path.parent.name, text, weights, inputs, wanted)


def _of_shape(text: Path, inputs: dict[str, NDArray[Any]], made: Path) -> Path:
    """The prototxt, or a copy whose one input has the shape that Caffe was given."""
    (shape,) = (value.shape for value in inputs.values())
    source = text.read_text(encoding="utf-8")
    found = list(re.finditer(r"\b(?:input_)?dim\s*:\s*(\d+)", source))[: len(shape)]
    if [int(each[1]) for each in found] == list(shape):
        return text
    for each, dim in zip(reversed(found), reversed(shape), strict=True):
        source = f"{source[: each.start(1)]}{dim}{source[each.end(1) :]}"
    made.write_text(source, encoding="utf-8")
    return made
