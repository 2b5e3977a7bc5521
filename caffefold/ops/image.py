"""What a data layer specifies about its images: size, channels, and what is done to them.

Fields stand in ``transform_param``, or, older and in forks, in the layer's own parameter message
(``image_data_param``, ``window_data_param``, ``dense_image_data_param`` ...). Source:
data_transformer.cpp, image_data_layer.cpp, window_data_layer.cpp; for ``resize_param`` the SSD
branch's im_transforms.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from caffefold.formats.prototxt.tree import Message, Scalar, unquote
from caffefold.ir.net import Layer
from caffefold.ir.params import FALSE, TRUE, parse_float, parse_int

_VIDEO = frozenset({"VideoData", "VIDEO_DATA"})
# They read images with OpenCV in colour by default (window_data_layer.cpp, io.cpp).
_COLOUR = frozenset({"ImageData", "WindowData", "ImageSegData", "DenseImageData"}) | _VIDEO
_CROPS = (("crop_height", "crop_width"), ("crop_h", "crop_w"), ("crop_size_y", "crop_size_x"))
_NOT_IMAGES = frozenset({"HDF5Data", "Python", "DummyData"})


def is_image_layer(layer: Layer) -> bool:
    """Whether the first top of the layer holds images, as far as its type says."""
    return layer.type not in _NOT_IMAGES


def messages(layer: Layer) -> Iterator[Message]:
    """``transform_param`` first, then the layer's own parameter messages."""
    transform = layer.body.message("transform_param")
    if transform is not None:
        yield transform
    for field in layer.body.fields:
        if field.name.endswith("_param") and field.name != "transform_param":
            yield field.body


def raw(layer: Layer, name: str) -> str:
    """The value of ``name`` as written, wherever the layer has it; "" when nowhere."""
    for message in messages(layer):
        value = message.last(name)
        if isinstance(value, Scalar):
            return unquote(value.raw)
    return ""


def integer(layer: Layer, name: str) -> int:
    """The integer ``name``; 0 when the layer does not have it."""
    return parse_int(raw(layer, name)) or 0


def numbers(layer: Layer, name: str) -> list[float]:
    """All values of the float field ``name``."""
    for message in messages(layer):
        found = [parse_float(v.raw) for v in message.all(name) if isinstance(v, Scalar)]
        if found:
            return [value for value in found if value is not None]
    return []


def crop(layer: Layer) -> tuple[int, int]:
    """(height, width) in pixels that images are cropped to; zeros when they are not."""
    square = integer(layer, "crop_size")
    return (square, square) if square else _size(layer, _CROPS)


def resize(layer: Layer) -> tuple[int, int]:
    """(height, width) in pixels that images are resized to, or given with; zeros when unknown."""
    transform = layer.params("transform_param")
    if transform.has("resize_param"):
        size = transform.sub("resize_param")
        if size.enum("resize_mode") == "FIT_SMALL_SIZE":
            return 0, 0  # keeps the image's own proportions
        if size.integer("height") and size.integer("width"):
            return size.integer("height"), size.integer("width")
    height, width = _size(layer, (("new_height", "new_width"), ("height", "width")))
    short = 0 if height else integer(layer, "short_size")
    return height or short, width or short


def _size(layer: Layer, fields: Iterable[tuple[str, str]]) -> tuple[int, int]:
    """The first pair of fields of which neither is 0; zeros when there is none."""
    pairs = ((integer(layer, height), integer(layer, width)) for height, width in fields)
    return next(filter(all, pairs), (0, 0))


def image_size(layer: Layer) -> tuple[int, int]:
    """(height, width) in pixels that a data layer's images end up with; zeros when unknown."""
    height, width = crop(layer)
    return (height, width) if height else resize(layer)


def declared_channels(layer: Layer) -> int:
    """Channels of the images as the layer's text fixes them; 0 when it does not."""
    if layer.type == "MemoryData":
        return integer(layer, "channels")
    if raw(layer, "force_gray") in TRUE or raw(layer, "is_color") in FALSE:
        return 1
    clip = clip_length(layer) > 1
    means = len(numbers(layer, "mean_value"))
    # Stacks of frames, for each part of the video: forks' VideoData.
    frames = (integer(layer, "new_length") or 1) * (integer(layer, "num_segments") or 1)
    if raw(layer, "modality") == "FLOW":
        return 2 * frames
    if means > 1:
        return means * frames if layer.type in _VIDEO and means == 3 and not clip else means
    if raw(layer, "force_color") in TRUE or raw(layer, "is_color") in TRUE:
        return 3
    return 0 if layer.type not in _COLOUR else 3 if clip else 3 * frames


def clip_length(layer: Layer) -> int:
    """Frames of a clip that stand on an axis of their own (C3D's fork); 0 where they are stacked
    as channels (yjxiong's fork names a ``modality``), or there is one image only."""
    if layer.type not in _VIDEO or raw(layer, "modality"):
        return 0
    return integer(layer, "new_length")
