"""Parameters, MACs and memory, by numbers worked out by hand."""

from __future__ import annotations

import pytest

from caffefold.analysis.cost import Totals, layer_costs, totals
from caffefold.analysis.shapes import infer
from caffefold.ops.shape import Known
from tests.support.shapes import chain, layer, net, weighed

HEAD = 'input: "data" input_shape { dim: 1 dim: %d dim: %d dim: %d }\n'
VGG16 = "".join(
    f"conv {n} 3+1, " * times + "max 2/2, "
    for n, times in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
)


def test_lenet() -> None:
    """conv1 20x24x24 x 25, conv2 50x8x8 x 500, 800 x 500, 500 x 10."""
    lenet = "conv 20 5, max 2/2, conv 50 5, max 2/2, fc 500, ReLU, fc 10, Softmax"
    found = totals(net(HEAD % (1, 28, 28) + chain(lenet)))
    assert found.parameters == 20 * 25 + 20 + 50 * 500 + 50 + 800 * 500 + 500 + 5000 + 10
    assert found.macs == 288_000 + 1_600_000 + 400_000 + 5_000
    blobs = 784 + 20 * 576 + 20 * 144 + 50 * 64 + 50 * 16 + 500 + 500 + 10 + 10
    assert found.memory == 4 * blobs
    assert found == Totals(8, 431_080, 2_293_000, 4 * blobs)


def test_vgg16() -> None:
    """The published 138,357,544 parameters; 15,346,630,656 MACs in convolutions, the rest after."""
    found = totals(net(HEAD % (3, 224, 224) + chain(VGG16 + "fc 4096, fc 4096, fc 1000")))
    assert found.parameters == 138_357_544
    assert found.macs == 15_346_630_656 + 123_633_664
    assert (found.unknown_parameters, found.unknown_macs, found.unknown_memory) == (0, 0, 0)


CASES: list[tuple[str, str, tuple[Known, ...], int, int]] = [
    # parameters, MACs
    (
        "Convolution",
        "convolution_param { num_output: 6 kernel_size: 3 group: 2 }",
        ((2, 4, 5, 5),),
        6 * 2 * 9 + 6,
        2 * 6 * 9 * 2 * 9,
    ),
    (
        "ConvolutionDepthwise",
        "convolution_param { num_output: 4 kernel_size: 3 bias_term: false }",
        ((1, 4, 5, 5),),
        4 * 9,
        4 * 9 * 9,
    ),
    (
        "Deconvolution",
        "convolution_param { num_output: 6 kernel_size: 2 stride: 2 group: 2 }",
        ((1, 4, 5, 5),),
        4 * 3 * 4 + 6,
        4 * 25 * 3 * 4,
    ),
    ("InnerProduct", "inner_product_param { num_output: 5 }", ((2, 3, 4),), 65, 2 * 5 * 12),
    (
        "InnerProduct",
        "inner_product_param { num_output: 5 axis: 2 bias_term: false }",
        ((2, 3, 4),),
        20,
        2 * 3 * 5 * 4,
    ),
    ("BatchNorm", "", ((1, 4, 5, 5),), 9, 100),
    ("Scale", "scale_param { bias_term: true }", ((1, 4, 5, 5),), 8, 100),
    ("Scale", "scale_param { axis: 0 }", ((1, 4, 5, 5), (1, 4)), 0, 100),
    ("Scale", "scale_param { num_axes: -1 }", ((1, 4, 5, 5),), 100, 100),
    ("Bias", "", ((1, 4, 5, 5),), 4, 0),
    ("BN", "bn_param { slope_filler { } }", ((1, 4, 5, 5),), 16, 100),
    ("BN", "bn_param { scale_filler { } }", ((1, 4, 5, 5),), 8, 100),
    ("PReLU", "", ((1, 4, 5, 5),), 4, 0),
    ("PReLU", "prelu_param { channel_shared: true }", ((1, 4, 5, 5),), 1, 0),
    ("Normalize", "norm_param { channel_shared: false }", ((1, 4, 5, 5),), 4, 0),
    ("Embed", "embed_param { num_output: 3 input_dim: 10 }", ((7,),), 33, 0),
    (
        "LSTM",
        "recurrent_param { num_output: 3 }",
        ((6, 2, 5), (6, 2)),
        12 * 5 + 12 + 12 * 3,
        6 * 2 * 12 * (5 + 3),
    ),
    (
        "LSTM",
        "recurrent_param { num_output: 3 }",
        ((6, 2, 5), (6, 2), (2, 7)),
        12 * 5 + 12 + 12 * 3 + 12 * 7,
        6 * 2 * 12 * (5 + 3),
    ),
    (
        "RNN",
        "recurrent_param { num_output: 3 }",
        ((6, 2, 5), (6, 2)),
        15 + 3 + 9 + 9 + 3,
        6 * 2 * 3 * (5 + 6),
    ),
    ("ReLU", "", ((1, 4, 5, 5),), 0, 0),
    ("Pooling", "pooling_param { kernel_size: 2 }", ((1, 4, 5, 5),), 0, 0),
]


@pytest.mark.parametrize(
    ("kind", "text", "bottoms", "parameters", "macs"),
    CASES,
    ids=[f"{kind}-{i}" for i, (kind, *_) in enumerate(CASES)],
)
def test_one_layer(
    kind: str, text: str, bottoms: tuple[Known, ...], parameters: int, macs: int
) -> None:
    given = net(layer(kind, text, bottoms=len(bottoms)))
    shapes = infer(given, {f"b{i}": shape for i, shape in enumerate(bottoms)})
    (found,) = layer_costs(given, shapes)
    assert (found.parameters, found.macs) == (parameters, macs)


def test_stored_blobs_are_counted_as_they_are() -> None:
    """A caffemodel may hold more, or other shapes, than the text implies."""
    given = weighed(net(HEAD % (3, 9, 9) + chain("conv 4 3, New")), {"New1": (7, 2)})
    first, second = layer_costs(given, infer(given))
    assert first.parameters == 4 * 27 + 4
    assert second.parameters == 14


def test_what_is_written_in_place_costs_no_memory() -> None:
    text = HEAD % (3, 9, 9) + chain("conv 4 3")
    text += 'layer { name: "r" type: "ReLU" bottom: "conv0" top: "conv0" }\n'
    given = net(text)
    conv, relu = layer_costs(given, infer(given))
    assert (conv.memory, relu.memory) == (4 * 4 * 49, 0)
    assert totals(given).memory == 4 * (243 + 4 * 49)


def test_shared_blobs_count_once() -> None:
    text = HEAD % (3, 9, 9) + chain("conv 4 3")
    twin = chain("conv 4 3").replace('"conv0"', '"twin"')
    shared = 'param { name: "w" } convolution_param'
    both = (text + twin).replace("convolution_param", shared)
    assert totals(net(text + twin)).parameters == 2 * (108 + 4)
    assert totals(net(both)).parameters == 108 + 4 + 4  # the weights are shared, the bias is not


def test_what_is_not_known_is_counted() -> None:
    text = 'input: "data"\n' + chain("conv 4 3, ReLU, New")
    found = totals(net(text))
    assert found == Totals(3, 0, 0, 0, 2, 2, 4)
    sized = infer(net(text), {"data": (1, 3, 9, 9)})
    assert totals(net(text), sized).macs == 4 * 49 * 27


def test_a_placeholder_is_an_unknown_number() -> None:
    found = totals(net(HEAD % (3, 9, 9) + chain("conv cls2x 3")))
    assert (found.unknown_parameters, found.unknown_macs) == (1, 1)
