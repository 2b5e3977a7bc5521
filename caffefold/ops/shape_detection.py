"""Shapes behind the layers of detectors: SSD, R-CNN, YOLO."""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.formats.prototxt.tree import Message
from caffefold.ir.net import Layer
from caffefold.ops.shape import Dim, Shape, Step, first, product

_KNOWN = frozenset(
    {"min_size", "max_size", "aspect_ratio", "flip", "clip", "variance", "img_size", "img_h"}
    | {"img_w", "step", "step_h", "step_w", "offset"}
)


def prior_box(layer: Layer) -> Step:
    """PriorBox: 1 x 2 x (boxes times 4), boxes and their variances (prior_box_layer.cpp)."""
    count = priors(layer)

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        shape = first(bottoms)
        spatial: tuple[Dim, ...] = (None,) if shape is None else shape[2:4]
        return [(1, 2, product((*spatial, count, 4)))]

    return step


def priors(layer: Layer) -> int | None:
    """Default boxes at each place of a feature map; None where a fork's fields decide.

    For each min_size a square and one box for each aspect ratio (and its inverse with ``flip``);
    for each max_size one more square.
    """
    params = layer.params("prior_box_param")
    fields = (layer.body.message("prior_box_param") or Message(())).fields
    if any(field.name not in _KNOWN for field in fields):
        return None
    ratios = [1.0]
    for ratio in params.numbers("aspect_ratio"):
        if any(abs(ratio - known) < 1e-6 for known in ratios):
            continue
        ratios.append(ratio)
        if params.flag("flip") and ratio:
            ratios.append(1 / ratio)
    return len(ratios) * len(params.numbers("min_size")) + len(params.numbers("max_size"))


def rows(width: int) -> Step:
    """1 x 1 x (as many as are found) x ``width``."""
    return lambda bottoms: [(1, 1, None, width)]


def detection_output(layer: Layer) -> Step:
    """DetectionOutput and YOLO's: image, label, score and four corners for each box found."""
    del layer
    return rows(7)


def detection_evaluate(layer: Layer) -> Step:
    """DetectionEvaluate: five numbers for each box and class."""
    del layer
    return rows(5)


def proposal(layer: Layer) -> Step:
    """Proposal of R-CNN: the image and four corners of each region; then their scores."""
    count = len(layer.tops)
    shapes: tuple[Shape, ...] = ((None, 5), (None, 1))
    return lambda bottoms: shapes[:count]
