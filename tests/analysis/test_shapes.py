"""Shapes of whole nets: versions, inputs from outside, weights as evidence, problems collected."""

from __future__ import annotations

import numpy as np
import pytest

from caffefold.analysis.shapes import check, infer
from caffefold.errors import TextError
from tests.support.formats_model import Loaded
from tests.support.shapes import net

CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
"""
RELU = 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }\n'
FC = """
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 5 } }
"""
INPUT = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 6 dim: 7 } } }
"""


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def test_a_chain() -> None:
    found = check(net(INPUT + CONV + RELU + FC))
    assert found.of("conv") == (1, 4, 4, 5)
    assert found.of("fc") == (1, 5)
    assert found.bottoms[3] == ((1, 4, 4, 5),)
    assert found.of("nowhere") is None


def test_versions_of_a_blob_that_is_written_in_place() -> None:
    """Reshape in place: the readers before and behind it see different shapes."""
    text = (
        INPUT
        + 'layer { name: "a" type: "ReLU" bottom: "data" top: "a" }\n'
        + 'layer { name: "flat" type: "Flatten" bottom: "data" top: "data" }\n'
        + 'layer { name: "b" type: "ReLU" bottom: "data" top: "b" }\n'
    )
    found = check(net(text))
    assert found.of("a") == (1, 3, 6, 7)
    assert found.of("b") == (1, 126)
    assert found.tops(0) == ((1, 3, 6, 7),)
    assert found.of("data") == (1, 126)


@pytest.mark.parametrize(
    "head",
    [
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 6 input_dim: 7\n',
        'input: "data" input_shape { dim: 1 dim: 3 dim: 6 dim: 7 }\n',
    ],
)
def test_legacy_inputs(head: str) -> None:
    assert check(net(head + CONV)).of("conv") == (1, 4, 4, 5)


def test_given_shapes_count_before_the_nets_own() -> None:
    given = {"data": (2, 3, None, 9)}
    legacy = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 6 input_dim: 7\n'
    for text in (INPUT + CONV, legacy + CONV, CONV):
        assert infer(net(text), given).of("conv") == (2, 4, None, 7)
    # but only for what comes from outside
    assert infer(net(INPUT + CONV), {"conv": (9, 9)}).of("conv") == (1, 4, 4, 5)


def test_rank_and_channels_without_an_input_shape() -> None:
    text = 'input: "data"\n' + CONV.replace("kernel_size: 3", "kernel_h: 3 kernel_w: 3") + FC
    found = check(net(text))
    assert found.of("data") is None
    assert found.of("conv") == (None, 4, None, None)
    assert found.of("fc") == (None, 5)


def test_weights_tell_the_rank(loaded: Loaded) -> None:
    given = loaded('input: "data"\n' + CONV, {"conv": [zeros(4, 3, 3, 3, 3)]})
    assert check(given).of("conv") == (None, 4, None, None, None)


@pytest.mark.parametrize(
    ("text", "blobs", "message"),
    [
        (
            INPUT + CONV,
            {"conv": [zeros(4, 1, 3, 3), zeros(4)]},
            "layer 'conv': its weights expect 1 channels, its input has 3",
        ),
        (
            INPUT + CONV + FC,
            {"fc": [zeros(5, 81), zeros(5)]},
            "layer 'fc': its weights expect 81 inputs, its input has 80 (1x4x4x5)",
        ),
        (
            INPUT + 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }',
            {"bn": [zeros(4), zeros(4), zeros(1)]},
            "layer 'bn': it has learned 4 numbers, its input has 3 channels",
        ),
        (
            INPUT + 'layer { name: "s" type: "Scale" bottom: "data" top: "s" '
            "scale_param { axis: 1 num_axes: -1 } }",
            {"s": [zeros(3, 6, 6)]},
            "layer 's': it has learned 108 numbers, its input has 126 channels",
        ),
        (
            INPUT + 'layer { name: "d" type: "Deconvolution" bottom: "data" top: "d" '
            "convolution_param { num_output: 4 kernel_size: 2 } }",
            {"d": [zeros(2, 4, 2, 2)]},
            "layer 'd': its weights expect 2 channels, its input has 3",
        ),
    ],
)
def test_weights_that_do_not_fit(
    loaded: Loaded, text: str, blobs: dict[str, list[np.ndarray]], message: str
) -> None:
    with pytest.raises(TextError, match=r"^net\.prototxt:") as caught:
        check(loaded(text, blobs))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "blobs"),
    [
        (INPUT + CONV + FC, {"fc": [zeros(1, 1, 5, 80)]}),  # legacy
        (
            INPUT + CONV + FC.replace("num_output: 5", "num_output: 5 transpose: true"),
            {"fc": [zeros(80, 5)]},
        ),
        (
            INPUT + 'layer { name: "dw" type: "ConvolutionDepthwise" bottom: "data" top: "dw" '
            "convolution_param { num_output: 3 kernel_size: 2 } }",
            {"dw": [zeros(3, 1, 2, 2)]},
        ),
        (
            INPUT + 'layer { name: "p" type: "PReLU" bottom: "data" top: "p" }',
            {"p": [zeros(1)]},
        ),
    ],
)
def test_weights_that_fit(loaded: Loaded, text: str, blobs: dict[str, list[np.ndarray]]) -> None:
    check(loaded(text, blobs))


def test_problems_are_collected_and_what_follows_is_unknown() -> None:
    text = INPUT + CONV.replace("3 }", "9 }") + RELU
    text += 'layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" }\n'
    found = infer(net(text))
    assert [str(problem).split(":")[4].strip() for problem in found.problems] == [
        "its window of 9 is larger than its input of 6; is the input shape too small?",
        "kernel_size is missing; give it, or global_pooling",
    ]
    assert found.of("conv") is None
    with pytest.raises(TextError, match="layer 'conv'"):
        check(net(text))


def test_check_refuses_dangling_bottoms_first() -> None:
    with pytest.raises(TextError, match="bottom 'data' is not made by any earlier layer"):
        check(net(CONV.replace("num_output: 4", "")))


def test_a_placeholder_is_a_missing_number() -> None:
    found = infer(net(INPUT + CONV.replace("num_output: 4", "num_output: cls4x")))
    assert "a placeholder for 4 x the number of classes" in str(found.problems[0])
    assert found.of("conv") is None


def test_unknown_types_make_unknown_blobs() -> None:
    text = INPUT + 'layer { name: "new" type: "New" bottom: "data" top: "conv" }\n' + FC
    found = check(net(text))
    assert found.of("conv") is None
    assert found.of("fc") == (None, 5)
