"""Regions of R-CNN and R-FCN, and the detections of YOLO; box by box, as the forks' loops have it.

Sources: proposal_layer.py and generate_anchors.py of py-faster-rcnn, proposal_layer.cpp of PVANet,
roi_pooling_layer.cpp, psroi_pooling_layer.cu, yolov3_detection_output_layer.cpp.
"""

from __future__ import annotations

import itertools
import re
from math import ceil, exp, floor, sqrt

import numpy as np

from caffefold.check.forward.boxes import suppressed
from caffefold.check.forward.layers import Array, Arrays, Function, NotEvaluated
from caffefold.check.forward.plain import sigmoid
from caffefold.formats.prototxt.tree import Message, Scalar
from caffefold.ir.net import Layer
from caffefold.ir.params import parse_float


def _half_up(x: float) -> int:
    return floor(x + 0.5) if x >= 0 else -floor(0.5 - x)


def roi_pooling(layer: Layer, inputs: Arrays) -> Arrays:
    """The largest number of each bin of each region; an empty bin is 0."""
    maps, rois = inputs
    p = layer.params("roi_pooling_param")
    if layer.body.message("roi_align_param") is not None:
        raise NotEvaluated("interpolated regions")
    rows, columns = p.integer("pooled_h"), p.integer("pooled_w")
    scale = np.float32(p.number("spatial_scale"))
    height, width = maps.shape[2:]
    made = np.zeros((len(rois), maps.shape[1], rows, columns))
    for n, (item, *corners) in enumerate(rois.reshape(len(rois), -1).astype(np.float32)):
        left, top, right, bottom = (_half_up(float(c * scale)) for c in corners)
        bin_h = np.float32(max(bottom - top + 1, 1)) / np.float32(rows)
        bin_w = np.float32(max(right - left + 1, 1)) / np.float32(columns)
        for i, j in itertools.product(range(rows), range(columns)):
            y0, y1 = floor(np.float32(i) * bin_h) + top, ceil(np.float32(i + 1) * bin_h) + top
            x0, x1 = floor(np.float32(j) * bin_w) + left, ceil(np.float32(j + 1) * bin_w) + left
            y0, y1 = (min(max(y, 0), height) for y in (y0, y1))
            x0, x1 = (min(max(x, 0), width) for x in (x0, x1))
            if y1 > y0 and x1 > x0:
                made[n, :, i, j] = maps[int(item), :, y0:y1, x0:x1].max((1, 2))
    return [made]


def psroi_pooling(layer: Layer, inputs: Arrays) -> Arrays:
    """The mean of each bin, from the map of its own."""
    maps, rois = inputs
    p = layer.params("psroi_pooling_param")
    outputs, side = p.integer("output_dim"), p.integer("group_size")
    scale, one = np.float32(p.number("spatial_scale")), np.float32(1)
    height, width = maps.shape[2:]
    made = np.zeros((len(rois), outputs, side, side))
    for n, (item, *corners) in enumerate(rois.reshape(len(rois), -1).astype(np.float32)):
        left, top, right, bottom = (np.float32(_half_up(float(c))) for c in corners)
        left, top, right, bottom = (
            left * scale,
            top * scale,
            (right + one) * scale,
            (bottom + one) * scale,
        )
        bin_h = max(bottom - top, np.float32(0.1)) / np.float32(side)
        bin_w = max(right - left, np.float32(0.1)) / np.float32(side)
        for i, j in itertools.product(range(side), range(side)):
            y0 = min(max(floor(np.float32(i) * bin_h + top), 0), height)
            y1 = min(max(ceil(np.float32(i + 1) * bin_h + top), 0), height)
            x0 = min(max(floor(np.float32(j) * bin_w + left), 0), width)
            x1 = min(max(ceil(np.float32(j + 1) * bin_w + left), 0), width)
            if y1 > y0 and x1 > x0:
                own = maps[int(item), :, y0:y1, x0:x1].mean((1, 2))
                made[n, :, i, j] = own.reshape(outputs, side, side)[:, i, j]
    return [made]


def proposal(layer: Layer, inputs: Arrays) -> Arrays:
    """Anchors moved, clipped, sorted, and left where nothing better overlaps."""
    scores, deltas, info = inputs
    python = layer.body.message("python_param")
    image = info.reshape(-1)
    if python is not None:
        text = python.string("param_str")
        stride = float(re.findall(r"feat_stride\W+(\d+)", text)[0])
        listed = re.findall(r"scales\W[^\d]*([\d., ]+)", text)
        scales = [float(s) for s in re.findall(r"[\d.]+", listed[0])] if listed else [8, 16, 32]
        ratios, base, before, after = [0.5, 1, 2], 16.0, 6000, 300
        limit, least = 0.7, (16 * image[2],) * 2
    else:
        message = layer.body.message("proposal_param") or Message(())

        def numbers(name: str, default: float = 0.0) -> list[float]:
            found = [parse_float(v.raw) or 0.0 for v in message.all(name) if isinstance(v, Scalar)]
            return found or [default]

        ratios, scales = numbers("ratio"), numbers("scale")
        stride, base = numbers("feat_stride", 16)[0], numbers("base_size", 16)[0]
        before, after = int(numbers("pre_nms_topn", 6000)[0]), int(numbers("post_nms_topn", 300)[0])
        limit, size = numbers("nms_thresh", 0.7)[0], numbers("min_size", 16)[0]
        least = (size * (image[3] if image.size > 3 else image[2]), size * image[2])
    sides = []
    for ratio in ratios:
        exact = sqrt(base * base / ratio)
        across = round(exact) if python is not None else floor(exact + 0.5)
        down = round(across * ratio) if python is not None else floor(across * ratio + 0.5)
        sides += [(across * scale, down * scale) for scale in scales]
    middle, found = 0.5 * (base - 1), []
    rows, columns = scores.shape[2:]
    for y, x, k in itertools.product(range(rows), range(columns), range(len(sides))):
        dx, dy, dw, dh = deltas[0, 4 * k : 4 * k + 4, y, x]
        w, h = sides[k]
        centre = middle + x * stride + 0.5, middle + y * stride + 0.5
        cx, cy, w, h = dx * w + centre[0], dy * h + centre[1], exp(dw) * w, exp(dh) * h
        box = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
        ends = image[1] - 1, image[0] - 1, image[1] - 1, image[0] - 1
        box = tuple(max(0.0, min(c, end)) for c, end in zip(box, ends, strict=True))
        large = box[2] - box[0] + 1 >= least[0] and box[3] - box[1] + 1 >= least[1]
        score = float(scores[0, len(sides) + k, y, x])
        if large or python is None:
            found.append((*box, score if large else 0.0))
    table = np.array(found).reshape(-1, 5)
    order = np.argsort(-table[:, 4], kind="stable")[: before if before > 0 else None]
    whole = table[:, :4] + [0, 0, 1, 1]
    # Suppressed from the threshold on.
    below = float(np.nextafter(np.float32(limit), np.float32(0)))
    kept = suppressed(whole, order, below)[: after if after > 0 else None]
    rois = np.concatenate([np.zeros((len(kept), 1)), table[kept, :4]], 1)
    return [rois, table[kept, 4:]][: len(layer.tops)]


def _of_yolo(layer: Layer, field: str) -> dict[str, list[float]]:
    message = layer.body.message(field) or Message(())
    found: dict[str, list[float]] = {}
    for each in message.fields:
        if isinstance(each.value, Scalar):
            found.setdefault(each.name, []).append(parse_float(each.value.raw) or 0.0)
    return found


def yolov3(layer: Layer, inputs: Arrays) -> Arrays:
    """Every class of every box that is likely enough; the best suppress what overlaps them."""
    p = _of_yolo(layer, "yolov3_detection_output_param")
    classes, boxes = int(p.get("num_classes", [20])[-1]), int(p.get("num_box", [3])[-1])
    groups, least = int(p.get("mask_group_num", [2])[-1]), p.get("confidence_threshold", [0.01])[-1]
    per = len(p["mask"]) // groups
    found: list[tuple[float, ...]] = []
    for t, maps in enumerate(inputs):
        side = maps.shape[3]
        for item in maps.reshape(len(maps), boxes, 5 + classes, side, side):
            for n, y, x in itertools.product(range(boxes), range(side), range(side)):
                raw = item[n, :, y, x]
                bias = int(p["mask"][t * per + n])
                across, down = p["biases"][2 * bias], p["biases"][2 * bias + 1]
                image = side * p["anchors_scale"][t]
                at = sigmoid(raw[:2])
                box = ((x + at[0]) / side, (y + at[1]) / side)
                size = (exp(raw[2]) * across / image, exp(raw[3]) * down / image)
                likely = sigmoid(raw[5:]) * sigmoid(raw[4:5])
                found += [(*box, *size, v, c) for c, v in enumerate(likely) if v > least]
    return [_kept(found, p.get("nms_threshold", [0.45])[-1], len(inputs[-1]))]


def yolo(layer: Layer, inputs: Arrays) -> Arrays:
    """The best class of every box that is likely enough."""
    p = _of_yolo(layer, "yolo_detection_output_param")
    classes, boxes = int(p.get("num_classes", [20])[-1]), int(p.get("num_box", [5])[-1])
    least = p.get("confidence_threshold", [0.01])[-1]
    found: list[tuple[float, ...]] = []
    for maps in inputs:
        side = maps.shape[3]
        for item in maps.reshape(len(maps), boxes, 5 + classes, side, side):
            for n, y, x in itertools.product(range(boxes), range(side), range(side)):
                raw = item[n, :, y, x]
                at = sigmoid(raw[:2])
                box = ((x + at[0]) / side, (y + at[1]) / side)
                size = tuple(exp(raw[2 + i]) * p["biases"][2 * n + i] / side for i in (0, 1))
                share = np.exp(raw[5:] - raw[5:].max())
                likely = share / share.sum()
                c = int(likely.argmax())
                v = float(sigmoid(raw[4:5])[0] * likely[c])
                if v >= least:
                    found.append((*box, *size, v, c))
    return [_kept(found, p.get("nms_threshold", [0.45])[-1], len(inputs[0]))]


def candidates(layer: Layer, inputs: Arrays) -> Arrays:
    """Boxes (centre and size) and scores of all classes, place by place, that suppression starts
    from: (boxes, 4) and (boxes, classes)."""
    third = "yolov3_detection_output_param"
    field = third if layer.body.message(third) else "yolo_detection_output_param"
    p = _of_yolo(layer, field)
    classes, count = int(p.get("num_classes", [20])[-1]), 3 if field == third else 5
    count = int(p.get("num_box", [count])[-1])
    boxes, scores = [], []
    for t, maps in enumerate(inputs):
        side = maps.shape[3]
        for item in maps.reshape(len(maps), count, 5 + classes, side, side):
            for y, x, n in itertools.product(range(side), range(side), range(count)):
                raw = item[n, :, y, x]
                if field == third:
                    per = len(p["mask"]) // len(inputs)
                    bias, unit = int(p["mask"][t * per + n]), side * p["anchors_scale"][t]
                    likely = sigmoid(raw[5:])
                else:
                    bias, unit = n, side
                    likely = np.exp(raw[5:] - raw[5:].max())
                    likely /= likely.sum()
                centre = (sigmoid(raw[:2]) + np.array([x, y])) / side
                size = np.exp(raw[2:4]) * p["biases"][2 * bias : 2 * bias + 2] / unit
                boxes.append([*centre, *size])
                scores.append(likely * sigmoid(raw[4:5]))
    return [np.array(boxes), np.array(scores)]


def _kept(found: list[tuple[float, ...]], limit: float, items: int) -> Array:
    """The rows, best first; all images count as the first."""
    if not found:
        return np.array([[i, *[-1.0] * 6] for i in range(items)])[None, None]
    table = np.array(found)
    half = table[:, 2:4] / 2
    boxes = np.concatenate([table[:, :2] - half, table[:, :2] + half], 1)
    order = np.argsort(-table[:, 4], kind="stable")
    below = float(np.nextafter(np.float32(limit), np.float32(0)))
    kept = suppressed(boxes, order, below)
    rows = [[0, table[i, 5] + 1, table[i, 4], *boxes[i]] for i in kept]
    return np.array(rows)[None, None]


REGIONS: dict[str, Function] = {
    "PSROIPooling": psroi_pooling,
    "Proposal": proposal,
    "ROIPooling": roi_pooling,
    "YoloDetectionOutput": yolo,
    "Yolov3DetectionOutput": yolov3,
}
