"""Channels of inputs from the first weights that read them."""

from __future__ import annotations

import pytest

from caffefold.analysis.channels import channels_of
from tests.support.shapes import chain, net, weighed

HEAD = 'input: "data"\n'
RELU = 'layer { name: "relu" type: "ReLU" bottom: "data" top: "data" }\n'
SLICE = 'layer { name: "cut" type: "Slice" bottom: "data" top: "a" top: "b" %s }\n'
CONCAT = 'layer { name: "join" type: "Concat" bottom: "data" bottom: "%s" top: "a" %s }\n'
CONV = (
    'layer { name: "conv" type: "Convolution" bottom: "%s" top: "y" '
    "convolution_param { num_output: 4 kernel_size: 3 %s } }\n"
)


def conv(bottom: str, more: str = "") -> str:
    return CONV % (bottom, more)


@pytest.mark.parametrize(
    ("text", "shape", "wanted"),
    [
        (conv("data"), (4, 3, 3, 3), 3),
        (conv("data", "group: 2"), (4, 3, 3, 3), 6),
        (RELU + RELU + conv("data"), (4, 3, 3, 3), 3),
        (conv("data").replace('"Convolution"', '"Deconvolution"'), (3, 4, 3, 3), 3),
        (conv("data").replace('"Convolution"', '"ConvolutionDepthwise"'), (4, 1, 3, 3), 4),
        (SLICE % "" + conv("a"), (4, 1, 3, 3), 2),
        (SLICE % "slice_param { slice_point: 3 }" + conv("b"), (4, 5, 3, 3), 8),
        (SLICE % "slice_param { slice_point: 3 }" + conv("a"), (4, 3, 3, 3), None),
        (SLICE % "slice_param { axis: 0 }" + conv("b"), (4, 5, 3, 3), 5),
        (CONCAT % ("data", "") + conv("a"), (4, 6, 3, 3), 3),
        (CONCAT % ("data", "concat_param { axis: 0 }") + conv("a"), (4, 6, 3, 3), 6),
        (CONCAT % ("other", "") + conv("a"), (4, 6, 3, 3), None),
        ('layer { name: "conv" type: "BatchNorm" bottom: "data" top: "y" }', (3,), 3),
        ('layer { name: "conv" type: "Scale" bottom: "data" top: "y" }', (3,), 3),
        ('layer { name: "conv" type: "PReLU" bottom: "data" top: "y" }', (1,), None),
        ('layer { name: "conv" type: "InnerProduct" bottom: "data" top: "y" }', (3, 12), None),
        ('layer { name: "conv" type: "New" bottom: "data" top: "y" }', (4, 3, 3, 3), None),
    ],
)
def test_first_weights(text: str, shape: tuple[int, ...], wanted: int | None) -> None:
    assert channels_of(weighed(net(HEAD + text), {"conv": shape}), "data") == wanted


def test_a_known_partner_of_a_concat() -> None:
    text = HEAD + (
        'layer { name: "other" type: "Input" top: "other" '
        "input_param { shape { dim: 1 dim: 2 dim: 9 dim: 9 } } }\n"
    )
    given = weighed(net(text + CONCAT % ("other", "") + conv("a")), {"conv": (4, 6, 3, 3)})
    assert channels_of(given, "data") == 4


def test_a_blob_that_nothing_makes() -> None:
    assert channels_of(weighed(net(conv("data")), {"conv": (4, 3, 3, 3)}), "data") == 3
    assert channels_of(net(conv("data")), "data") is None


def test_the_first_reader_counts() -> None:
    text = HEAD + conv("data") + conv("data").replace('"conv"', '"late"').replace('"y"', '"z"')
    given = weighed(net(text), {"conv": (4, 3, 3, 3), "late": (4, 5, 3, 3)})
    assert channels_of(given, "data") == 3


def test_a_long_chain() -> None:
    text = HEAD + RELU * 3000 + chain("conv 4 3")
    assert channels_of(weighed(net(text), {"conv0": (4, 3, 3, 3)}), "data") == 3
