"""The shape behind each layer type, from its text: expected values by Caffe's Reshape code."""

from __future__ import annotations

import pytest

from caffefold.errors import TextError
from caffefold.ops.base import Category
from caffefold.ops.shape import Known, Shape
from caffefold.ops.table import OPS, op_of
from tests.support.shapes import tops

PICTURE = (2, 8, 9, 11)
KEEPERS = (Category.ELEMENTWISE, Category.IDENTITY, Category.AFFINE)

MESSAGES = {
    "Convolution": "convolution_param",
    "ConvolutionDepthwise": "convolution_param",
    "Deconvolution": "convolution_param",
    "Im2col": "convolution_param",
    "LOCAL": "local_param",
    "InnerProduct": "inner_product_param",
    "LSTM": "recurrent_param",
    "ROIPooling": "roi_pooling_param",
    "ROIAlign": "roi_align_param",
    "PSROIPooling": "psroi_pooling_param",
    "ShuffleChannel": "shuffle_channel_param",
    "PriorBox": "prior_box_param",
    "DetectionOutput": "detection_output_param",
}


def message(kind: str, fields: str) -> str:
    """The parameter message of a layer type; of most, it is called like the type."""
    name = MESSAGES.get(kind, f"{kind.lower()}_param")
    return f"{name} {{ {fields} }}" if fields else ""


ONE_TOP: list[tuple[str, str, tuple[Known, ...], Shape]] = [
    # convolutions
    ("Convolution", "num_output: 4 kernel_size: 3", (PICTURE,), (2, 4, 7, 9)),
    (
        "Convolution",
        "num_output: 4 kernel_h: 1 kernel_w: 5 pad_w: 2 stride_h: 2 stride_w: 3",
        (PICTURE,),
        (2, 4, 5, 4),
    ),
    (
        "Convolution",
        "num_output: 4 kernel_size: 3 dilation: 2 pad: 2",
        (PICTURE,),
        (2, 4, 9, 11),
    ),
    (
        "Convolution",
        "num_output: 4 kernel_size: [1, 3, 3] pad: [0, 1, 1] stride: 2",
        ((1, 3, 5, 9, 8),),
        (1, 4, 3, 5, 4),
    ),
    (
        "Convolution",
        "num_output: 4 kernel_size: 3 axis: 2 force_nd_im2col: true",
        ((2, 5, 8, 9, 11),),
        (2, 5, 4, 7, 9),
    ),
    (
        "Convolution",
        "num_output: 4 kernel_size: 3 axis: -3",
        (PICTURE,),
        (2, 4, 7, 9),
    ),
    # a window one larger than the input: C++ rounds -1/2 to 0, and one output is left
    (
        "Convolution",
        "num_output: 4 kernel_size: 12 stride: 2 pad_h: 1",
        ((1, 1, 11, 13),),
        (1, 4, 1, 1),
    ),
    (
        "ConvolutionDepthwise",
        "num_output: 8 kernel_size: 3 stride: 2 pad: 1",
        (PICTURE,),
        (2, 8, 5, 6),
    ),
    (
        "Deconvolution",
        "num_output: 4 kernel_size: 4 stride: 2 pad: 1",
        (PICTURE,),
        (2, 4, 18, 22),
    ),
    (
        "Im2col",
        "kernel_size: 3 stride: 2",
        (PICTURE,),
        (2, 72, 4, 5),
    ),
    ("LOCAL", "num_output: 6 kernel_size: 3", (PICTURE,), (2, 6, 7, 9)),
    # products and look-up
    ("InnerProduct", "num_output: 5", (PICTURE,), (2, 5)),
    ("InnerProduct", "num_output: 5 axis: 2", (PICTURE,), (2, 8, 5)),
    ("InnerProduct", "num_output: 5 axis: -1", (PICTURE,), (2, 8, 9, 5)),
    ("Embed", "num_output: 7 input_dim: 100", ((5, 2),), (5, 2, 7)),
    ("LSTM", "num_output: 7", ((5, 2, 30, 4), (5, 2)), (5, 2, 7)),
    # pooling
    ("Pooling", "kernel_size: 2 stride: 2", (PICTURE,), (2, 8, 5, 6)),
    (
        "Pooling",
        "kernel_size: 2 stride: 2 round_mode: FLOOR",
        (PICTURE,),
        (2, 8, 4, 5),
    ),
    (
        "Pooling",
        "kernel_size: 2 stride: 2 ceil_mode: false",
        (PICTURE,),
        (2, 8, 4, 5),
    ),
    ("Pooling", "global_pooling: true", (PICTURE,), (2, 8, 1, 1)),
    # padding along the width clips along the height as well, as Caffe does
    (
        "Pooling",
        "kernel_h: 1 kernel_w: 2 stride: 2 pad_h: 0 pad_w: 1",
        ((1, 1, 4, 5),),
        (1, 1, 2, 3),
    ),
    ("Pooling", "kernel_size: 2 stride: 2", ((1, 2, 4, 6, 8),), (1, 2, 2, 3, 4)),
    ("SPP", "pyramid_height: 3", (PICTURE,), (2, 8 * 21)),
    ("SPP", "pyramid_height: 1", (PICTURE,), (2, 8, 1, 1)),
    ("SPP", "pyramid_height: 3", ((1, 2, 6, 7),), (1, 42)),
    # pooling alone takes kernel_size beside one half of it, and reads kernel_size
    ("Pooling", "kernel_size: 2 kernel_h: 3", (PICTURE,), (2, 8, 8, 10)),
    ("Pooling", "global_pooling: true stride: 1 pad: 0", (PICTURE,), (2, 8, 1, 1)),
    # resizing
    ("Interp", "height: 20 width: 30", (PICTURE,), (2, 8, 20, 30)),
    ("Interp", "zoom_factor: 3", (PICTURE,), (2, 8, 25, 31)),
    ("Interp", "shrink_factor: 2", (PICTURE,), (2, 8, 5, 6)),
    ("Interp", "shrink_factor: 2 zoom_factor: 4", (PICTURE,), (2, 8, 17, 21)),
    (
        "Interp",
        "zoom_factor: 2 pad_beg: -1 pad_end: -1",
        (PICTURE,),
        (2, 8, 13, 17),
    ),
    ("Interp", "", (PICTURE, (1, 1, 5, 6)), (2, 8, 5, 6)),
    ("Upsample", "scale: 3", (PICTURE,), (2, 8, 27, 33)),
    ("Upsample", "scale: 2 pad_out_h: true", (PICTURE, PICTURE), (2, 8, 17, 22)),
    ("Upsample", "upsample_h: 20 upsample_w: 21", (PICTURE,), (2, 8, 20, 21)),
    ("Reorg", "stride: 2", ((1, 64, 26, 26),), (1, 256, 13, 13)),
    ("Reorg", "stride: 2 reverse: true", ((1, 64, 13, 13),), (1, 16, 26, 26)),
    # wiring
    ("Concat", "", (PICTURE, (2, 3, 9, 11)), (2, 11, 9, 11)),
    ("Concat", "axis: -2", (PICTURE, (2, 8, 1, 11)), (2, 8, 10, 11)),
    ("Concat", "concat_dim: 0", (PICTURE, PICTURE), (4, 8, 9, 11)),
    ("Eltwise", "", (PICTURE, PICTURE), PICTURE),
    ("Axpy", "", ((2, 8, 1, 1), PICTURE, PICTURE), PICTURE),
    ("Scale", "axis: 0", (PICTURE, (2, 8)), PICTURE),
    ("Reshape", "shape { dim: 0 dim: -1 }", (PICTURE,), (2, 792)),
    (
        "Reshape",
        "shape { dim: 2 dim: -1 } axis: 1 num_axes: 1",
        (PICTURE,),
        (2, 2, 4, 9, 11),
    ),
    ("Reshape", "shape { dim: 1 } axis: -1 num_axes: 0", ((3, 4),), (3, 4, 1)),
    ("Flatten", "", (PICTURE,), (2, 792)),
    ("Flatten", "axis: 2 end_axis: 3", (PICTURE,), (2, 8, 99)),
    ("Flatten", "axis: 1 end_axis: -2", (PICTURE,), (2, 72, 11)),
    ("Flatten", "axis: 2 end_axis: 1", (PICTURE,), (2, 8, 1, 9, 11)),
    ("Permute", "order: 0 order: 2 order: 3 order: 1", (PICTURE,), (2, 9, 11, 8)),
    ("Permute", "order: 3", (PICTURE,), (11, 2, 8, 9)),
    ("Transpose", "dim: 3 dim: 2 dim: 0 dim: 1", (PICTURE,), (11, 9, 2, 8)),
    ("Crop", "offset: 2", (PICTURE, (1, 1, 5, 6)), (2, 8, 5, 6)),
    ("Crop", "axis: 1 offset: [1, 2, 3]", (PICTURE, (1, 4, 5, 6)), (2, 4, 5, 6)),
    ("Tile", "axis: -1 tiles: 3", (PICTURE,), (2, 8, 9, 33)),
    ("Reduction", "axis: 2", (PICTURE,), (2, 8)),
    ("Reduction", "", (PICTURE,), ()),
    ("ArgMax", "", (PICTURE,), (2, 1, 1, 1)),
    ("ArgMax", "out_max_val: true top_k: 5", ((2, 1000),), (2, 2, 5)),
    ("ArgMax", "axis: 1", (PICTURE,), (2, 1, 9, 11)),
    ("BatchReindex", "", (PICTURE, (7,)), (7, 8, 9, 11)),
    ("Filter", "", (PICTURE, (2, 1)), (None, 8, 9, 11)),
    ("ShuffleChannel", "group: 4", (PICTURE,), PICTURE),
    # detectors
    (
        "PriorBox",
        "min_size: 60 max_size: 111 aspect_ratio: 2 aspect_ratio: 3",
        ((1, 8, 3, 5), (1, 3, 300, 300)),
        (1, 2, 3 * 5 * 6 * 4),
    ),
    # a ratio twice, once as the inverse of another; no flip; two sizes
    (
        "PriorBox",
        "min_size: [60, 80] aspect_ratio: [2, 0.5, 1] flip: true",
        ((1, 8, 1, 1), (1, 3, 300, 300)),
        (1, 2, 6 * 4),
    ),
    (
        "PriorBox",
        "min_size: 60 aspect_ratio: 2 flip: false",
        ((1, 8, 1, 1), (1, 3, 300, 300)),
        (1, 2, 2 * 4),
    ),
    # fields of a fork: how many boxes is not known
    (
        "PriorBox",
        "fixed_size: 60 density: 4",
        ((1, 8, 3, 5), (1, 3, 300, 300)),
        (1, 2, None),
    ),
    ("PriorBox", "min_size: 6 step_h: 8 step_w: 9", ((1, 8, 3, 5), PICTURE), (1, 2, 60)),
    ("DetectionOutput", "", ((1, 400), (1, 2100), (1, 2, 400)), (1, 1, None, 7)),
    (
        "DetectionOutput",
        "background_label_id: -1 share_location: false",
        ((1, 400), (1, 2100), (1, 2, 400)),
        (1, 1, None, 7),
    ),
    ("ROIPooling", "pooled_h: 6 pooled_w: 7", (PICTURE, (9, 5)), (9, 8, 6, 7)),
    ("ROIAlign", "pooled_h: 6 pooled_w: 7", (PICTURE, (9, 5)), (9, 8, 6, 7)),
    (
        "PSROIPooling",
        "output_dim: 21 group_size: 7",
        ((1, 1029, 9, 9), (None, 5)),
        (None, 21, 7, 7),
    ),
    ("Accuracy", "", ((2, 10), (2,)), ()),
    ("EuclideanLoss", "", ((2, 10), (2, 10)), ()),
    ("AnyNewLoss", "", ((2, 10), (2, 10)), ()),
    # half known
    (
        "Convolution",
        "num_output: 4 kernel_size: 3",
        ((1, 8, None, None),),
        (1, 4, None, None),
    ),
    ("Concat", "", ((1, 8, None, 4), (1, None, 5, None)), (1, None, 5, 4)),
    ("Eltwise", "", ((1, 8, None, 4), (None, 8, 5, None)), (1, 8, 5, 4)),
    ("Reshape", "shape { dim: 0 dim: 6 dim: -1 }", ((None, 12, 5),), (None, 6, 10)),
    ("Flatten", "", ((1, 8, None, 4),), (1, None)),
    ("Interp", "height: 20 width: 30", ((1, None, None, None),), (1, None, 20, 30)),
    ("SomethingNew", "", (PICTURE,), None),
    ("Python", "", (PICTURE,), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text", "bottoms", "wanted"),
    ONE_TOP,
    ids=[f"{kind}-{i}" for i, (kind, *_) in enumerate(ONE_TOP)],
)
def test_one_top(kind: str, text: str, bottoms: tuple[Known, ...], wanted: Shape) -> None:
    assert tops(kind, message(kind, text), *bottoms) == (wanted,)


@pytest.mark.parametrize(
    "kind",
    sorted(kind for each in OPS if each.category in KEEPERS for kind in each.types),
)
def test_layers_that_keep_the_shape(kind: str) -> None:
    assert tops(kind, "", PICTURE) == (PICTURE,)
    assert tops(kind, "", (1, None, 5, None)) == ((1, None, 5, None),)


@pytest.mark.parametrize(
    ("kind", "text", "bottoms", "wanted"),
    [
        ("Split", "", (PICTURE,), (PICTURE, PICTURE)),
        ("Slice", "", (PICTURE,), ((2, 4, 9, 11), (2, 4, 9, 11))),
        ("Slice", "slice_point: 3", (PICTURE,), ((2, 3, 9, 11), (2, 5, 9, 11))),
        ("Slice", "slice_point: 3", ((1, None),), ((1, 3), (1, None))),
        ("Slice", "axis: -2 slice_point: 1", ((2, 3, 4),), ((2, 1, 4), (2, 2, 4))),
        ("Slice", "slice_dim: 0", (PICTURE,), ((1, 8, 9, 11), (1, 8, 9, 11))),
        ("Pooling", "kernel_size: 3", (PICTURE,), ((2, 8, 7, 9), (2, 8, 7, 9))),
        ("SoftmaxWithLoss", "", ((2, 10), (2,)), ((), (2, 10))),
        ("SmoothL1LossOHEM", "", ((2, 8), (2, 8)), ((), None)),
        ("Proposal", "", ((1, 18, 9, 9), (1, 36, 9, 9)), ((None, 5), (None, 1))),
        ("Accuracy", "", ((2, 10), (2,)), ((), (10,))),
    ],
)
def test_two_tops(kind: str, text: str, bottoms: tuple[Known, ...], wanted: object) -> None:
    assert tops(kind, message(kind, text), *bottoms, count=2) == wanted


def test_hidden_states_of_an_lstm() -> None:
    text = "recurrent_param { num_output: 7 expose_hidden: true }"
    found = tops("LSTM", text, (5, 2, 30), (5, 2), (1, 2, 7), (1, 2, 7), count=3)
    assert found == ((5, 2, 7), (1, 2, 7), (1, 2, 7))


ERRORS = [
    ("Convolution", "kernel_size: 3", (PICTURE,), "num_output is missing"),
    ("Convolution", "num_output: 3", (PICTURE,), "kernel_size is missing"),
    (
        "Convolution",
        "num_output: 3 kernel_size: 11 stride: 4",
        ((1, 3, 5, 5),),
        "its window of 11 is larger than its input of 5",
    ),
    (
        "Convolution",
        "num_output: 3 kernel_size: [3, 3, 3]",
        (PICTURE,),
        "3 values of kernel_size for 2 spatial axes",
    ),
    (
        "Convolution",
        "num_output: 6 kernel_size: 3 group: 3",
        (PICTURE,),
        "8 channels and 6 outputs in 3 groups",
    ),
    (
        "Convolution",
        "num_output: 6 kernel_size: 3 stride: 0",
        (PICTURE,),
        "its stride is 0",
    ),
    (
        "Pooling",
        "kernel_size: 3 pad: 3",
        (PICTURE,),
        "its pad of 3 must be less than its 3",
    ),
    ("Pooling", "", (PICTURE,), "kernel_size is missing"),
    ("Pooling", "kernel_size: 3", ((1, 10),), "its input is 1x10"),
    (
        "Concat",
        "",
        (PICTURE, (2, 8, 10, 11)),
        "its inputs differ: 2x8x9x11 and 2x8x10x11; axis 2: 9 and 10",
    ),
    ("Concat", "axis: 4", (PICTURE, PICTURE), "axis is 4, its input has 4 axes"),
    ("Eltwise", "", (PICTURE, (2, 8, 9)), "differ in axes: 2x8x9x11 and 2x8x9"),
    ("Slice", "slice_point: [2, 4]", (PICTURE,), "2 values of slice_point for 1"),
    (
        "Reshape",
        "shape { dim: 0 dim: 7 }",
        (PICTURE,),
        "2x8x9x11 has 1584 elements, 2x7 has 14",
    ),
    (
        "Reshape",
        "shape { dim: 5 dim: -1 }",
        (PICTURE,),
        "1584 elements (2x8x9x11) cannot be divided by 5",
    ),
    ("Crop", "offset: 6", (PICTURE, (1, 1, 5, 5)), "5 with offset 6 is not within"),
    ("Reorg", "stride: 2", (PICTURE,), "9 cannot be divided by 2"),
    ("Tile", "tiles: 0", (PICTURE,), "its output would be empty: 2x0x9x11"),
    ("Transpose", "dim: [1, 0]", (PICTURE,), "dim [1, 0] is not a permutation of the 4 axes"),
    ("ShuffleChannel", "group: 3", (PICTURE,), "8 channels in 3 groups"),
    ("Scale", "", (PICTURE, (7,)), "axis 0: 8 and 7"),
    ("Scale", "axis: 4", (PICTURE,), "axis is 4, its input has 4 axes"),
    ("Scale", "axis: 2 num_axes: 3", (PICTURE,), "axis 2 with num_axes 3, its input has 4 axes"),
    ("Bias", "axis: 4 num_axes: 0", (PICTURE,), "axis is 4, its input has 4 axes"),
    (
        "Convolution",
        "num_output: 3 kernel_size: 3 kernel_h: 3 kernel_w: 3",
        (PICTURE,),
        "kernel_size and kernel_h and kernel_w are given; Caffe takes kernel_size or kernel_h and",
    ),
    (
        "Deconvolution",
        "num_output: 3 kernel_size: 3 stride: 1 stride_h: 2 stride_w: 2",
        (PICTURE,),
        "stride and stride_h and stride_w are given; Caffe takes stride or stride_h and stride_w",
    ),
    (
        "Pooling",
        "global_pooling: true kernel_size: 3",
        (PICTURE,),
        "global_pooling and kernel_size are given; Caffe takes one of them",
    ),
    ("Pooling", "global_pooling: true kernel_h: 3", (PICTURE,), "global_pooling and kernel_h"),
    ("Pooling", "global_pooling: true stride: 2", (PICTURE,), "goes with stride 1, stride is 2"),
    ("Pooling", "global_pooling: true pad_w: 1", (PICTURE,), "goes with pad 0, pad_w is 1"),
    ("Pooling", "kernel_size: 3 pad: 1 pad_h: 1", (PICTURE,), "pad and pad_h are given"),
    ("Pooling", "kernel_size: 3 pad_h: 1", (PICTURE,), "pad_h is given without pad_w"),
    ("Softmax", "axis: 4", (PICTURE,), "axis is 4, its input has 4 axes"),
    ("Softmax", "", ((7,),), "axis is 1, its input has 1 axes"),
    ("LRN", "local_size: 4", (PICTURE,), "local_size is 4; it must be odd"),
    ("LRN", "", ((2, 8),), "it works on 4 axes, its input is 2x8"),
    ("ArgMax", "axis: 1 top_k: 9", (PICTURE,), "top_k is 9, there are only 8 numbers"),
    ("ArgMax", "top_k: 11", ((2, 10),), "top_k is 11, there are only 10 numbers"),
    ("ArgMax", "top_k: 0", ((2, 10),), "top_k is 0; it must be at least 1"),
    ("Flatten", "axis: 3 end_axis: 1", (PICTURE,), "end_axis 1 is before axis 3"),
    ("SPP", "pyramid_height: 3", ((1, 2, 5, 8),), "5 cannot be pooled into 4 bins: windows of 2"),
    ("SPP", "pyramid_height: 2", ((1, 2, 8, 1),), "1 cannot be pooled into 2 bins"),
    ("Embed", "num_output: 7", ((5, 2),), "input_dim is missing; it must be at least 1"),
    ("PriorBox", "min_size: 6 step_h: 8", (PICTURE, PICTURE), "step_h given; Caffe takes step, or"),
    (
        "PriorBox",
        "min_size: 6 img_h: 8 img_w: 9 img_size: 9",
        (PICTURE, PICTURE),
        "img_h and img_w and img_size given; Caffe takes img_size, or img_h and img_w",
    ),
    ("PriorBox", "min_size: 6 step: 0", (PICTURE, PICTURE), "step is 0; it must be more than 0"),
    (
        "DetectionOutput",
        "background_label_id: -1",
        ((1, 400), (1, 2100), (1, 2, 400)),
        "background_label_id is -1, and share_location true: Caffe finds no boxes then",
    ),
    (
        "PSROIPooling",
        "output_dim: 21 group_size: 7",
        (PICTURE, (1, 5)),
        "it takes 21 x 7 x 7 channels, its input has 8",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text", "bottoms", "complaint"),
    ERRORS,
    ids=[f"{kind}-{i}" for i, (kind, *_) in enumerate(ERRORS)],
)
def test_what_caffe_refuses(
    kind: str, text: str, bottoms: tuple[Known, ...], complaint: str
) -> None:
    with pytest.raises(TextError) as caught:
        tops(kind, message(kind, text), *bottoms)
    assert "net.prototxt:1:1: layer 'it': " in str(caught.value)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loss_needs_no_entry_in_the_table() -> None:
    assert op_of("AnyNewLoss").known
    assert op_of("AnyNewData").known
    assert not op_of("AnyNewThing").known
