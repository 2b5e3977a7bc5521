"""Shapes of what layers without inputs make: Input, DummyData, data layers.

What a data base holds is not in the text; only what the transformation fixes is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.formats.prototxt.tree import Field, Message, Scalar
from caffefold.ir.net import Layer
from caffefold.ir.params import parse_int
from caffefold.ops import image
from caffefold.ops.shape import Dim, Known, Shape, Step

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
    height, width = (dim or None for dim in image.image_size(layer))
    frames = image.clip_length(layer)
    clip = (frames,) if frames > 1 else ()
    images: Shape = (batch, image.declared_channels(layer) or None, *clip, height, width)
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
