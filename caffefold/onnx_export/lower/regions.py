"""Regions of R-CNN and R-FCN: proposals from anchors, and pooling within them.

Sources: proposal_layer.py of py-faster-rcnn, proposal_layer.cpp of PVANet, roi_pooling_layer.cpp of
Fast R-CNN, psroi_pooling_layer.cu of R-FCN.
"""

from __future__ import annotations

import re
from math import prod
from typing import NamedTuple

import numpy as np

from caffefold.formats.prototxt.tree import Message, Scalar
from caffefold.ir.blob import Doubles
from caffefold.ir.net import Layer
from caffefold.ir.params import parse_float
from caffefold.onnx_export.site import Site
from caffefold.ops.base import own_message
from caffefold.ops.loss import python_class
from caffefold.ops.pooling import ROIPooling

_FIELDS = frozenset(
    {"ratio", "scale", "base_size", "feat_stride", "pre_nms_topn", "post_nms_topn", "nms_thresh"}
    | {"min_size"}
)


class _Proposals(NamedTuple):
    anchors: Doubles
    """(A, 4) around the first cell."""
    stride: float
    before: int
    after: int
    overlap: float
    smallest: float
    drops: bool
    """Whether boxes that are too small are dropped; else their score becomes 0."""


def is_proposal(layer: Layer) -> bool:
    """Whether a Python layer is py-faster-rcnn's ProposalLayer."""
    return python_class(layer) == "ProposalLayer"


def proposal(site: Site) -> None:
    """Proposal: anchors moved by the deltas, clipped, the best of them without overlaps."""
    known = _python(site) if is_proposal(site.layer) else _stated(site)
    if site.extents(0)[0] != 1:
        raise site.error("it takes one image at a time; its batch must be 1")
    count = len(known.anchors)
    channels, rows, columns = site.extents(0, 1)
    if channels != 2 * count:
        raise site.error(f"{channels} channels of scores for {count} anchors; {2 * count} are due")
    total = rows * columns * count
    site.afford(total, 4)
    boxes = _moved(site, known, rows, columns)
    boxes = _clipped(site, boxes)
    foreground = site.slice(site.x, [1], [count], [2 * count])
    scores = site.add("Transpose", foreground, perm=[0, 2, 3, 1])
    scores = site.add("Reshape", scores, site.ints([-1], "flat"))
    enough = _large_enough(site, boxes, known)
    filler = site.const(-1.0 if known.drops else 0.0, "small")
    scores = site.add("Where", enough, scores, filler)
    before = min(known.before, total) if known.before > 0 else total
    wanted = site.ints([before], "before")
    scores, places = site.add_many(
        "TopK", (scores, wanted), (None, None), axis=0, largest=1, sorted=1
    )
    boxes = site.add("Gather", boxes, places, axis=0)
    low, high = _halves(site, boxes)
    whole = site.joined([low, site.moved(high, 1.0)], 1)
    inputs = [
        site.add("Reshape", whole, site.ints([1, before, 4], "shape")),
        site.add("Reshape", scores, site.ints([1, 1, before], "shape")),
        site.ints([known.after if known.after > 0 else before], "after"),
        # Caffe suppresses from the threshold on, ONNX above it.
        site.const([np.nextafter(np.float32(known.overlap), np.float32(0))], "overlap"),
    ]
    if known.drops:
        least = 0.0 if site.settings.target == "opencv5" else -0.5
        inputs.append(site.const([least], "confidence"))
    chosen = site.add("NonMaxSuppression", *inputs)
    at = site.add("Gather", chosen, site.ints(2, "column"), axis=1)
    found = site.add("Gather", boxes, at, axis=0)
    site.padded(found, [1], [0], top=0, lead=1)
    if len(site.tops) > 1:
        best = site.add("Gather", scores, at, axis=0)
        site.add("Reshape", best, site.ints([-1, 1], "column"), top=1)


def _python(site: Site) -> _Proposals:
    """What py-faster-rcnn's layer is told; the rest is its configuration at test time."""
    text = own_message(site.layer, "python_param").string("param_str")
    stride = re.search(r"feat_stride\W+([\d.]+)", text)
    if stride is None:
        raise site.error("its param_str gives no feat_stride")
    given = re.search(r"scales\W[^\[(]*[\[(]([^\])]*)", text)
    scales = [8.0, 16.0, 32.0]
    if given is not None:
        scales = [float(each) for each in re.findall(r"[\d.]+", given[1])]
    anchors = _anchors(16, (0.5, 1, 2), scales, half_up=False)
    return _Proposals(anchors, float(stride[1]), 6000, 300, 0.7, 16, True)


def _stated(site: Site) -> _Proposals:
    """What ``proposal_param`` says, in PVANet's and Intel's fields."""
    message = own_message(site.layer, "proposal_param")
    strange = next((f.name for f in message.fields if f.name not in _FIELDS), "")
    if strange:
        raise site.error(f"proposal_param has {strange}, a field of another fork")
    ratios, scales = _numbers(message, "ratio"), _numbers(message, "scale")
    if not ratios or not scales:
        raise site.error("proposal_param gives no ratio or no scale")

    def number(name: str, default: float) -> float:
        return (_numbers(message, name) or [default])[-1]

    return _Proposals(
        _anchors(number("base_size", 16), ratios, scales, half_up=True),
        number("feat_stride", 16),
        int(number("pre_nms_topn", 6000)),
        int(number("post_nms_topn", 300)),
        number("nms_thresh", 0.7),
        number("min_size", 16),
        False,
    )


def _numbers(message: Message, name: str) -> list[float]:
    found = (parse_float(v.raw) for v in message.all(name) if isinstance(v, Scalar))
    return [number for number in found if number is not None]


def _anchors(
    base: float, ratios: tuple[float, ...] | list[float], scales: list[float], *, half_up: bool
) -> Doubles:
    """(A, 4) corners: a square of ``base``, in each ratio, then in each scale (generate_anchors).

    ``half_up`` is how sides are rounded; numpy rounds halves to even numbers.
    """
    middle = 0.5 * (base - 1)
    found = []
    for ratio in ratios:
        width = np.sqrt(base * base / ratio)
        width = np.floor(width + 0.5) if half_up else np.round(width)
        height = np.floor(width * ratio + 0.5) if half_up else np.round(width * ratio)
        for scale in scales:
            w, h = 0.5 * (width * scale - 1), 0.5 * (height * scale - 1)
            found.append([middle - w, middle - h, middle + w, middle + h])
    return np.array(found)


def _halves(site: Site, value: str) -> tuple[str, str]:
    """The first and the last two of four columns."""
    low, high = site.add_many("Split", (value, site.ints([2, 2], "halves")), (None, None), axis=1)
    return low, high


def _moved(site: Site, known: _Proposals, rows: int, columns: int) -> str:
    """(rows * columns * A, 4) boxes: the anchors of all cells, moved by the deltas."""
    down, across = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    shifts = np.stack([across, down, across, down], -1) * known.stride
    anchors = (shifts[:, :, None] + known.anchors).reshape(-1, 4)
    size = anchors[:, 2:] - anchors[:, :2] + 1
    turned = site.add("Transpose", site.bottoms[1], perm=[0, 2, 3, 1])
    deltas = site.add("Reshape", turned, site.ints([-1, 4], "shape"))
    shift, growth = _halves(site, deltas)
    sizes = site.const(size, "sizes")
    centre = site.const(anchors[:, :2] + 0.5 * size, "centres")
    at = site.add("Add", site.add("Mul", shift, sizes), centre)
    half = site.scaled(site.add("Mul", site.add("Exp", growth), sizes), 0.5)
    return site.joined([site.add("Sub", at, half), site.add("Add", at, half)], 1)


def _clipped(site: Site, boxes: str) -> str:
    """The boxes within the image, whose height and width come first in ``im_info``."""
    info = site.add("Reshape", site.bottoms[2], site.ints([-1], "flat"))
    limits = site.add("Gather", info, site.ints([1, 0, 1, 0], "width_height"), axis=0)
    limits = site.moved(limits, -1.0)
    return site.add("Max", site.add("Min", boxes, limits), site.const(0.0, "zero"))


def _large_enough(site: Site, boxes: str, known: _Proposals) -> str:
    """Which boxes have both sides of ``min_size`` or more, in pixels of the scaled image."""
    low, high = _halves(site, boxes)
    sides = site.moved(site.add("Sub", high, low), 1.0)
    info = site.add("Reshape", site.bottoms[2], site.ints([-1], "flat"))
    several = not known.drops and prod(site.extents(2)) > 3
    scales = site.add("Gather", info, site.ints([3, 2] if several else [2, 2], "scales"), axis=0)
    least = site.scaled(scales, known.smallest)
    narrow = site.add("Cast", site.add("Less", sides, least), to=1)
    most = site.reduce("ReduceMax", narrow, [1], keep=False)
    return site.add("Less", most, site.const(0.5, "half"))


def roi_pooling(site: Site) -> None:
    """MaxRoiPool; regions are rounded in it as in Caffe."""
    own = site.op
    assert isinstance(own, ROIPooling)
    if own.aligns(site.layer):
        raise site.error("ROIAlign differs between forks; ONNX's is none of them")
    params = site.params
    site.add(
        "MaxRoiPool",
        site.x,
        site.bottoms[1],
        top=0,
        pooled_shape=[params.integer("pooled_h"), params.integer("pooled_w")],
        spatial_scale=params.number("spatial_scale"),
    )


def psroi_pooling(site: Site) -> None:
    """PSROIPooling: each bin of a region averages its own map; bins are masks, sums are Einsums."""
    params = site.params
    side, outputs, scale = (
        params.integer("group_size"),
        params.integer("output_dim"),
        params.number("spatial_scale"),
    )
    items, _, height, width = site.extents(0)
    if items != 1:
        raise site.error("its regions are of one image; its batch must be 1")
    rows = site.reshape(site.bottoms[1], (None, 5), like=())
    starts = site.scaled(_rounded(site, site.slice(rows, [1], [1], [3])), scale)
    ends = site.scaled(site.moved(_rounded(site, site.slice(rows, [1], [3], [5])), 1.0), scale)
    extent = site.add("Max", site.add("Sub", ends, starts), site.const(0.1, "least"))
    sizes = site.add("Div", extent, site.const(float(side), "group"))
    masks, counts = [], []
    for column, size, name in ((1, height, "rows"), (0, width, "columns")):
        start = site.slice(starts, [1], [column], [column + 1])
        bin_ = site.slice(sizes, [1], [column], [column + 1])
        limit = site.const(float(size), name)
        zero = site.const(0.0, "zero")

        def edge(first: int, kind: str, start: str = start, bin_: str = bin_) -> str:
            steps = site.const(np.arange(first, first + side)[None], "bins")
            return site.add(kind, site.add("Add", site.add("Mul", bin_, steps), start))

        first = site.add("Min", site.add("Max", edge(0, "Floor"), zero), limit)
        last = site.add("Min", site.add("Max", edge(1, "Ceil"), zero), limit)
        counts.append(site.add("Max", site.add("Sub", last, first), zero))
        shape = site.ints([-1, side, 1], "shape")
        at = site.const(np.arange(size).reshape(1, 1, size), name)
        below = site.add("Less", at, site.add("Reshape", last, shape))
        beyond = site.add("Less", at, site.add("Reshape", first, shape))
        inside = site.add("And", below, site.add("Not", beyond))
        masks.append(site.add("Cast", inside, to=1))  # (R, bins, size)
    maps = site.add("Reshape", site.x, site.ints([outputs, side, side, height, width], "shape"))
    lines = site.add("Einsum", maps, masks[1], equation="ogkhw,rkw->rogkh")
    sums = site.add("Einsum", lines, masks[0], equation="rogkh,rgh->rogk")
    area = site.add(
        "Mul",
        site.add("Reshape", counts[0], site.ints([-1, 1, side, 1], "shape")),
        site.add("Reshape", counts[1], site.ints([-1, 1, 1, side], "shape")),
    )
    site.add("Div", sums, site.add("Max", area, site.const(1.0, "one")), top=0)


def _rounded(site: Site, value: str) -> str:
    """Halves go up: regions are not negative, where C++ would round them away from 0."""
    return site.add("Floor", site.moved(value, 0.5))
