"""SSD's PriorBox and DetectionOutput; boxes are xmin, ymin, xmax, ymax.

Computed in the precision of what comes in, in Caffe's order (prior_box_layer.cpp, bbox_util.cpp):
in float32 a box at a threshold falls on the side on which Caffe has it.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from caffefold.check.forward.layers import Array, Arrays, Function, NotEvaluated
from caffefold.ir.net import Layer
from caffefold.ir.params import Params

_FIELDS = frozenset(
    {"min_size", "max_size", "aspect_ratio", "flip", "clip", "variance", "img_size", "img_h"}
    | {"img_w", "step", "step_h", "step_w", "offset"}
)


def prior_box(layer: Layer, inputs: Arrays) -> Arrays:
    """Boxes around the middle of each place, then their variances."""
    features, data = inputs
    p = layer.params("prior_box_param")
    if any(field.name not in _FIELDS for field in p.message.fields):
        raise NotEvaluated("a fork's own fields of PriorBox")
    rows, columns = features.shape[2:4]
    height = p.integer("img_size") or p.integer("img_h") or data.shape[2]
    width = p.integer("img_size") or p.integer("img_w") or data.shape[3]
    down = p.number("step_h") or p.number("step")
    across = p.number("step_w") or p.number("step")
    if not (down and across):
        down, across = height / rows, width / columns
    sides = _sides(p)
    boxes = [
        ((x - w / 2) / width, (y - h / 2) / height, (x + w / 2) / width, (y + h / 2) / height)
        for y in ((row + p.number("offset")) * down for row in range(rows))
        for x in ((column + p.number("offset")) * across for column in range(columns))
        for w, h in sides
    ]
    made = np.array(boxes).reshape(-1)
    if p.flag("clip"):
        made = made.clip(0, 1)
    variance = np.array(p.numbers("variance") or (0.1,))
    spread = np.tile(np.resize(variance, 4), len(boxes))
    return [np.stack([made, spread])[None]]


def _sides(p: Params) -> list[tuple[float, float]]:
    """Width and height of the boxes of a place; fractions of sizes are cut off."""
    ratios = [1.0]
    for ratio in p.numbers("aspect_ratio"):
        if all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio, 1 / ratio] if p.flag("flip") else [ratio]
    found: list[tuple[float, float]] = []
    large = p.numbers("max_size")
    for i, small in enumerate(map(int, p.numbers("min_size"))):
        found.append((small, small))
        if large:
            found.append((sqrt(small * int(large[i])),) * 2)
        found += [(small * sqrt(ratio), small / sqrt(ratio)) for ratio in ratios[1:]]
    return found


def candidates(layer: Layer, inputs: Arrays) -> Arrays:
    """Boxes (items, priors, 1 or classes, 4) and scores (items, priors, classes) that suppression
    starts from."""
    loc, conf, prior = inputs
    p = layer.params("detection_output_param")
    priors, variances = prior.reshape(2, -1, 4)
    apart = loc.reshape(len(loc), len(priors), -1, 4)
    if p.flag("variance_encoded_in_target"):
        variances = np.ones_like(variances)
    boxes = _decoded(p.enum("code_type"), apart, priors[:, None], variances[:, None])
    return [boxes, conf.reshape(len(loc), len(priors), p.integer("num_classes"))]


def detection_output(layer: Layer, inputs: Arrays) -> Arrays:
    """The rows (image, label, score, box) of what is left of each class, by image and label."""
    p = layer.params("detection_output_param")
    nms = p.sub("nms_param")
    shared = p.flag("share_location")
    boxes, scores = candidates(layer, inputs)
    items, _, classes = scores.shape
    threshold = p.number("confidence_threshold") if p.has("confidence_threshold") else -np.inf
    threshold = float(np.float32(threshold))
    top_k = nms.integer("top_k") if nms.has("top_k") else -1
    keep = p.integer("keep_top_k")
    rows: list[list[float]] = []
    for image in range(items):
        kept: list[tuple[float, int, int]] = []
        for label in range(classes):
            if label == p.integer("background_label_id"):
                continue
            own = boxes[image, :, 0 if shared else label]
            of_class = scores[image, :, label]
            order = np.argsort(-of_class, kind="stable")
            order = order[of_class[order] > threshold]
            order = order[: top_k if top_k > -1 else None]
            left = suppressed(own, order, nms.number("nms_threshold"), nms.number("eta"))
            kept += [(float(of_class[i]), label, i) for i in left]
        if -1 < keep < len(kept):
            best = sorted(kept, key=lambda found: -found[0])[:keep]
            kept = sorted(best, key=lambda found: found[1])
        for score, label, i in kept:
            box = boxes[image, i, 0 if shared else label]
            rows.append([image, label, score, *map(float, box)])
    rows = rows or [[image, *[-1.0] * 6] for image in range(items)]
    return [np.array(rows)[None, None]]


def _decoded(kind: str, loc: Array, prior: Array, variance: Array) -> Array:
    moved = loc * variance
    low, high = prior[..., :2], prior[..., 2:]
    size = high - low
    if kind == "CORNER":
        made: Array = prior + moved
        return made
    if kind == "CORNER_SIZE":
        return np.asarray(prior + moved * np.concatenate([size, size], -1))
    centre = moved[..., :2] * size + (low + high) / 2
    half = np.exp(moved[..., 2:]) * size / 2
    return np.concatenate([centre - half, centre + half], -1)


def suppressed(boxes: Array, order: Array, limit: float, eta: float = 1.0) -> list[int]:
    """Of ``order`` what overlaps nothing better by more than ``limit`` (ApplyNMSFast)."""
    kept: list[int] = []
    limit = float(np.float32(limit))
    for i in order.tolist():
        if not kept or bool((overlaps(boxes[i], boxes[kept]) <= limit).all()):
            kept.append(i)
            if eta < 1 and limit > 0.5:
                limit *= eta
    return kept


def overlaps(box: Array, others: Array) -> Array:
    """Intersection over union with each; a box turned inside out has no area (JaccardOverlap)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = np.where((sides > 0).all(1), sides.prod(1), 0)
    own, theirs = (_area(b) for b in (box[None], others))
    with np.errstate(all="ignore"):
        made: Array = np.where(both > 0, both / (own + theirs - both), 0)
    return made


def _area(boxes: Array) -> Array:
    sides = boxes[:, 2:] - boxes[:, :2]
    made: Array = np.where((sides < 0).any(1), 0, sides.prod(1))
    return made


BOXES: dict[str, Function] = {"DetectionOutput": detection_output, "PriorBox": prior_box}
