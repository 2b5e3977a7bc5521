"""Layers of detectors: SSD, R-CNN, YOLO."""

from __future__ import annotations

from caffefold.ir.net import Layer
from caffefold.ops.base import Category, Op, own_message
from caffefold.ops.shape import Known, ShapeList, first, product

# Fields of prior_box_param upstream; with a fork's own ones the number of boxes is not known.
_KNOWN = frozenset(
    {"min_size", "max_size", "aspect_ratio", "flip", "clip", "variance", "img_size", "img_h"}
    | {"img_w", "step", "step_h", "step_w", "offset"}
)


class PriorBox(Op):
    """PriorBox: 1 x 2 x (boxes times 4), boxes and their variances (prior_box_layer.cpp)."""

    param = "prior_box_param"

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        self._check(layer)
        shape = first(bottoms)
        spatial: Known = (None,) if shape is None else shape[2:4]
        return [(1, 2, product((*spatial, self.priors(layer), 4)))]

    def _check(self, layer: Layer) -> None:
        """Refuse half a size, and a size beside its halves (LayerSetUp)."""
        params = self.params(layer)
        for whole, kind in (("img_size", "img"), ("step", "step")):
            halves = [name for name in (f"{kind}_h", f"{kind}_w") if params.has(name)]
            given = [*halves, *([whole] if params.has(whole) else ())]
            if (halves and len(given) != 2) or whole in given[1:]:
                raise layer.error(
                    f"{' and '.join(given)} given; Caffe takes {whole}, or {kind}_h and {kind}_w"
                )
            for name in given:
                if params.number(name) <= 0:
                    raise layer.error(f"{name} is {params.number(name):g}; it must be more than 0")

    def priors(self, layer: Layer) -> int | None:
        """Default boxes at each place of a feature map; None where a fork's fields decide.

        For each min_size a square and one box for each aspect ratio (and its inverse with
        ``flip``); for each max_size one more square.
        """
        params = self.params(layer)
        if any(field.name not in _KNOWN for field in own_message(layer, self.param).fields):
            return None
        ratios = [1.0]
        for ratio in params.numbers("aspect_ratio"):
            if any(abs(ratio - known) < 1e-6 for known in ratios):
                continue
            ratios.append(ratio)
            if params.flag("flip") and ratio:
                ratios.append(1 / ratio)
        return len(ratios) * len(params.numbers("min_size")) + len(params.numbers("max_size"))


class Detections(Op):
    """1 x 1 x (as many boxes as are found) x ``width`` numbers for each box."""

    width = 7  # image, label, score and four corners

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return [(1, 1, None, self.width)]


class DetectionOutput(Detections):
    """DetectionOutput of SSD (detection_output_layer.cpp)."""

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        params = self.params(layer)
        if params.integer("background_label_id") == -1 and params.flag("share_location"):
            # Shared boxes bear the label -1: DecodeBBoxesAll leaves out those of the background.
            raise layer.error(
                "background_label_id is -1, and share_location true: Caffe finds no boxes then; "
                "write share_location: false, or another background_label_id"
            )
        return super().shapes(layer, bottoms)


class DetectionEvaluate(Detections):
    """Detections against answers: five numbers for each box and class."""

    category = Category.MEASURE
    width = 5


class Proposal(Op):
    """Proposal of R-CNN: the image and four corners of each region; then their scores."""

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return ((None, 5), (None, 1))[: len(layer.tops)]


# SSD's; those of MobileNet-YOLO for YOLO v2 and v3.
DETECTION_OUTPUT = DetectionOutput("DetectionOutput", param="detection_output_param")
YOLO_OUTPUT = Detections("YoloDetectionOutput", param="yolo_detection_output_param")
YOLO_V3_OUTPUT = Detections("Yolov3DetectionOutput", param="yolov3_detection_output_param")
OPS = (
    PriorBox("PriorBox"),
    *(DETECTION_OUTPUT, YOLO_OUTPUT, YOLO_V3_OUTPUT),
    *(DetectionEvaluate("DetectionEvaluate"), Proposal("Proposal")),
)
