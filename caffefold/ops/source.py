"""Layers that make blobs out of nothing: Input, constants, and everything that reads a data set.

What a data base holds is not in the text; only what the transformation fixes is known (image.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.humanize import counted
from caffefold.ir.net import Layer
from caffefold.ops import image
from caffefold.ops.base import Category, Op, WeightSpec, integer_in, own_message
from caffefold.ops.shape import Dim, Known, Shape, ShapeList, axis_of, first

_LABELLED = frozenset({"Data", "ImageData", "WindowData", "MemoryData"})
_DENSE = frozenset({"DenseImageData", "ImageSegData", "ImageSegmentationData"})


class Given(Op):
    """A layer without bottoms that reads no data set: Input, and what is like it."""

    category = Category.DATA
    given = True

    def dims(self, layer: Layer) -> tuple[tuple[int, ...], ...]:
        """The shape of each top as written; () in place of one, or no shapes, when not written.

        One shape stands for all tops (input_layer.cpp, dummy_data_layer.cpp).

        Raises:
            TextError: there are shapes for another number of tops.
        """
        shapes = self.params(layer).messages("shape")
        return _for_tops(layer, [shape.integers("dim") for shape in shapes])

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        return [dims(shape) if shape else None for shape in self.dims(layer)]


class DummyData(Given):
    """DummyData: ``shape``, or ``num``, ``channels``, ``height`` and ``width`` for each top."""

    param = "dummy_data_param"

    def dims(self, layer: Layer) -> tuple[tuple[int, ...], ...]:
        params = self.params(layer)
        if params.messages("shape"):
            return super().dims(layer)
        lists = [params.integers(name) for name in ("num", "channels", "height", "width")]
        count = max(map(len, lists))
        if any(len(values) not in (1, count) for values in lists):
            raise layer.error(
                "num, channels, height and width must be given the same number of times"
            )
        wide = [values * count if len(values) == 1 else values for values in lists]
        return _for_tops(layer, list(zip(*wide, strict=True)))

    def constants(self, layer: Layer) -> tuple[float | None, ...]:
        """The number that each top is filled with; None for random ones.

        Raises:
            TextError: there are fillers for another number of tops.
        """
        fillers = self.params(layer).messages("data_filler")
        if len(fillers) > 1 and len(fillers) != len(layer.tops):
            raise layer.error(
                f"{len(fillers)} fillers for {counted(len(layer.tops), 'top')}; give one, or one "
                "for each"
            )
        found = [x.number("value") if x.string("type") == "constant" else None for x in fillers]
        if len(found) < 2:
            found = (found or [0.0]) * len(layer.tops)
        return tuple(found)


class Parameter(Given):
    """Parameter: a learned blob as a top (parameter_layer.hpp)."""

    param = "parameter_param"

    def dims(self, layer: Layer) -> tuple[tuple[int, ...], ...]:
        return _for_tops(layer, [self.params(layer).sub("shape").integers("dim")])

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        return tuple(WeightSpec("weights", dims(shape)) for shape in self.dims(layer)[:1])


class Constant(Op):
    """Forks' constants, and what marks where sequences start: of unknown shape."""

    category = Category.DATA
    given = True
    known = False


class Data(Op):
    """Data layers of Caffe and its forks: images first, then labels."""

    category = Category.DATA

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        if layer.bottoms or layer.type == "HDF5Data":
            return []
        batch, frames = self._batch(layer), image.clip_length(layer)
        height, width = (dim or None for dim in image.image_size(layer))
        clip = (frames,) if frames > 1 else ()
        images = (batch, image.declared_channels(layer) or None, *clip, height, width)
        label: Shape = None
        if layer.type in _LABELLED:
            label = (batch,)
        elif layer.type in _DENSE:
            label = (batch, 1, height, width)
        elif layer.type == "AnnotatedData":
            label = (1, 1, None, 8)  # annotated_data_layer.cpp: one row for each box of the batch
        return [images, *[label] * (len(layer.tops) - 1)]

    def _batch(self, layer: Layer) -> Dim:
        if layer.type == "ImageData":  # the one that has a default
            return layer.params("image_data_param").integer("batch_size")
        own = (field for field in layer.body.fields if field.name.endswith("data_param"))
        return next((n for field in own if (n := integer_in(field.body, "batch_size"))), None)


class Gather(Op):
    """Gather of yjxiong's fork: collects the batches of several processes (gather_layer.cpp)."""

    known = False

    def passed_on(self, layer: Layer) -> int:
        """All bottoms of a layer with as many tops, if there are several; else none."""
        count = len(layer.bottoms)
        return count if 1 < count == len(layer.tops) else 0


class DetectNetTransformation(Gather):
    """DetectNetTransformation of NVCaffe: colour images of a stated size, and a coverage map."""

    param = "detectnet_groundtruth_param"
    known = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        message = own_message(layer, self.param)
        size = integer_in(message, "image_size_y"), integer_in(message, "image_size_x")
        return [(axis_of(first(bottoms), 0), 3, *size), None]


def _for_tops(layer: Layer, shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    count = len(layer.tops)
    if not shapes:
        return ((),) * count
    if len(shapes) not in (1, count):
        raise layer.error(f"{len(shapes)} shapes for {count} tops; give one, or one for each")
    return tuple(shapes) if len(shapes) == count else tuple(shapes) * count


def dims(extents: Sequence[int]) -> Known:
    """A shape from the text; 0 and -1 stand for what is not known yet."""
    return tuple(dim if dim > 0 else None for dim in extents)


INPUT, DUMMY_DATA = Given("Input", param="input_param"), DummyData("DummyData")
OPS = (
    *(INPUT, DUMMY_DATA, Parameter("Parameter")),
    *(Constant("Const", "Constant"), Constant("ContinuationIndicator")),
    *(DetectNetTransformation("DetectNetTransformation"), Gather("Gather")),
)
