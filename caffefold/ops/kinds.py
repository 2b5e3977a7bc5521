"""Kinds of layers: data layers, losses, measures; and what does nothing at test time."""

from __future__ import annotations

import re

from caffefold.formats.prototxt.tree import Message, Scalar
from caffefold.ir.net import Layer
from caffefold.ir.params import FALSE, TRUE, parse_float

# Layers without bottoms that read no data set: their numbers are the net's own, or come from
# outside. Parameter: parameter_layer.hpp; Const, and what marks where sequences start: forks.
_NO_DATA = frozenset(
    {"Input", "Parameter", "Const", "Constant", "DummyData", "ContinuationIndicator"}
)
# Layers that report on a training, by type; forks' own follow the same naming.
_MEASURE = re.compile(r"Silence|.*Accuracy.*|.*Evaluat.*|Eval.*|.*Eval|HDF5Output")
_RECURRENT = frozenset({"LSTM", "RNN", "LSTMUnit", "GRU", "Lstm", "Recurrent", "BLSTM"})
_LEARNED = re.compile(
    r"(Depthwise|Deformable)?Conv.*|Deconvolution|InnerProduct|.*InnerProduct.*|Embed|Local"
    r"|BatchNorm|BN|Scale|Bias|PReLU|Normalize|DeformableConvolution|.*LSTM.*|RNN"
)


def is_data(layer: Layer) -> bool:
    """Whether this layer reads a data set: Data, AnnotatedData, Python, and what forks add."""
    if layer.bottoms or not layer.tops:
        return False
    return layer.type not in _NO_DATA and _LEARNED.fullmatch(layer.type) is None


def is_dummy(layer: Layer) -> bool:
    """Whether this is a DummyData layer: a stand-in for data, or a constant of the net."""
    return layer.type == "DummyData"


def is_loss(layer: Layer) -> bool:
    """Whether this layer only exists to train: a loss by its name, or by a weight it carries."""
    if re.search(r"Loss(OHEM|V\d|\d)?$", layer.type) or layer.type == "MultiBoxLoss":
        return True
    if layer.type == "Python" and _python_class(layer).endswith(("Loss", "LossLayer")):
        return True
    weights = (v.raw for v in layer.body.all("loss_weight") if isinstance(v, Scalar))
    return any(parse_float(raw) != 0 for raw in weights)


def is_measure(layer: Layer) -> bool:
    """Whether this layer only reports on a training: Accuracy, DetectionEvaluate, Silence ..."""
    return bool(layer.bottoms) and measures(layer.type)


def measures(kind: str) -> bool:
    """Whether layers of this type only report on a training."""
    return _MEASURE.fullmatch(kind) is not None


def is_margin(layer: Layer) -> bool:
    """Whether the layer makes training harder by a margin at the right class (ArcFace, AMSoftmax,
    SphereFace and kin; all are forks')."""
    return re.search(r"Margin|LabelSpecific|Arc|Cosin|Angular", layer.type) is not None


def is_recurrent(layer: Layer) -> bool:
    """Whether the layer reads sequences, so that a further input of it is data as well."""
    return layer.type in _RECURRENT or "LSTM" in layer.type


def is_learned(layer: Layer) -> bool:
    """Whether the layer computes with numbers that training found."""
    if not layer.bottoms:
        return False
    if layer.type in ("Scale", "Bias") and len(layer.bottoms) > 1:
        return bool(layer.blobs)
    known = _LEARNED.fullmatch(layer.type) is not None
    return known or bool(layer.blobs) or any(field.name == "param" for field in layer.body.fields)


def loss_weight(layer: Layer) -> float:
    """The weight of a loss: what is written last, else 1 (layer.hpp: 1 for the first top)."""
    found = [v.raw for v in layer.body.all("loss_weight") if isinstance(v, Scalar)]
    weights = [parse_float(raw) or 0.0 for raw in found]
    return max(weights) if weights else 1.0


def probability_of(layer: Layer) -> str:
    """The layer that computes the probability a loss computes before its loss; "" when none does.

    Source: the losses' own code (softmax_loss_layer.cpp, sigmoid_cross_entropy_loss_layer.cpp,
    infogain_loss_layer.cpp); forks name theirs after the function they hold.
    """
    kind = layer.type
    if kind == "InfogainLoss" or (kind.endswith("FocalLoss") and "Sigmoid" not in kind):
        return "Softmax"
    if "Softmax" in kind and "Loss" in kind and "Center" not in kind:
        return "Softmax"
    if "Loss" in kind and ("Sigmoid" in kind or "BinaryCrossEntropy" in kind):
        return "Sigmoid"
    return ""


def python_class(layer: Layer) -> str:
    """The class a Python layer names, without its module; "" for other layers."""
    return _python_class(layer) if layer.type == "Python" else ""


def _python_class(layer: Layer) -> str:
    return (layer.body.message("python_param") or Message(())).string("layer")


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
