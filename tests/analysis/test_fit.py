"""Weights that belong to a net pass; others are refused with the names and shapes that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from caffefold.analysis import fit
from caffefold.errors import ModelError, TextError
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec
from tests.support.formats_model import Loaded

Shapes = Sequence[tuple[int, ...]]


def layer(name: str, kind: str, text: str = "") -> str:
    return LayerSpec(name, kind, "x", params=text).prototxt()


def conv(text: str) -> str:
    return layer("c", "Convolution", f"convolution_param {{ {text} }}")


def check(loaded: Loaded, text: str, shapes: Mapping[str, Shapes]) -> None:
    blobs = {name: [np.zeros(shape) for shape in found] for name, found in shapes.items()}
    fit.check(loaded(text, blobs))


IP = "inner_product_param {{ num_output: 5 {} }}"
FITTING: list[tuple[str, str, Shapes]] = [
    ("conv", conv("num_output: 4 kernel_size: 3"), [(4, 3, 3, 3), (4,)]),
    ("conv without bias", conv("num_output: 4 bias_term: false kernel_size: 3"), [(4, 3, 3, 3)]),
    ("kernel_h, kernel_w", conv("num_output: 4 kernel_h: 1 kernel_w: 7"), [(4, 3, 1, 7), (4,)]),
    ("two kernel sizes", conv("num_output: 4 kernel_size: [1, 7]"), [(4, 3, 1, 7), (4,)]),
    ("3-D", conv("num_output: 4 kernel_size: 3"), [(4, 2, 3, 3, 3), (4,)]),
    ("groups", conv("num_output: 4 group: 2 kernel_size: 1"), [(4, 3, 1, 1), (4,)]),
    ("legacy bias", conv("num_output: 4 kernel_size: 3"), [(4, 3, 3, 3), (1, 1, 1, 4)]),
    (
        "deconvolution",
        layer("c", "Deconvolution", "convolution_param { num_output: 6 group: 2 kernel_size: 2 }"),
        [(8, 3, 2, 2), (6,)],
    ),
    ("inner product", layer("c", "InnerProduct", IP.format("")), [(5, 7), (5,)]),
    ("legacy", layer("c", "InnerProduct", IP.format("")), [(1, 1, 5, 7), (1, 1, 1, 5)]),
    ("transposed", layer("c", "InnerProduct", IP.format("transpose: true")), [(7, 5), (5,)]),
    ("batch norm", layer("c", "BatchNorm"), [(4,), (4,), (1,)]),
    ("legacy batch norm", layer("c", "BatchNorm"), [(1, 4, 1, 1), (1, 4, 1, 1), (1, 1, 1, 1)]),
    ("NVIDIA's batch norm", layer("c", "BatchNorm"), [(4,), (4,), (1,), (4,), (4,)]),
    ("DIGITS' batch norm", layer("c", "BatchNorm"), [(1, 4, 1, 1)] * 4 + [(1,)]),
    ("BN", layer("c", "BN"), [(1, 4, 1, 1)] * 4),
    ("SegNet's BN", layer("c", "BN"), [(1, 4, 1, 1)] * 2),
    ("legacy scale", layer("c", "Scale"), [(1, 1, 1, 4)]),
    ("scale", layer("c", "Scale"), [(4,)]),
    ("scale with bias", layer("c", "Scale", "scale_param { bias_term: true }"), [(4,), (4,)]),
    ("scalar scale", layer("c", "Scale", "scale_param { num_axes: 0 }"), [()]),
    ("a type of a fork", layer("c", "Fork"), [(9, 9)]),
    ("no weights, none wanted", layer("c", "ReLU"), []),
]


@pytest.mark.parametrize(("text", "shapes"), [f[1:] for f in FITTING], ids=[f[0] for f in FITTING])
def test_weights_that_fit(loaded: Loaded, text: str, shapes: Shapes) -> None:
    check(loaded, text, {"c": shapes})


DIFFERING: list[tuple[str, str, Shapes, str]] = [
    (
        "outputs",
        conv("num_output: 4 kernel_size: 3"),
        [(8, 3, 3, 3), (8,)],
        (
            "'c' weights is 8x3x3x3, the prototxt requires 4x?x3x3, "
            "'c' bias is 8, the prototxt requires 4"
        ),
    ),
    (
        "kernel",
        conv("num_output: 4 kernel_size: 5"),
        [(4, 3, 3, 3), (4,)],
        "'c' weights is 4x3x3x3, the prototxt requires 4x?x5x5",
    ),
    (
        "kernel_h and kernel_w",
        conv("num_output: 4 kernel_h: 7 kernel_w: 1"),
        [(4, 3, 1, 7), (4,)],
        "'c' weights is 4x3x1x7, the prototxt requires 4x?x7x1",
    ),
    (
        "no bias",
        conv("num_output: 4 kernel_size: 3"),
        [(4, 3, 3, 3)],
        "'c' needs 2 blobs, the caffemodel has 1",
    ),
    (
        "a bias too many",
        conv("num_output: 4 bias_term: false kernel_size: 3"),
        [(4, 3, 3, 3), (4,)],
        "'c' needs 1 blobs, the caffemodel has 2 (it has a bias: already merged?)",
    ),
    (
        "deconvolution",
        layer("c", "Deconvolution", "convolution_param { num_output: 6 group: 2 kernel_size: 2 }"),
        [(8, 6, 2, 2), (6,)],
        "'c' weights is 8x6x2x2, the prototxt requires ?x3x2x2",
    ),
    (
        "inner product",
        layer("c", "InnerProduct", IP.format("")),
        [(7, 5), (5,)],
        "'c' weights is 7x5, the prototxt requires 5x?",
    ),
    (
        "transposed",
        layer("c", "InnerProduct", IP.format("transpose: true")),
        [(5, 7), (5,)],
        "'c' weights is 5x7, the prototxt requires ?x5",
    ),
    (
        "batch norm",
        layer("c", "BatchNorm"),
        [(4,), (5,), (2,)],
        "'c' variance is 5, the prototxt requires 4, 'c' factor is 2, the prototxt requires 1",
    ),
    (
        "scale",
        layer("c", "Scale", "scale_param { bias_term: true }"),
        [(4,), (5,)],
        "'c' bias is 5, the prototxt requires 4",
    ),
    ("no outputs", conv("num_output: 0"), [(4, 3, 3, 3), (4,)], "'c' has num_output 0"),
    ("no num_output", conv("kernel_size: 3"), [(4, 3, 3, 3), (4,)], "'c' has num_output 0"),
    ("no groups", conv("num_output: 4 group: 0"), [(4, 3, 3, 3), (4,)], "'c' has group 0"),
    (
        "no kernel",
        conv("num_output: 4 kernel_size: 0"),
        [(4, 3, 3, 3), (4,)],
        "'c' has kernel_size 0",
    ),
    ("no products", layer("c", "InnerProduct"), [(5, 7), (5,)], "'c' has num_output 0"),
    (
        "a flat convolution",
        conv("num_output: 4 kernel_size: 3"),
        [(4,), (4,)],
        "'c' weights is 4, the prototxt requires 4x?",
    ),
    ("no numbers", layer("c", "Scale"), [(0,)], "'c' blob 0 holds no numbers"),
    ("no factor", layer("c", "BatchNorm"), [(4,), (4,), (0,)], "'c' blob 2 holds no numbers"),
    (
        "NVIDIA's batch norm",
        layer("c", "BatchNorm"),
        [(4,), (4,), (1,), (4,), (3,)],
        "'c' beta is 3, the prototxt requires 4",
    ),
    (
        "BN",
        layer("c", "BN"),
        [(4,), (4,), (4,), (3,)],
        "'c' variance is 3, the prototxt requires 4",
    ),
    (
        "scale without its bias",
        layer("c", "Scale", "scale_param { bias_term: true }"),
        [(4,)],
        "'c' needs 2 blobs, the caffemodel has 1",
    ),
]


@pytest.mark.parametrize(
    ("text", "shapes", "words"), [d[1:] for d in DIFFERING], ids=[d[0] for d in DIFFERING]
)
def test_weights_that_differ(loaded: Loaded, text: str, shapes: Shapes, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        check(loaded, text, {"c": shapes})
    assert str(caught.value).endswith(
        f"net0.caffemodel: does not belong to net.prototxt: {words}; "
        "the net of this caffemodel is called 'net'"
    )


def test_layers_without_weights_are_named(loaded: Loaded) -> None:
    text = conv("num_output: 4 kernel_size: 3") + "".join(layer(f"p{i}", "PReLU") for i in range(7))
    with pytest.raises(ModelError) as caught:
        check(loaded, text, {"c": [(4, 3, 3, 3), (4,)]})
    assert "no weights for 7 layers ('p0', 'p1', 'p2', 'p3', 'p4' and 2 more)" in str(caught.value)
    assert "no layer name matches" not in str(caught.value)


def test_weights_of_another_net(loaded: Loaded) -> None:
    with pytest.raises(ModelError, match=r"no weights for 1 layers .*; no layer name matches"):
        check(loaded, conv("num_output: 4 kernel_size: 3"), {"other": [(4, 3, 3, 3), (4,)]})


def test_weights_that_are_merged_already(loaded: Loaded) -> None:
    text = conv("num_output: 1 kernel_size: 1") + layer("bn", "BatchNorm") + layer("s", "Scale")
    with pytest.raises(ModelError, match=r"no weights for 2 layers .*is this caffemodel already"):
        check(loaded, text, {"c": [(1, 1, 1, 1), (1,)]})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('type: "Convolution" bottom: "x"', True),
        ('type: "BatchNorm" bottom: "x"', True),
        ('type: "ReLU" bottom: "x"', False),
        ('type: "Fork" bottom: "x"', False),
        ('type: "Scale" bottom: "x"', True),
        ('type: "Scale" bottom: "x" bottom: "y"', False),
        ('type: "Scale" bottom: "x" bottom: "y" scale_param { bias_term: true }', True),
        ('type: "Bias" bottom: "x"', True),
        ('type: "Bias" bottom: "x" bottom: "y"', False),
    ],
)
def test_which_layers_want_blobs(text: str, wanted: bool) -> None:
    (made,) = Net.of(parse(f"layer {{ {text} }}")).layers
    assert fit.wants_blobs(made) is wanted


INPUT = 'layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: [{}] }} }} }}\n'


@pytest.mark.parametrize("dims", ["-1, 3, 5, 5", "1, 3, -9223372036854775808, 5", "2147483648"])
@pytest.mark.parametrize("legacy", [False, True])
def test_input_shapes_that_caffe_refuses(loaded: Loaded, dims: str, legacy: bool) -> None:
    text = f'input: "x" input_shape {{ dim: [{dims}] }}\n' if legacy else INPUT.format(dims)
    refused = f"input 'x' has the shape {dims}; sizes must be 0 or more"
    with pytest.raises(ModelError, match=refused):
        check(loaded, text + layer("c", "ReLU"), {"c": []})


def test_an_overflowing_input_shape(loaded: Loaded) -> None:
    check(loaded, INPUT.format("1, 1, 32768, 65535") + layer("c", "ReLU"), {"c": []})
    with pytest.raises(ModelError, match="at most 2147483647 elements"):
        check(loaded, INPUT.format("1, 1, 32768, 65536") + layer("c", "ReLU"), {"c": []})


@pytest.mark.parametrize("kind", ["BatchNorm", "BN", "Scale", "Bias"])
def test_channels_that_differ_from_the_input(loaded: Loaded, kind: str) -> None:
    count = {"BatchNorm": 2, "BN": 4}.get(kind, 1)
    factor = [(1,)] if kind == "BatchNorm" else []
    text = INPUT.format("1, 3, 5, 5") + layer("c", kind)
    check(loaded, text, {"c": [(3,)] * count + factor})
    with pytest.raises(TextError, match="layer 'c': it has 4 channels, its input 3"):
        check(loaded, text, {"c": [(4,)] * count + factor})


def test_a_scale_along_another_axis_is_no_matter_of_channels(loaded: Loaded) -> None:
    for text in ("axis: 2", "axis: -1", "num_axes: 0"):
        scale = layer("c", "Scale", f"scale_param {{ {text} }}")
        check(loaded, INPUT.format("1, 3, 5, 4") + scale, {"c": [(4,)]})
