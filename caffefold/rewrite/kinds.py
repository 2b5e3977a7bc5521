"""Kinds of layers: data layers, losses, measures; and what does nothing at test time."""

from __future__ import annotations

from caffefold.formats.text import Message, Scalar
from caffefold.model.net import Layer
from caffefold.model.params import FALSE, TRUE, parse_float

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

    Two forks have a Dropout that does not: SegNet's with ``sample_weights_test`` stays active, and
    DeepLab's with ``scale_train: false`` scales in TEST instead.
    """
    if len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return False
    if layer.type == "Dropout":
        params = layer.body.message("dropout_param") or Message(())
        return not (_is(params, "sample_weights_test", TRUE) or _is(params, "scale_train", FALSE))
    return layer.type == "Split"


def _is(params: Message, name: str, words: frozenset[str]) -> bool:
    value = params.last(name)
    return isinstance(value, Scalar) and value.raw in words
