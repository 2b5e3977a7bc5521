"""ImageData layers in place of inputs: do they make what the inputs were?

From image_data_layer.cpp and data_transformer.cpp: the tops are images of ``batch_size`` x 3 (1
with ``is_color: false``) x ``crop_size``, else ``new_height`` x ``new_width``, and a label; each
image is (pixel - mean) * scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from caffefold.errors import ProofError
from caffefold.formats.prototxt.tree import block, quote, scalar, set_scalar
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import Params

_NAME = "ImageData"


def as_inputs(original: Net, written: Net) -> Net:
    """``written`` with an Input layer for each ImageData layer that is one of ``original``.

    Raises:
        ProofError: its label is read, or it prepares images otherwise than the training net.
    """
    inputs = {layer.name for layer in original.layers if layer.is_input}
    read = {bottom for layer in written.layers for bottom in layer.bottoms}
    known = {each["blob"]: each for each in original.preprocessing}
    new: dict[int, tuple[Layer, ...]] = {}
    for position, layer in enumerate(written.layers):
        if layer.body.string("type") != _NAME or layer.name not in inputs:
            continue
        if len(layer.tops) != 2 or layer.tops[1] in read:
            raise ProofError(f"layer '{layer.name}': its label is read, or it has none")
        _check_transform(layer, known.get(layer.tops[0], {}))
        new[position] = (_input(layer),)
    return written.substitute(new) if new else written


def _input(layer: Layer) -> Layer:
    images, transform = layer.params("image_data_param"), layer.params("transform_param")
    crop = transform.integer("crop_size")
    size = images.integer("new_height"), images.integer("new_width")
    if min(size) < max(1, crop):
        raise ProofError(f"layer '{layer.name}': crops {crop} out of {size[0]}x{size[1]}")
    if crop:
        size = crop, crop
    dims = images.integer("batch_size"), 3 if images.flag("is_color") else 1, *size
    shape = block("shape", [scalar("dim", str(dim), "      ") for dim in dims], "    ")
    gone = ("image_data_param", "transform_param")
    kept = [field for field in layer.body.fields if field.name not in gone]
    body = replace(layer.body, fields=(*kept, block("input_param", [shape], "  ")))
    return layer.edited(set_scalar(body, "type", quote("Input"))).with_wiring((), layer.tops[:1])


def _check_transform(layer: Layer, known: Mapping[str, Any]) -> None:
    found = layer.params("transform_param")
    said = [_numbers(found, "mean_value"), _numbers(found, "scale") or [1.0]]
    file = found.string("mean_file")
    means = list(known.get("mean_value", ()))
    if "mean_file" in known and not file:  # an image's, in one number for each channel
        means = list(known.get("mean_file_channels", [float("nan")]))
    wanted = [means, [known.get("scale", 1.0)]]
    unlike = file and file != known.get("mean_file")
    if unlike or found.flag("mirror") or _rounded(said) != _rounded(wanted):
        raise ProofError(f"layer '{layer.name}': prepares images otherwise than in training")


def _numbers(params: Params, name: str) -> list[float]:
    return list(params.numbers(name)) if params.has(name) else []


def _rounded(numbers: list[list[float]]) -> list[list[str]]:
    return [[f"{number:.7g}" for number in each] for each in numbers]
