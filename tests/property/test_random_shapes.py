"""Any text in any layer, any shapes in front of it: shapes or a problem, never anything else."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from caffefold.analysis.cost import totals
from caffefold.analysis.input_size import input_size
from caffefold.analysis.shapes import infer
from caffefold.errors import TextError
from caffefold.formats import declared, schema
from caffefold.ops.base import Category
from caffefold.ops.linear import CONVOLUTION, DECONVOLUTION
from caffefold.ops.shape import Shape
from caffefold.ops.table import TABLE, op_of
from tests.support.shapes import ShapeOnly, layer, net

MESSAGES = {
    **{
        kind: ["convolution_param"]
        for kind in (*sorted(CONVOLUTION.types | DECONVOLUTION.types), "Im2col")
    },
    "InnerProduct": ["inner_product_param"],
    "BatchNorm": ["batch_norm_param"],
    "Normalize": ["norm_param"],
    "LSTM": ["recurrent_param"],
    "RNN": ["recurrent_param"],
    "ROIPooling": ["roi_pooling_param"],
    "ROIAlign": ["roi_pooling_param"],
    "PSROIPooling": ["psroi_pooling_param"],
    "ShuffleChannel": ["shuffle_channel_param"],
    "PriorBox": ["prior_box_param"],
    "DummyData": ["dummy_data_param"],
    "LOCAL": ["local_param"],
    "Data": ["transform_param", "data_param"],
    "ImageData": ["transform_param", "image_data_param"],
    "MemoryData": ["memory_data_param"],
}
KINDS = [kind for kind in sorted(TABLE) if op_of(kind).category is not Category.ELEMENTWISE]
KINDS += ["ReLU", "Data", "ImageData", "MemoryData", "New"]
PARAMETERS = schema.message("LayerParameter").fields_by_name


def message(draw: st.DrawFn, name: str) -> str:
    """Some fields of a parameter message, with small numbers, right or wrong."""
    known = "convolution_param" if name == "local_param" else name
    if known not in PARAMETERS:
        return ""
    text = ""
    descriptor = PARAMETERS[known].message_type
    assert descriptor is not None
    for field in descriptor.fields:
        if field.message_type is not None and field.message_type.name == "BlobShape":
            dims = draw(st.lists(st.integers(-1, 6), max_size=5))
            text += f" {field.name} {{ {' '.join(f'dim: {d}' for d in dims)} }}"
        elif field.message_type is None and field.enum_type is None:
            for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
                is_flag = field.cpp_type == declared.BOOL
                value = draw(st.booleans()) if is_flag else draw(st.integers(-2, 7))
                text += f" {field.name}: {str(value).lower()}"
    return f"{name} {{{text} }}"


@st.composite
def layers(draw: st.DrawFn) -> tuple[str, list[Shape], list[tuple[int, ...]]]:
    """A layer's text, the shapes of its bottoms, and of blobs it may have."""
    kind = draw(st.sampled_from(KINDS))
    names = MESSAGES.get(kind, [f"{kind.lower()}_param"])
    text = " ".join(message(draw, name) for name in names)
    extent = st.one_of(st.none(), st.integers(1, 9))
    shape = st.one_of(st.none(), st.lists(extent, max_size=5).map(tuple))
    bottoms = draw(st.lists(shape, max_size=3))
    blobs = draw(st.lists(st.lists(st.integers(0, 5), max_size=4).map(tuple), max_size=3))
    return (
        layer(kind, text, bottoms=len(bottoms), tops=draw(st.integers(0, 3))),
        bottoms,
        blobs,
    )


@given(layers())
def test_shapes_costs_or_a_problem(case: tuple[str, list[Shape], list[tuple[int, ...]]]) -> None:
    text, bottoms, blobs = case
    given_net = net(text)
    given_net = given_net.substitute(
        {0: (given_net.layers[0].with_blobs(tuple(map(ShapeOnly, blobs))),)}
    )
    shapes = {f"b{i}": shape for i, shape in enumerate(bottoms) if shape is not None}
    found = infer(given_net, shapes)
    for shape in found.tops(0):
        assert shape is None or all(dim is None or dim >= 1 for dim in shape), shape
    for problem in found.problems:
        assert str(problem).startswith("net.prototxt:1:")
    cost = totals(given_net, found)
    assert min(cost.parameters, cost.macs, cost.memory) >= 0
    with contextlib.suppress(TextError):  # the number that infer has found wrong
        input_size(given_net, "b0", 3)
