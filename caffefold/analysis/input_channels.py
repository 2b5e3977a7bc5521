"""How many channels an input must have: read off the first layers with weights behind it."""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.analysis.shapes import infer
from caffefold.formats.caffemodel.blob import size
from caffefold.ir.net import Layer, Net
from caffefold.ops.shape import Dim, Shape
from caffefold.ops.shape_linear import input_channels
from caffefold.ops.shape_rules import CONVOLUTIONS, ELEMENTWISE

_THROUGH = ELEMENTWISE | {
    "Pooling",
    "Interp",
    "Upsample",
    "ShuffleChannel",
    "Eltwise",
    "BatchNorm",
    "BN",
    "Scale",
    "Bias",
    "PReLU",
    "Normalize",
}
_LEARNED = frozenset({"BatchNorm", "BN", "Scale", "Bias", "PReLU", "Normalize"})


def channels_of(net: Net, blob: str) -> int | None:
    """The channels that weights fix for the first version of ``blob``; None when they do not.

    Followed through everything that keeps channels, and through Slice, Concat and Eltwise where the
    other parts are known. Where two readers disagree, the first one counts.

    Args:
        net: a net with weights, filtered to one phase.
        blob: an input, or a blob that nothing makes.
    """
    known = infer(net)
    wiring = known.graph
    wanted: list[Dim] = [None] * len(wiring.versions)
    loose: Dim = None  # what is wanted of ``blob`` where no layer makes it
    for position in reversed(range(len(net.layers))):
        layer = net.layers[position]
        made = [wanted[version] for version in wiring.writes[position]]
        for place, version in enumerate(wiring.reads[position]):
            found = _wanted(layer, place, made, known.bottoms[position])
            if found is not None and version >= 0:
                wanted[version] = found
            elif found is not None and layer.bottoms[place] == blob:
                loose = found
    for made_as, need in zip(wiring.versions, wanted, strict=True):
        if made_as.blob == blob:
            return need
    return loose


def _wanted(layer: Layer, place: int, made: Sequence[Dim], bottoms: Sequence[Shape]) -> Dim:
    """The channels the bottom at ``place`` must have, when those of the tops are ``made``."""
    first = made[0] if made else None
    if layer.type in CONVOLUTIONS or layer.type == "Deconvolution":
        plain = layer.params("convolution_param").integer("axis") == 1
        return input_channels(layer) if plain else None
    if layer.type in _LEARNED and len(layer.bottoms) == 1:
        own = _learned(layer)
        return own if own is not None else first
    if layer.type == "Slice":
        return _sliced(layer, made)
    if layer.type == "Concat":
        return _joined(layer, place, made, bottoms)
    if layer.type == "Eltwise":
        others = (shape for i, shape in enumerate(bottoms) if i != place)
        return next((c for shape in others if (c := _channels(shape)) is not None), first)
    if layer.type == "Crop":
        return (
            first if place == 0 and layer.params("crop_param").integer("axis") in (2, 3) else None
        )
    return first if layer.type in _THROUGH and place == 0 else None


def _learned(layer: Layer) -> Dim:
    """The channels that the learned numbers of an affine layer are for."""
    if not layer.blobs or size(layer.blobs[0]) == 1:
        return None
    if layer.type in ("Scale", "Bias"):
        params = layer.params(f"{layer.type.lower()}_param")
        if (params.integer("axis"), params.integer("num_axes")) != (1, 1):
            return None
    return size(layer.blobs[0])


def _sliced(layer: Layer, made: Sequence[Dim]) -> Dim:
    params = layer.params("slice_param")
    if (params.integer("slice_dim") if params.has("slice_dim") else params.integer("axis")) != 1:
        return next((need for need in made if need is not None), None)
    points = params.integers("slice_point")
    if points:
        last = made[-1] if made else None
        return None if last is None else points[-1] + last
    part = next((need for need in made if need is not None), None)
    return None if part is None else part * len(made)


def _joined(layer: Layer, place: int, made: Sequence[Dim], bottoms: Sequence[Shape]) -> Dim:
    params = layer.params("concat_param")
    first = made[0] if made else None
    if (params.integer("concat_dim") if params.has("concat_dim") else params.integer("axis")) != 1:
        return first
    alike = layer.bottoms.count(layer.bottoms[place])
    others = [
        _channels(shape)
        for name, shape in zip(layer.bottoms, bottoms, strict=True)
        if name != layer.bottoms[place]
    ]
    rest = 0
    for channels in others:
        if channels is None:
            return None
        rest += channels
    if first is None or first <= rest or (first - rest) % alike:
        return None
    return (first - rest) // alike


def _channels(shape: Shape) -> Dim:
    return shape[1] if shape is not None and len(shape) > 1 else None
