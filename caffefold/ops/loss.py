"""Layers that train or report: losses, margins, measures, and Python layers that may be any of it.

Forks add more losses than anybody lists, and name them alike; so a type that the table does not
have is known by its name (``by_name``).
"""

from __future__ import annotations

import re

from caffefold.ir.net import Layer
from caffefold.ops.base import Category, Op, Same, own_message
from caffefold.ops.detection import YOLO_OUTPUT, YOLO_V3_OUTPUT
from caffefold.ops.recurrent import Recurrent
from caffefold.ops.shape import ShapeList, canonical, first
from caffefold.ops.source import Data

_LOSS = re.compile(r"Loss(OHEM|V\d|\d)?$")
_MEASURE = re.compile(r"Silence|.*Accuracy.*|.*Evaluat.*|Eval.*|.*Eval|HDF5Output")
_MARGIN = re.compile(r"Margin|LabelSpecific|Arc|Cosin|Angular")
_LEARNED = re.compile(r"(Depthwise|Deformable)?Conv.*|.*InnerProduct.*|Local")
_SAMPLER = re.compile(r".*ProposalTarget(Layer)?.*")
# A phase in the parameters of a Python layer, which its author's code reads: a Python dict, JSON or
# YAML. Quotes may be escaped, as they stand inside a string of the prototxt.
_PHASE = re.compile(r"""(\bphase(?:\\?['"])?\s*[:=]\s*(?:\\?['"])?)(train)\b""", re.IGNORECASE)
# Losses of detectors: each is about objects of other sizes, however alike they are otherwise.
_DETECTS = re.compile(
    r"MultiBox|Yolo|YOLO|Region|Detect|Grid|Box|IO[Uu]|Anchor|RPN|Center[Nn]et|CenterObject"
)
# Losses without a head, whose bottom is a result as it stands.
_PLAIN = re.compile(
    r"Euclidean.*|L1Loss|L2Loss|SmoothL1.*|HuberLoss|HingeLoss|MultinomialLogisticLoss"
    r"|.*Contrastive.*|.*Triplet.*|.*CenterLoss|.*Dice.*|.*IO[Uu]Loss|WingLoss"
)


class Judged(Op):
    """What may be a loss: by its name, what it makes of its input first.

    Source: the losses' own code (softmax_loss_layer.cpp, sigmoid_cross_entropy_loss_layer.cpp,
    infogain_loss_layer.cpp); forks name theirs after the function they hold.
    """

    def __init__(self, *types: str, param: str = "") -> None:
        super().__init__(*types, param=param)
        kind, loss = self.name, "Loss" in self.name
        focal = kind.endswith("FocalLoss") and "Sigmoid" not in kind
        softmax = "Softmax" in kind and loss and "Center" not in kind
        self.plain = _PLAIN.fullmatch(kind) is not None
        if focal or softmax or kind == "InfogainLoss":
            self.probability = "Softmax"
        elif loss and ("Sigmoid" in kind or "BinaryCrossEntropy" in kind):
            self.probability = "Sigmoid"


class Loss(Judged):
    """A loss: one number without axes (loss_layer.cpp); more tops are each fork's own."""

    category = Category.LOSS

    def __init__(
        self, *types: str, param: str = "", predictions: int = 1, detector: Op | None = None
    ) -> None:
        super().__init__(*types, param=param)
        self.predictions = predictions
        """How many bottoms, from the first on, are predictions rather than answers."""
        self.detects = detector is not None or _DETECTS.search(self.name) is not None
        """Whether it trains a detector."""
        self.detector = detector
        """The layer that detects with what this loss is trained on; made on request."""
        self.shapes_feature = "CenterLoss" in self.name
        """Whether it draws features together, so that they, not classes, are the result."""

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return [()]


class PredictingLoss(Loss):
    """SoftmaxWithLoss, InfogainLoss: a second top is the softmax, like the first bottom."""

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return [(), first(bottoms)]


class Measure(Op):
    """Reports on a training, and leaves nothing a deploy net needs."""

    category = Category.MEASURE
    known = False


class Sink(Measure):
    """Silence, and what only writes files: no tops."""

    known = True


class Accuracy(Measure):
    """Accuracy: one number; a second top has one for each class (accuracy_layer.cpp)."""

    param = "accuracy_param"
    known = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        at, shape = self.params(layer).integer("axis"), first(bottoms)
        classes = None if shape is None else shape[canonical(layer, at, len(shape))]
        return [(), *[(classes,)] * (len(layer.tops) - 1)]


class Unlisted(Judged):
    """A type the table does not have: nothing is known of its shapes and weights."""

    known = False

    def passed_on(self, layer: Layer) -> int:
        return min(1, len(layer.bottoms), len(layer.tops)) if _SAMPLER.fullmatch(layer.type) else 0


class UnlistedLearned(Unlisted):
    """Named like something with weights."""

    learned = True


class Margin(Unlisted):
    """Makes training harder by a margin at the right class (ArcFace, AMSoftmax, SphereFace)."""

    margin = True
    flow = Same()


class Assisting(Unlisted):
    """AssistedExcitation (eric612/MobileNet-YOLO): adds to features where the label has boxes, by a
    weight that falls to 0 as training goes on; the features themselves at test time."""

    assists = True
    flow = Same()

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return [first(bottoms)]


class Python(Unlisted):
    """A layer written in Python: what it is, its class's name says."""

    def is_loss(self, layer: Layer) -> bool:
        named = python_class(layer).endswith(("Loss", "LossLayer"))
        return named or super().is_loss(layer)

    def tested(self, raw: str) -> str:
        """The text of a ``param_str`` with TEST where it says that the phase is TRAIN."""

        def test(found: re.Match[str]) -> str:
            word = found[2]
            return found[1] + ("TEST" if word.isupper() else "Test" if word.istitle() else "test")

        return _PHASE.sub(test, raw)

    def passed_on(self, layer: Layer) -> int:
        sampler = _SAMPLER.fullmatch(python_class(layer)) is not None
        return min(1, len(layer.bottoms), len(layer.tops)) if sampler else 0


def python_class(layer: Layer) -> str:
    """The class a Python layer names, without its module."""
    return own_message(layer, "python_param").string("layer")


def by_name(kind: str) -> Op:
    """What a type is that the table does not have."""
    if _LOSS.search(kind):
        return Loss(kind)
    if _MEASURE.fullmatch(kind):
        return Measure(kind)
    if "LSTM" in kind:
        return Recurrent(kind)
    if _LEARNED.fullmatch(kind):
        return UnlistedLearned(kind)
    if _MARGIN.search(kind):
        return Margin(kind)
    return Data(kind) if "data" in kind.lower() else Unlisted(kind)


# The loss of an SSD reads boxes, scores and priors, then the answers.
MULTIBOX_LOSS = Loss("MultiBoxLoss", param="multibox_loss_param", predictions=3)
INFOGAIN_LOSS = PredictingLoss("InfogainLoss", param="infogain_loss_param")
YOLO_V3_LOSS = Loss("Yolov3", "Yolov3Loss", param="yolov3_param", detector=YOLO_V3_OUTPUT)
REGION_LOSS = Loss("RegionLoss", param="region_loss_param", detector=YOLO_OUTPUT)
SILENCE = Sink("Silence")
PYTHON = Python("Python", param="python_param")
OPS = (
    *(PredictingLoss("SoftmaxWithLoss"), INFOGAIN_LOSS, MULTIBOX_LOSS),
    *(YOLO_V3_LOSS, REGION_LOSS, Loss("YoloSeg")),
    *(Loss("SoftmaxWithLossOHEM"), Loss("SmoothL1LossOHEM")),
    *(Accuracy("Accuracy"), SILENCE, Assisting("AssistedExcitation"), Sink("HDF5Output"), PYTHON),
)
