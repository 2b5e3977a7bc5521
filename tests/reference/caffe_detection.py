"""SSD's PriorBox and DetectionOutput, in torch; boxes are xmin, ymin, xmax, ymax."""

from __future__ import annotations

import math

import torch

from caffefold._proto import caffe_pb2 as pb
from tests.reference.caffe_layers import Function, Layer, Tensor, Tops

ABSENT = -1.0


def prior_box(layer: Layer, bottoms: list[Tensor]) -> Tops:
    features, data = bottoms
    p = layer.spec.prior_box_param
    rows, columns = features.shape[2:]
    height = p.img_h or p.img_size or data.shape[2]
    width = p.img_w or p.img_size or data.shape[3]
    step_h, step_w = p.step_h or p.step, p.step_w or p.step
    if not (step_h and step_w):
        step_h, step_w = height / rows, width / columns
    sides = _prior_sides(layer, p)
    boxes = [
        [(x - w / 2) / width, (y - h / 2) / height, (x + w / 2) / width, (y + h / 2) / height]
        for y in ((row + p.offset) * step_h for row in range(rows))
        for x in ((column + p.offset) * step_w for column in range(columns))
        for w, h in sides
    ]
    made = torch.tensor(boxes, dtype=features.dtype)
    if p.clip:
        made = made.clamp(0, 1)
    variance = list(p.variance) or [0.1]
    if len(variance) not in (1, 4):
        raise layer.fail("one variance, or four")
    spread = torch.tensor(variance * (4 // len(variance)), dtype=features.dtype)
    return [torch.stack([made.flatten(), spread.repeat(len(boxes))])[None]]


def _prior_sides(layer: Layer, p: pb.PriorBoxParameter) -> list[tuple[float, float]]:
    """Width and height of each box of a place, in pixels. Fractions of the sizes are cut off."""
    if not p.min_size or len(p.max_size) not in (0, len(p.min_size)):
        raise layer.fail("a min_size, and no max_size or as many")
    ratios = [1.0]
    for ratio in p.aspect_ratio:
        if all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio, 1 / ratio] if p.flip else [ratio]
    sides: list[tuple[float, float]] = []
    for index, small in enumerate(map(int, p.min_size)):
        sides.append((small, small))
        if p.max_size:
            sides.append((math.sqrt(small * int(p.max_size[index])),) * 2)
        sides += [(small * math.sqrt(r), small / math.sqrt(r)) for r in ratios[1:]]
    return sides


def detection_output(layer: Layer, bottoms: list[Tensor]) -> Tops:
    loc, conf, prior = bottoms
    p = layer.spec.detection_output_param
    classes = p.num_classes
    priors, variances = prior.reshape(2, -1, 4)
    boxes = loc.reshape(len(loc), len(priors), -1, 4)
    if p.variance_encoded_in_target:
        variances = torch.ones_like(variances)
    boxes = _decoded(p.code_type, boxes, priors[:, None], variances[:, None])
    scores = conf.reshape(len(conf), len(priors), classes)
    rows: list[list[float]] = []
    for image in range(len(loc)):
        kept = [
            (float(scores[image, index, label]), label, index)
            for label in range(classes)
            if label != p.background_label_id
            for index in _suppressed(
                p, boxes[image, :, 0 if p.share_location else label], scores[image, :, label]
            )
        ]
        if -1 < p.keep_top_k < len(kept):
            best = sorted(kept, key=lambda found: -found[0])[: p.keep_top_k]
            kept = [found for label in range(classes) for found in best if found[1] == label]
        for score, label, index in kept:
            box = boxes[image, index, 0 if p.share_location else label]
            rows.append([image, label, score, *box.tolist()])
    rows = rows or [[image, *[ABSENT] * 6] for image in range(len(loc))]
    return [torch.tensor(rows, dtype=loc.dtype)[None, None]]


def _decoded(code: int, loc: Tensor, prior: Tensor, variance: Tensor) -> Tensor:
    moved = loc * variance
    low, high = prior[..., :2], prior[..., 2:]
    size = high - low
    if code == pb.PriorBoxParameter.CORNER:
        return prior + moved
    if code == pb.PriorBoxParameter.CORNER_SIZE:
        return prior + moved * torch.cat([size, size], -1)
    centre = (low + high) / 2 + moved[..., :2] * size
    half = torch.exp(moved[..., 2:]) * size / 2
    return torch.cat([centre - half, centre + half], -1)


def _suppressed(p: pb.DetectionOutputParameter, boxes: Tensor, scores: Tensor) -> list[int]:
    """The boxes of a class that are left, best first (ApplyNMSFast)."""
    order = scores.argsort(descending=True, stable=True)
    if p.HasField("confidence_threshold"):
        order = order[scores[order] > p.confidence_threshold]
    if p.nms_param.HasField("top_k") and p.nms_param.top_k > -1:
        order = order[: p.nms_param.top_k]
    limit = p.nms_param.nms_threshold
    kept: list[int] = []
    for index in order.tolist():
        if not kept or bool((_overlaps(boxes[index], boxes[kept]) <= limit).all()):
            kept.append(index)
            if p.nms_param.eta < 1 and limit > 0.5:
                limit *= p.nms_param.eta
    return kept


def _overlaps(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union with each; a box turned inside out has no area."""
    low, high = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    own, theirs = ((b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1) for b in (box, others))
    return torch.where(both > 0, both / (own + theirs - both), 0.0)


DETECTION: dict[str, Function] = {"DetectionOutput": detection_output, "PriorBox": prior_box}
