"""Kinds of layers: data layers, losses, measures; and what does nothing at test time."""

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


def is_identity(layer: Layer) -> bool:
    """Whether the layer hands its one input on unchanged in TEST.

    SegNet's Dropout with ``sample_weights_test`` stays active in TEST.
    """
    if len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return False
    if layer.type == "Dropout":
        params = layer.body.message("dropout_param")
        active = params.last("sample_weights_test") if params is not None else None
        return not (isinstance(active, Scalar) and active.raw in ("true", "True", "1", "t"))
    return layer.type == "Split"
