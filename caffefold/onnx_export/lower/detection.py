"""Detectors: priors are constants, decoding is plain arithmetic, NonMaxSuppression does the rest.

Runtimes differ in corners that a detector meets every day: nothing found, TopK of nothing, GatherND
of nothing. What is made here avoids them; the order of operations in float32 is Caffe's
(bbox_util.cpp), so that boxes at a threshold fall on the same side.
"""

from __future__ import annotations

from math import prod, sqrt
from typing import NamedTuple

import numpy as np

from caffefold.errors import Option
from caffefold.onnx_export.site import Output, Site
from caffefold.ops.detection import PriorBox
from caffefold.ops.shape import Dim

_F32 = np.float32
_LOWEST = float(np.finfo(np.float32).min)


def prior_box(site: Site) -> None:
    """A constant: boxes of each place, then variances (prior_box_layer.cpp)."""
    own, params = site.op, site.params
    assert isinstance(own, PriorBox)
    count = own.priors(site.layer)
    if count is None:
        raise site.error("its parameters are a fork's own; which boxes they make is not known")
    rows, columns = site.extents(0, 2)
    site.afford(rows, columns, count, 8)
    images = _image(site)
    steps = tuple(params.number(name) or params.number("step") for name in ("step_h", "step_w"))
    if not all(steps):
        spread = zip(images, (rows, columns), strict=True)
        steps = tuple(_F32(size) / _F32(cells) for size, cells in spread)
    offset = _F32(params.number("offset"))
    centres = [
        (np.arange(cells, dtype=_F32) + offset) * _F32(step)
        for cells, step in zip((rows, columns), steps, strict=True)
    ]
    sides = _sides(site)
    assert len(sides) == count
    boxes = np.empty((rows, columns, count, 4))
    for k, (width, height) in enumerate(sides):
        for axis, side in ((1, width), (0, height)):
            centre = centres[axis].astype(np.float64)
            centre = centre[:, None] if axis == 0 else centre[None, :]
            boxes[..., k, 1 - axis] = (centre - side / 2) / images[axis]
            boxes[..., k, 3 - axis] = (centre + side / 2) / images[axis]
    if params.flag("clip"):
        boxes = boxes.clip(0, 1)
    given = params.numbers("variance") or (0.1,)
    if len(given) not in (1, 4):
        raise site.error(f"{len(given)} values of variance; Caffe takes 1 or 4")
    variances = np.tile(np.asarray(given * (4 // len(given))), rows * columns * count)
    made = np.stack([boxes.reshape(-1), variances])[None]
    site.add("Identity", site.const(made, "boxes"), top=0)


def _image(site: Site) -> tuple[int, int]:
    """Height and width of the image that boxes are fractions of."""
    params = site.params
    height, width = params.integer("img_h"), params.integer("img_w")
    if params.integer("img_size"):
        height = width = params.integer("img_size")
    if height and width:
        return height, width
    found = site.extents(1, 2)
    return found[0], found[1]


def _sides(site: Site) -> list[tuple[float, float]]:
    """Width and height in pixels of each box of a place; fractions of sizes are cut off."""
    params = site.params
    small, large = params.numbers("min_size"), params.numbers("max_size")
    if not small or len(large) not in (0, len(small)):
        raise site.error(f"{len(small)} values of min_size and {len(large)} of max_size")
    ratios = [_F32(1)]
    for ratio in map(_F32, params.numbers("aspect_ratio")):
        if any(abs(ratio - known) < 1e-6 for known in ratios):
            continue
        ratios.append(ratio)
        if params.flag("flip"):
            ratios.append(_F32(1.0 / float(ratio)))
    found: list[tuple[float, float]] = []
    for i, least in enumerate(map(int, small)):
        found.append((float(least), float(least)))
        if large:
            side = float(_F32(sqrt(least * int(large[i]))))
            found.append((side, side))
        for ratio in ratios[1:]:
            root = np.sqrt(ratio)
            found.append((float(_F32(least * root)), float(_F32(least / root))))
    return found


# ------------------------------------------------------------------------------ DetectionOutput


class _Boxes(NamedTuple):
    """What suppression works on; ``lists`` is how many lists of boxes each image has."""

    boxes: str
    """(images, priors, 4), or (images * lists, count, 4)."""
    turned: str
    """The same, without an area where they are turned inside out."""
    scores: str
    """(images, lists, priors), or (images * lists, 1, count)."""
    each: int
    split: bool
    """Whether each list is an image of its own to the suppression."""


class _Detector(NamedTuple):
    """The numbers of a DetectionOutput layer."""

    classes: int
    labels: tuple[int, ...]
    shared: bool
    priors: int
    items: Dim
    limit: float
    threshold: float | None
    top_k: int
    keep: int


def detection_output(site: Site) -> None:
    """Decoding, NonMaxSuppression and the best of each image (detection_output_layer.cpp)."""
    detector = _detector(site)
    boxes = _decoded(site, detector)
    shape = (detector.items, detector.priors, detector.classes)
    if site.settings.nms == "outside":
        _outside(site, detector, boxes)
        return
    scores = site.add("Transpose", site.reshape(site.bottoms[1], shape), perm=[0, 2, 1])
    if len(detector.labels) < detector.classes:
        scores = site.add("Gather", scores, site.ints(detector.labels, "labels"), axis=1)
    lists = _lists(site, detector, boxes, scores)
    _found(site, detector, lists, scores)


def _detector(site: Site) -> _Detector:
    params = site.params
    classes, background = params.integer("num_classes"), params.integer("background_label_id")
    nms, shared = params.sub("nms_param"), params.flag("share_location")
    if classes < 1:
        raise site.error("num_classes is missing")
    if shared and background == -1:
        raise site.error("Caffe stops at background_label_id -1 with share_location")
    limit = nms.number("nms_threshold")
    if nms.number("eta") < 1 and limit > 0.5:
        raise site.error(
            f"its overlap threshold of {limit:g} shrinks by eta with each box, which "
            "NonMaxSuppression cannot do"
        ).advised("; give ", Option("nms", "outside"))
    top_k, keep = (nms.integer("top_k") if nms.has("top_k") else -1), params.integer("keep_top_k")
    if top_k == 0 or keep == 0:
        raise site.error("it keeps no boxes at all (top_k or keep_top_k is 0)")
    priors = prod(site.extents(2, 2)) // 4
    site.afford(classes)
    labels = tuple(label for label in range(classes) if label != background)
    if not labels:
        raise site.error("it has no classes beside the background")
    has = params.has("confidence_threshold")
    threshold = params.number("confidence_threshold") if has else None
    places = 1 if shared else classes
    for bottom, each in ((0, places * 4), (1, classes)):
        found = prod(site.extents(bottom, 1))
        if found != priors * each:
            raise site.error(
                f"{found} numbers of '{site.layer.bottoms[bottom]}' for {priors} boxes"
            )
    return _Detector(
        classes, labels, shared, priors, site.batch(), min(limit, 1.0), threshold, top_k, keep
    )  # fmt: skip


def _decoded(site: Site, detector: _Detector) -> str:
    """The boxes, (N, P, 4), or (N, P, C, 4) where classes have their own."""
    params, priors = site.params, detector.priors
    kind = params.enum("code_type")
    apart = () if detector.shared else (detector.classes,)
    moves = site.reshape(site.x, (detector.items, priors, *apart, 4))
    flat = (priors, *(() if detector.shared else (1,)), 4)
    whole = site.add("Reshape", site.bottoms[2], site.ints([2, *flat], "shape"))
    prior = site.add("Gather", whole, site.ints(0, "boxes"), axis=0)
    if not params.flag("variance_encoded_in_target"):
        variance = site.add("Gather", whole, site.ints(1, "variances"), axis=0)
        moves = site.add("Mul", moves, variance)
    axis = len(flat)
    if kind == "CORNER":
        return site.add("Add", moves, prior)
    low, high = _halves(site, prior, axis - 1)
    size = site.add("Sub", high, low)
    if kind == "CORNER_SIZE":
        sizes = site.joined([size, size], axis - 1)
        return site.add("Add", site.add("Mul", moves, sizes), prior)
    centre = site.scaled(site.add("Add", low, high), 0.5)
    shift, growth = _halves(site, moves, axis)
    at = site.add("Add", site.add("Mul", shift, size), centre)
    half = site.scaled(site.add("Mul", site.add("Exp", growth), size), 0.5)
    return site.joined([site.add("Sub", at, half), site.add("Add", at, half)], axis)


def _halves(site: Site, value: str, axis: int) -> tuple[str, str]:
    """The first and the last two numbers along the axis of four."""
    low, high = site.add_many(
        "Split", (value, site.ints([2, 2], "halves")), (None, None), axis=axis
    )
    return low, high


def _outside(site: Site, detector: _Detector, boxes: str) -> None:
    """Boxes and scores as outputs, for runtimes that suppress by themselves."""
    top = site.layer.tops[0]
    names = [site.named(f"{top}_boxes"), site.named(f"{top}_scores")]
    apart = () if detector.shared else (detector.classes,)
    site.add_as(names[0], "Identity", boxes)
    shape = (detector.items, detector.priors, detector.classes)
    site.add_as(names[1], "Identity", site.reshape(site.bottoms[1], shape))
    site.instead(
        0,
        Output(names[0], (detector.items, detector.priors, *apart, 4)),
        Output(names[1], shape),
    )


def _lists(site: Site, detector: _Detector, boxes: str, scores: str) -> _Boxes:
    """The boxes that suppression starts from: the best ``top_k`` of each class."""
    priors, count = detector.priors, detector.priors
    lists, items = len(detector.labels), detector.items
    cut = 0 < detector.top_k < priors
    if detector.shared and not cut:
        return _Boxes(boxes, _turned(site, boxes), scores, priors, False)
    if not detector.shared:  # (N, P, C, 4) -> (N, F, P, 4)
        boxes = site.add("Transpose", boxes, perm=[0, 2, 1, 3])
        if lists < detector.classes:
            boxes = site.add("Gather", boxes, site.ints(detector.labels, "labels"), axis=1)
    if cut:
        count = detector.top_k
        wanted = site.ints([count], "top_k")
        scores, places = site.add_many(
            "TopK", (scores, wanted), (None, None), axis=2, largest=1, sorted=1
        )
        flat = site.add("Reshape", boxes, site.ints([-1, 4], "flat"))
        per = priors if detector.shared else lists * priors
        starts = _starts(site, items, per)
        places = site.add("Add", places, starts)
        if not detector.shared:
            own = np.arange(lists).reshape(1, lists, 1) * priors
            places = site.add("Add", places, site.ints(own, "starts"))
        boxes = site.add("Gather", flat, places, axis=0)  # (N, F, K, 4)
    every = -1 if items is None else items * lists
    boxes = site.add("Reshape", boxes, site.ints([every, count, 4], "shape"))
    scores = site.add("Reshape", scores, site.ints([every, 1, count], "shape"))
    return _Boxes(boxes, _turned(site, boxes), scores, count, True)


def _starts(site: Site, items: Dim, each: int) -> str:
    """Where the numbers of each image start, (N, 1, 1)."""
    if items is not None:
        return site.ints(np.arange(items).reshape(items, 1, 1) * each, "starts")
    images = site.add("Mul", _images(site, items), site.ints(each, "each"))
    return site.add("Reshape", images, site.ints([-1, 1, 1], "shape"))


def _images(site: Site, items: Dim) -> str:
    """The numbers of the images, (N,)."""
    if items is not None:
        return site.ints(np.arange(items), "images")
    count = site.add("Squeeze", site.extent(site.x, 0, items))
    return site.add("Range", site.ints(0, "first"), count, site.ints(1, "step"))


def _turned(site: Site, boxes: str) -> str:
    """Boxes without an area where they are inside out: such a box overlaps nothing in Caffe, while
    NonMaxSuppression would turn it back."""
    low, high = _halves(site, boxes, 2)
    return site.joined([low, site.add("Max", low, high)], 2)


def _found(site: Site, detector: _Detector, lists: _Boxes, scores: str) -> None:
    """The rows: image, label, score, box; one row of -1 for each image where nothing is found."""
    inputs = [lists.turned, lists.scores, site.ints([lists.each], "count")]
    inputs.append(site.const([detector.limit], "overlap"))
    if detector.threshold is not None:
        inputs.append(site.const([detector.threshold], "confidence"))
    chosen = site.add("NonMaxSuppression", *inputs)
    first, second, place = (
        site.add("Gather", chosen, site.ints(column, "column"), axis=1) for column in range(3)
    )
    kinds = site.ints(len(detector.labels), "lists")
    if lists.split:
        line = first
        image = site.add("Div", first, kinds)
        kind = site.add("Sub", first, site.add("Mul", image, kinds))
    else:
        image, kind = first, second
        line = site.add("Add", site.add("Mul", image, kinds), kind)
    count = site.ints(lists.each, "count")
    slot = site.add("Add", site.add("Mul", line, count), place)
    at = slot
    if not lists.split:
        at = site.add("Add", site.add("Mul", image, count), place)
    one = site.ints([-1, 1], "column")
    flat_scores = site.add("Reshape", lists.scores, site.ints([-1], "flat"))
    score = site.add("Gather", flat_scores, slot, axis=0)
    flat_boxes = site.add("Reshape", lists.boxes, site.ints([-1, 4], "flat"))
    box = site.add("Gather", flat_boxes, at, axis=0)
    label = site.add("Gather", site.const(detector.labels, "labels"), kind, axis=0)
    columns = [site.add("Cast", image, to=1), label, score]
    rows = site.joined([*(site.add("Reshape", each, one) for each in columns), box], 1)
    nothing = _nothing(site, detector, scores)
    most = len(detector.labels) * lists.each
    if not 0 < detector.keep < most:
        rows = site.joined([rows, nothing], 0) if nothing else rows
    elif detector.items == 1:
        # Joined first, so that TopK never sees nothing.
        rows = _best_of_one(site, site.joined([rows, nothing], 0) if nothing else rows, detector)
    else:
        rows = _best_of_each(site, rows, score, slot, detector, most)
        rows = site.joined([rows, nothing], 0) if nothing else rows
    site.add("Reshape", rows, site.ints([1, 1, -1, 7], "shape"), top=0)


def _nothing(site: Site, detector: _Detector, scores: str) -> str:
    """(N, 7) rows [image, -1 x 6] if no score is above the threshold, else (0, 7); "" for never.

    The count comes from the scores: one from the shape of what was found is folded away by
    optimisers.
    """
    if detector.threshold is None:
        return ""
    flat = site.add("Reshape", scores, site.ints([1, -1], "flat"))
    best = site.reduce("ReduceMax", flat, [1], keep=False)
    some = site.add("Greater", best, site.const([detector.threshold], "confidence"))
    empty = site.add("Cast", site.add("Not", some), to=7)
    count = site.add("Mul", empty, site.extent(site.x, 0, detector.items))
    scalar = site.add("Squeeze", count)
    images = site.add("Range", site.ints(0, "first"), scalar, site.ints(1, "step"))
    rows = site.add("Reshape", site.add("Cast", images, to=1), site.ints([-1, 1], "column"))
    pads = site.ints([0, 0, 0, 6], "pads")
    return site.add("Pad", rows, pads, site.const(-1.0, "fill"), mode="constant")


def _best_of_one(site: Site, rows: str, detector: _Detector) -> str:
    """The best ``keep_top_k`` rows of the only image, in their order."""
    scores = site.add("Gather", rows, site.ints(2, "column"), axis=1)
    count = site.add("Shape", scores)
    wanted = site.add("Min", count, site.ints([detector.keep], "keep"))
    _, places = site.add_many("TopK", (scores, wanted), (None, None), axis=0, largest=1, sorted=1)
    return site.add("Gather", rows, _ascending(site, places, wanted), axis=0)


def _ascending(site: Site, places: str, count: str) -> str:
    """Indices in rising order; as float32, in which every index up to 2^24 is exact."""
    numbers = site.add("Cast", places, to=1)
    sorted_, _ = site.add_many("TopK", (numbers, count), (None, None), axis=0, largest=0, sorted=1)
    return site.add("Cast", sorted_, to=7)


def _best_of_each(
    site: Site, rows: str, score: str, slot: str, detector: _Detector, most: int
) -> str:
    """The best ``keep_top_k`` rows of each image, in their order: a table of all slots says which.

    Rows are scattered into it by their slot; what is not found stays the smallest number.
    """
    items = detector.items
    lead = site.extent(site.x, 0, items)
    size = site.add("Mul", lead, site.ints([most], "slots"))
    blank = site.add("Expand", site.const([_LOWEST], "blank"), size)
    table = site.add("ScatterElements", blank, slot, score, axis=0)
    table = site.add("Reshape", table, site.ints([-1 if items is None else items, most], "shape"))
    wanted = site.ints([detector.keep], "keep")
    _, best = site.add_many("TopK", (table, wanted), (None, None), axis=1, largest=1, sorted=1)
    starts = site.add("Reshape", _starts(site, items, most), site.ints([-1, 1], "column"))
    places = site.add("Reshape", site.add("Add", best, starts), site.ints([-1], "flat"))
    none = site.add("Expand", site.const([0.0], "no"), size)
    ones = site.add("Expand", site.const([1.0], "yes"), site.add("Shape", places))
    marks = site.add("ScatterElements", none, places, ones, axis=0)
    kept = site.add("NonZero", site.add("Gather", marks, slot, axis=0))
    return site.add("Gather", rows, site.add("Reshape", kept, site.ints([-1], "flat")), axis=0)
