"""What data layers did to their images, in plain values and as comment lines: nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from caffefold.analysis.shapes import input_shapes
from caffefold.errors import InputError
from caffefold.formats.caffemodel.index import read_blob
from caffefold.ir.net import Layer, Net
from caffefold.ops import image
from caffefold.ops.table import op
from caffefold.ops.wiring import SLICE

_LARGEST_MEAN = 64 << 20  # bytes; a mean image is far smaller
_LEVELS = 8  # folders upwards from the prototxt: paths are relative to Caffe's root


def preprocessing(net: Net, deploy: Net) -> tuple[dict[str, Any], ...]:
    """What every data layer of ``net`` that became an input of ``deploy`` does to its images.

    The inputs of ``deploy`` say how many channels the images have, and whether they are read.
    """
    shapes = input_shapes(deploy)
    return tuple(
        _preprocessing(net, layer, blob, shapes[blob])
        for layer in net.layers
        if op(layer).is_data(layer) and image.is_image_layer(layer)
        for blob in _inputs_of(net, layer, shapes)
    )


def _inputs_of(net: Net, layer: Layer, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """The inputs of the deploy net that hold this layer's images, or parts of them."""
    first = layer.tops[0]
    if first in shapes:
        return [first]
    cut = (x for x in net.layers if op(x) is SLICE and x.bottoms == (first,))
    return [top for slicer in cut for top in slicer.tops if top in shapes]


def _preprocessing(net: Net, layer: Layer, blob: str, dims: tuple[int, ...]) -> dict[str, Any]:
    height, width = image.image_size(layer)
    channels = dims[1] if len(dims) > 1 else 0
    # Caffe reads colour images as BGR; stacks of other things have no order of colours.
    order = {0: "BGR", 1: "GRAY", 3: "BGR"}.get(channels)
    found: dict[str, Any] = {"blob": blob, **({"color_order": order} if order else {})}
    if height and width:
        found["height"], found["width"] = height, width
    transform = layer.params("transform_param")
    if transform.has("resize_param"):
        found["resize_mode"] = transform.sub("resize_param").enum("resize_mode")
    crop = image.crop(layer)
    if crop[0]:
        found["crop_size"] = crop[0] if crop[0] == crop[1] else list(crop)
        resize = image.resize(layer)
        if resize[0] and resize != crop:
            found["resize_height"], found["resize_width"] = resize
    means = image.numbers(layer, "mean_value")
    if means:
        found["mean_value"] = [_short(v) for v in means]
    mean_file = image.raw(layer, "mean_file")
    if mean_file:
        found["mean_file"] = mean_file
        path = find_mean(mean_file, Path(net.document.path))
        values = channel_means(path) if path is not None else ()
        if values:
            found["mean_file_channels"] = [_short(v) for v in values]
    scale = image.numbers(layer, "scale")
    if scale and scale[-1] != 1:
        found["scale"] = _short(scale[-1])
    images = layer.params("image_data_param")
    if images.has("source"):
        found["source"], found["root_folder"] = (
            images.string("source"),
            images.string("root_folder"),
        )
    return found


def _short(value: float) -> float:
    """A float32 value with the digits a person would write."""
    return float(f"{value:.7g}")


def find_mean(name: str, prototxt: Path) -> Path | None:
    """The file of a ``mean_file`` field; None where it is not there, or too large to be one."""
    return find(
        name, prototxt, lambda path: path.is_file() and path.stat().st_size <= _LARGEST_MEAN
    )


def find(name: str, prototxt: Path, fits: Callable[[Path], bool]) -> Path | None:
    """What a field of a training net names: at its path, from a folder above the prototxt, or
    beside it; None when nothing in these places ``fits``."""
    given = Path(name)
    folders = prototxt.absolute().parents[:_LEVELS]
    beside = [folder / given.name for folder in folders[:1]]
    # Joined to a folder, an absolute path stays what it is.
    for path in (given, *(folder / given for folder in folders), *beside):
        try:
            if fits(path):
                return path
        except (OSError, ValueError):
            continue
    return None


def channel_means(path: Path) -> tuple[float, ...]:
    """The mean of each channel of a BlobProto of C x H x W or 1 x C x H x W numbers; () when the
    file is none."""
    try:
        numbers = read_blob(path)
    except (InputError, OSError):
        return ()
    while numbers.ndim > 3 and numbers.shape[0] == 1:
        numbers = numbers[0]
    if numbers.ndim != 3 or not numbers.size:
        return ()
    return tuple(float(v) for v in numbers.mean(axis=(1, 2), dtype="float64"))


def comment(items: Sequence[dict[str, Any]]) -> str:
    """What the training net did to its images, as comment lines for the deploy prototxt."""
    lines = []
    for known in items:
        steps = []
        if "resize_height" in known:
            steps.append(f"resize to {known['resize_height']}x{known['resize_width']}")
        if "height" in known:
            how = "crop" if "crop_size" in known else "resize"
            steps.append(f"{how} to {known['height']}x{known['width']} (height x width)")
        if "mean_file" in known:
            values = _listed(known.get("mean_file_channels", ()))
            means = f" (channel means {values})" if values else ""
            steps.append(f"subtract the mean of {known['mean_file']}{means}")
        if "mean_value" in known:
            steps.append(f"subtract mean {_listed(known['mean_value'])}")
        if "scale" in known:
            steps.append(f"multiply by {known['scale']:g}")
        if steps:
            order = f"{known['color_order']} pixels" if "color_order" in known else "as read"
            lines.append(f"# Input '{known['blob']}': {order}, {', then '.join(steps)}.\n")
    return "".join(lines)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
