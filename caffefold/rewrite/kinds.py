"""Which layers are of training only: data layers, losses, measures."""

from __future__ import annotations

from caffefold.formats.text import Scalar
from caffefold.model.net import Layer
from caffefold.model.params import parse_float

MEASURES = frozenset({"Accuracy", "DetectionEvaluate", "Silence"})


def is_data(layer: Layer) -> bool:
    """Whether this layer reads a data set: Data, AnnotatedData, ImageData and what forks add."""
    return not layer.bottoms and bool(layer.tops) and "Data" in layer.type.replace("Dummy", "")


def is_loss(layer: Layer) -> bool:
    """Whether this layer only exists to train: a loss by its name, or by a weight it carries."""
    if layer.type.endswith("Loss"):
        return True
    weights = (v.raw for v in layer.body.all("loss_weight") if isinstance(v, Scalar))
    return any(parse_float(raw) != 0 for raw in weights)
