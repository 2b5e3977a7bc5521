"""Shapes of what layers without inputs make: Input, DummyData, data layers.

What a data base holds is not in the text; only what the transformation fixes is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.formats.text import Field, Message, Scalar
from caffefold.model.net import Layer
from caffefold.model.params import parse_int
from caffefold.model.shape import Dim, Known, Shape, Step

_LABELLED = frozenset({"Data", "ImageData", "WindowData", "MemoryData"})
_DENSE = frozenset({"DenseImageData", "ImageSegData", "ImageSegmentationData"})


def given(layer: Layer) -> Step:
    """Input: one shape for each top, or one for all; without any, the shape is set later."""
    params = layer.params("input_param")
    shapes = [dims(params.nested("shape", m).integers("dim")) for m in params.messages("shape")]
    return _fixed(layer, shapes)


def parameter(layer: Layer) -> Step:
    """Parameter: a learned blob as a top."""
    shape = dims(layer.params("parameter_param").sub("shape").integers("dim"))
    return lambda bottoms: [shape]


def dummy(layer: Layer) -> Step:
    """DummyData: ``shape``, or ``num``, ``channels``, ``height`` and ``width`` for each top."""
    params = layer.params("dummy_data_param")
    shapes = [dims(params.nested("shape", m).integers("dim")) for m in params.messages("shape")]
    if not shapes:
        lists = [params.integers(name) for name in ("num", "channels", "height", "width")]
        count = max(map(len, lists))
        if any(len(values) not in (1, count) for values in lists):
            raise layer.error("num, channels, height and width must be given equally often")
        wide = [values * count if len(values) == 1 else values for values in lists]
        shapes = [dims(extents) for extents in zip(*wide, strict=True)]
    return _fixed(layer, shapes)


def dims(extents: Sequence[int]) -> Known:
    """A shape from the text; 0 and -1 stand for what is not known yet."""
    return tuple(dim if dim > 0 else None for dim in extents)


def _fixed(layer: Layer, shapes: Sequence[Known]) -> Step:
    count = len(layer.tops)
    if not shapes:
        return lambda bottoms: [None] * count
    if len(shapes) not in (1, count):
        raise layer.error(f"{len(shapes)} shapes for {count} tops; give one, or one for each")
    made: Sequence[Shape] = [*shapes] * (count if len(shapes) == 1 else 1)
    return lambda bottoms: made


def data(layer: Layer) -> Step:
    """Data layers of Caffe and its forks: images first, then labels."""
    batch = _batch(layer)
    height, width = image_size(layer)
    images: Shape = (batch, image_channels(layer), height, width)
    if layer.type == "HDF5Data":
        return lambda bottoms: [None] * len(layer.tops)
    label: Shape = None
    if layer.type in _LABELLED:
        label = (batch,)
    elif layer.type in _DENSE:
        label = (batch, 1, height, width)
    elif layer.type == "AnnotatedData":
        label = (1, 1, None, 8)  # annotated_data_layer.cpp: one row for each box of the batch
    return lambda bottoms: [images, *[label] * (len(layer.tops) - 1)]


def detect_net(layer: Layer) -> Step:
    """DetectNetTransformation of NVCaffe: colour images of a stated size, and a coverage map."""
    message = layer.body.message("detectnet_groundtruth_param") or Message(())
    size = _integer(message, "image_size_y"), _integer(message, "image_size_x")

    def step(bottoms: Sequence[Shape]) -> list[Shape]:
        batch = bottoms[0][0] if bottoms and bottoms[0] else None
        return [(batch, 3, *size), None]

    return step


def image_size(layer: Layer) -> tuple[Dim, Dim]:
    """(height, width) in pixels that the images of a data layer end up with."""
    transform = layer.params("transform_param")
    if transform.integer("crop_size"):
        return transform.integer("crop_size"), transform.integer("crop_size")
    if transform.integer("crop_h") and transform.integer("crop_w"):
        return transform.integer("crop_h"), transform.integer("crop_w")
    own = list(_own(layer))
    for message in own:  # crop_size of nets older than transform_param
        if _integer(message, "crop_size"):
            return _integer(message, "crop_size"), _integer(message, "crop_size")
    resize = transform.sub("resize_param")
    if resize.integer("height") and resize.integer("width"):
        return resize.integer("height"), resize.integer("width")
    for names in (("crop_height", "crop_width"), ("new_height", "new_width"), ("height", "width")):
        for message in own:
            found = _integer(message, names[0]), _integer(message, names[1])
            if all(found):
                return found
    return None, None


def image_channels(layer: Layer) -> Dim:
    """Channels of the images, where the layer's own text fixes them."""
    transform = layer.params("transform_param")
    if layer.type == "MemoryData":
        return layer.params("memory_data_param").integer("channels") or None
    if transform.flag("force_gray"):
        return 1
    video = layer.body.message("video_data_param")
    if video is not None and video.last("new_length") is not None:
        return _video_channels(video)
    if transform.flag("force_color"):
        return 3
    if layer.type == "ImageData":
        return 3 if layer.params("image_data_param").flag("is_color") else 1
    if layer.type in {*_DENSE, "WindowData"}:
        return 3
    means = len(transform.numbers("mean_value"))
    return means if means > 1 else None


def _video_channels(video: Message) -> Dim:
    """VideoData of yjxiong: RGB frames, or the two directions of optical flow, side by side."""
    modality = video.last("modality")
    planes = 2 if modality is not None and str(modality) in ("FLOW", "1") else 3
    length, segments = _integer(video, "new_length"), _integer(video, "num_segments") or 1
    return None if length is None else planes * length * segments


def _batch(layer: Layer) -> Dim:
    if layer.type == "ImageData":  # the one that has a default
        return layer.params("image_data_param").integer("batch_size")
    return next((n for m in _own(layer) if (n := _integer(m, "batch_size"))), None)


def _own(layer: Layer) -> list[Message]:
    """The parameter messages of a data layer, the transformation apart."""
    return [field.body for field in layer.body.fields if _is_own(field)]


def _is_own(field: Field) -> bool:
    return field.name.endswith("data_param") and isinstance(field.value, Message)


def _integer(message: Message, name: str) -> int | None:
    """An integer of a message the schema may not know; None when it is absent, 0 or no number."""
    value = message.last(name)
    return (parse_int(value.raw) or None) if isinstance(value, Scalar) else None


def is_source(layer: Layer) -> bool:
    """Whether the layer reads a data set: its type says Data, and it has no bottoms."""
    return not layer.bottoms and "data" in layer.type.lower()
