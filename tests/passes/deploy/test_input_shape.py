"""The shape of an input, for every kind of data layer."""

from __future__ import annotations

import numpy as np
import pytest

import caffefold
from caffefold.analysis.shapes import input_shapes
from caffefold.errors import UsageError
from caffefold.ir.net import Net
from caffefold.options import DeployOptions
from tests.support.deploy import net, passes

NET = "conv Convolution {blob} -> conv\nloss SoftmaxWithLoss conv label -> loss\n"


def shapes(
    line: str, options: DeployOptions | None = None, blob: str = "data"
) -> dict[str, tuple[int, ...]]:
    text = net(line + "\n" + NET.format(blob=blob))
    return input_shapes(passes(text, options)[0])


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("d ImageData -> data label { transform_param { crop_size: 9 } }", (1, 3, 9, 9)),
        (
            "d ImageData -> data label { image_data_param { new_height: 8 new_width: 6 } }",
            (1, 3, 8, 6),
        ),
        (
            (
                "d ImageData -> data label { image_data_param { new_height: 8 new_width: 6 "
                "is_color: false } }"
            ),
            (1, 1, 8, 6),
        ),
        (
            (
                "d ImageData -> data label { image_data_param { new_height: 8 new_width: 6 } "
                "transform_param { crop_size: 5 } }"
            ),
            (1, 3, 5, 5),
        ),
        (
            (
                "d AnnotatedData -> data label { transform_param { force_color: true "
                "resize_param { resize_mode: WARP height: 3 width: 4 } } }"
            ),
            (1, 3, 3, 4),
        ),
        (
            "d Data -> data label { transform_param { crop_h: 5 crop_w: 7 mean_value: [1,2,3] } }",
            (1, 3, 5, 7),
        ),
        (
            "d Data -> data label { transform_param { crop_size: 9 force_gray: true } }",
            (1, 1, 9, 9),
        ),
        ("d WindowData -> data label { window_data_param { crop_size: 227 } }", (1, 3, 227, 227)),
        (
            (
                "d MemoryData -> data label { memory_data_param { batch_size: 64 channels: 1 "
                "height: 28 width: 20 } }"
            ),
            (1, 1, 28, 20),
        ),
        (
            (
                "d DenseImageData -> data label { dense_image_data_param { new_height: 516 "
                "new_width: 1132 crop_height: 512 crop_width: 1024 } }"
            ),
            (1, 3, 512, 1024),
        ),
        (
            "d ImageSegData -> data label { transform_param { crop_size: 473 } }",
            (1, 3, 473, 473),
        ),
        (
            (
                "d VideoData -> data label { video_data_param { new_length: 10 modality: FLOW } "
                "transform_param { crop_size: 224 } }"
            ),
            (1, 20, 224, 224),
        ),
        (
            (
                "d DummyData -> data label { dummy_data_param { "
                "shape { dim: 64 dim: 4 dim: 2 dim: 2 } shape { dim: 64 } } }"
            ),
            (1, 4, 2, 2),
        ),
        (
            (
                "d DummyData -> data label { dummy_data_param { num: 64 num: 64 channels: 4 "
                "channels: 1 height: 2 height: 1 width: 3 width: 1 } }"
            ),
            (1, 4, 2, 3),
        ),
    ],
)
def test_shape(line: str, wanted: tuple[int, ...]) -> None:
    assert shapes(line) == {"data": wanted}


def test_a_clip_has_an_axis_of_its_own() -> None:
    line = (
        "d VIDEO_DATA -> data label { image_data_param { new_length: 16 new_height: 128 "
        "new_width: 171 } transform_param { crop_size: 112 } }"
    )
    assert shapes(line) == {"data": (1, 3, 16, 112, 112)}


def test_a_cut_needs_as_many_channels() -> None:
    """CPM: the image and a map of its center come as one blob."""
    text = """
    d CPMData -> data label { cpm_transform_param { crop_size_x: 6 crop_size_y: 5 } }
    cut Slice data -> image center { slice_param { slice_point: 3 } }
    conv Convolution image -> conv
    pool Pooling center -> pool
    cat Concat conv pool -> cat
    fc Convolution cat -> fc
    loss EuclideanLoss fc label -> loss
    """
    assert input_shapes(passes(net(text))[0]) == {"data": (1, 4, 5, 6)}


def test_channels_of_what_a_product_reads() -> None:
    """The text gives height and width, the weights how many numbers there are in all."""
    data = "d Data -> data label { transform_param { crop_size: 6 } }"
    product = (
        "ip InnerProduct data -> ip { inner_product_param { num_output: 5 bias_term: false } }"
    )
    text = net(f"{data}\n{product}")
    with_weights = Net.from_text(text, {"ip": [np.zeros((5, 4 * 36))]})
    deploy = caffefold.to_deploy(with_weights).net
    assert input_shapes(deploy) == {"data": (1, 4, 6, 6)}


def test_three_channels_are_a_guess_that_is_reported() -> None:
    line = "d Data -> data label { transform_param { crop_size: 9 mean_value: 128 } }\n"
    found, steps = passes(net(line + NET.format(blob="data")))
    assert input_shapes(found) == {"data": (1, 3, 9, 9)}
    (warning,) = [warning for step in steps for warning in step.warnings]
    assert warning == (
        "layer 'd': the channels of 'data' are not known; assuming 3 "
        "(input_shapes data=... sets them)"
    )


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("d Data -> data label", "the shape of 'data'; give input_shapes data=1,C,H,W"),
        ("d HDF5Data -> data label", "the shape of 'data'; give input_shapes data=1,C,H,W"),
        ("d Python -> data label", "the shape of 'data'; give"),
        (
            "d ImageData -> data label",
            "the height and width of 'data'; give input_shapes data=1,3",
        ),
        (
            (
                "d AnnotatedData -> data label { transform_param { "
                "force_color: true resize_param { "
                "resize_mode: FIT_SMALL_SIZE height: 3 width: 4 } } }"
            ),
            "the height and width of 'data'",
        ),
    ],
)
def test_a_shape_that_is_not_known_is_required_with_its_place(line: str, missing: str) -> None:
    with pytest.raises(UsageError) as caught:
        shapes("\n" + line)
    assert str(caught.value).startswith("<text>:1:1: layer 'd': its text does not give ")
    assert missing in str(caught.value)


def test_what_the_user_gives_counts() -> None:
    line = "d ImageData -> data label { transform_param { crop_size: 9 } }"
    assert shapes(line, DeployOptions(input_shapes={"data": (2, 1, 5, 5)}, batch=7)) == {
        "data": (2, 1, 5, 5)
    }


def test_batch() -> None:
    line = "d ImageData -> data label { transform_param { crop_size: 9 } }"
    assert shapes(line, DeployOptions(batch=7)) == {"data": (7, 3, 9, 9)}


def test_batch_of_inputs_the_net_has_already() -> None:
    line = "d Input -> data label { input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }"
    assert shapes(line) == {"data": (2, 3, 4, 5)}
    assert shapes(line, DeployOptions(batch=7)) == {"data": (7, 3, 4, 5)}


def test_proposals_have_known_shapes() -> None:
    text = """
    input Python -> data im_info rois labels
    conv Convolution data -> conv
    pool ROIPooling conv rois im_info -> pool
    fc InnerProduct pool -> fc
    loss SoftmaxWithLoss fc labels -> loss
    """
    options = DeployOptions(input_shapes={"data": (1, 3, 6, 6)})
    found = input_shapes(passes(net(text), options)[0])
    assert found == {"data": (1, 3, 6, 6), "im_info": (1, 3), "rois": (1, 5)}


def test_sequences_keep_the_axes_of_dummy_data() -> None:
    text = """
    data DummyData -> data { dummy_data_param { shape { dim: 16 dim: 2 dim: 8 } } }
    cont DummyData -> cont { dummy_data_param { shape { dim: 16 dim: 2 } } }
    label DummyData -> label { dummy_data_param { shape { dim: 16 dim: 2 } } }
    lstm LSTM data cont -> lstm
    loss EuclideanLoss lstm label -> loss
    """
    assert input_shapes(passes(net(text))[0]) == {"data": (16, 2, 8), "cont": (16, 2)}
