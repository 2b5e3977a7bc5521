"""Detections of YOLO as MobileNet-YOLO has them (yolov3_detection_output_layer.cpp, yolo_...).

There each class of a box is a candidate of its own and suppression looks at no class. The best
class of a box suppresses the others, whose overlap is 1, so one candidate for each box says the
same.
"""

from __future__ import annotations

from math import prod

import numpy as np

from caffefold.formats.prototxt.tree import Scalar
from caffefold.ir.params import parse_float
from caffefold.onnx_export.site import Output, Site
from caffefold.ops.base import own_message


def yolov3_detection_output(site: Site) -> None:
    """YOLO v3: a sigmoid for each class, anchors in pixels of the image."""
    groups = int(_number(site, "mask_group_num", 2))
    if groups != len(site.bottoms):
        raise site.error(f"mask_group_num is {groups}, it has {len(site.bottoms)} bottoms")
    masks, scales = _numbers(site, "mask"), _numbers(site, "anchors_scale")
    if len(scales) < groups or len(masks) < groups:
        raise site.error("it lacks values of mask or anchors_scale")
    each = len(masks) // groups
    boxes = int(_number(site, "num_box", 3))
    anchors = np.array(_numbers(site, "biases")).reshape(-1, 2)
    parts = []
    for i in range(groups):
        own = [int(mask) for mask in masks[i * each : i * each + boxes]]
        if len(own) < boxes or max(own) >= len(anchors):
            raise site.error(f"{boxes} boxes, but mask and biases give fewer")
        side = site.extents(i, 2)[1]
        parts.append(_decoded(site, i, anchors[own] / (side * scales[i]), "Sigmoid"))
    _detected(site, parts, above=True)


def yolo_detection_output(site: Site) -> None:
    """YOLO v2: a softmax of the classes, anchors in cells."""
    boxes = int(_number(site, "num_box", 5))
    anchors = np.array(_numbers(site, "biases")).reshape(-1, 2)[:boxes]
    if len(anchors) < boxes:
        raise site.error(f"{boxes} boxes, but biases give {len(anchors)}")
    parts = [
        _decoded(site, i, anchors / site.extents(i, 2)[1], "Softmax")
        for i in range(len(site.bottoms))
    ]
    _detected(site, parts, above=False)


def _numbers(site: Site, name: str) -> list[float]:
    values = own_message(site.layer, site.op.param).all(name)
    found = (parse_float(v.raw) for v in values if isinstance(v, Scalar))
    return [number for number in found if number is not None]


def _number(site: Site, name: str, default: float) -> float:
    return (_numbers(site, name) or [default])[-1]


def _decoded(
    site: Site,
    bottom: int,
    anchors: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    classes: str,
) -> tuple[str, str]:
    """(boxes as centre and size, scores of the classes) of one map, both (N, boxes, ...)."""
    items, channels, height, width = site.extents(bottom)
    count, boxes = int(_number(site, "num_classes", 20)), len(anchors)
    if height != width or channels != boxes * (5 + count):
        raise site.error(
            f"{boxes} boxes of {count} classes in {channels} channels of {height}x{width}"
        )
    apart = site.ints([items, boxes, 5 + count, height * width], "shape")
    turned = site.add(
        "Transpose", site.add("Reshape", site.bottoms[bottom], apart), perm=[0, 3, 1, 2]
    )
    sizes = site.ints([2, 2, 1, count], "sizes")
    at, growth, there, kinds = site.add_many("Split", (turned, sizes), (None,) * 4, axis=3)
    down, across = np.divmod(np.arange(height * width), width)
    cells = np.stack([across, down], -1).reshape(1, -1, 1, 2)
    moved = site.add("Add", site.add("Sigmoid", at), site.const(cells, "cells"))
    centre = site.add("Div", moved, site.const(float(width), "side"))
    extent = site.add("Mul", site.add("Exp", growth), site.const(anchors, "anchors"))
    if classes == "Softmax":
        kinds = site.add("Softmax", kinds, axis=3)
    else:
        kinds = site.add("Sigmoid", kinds)
    scores = site.add("Mul", kinds, site.add("Sigmoid", there))
    total = height * width * boxes
    whole = site.joined([centre, extent], 3)
    return (
        site.add("Reshape", whole, site.ints([items * total, 4], "flat")),
        site.add("Reshape", scores, site.ints([items * total, count], "flat")),
    )


def _detected(site: Site, parts: list[tuple[str, str]], *, above: bool) -> None:
    """The rows, best first. All images are taken for one, the first, as in Caffe."""
    boxes = site.joined([each for each, _ in parts], 0)
    scores = site.joined([each for _, each in parts], 0)
    count = int(_number(site, "num_classes", 20))
    if site.settings.nms == "outside":
        _outside(site, boxes, scores, count)
        return
    best = site.reduce("ReduceMax", scores, [1], keep=False)
    kind = site.add("Cast", site.add("ArgMax", scores, axis=1, keepdims=0), to=1)
    least = np.float32(_number(site, "confidence_threshold", 0.01))
    limit = least if above else np.nextafter(least, np.float32(-1))
    overlap = np.nextafter(np.float32(_number(site, "nms_threshold", 0.45)), np.float32(0))
    items = site.extents(0)[0]
    chosen = site.add(
        "NonMaxSuppression",
        site.add("Reshape", boxes, site.ints([1, -1, 4], "shape")),
        site.add("Reshape", best, site.ints([1, 1, -1], "shape")),
        site.ints([_total(site)], "count"),
        site.const([overlap], "overlap"),
        site.const([limit], "confidence"),
        center_point_box=1,
    )
    at = site.add("Gather", chosen, site.ints(2, "column"), axis=1)
    column = site.ints([-1, 1], "column")
    label = site.moved(site.add("Gather", kind, at, axis=0), 1.0)
    score = site.add("Reshape", site.add("Gather", best, at, axis=0), column)
    found = site.add("Gather", boxes, at, axis=0)
    halves = site.ints([2, 2], "halves")
    centre, extent = site.add_many("Split", (found, halves), (None, None), axis=1)
    half = site.scaled(extent, 0.5)
    corners = [site.add("Sub", centre, half), site.add("Add", centre, half)]
    rows = site.joined([site.add("Reshape", label, column), score, *corners], 1)
    rows = site.padded(rows, [1], [0], lead=1)
    flat = site.add("Reshape", best, site.ints([1, -1], "flat"))
    some = site.add("Greater", site.reduce("ReduceMax", flat, [1], keep=False), site.const([limit]))
    missing = site.add("Cast", site.add("Not", some), to=7)
    number = site.add("Squeeze", site.add("Mul", missing, site.ints([items], "images")))
    images = site.add("Range", site.ints(0, "first"), number, site.ints(1, "step"))
    images = site.add("Reshape", site.add("Cast", images, to=1), column)
    nothing = site.padded(images, [0], [6], -1.0, lead=1)
    every = site.joined([rows, nothing], 0)
    site.add("Reshape", every, site.ints([1, 1, -1, 7], "shape"), top=0)


def _total(site: Site) -> int:
    """How many boxes there are in all."""
    count = int(_number(site, "num_classes", 20))
    each = (prod(site.extents(i)) for i in range(len(site.bottoms)))
    return sum(each) // (5 + count)


def _outside(site: Site, boxes: str, scores: str, count: int) -> None:
    """Boxes (centre and size) and scores of all images, one after another."""
    names = [site.named(f"{site.layer.tops[0]}_{what}") for what in ("boxes", "scores")]
    for name, value in zip(names, (boxes, scores), strict=True):
        site.add_as(name, "Identity", value)
    total = _total(site)
    site.instead(0, Output(names[0], (total, 4)), Output(names[1], (total, count)))
