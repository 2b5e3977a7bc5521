"""Inputs as ImageData layers, for a quantiser that reads its calibration images itself.

Given   Input -> data, 1 x 3 x 224 x 224; in training: resized to 256x256, cropped, mean 104
Result  ImageData -> data, label; with crop_size, mean_value, new_height and new_width

Images are prepared as the training net prepared them (deploy/preprocessing.py), and their list is
the one that it read, if it read one. The label is nobody's: image_data_layer.hpp has two tops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from caffefold.formats.prototxt.tree import Field, quote, set_scalar
from caffefold.frozen import dataclass
from caffefold.ir.net import Layer, Net
from caffefold.ops.source import INPUT
from caffefold.passes.contracts import text_agrees, wired
from caffefold.passes.deploy.newlayer import Names, Parameter, message
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult

LIST = "calibration.txt"
_IMAGE = 4  # axes
_GREY = 1
_COLOUR = 3


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImageInputs(Pass):
    """Every input is an ImageData layer."""

    name: ClassVar = "images"
    requires: ClassVar = (text_agrees, wired)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Rewrite every Input layer.

        Raises:
            TextError: an input is no image, or is not prepared as an ImageData layer can.
        """
        for item in net.items:
            if isinstance(item, Field) and item.name == "input":
                advice = "write them as Input layers (input_style='layer') first"
                raise net.document.error(item.offset, f"inputs are input: fields; {advice}")
        known = {each["blob"]: each for each in net.preprocessing}
        names, new = Names(net, ()), {}
        changes: list[Change] = []
        warnings: list[str] = []
        for position, layer in enumerate(net.layers):
            if not layer.is_input:
                continue
            (top,) = layer.tops
            label = names.free("label")
            made = _image_data(layer, known.get(top, {}), label)
            names.add((made,))
            new[position] = (made,)
            source = made.params("image_data_param").string("source")
            detail = f"ImageData, with the images of {source} ('NAME 0' on each line)"
            changes.append(Change(ChangeKind.REWRITTEN, (), (layer.name,), detail))
            warnings += _doubts(layer, top, known.get(top))
        return PassResult(net.substitute(new), tuple(changes), (), tuple(warnings))


def _doubts(layer: Layer, blob: str, known: Mapping[str, Any] | None) -> list[str]:
    """What is not known of the images, or is not done to them as in training."""
    if known is None:
        what = f"write mean_value and scale into the transform_param of layer '{layer.name}'"
        return [f"input '{blob}': the net does not tell how its images are prepared; {what}"]
    mode = known.get("resize_mode", "WARP")
    if mode != "WARP":
        return [f"input '{blob}': images are warped to its size; in training, {mode}"]
    return []


def _image_data(layer: Layer, known: Mapping[str, Any], label: str) -> Layer:
    (dims,) = INPUT.dims(layer)
    if len(dims) != _IMAGE or dims[1] not in (_GREY, _COLOUR) or min(dims) < 1:
        shown = "x".join(map(str, dims)) or "not stated"
        raise layer.error(
            f"its shape is {shown}, no image of 1 or 3 channels; an ImageData layer reads images"
        )
    transform, images = _prepared(layer, dims, known)
    kept = [field for field in layer.body.fields if field.name != INPUT.param]
    lead = kept[0].lead if kept else ""
    indent = lead.rpartition("\n")[2] if "\n" in lead else "  "
    added: list[Field] = [message("transform_param", transform, indent)] if transform else []
    added.append(message("image_data_param", images, indent))
    body = replace(layer.body, fields=(*kept, *added), close="\n}")
    made = layer.edited(set_scalar(body, "type", quote("ImageData")))
    return made.with_wiring((), (*layer.tops, label))


def _prepared(
    layer: Layer, dims: Sequence[int], known: Mapping[str, Any]
) -> tuple[dict[str, Parameter | Sequence[Parameter]], dict[str, Parameter]]:
    """The parameters of the transform, and those of the images."""
    batch, channels, height, width = dims
    transform: dict[str, Parameter | Sequence[Parameter]] = {}
    images: dict[str, Parameter] = {
        "source": quote(known.get("source", LIST)),
        "root_folder": quote(known.get("root_folder", "./")),
        "batch_size": batch,
    }
    if channels == _GREY:
        images["is_color"] = "false"
    size = known.get("resize_height", height), known.get("resize_width", width)
    if known.get("crop_size") == height == width and size[0] >= height and size[1] >= width:
        if size != (height, width):
            transform["crop_size"] = height
    else:
        size = height, width
    images["new_height"], images["new_width"] = size
    means = list(known.get("mean_value", ()))
    if "mean_file" in known:
        if "crop_size" in transform or "crop_size" not in known:
            transform["mean_file"] = quote(known["mean_file"])  # of the size that images are
        elif "mean_file_channels" in known:
            means = list(known["mean_file_channels"])
        else:
            raise layer.error(
                f"the size of the mean image {known['mean_file']} is not known; put the file "
                "beside the prototxt"
            )
    if len(means) not in (0, 1, channels):
        raise layer.error(f"{len(means)} values of mean_value for {channels} channels")
    if means:
        transform["mean_value"] = [f"{mean:.9g}" for mean in means]
    if "scale" in known:
        transform["scale"] = f"{known['scale']:.9g}"
    return transform, images
