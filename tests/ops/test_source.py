"""Shapes that inputs and data layers state."""

from __future__ import annotations

import pytest

from caffefold.analysis.shapes import infer
from caffefold.errors import TextError
from caffefold.ops.shape import Shape
from tests.support.shapes import layer, net

FOUR = (2, 3, 4, 5)
CASES: list[tuple[str, str, tuple[Shape, ...]]] = [
    ("Input", "input_param { shape { dim: 1 dim: 3 dim: 5 dim: 7 } }", ((1, 3, 5, 7),) * 2),
    ("Input", "input_param { shape { dim: 1 } shape { dim: 2 dim: -1 } }", ((1,), (2, None))),
    ("Input", "", (None, None)),
    ("DummyData", "dummy_data_param { num: 2 channels: 3 height: 4 width: 5 }", (FOUR, FOUR)),
    (
        "DummyData",
        "dummy_data_param { num: [2, 9] channels: [3, 1] height: [4, 1] width: [5, 1] }",
        ((2, 3, 4, 5), (9, 1, 1, 1)),
    ),
    (
        "Data",
        "data_param { batch_size: 8 } transform_param { crop_size: 227 force_color: true }",
        ((8, 3, 227, 227), (8,)),
    ),
    ("Data", "data_param { batch_size: 8 }", ((8, None, None, None), (8,))),
    ("Data", "data_param { batch_size: 8 crop_size: 24 }", ((8, None, 24, 24), (8,))),
    (
        "Data",
        "transform_param { crop_size: 24 mean_value: 1 mean_value: 2 mean_value: 3 }",
        ((None, 3, 24, 24), (None,)),
    ),
    ("Data", "transform_param { crop_size: 24 mean_value: 1 }", ((None, None, 24, 24), (None,))),
    (
        "ImageData",
        "image_data_param { batch_size: 4 new_height: 60 new_width: 80 }",
        ((4, 3, 60, 80), (4,)),
    ),
    ("ImageData", "image_data_param { is_color: false }", ((1, 1, None, None), (1,))),
    (
        "AnnotatedData",
        "data_param { batch_size: 2 } transform_param { resize_param { height: 300 width: 400 } }",
        ((2, None, 300, 400), (1, 1, None, 8)),
    ),
    (
        "MemoryData",
        "memory_data_param { batch_size: 2 channels: 1 height: 4 width: 5 }",
        ((2, 1, 4, 5), (2,)),
    ),
    (
        "WindowData",
        "window_data_param { batch_size: 2 } transform_param { crop_size: 227 }",
        ((2, 3, 227, 227), (2,)),
    ),
    (
        "DenseImageData",
        "dense_image_data_param { batch_size: 2 new_height: 60 new_width: 80 }",
        ((2, 3, 60, 80), (2, 1, 60, 80)),
    ),
    (
        "VideoData",
        "video_data_param { new_length: 10 modality: FLOW } transform_param { crop_size: 224 }",
        ((None, 20, 224, 224), None),
    ),
    ("HDF5Data", "hdf5_data_param { batch_size: 2 }", (None, None)),
    ("LaneData", "transform_param { crop_h: 32 crop_w: 64 }", ((None, None, 32, 64), None)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text", "wanted"), CASES, ids=[f"{kind}-{i}" for i, (kind, *_) in enumerate(CASES)]
)
def test_tops(kind: str, text: str, wanted: tuple[Shape, ...]) -> None:
    found = infer(net(layer(kind, text, bottoms=0, tops=2)))
    assert not found.problems
    assert found.tops(0) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input_param { shape {} shape {} shape {} }", "3 shapes for 2 tops"),
        ("input_param { shape { dim: ten } }", "dim is ten"),
    ],
)
def test_what_caffe_refuses(text: str, message: str) -> None:
    (problem,) = infer(net(layer("Input", text, bottoms=0, tops=2))).problems
    assert isinstance(problem, TextError)
    assert message in str(problem)
