"""The reference evaluator's layers and checks against values worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")

from caffefold.testing import LayerSpec, input_layer, net_text, net_weights
from tests.reference.caffe_torch import InvalidNetError, net_outputs, run

AnyArray: TypeAlias = npt.NDArray[Any]


def evaluate(
    layers: str,
    inputs: Mapping[str, AnyArray],
    learned: Mapping[str, Sequence[AnyArray]] | None = None,
    **options: Any,
) -> dict[str, AnyArray]:
    """A net of these layers behind inputs of these shapes, with these blobs."""
    heads = net_text(input_layer(*value.shape, name=name) for name, value in inputs.items())
    return run(heads + layers, net_weights(learned or {}), inputs, **options)


def one_layer(kind: str, param: str, x: AnyArray, *blobs: AnyArray, **options: Any) -> AnyArray:
    text = LayerSpec("y", kind, "x", params=param).prototxt()
    return evaluate(text, {"x": x}, {"y": blobs} if blobs else None, **options)["y"]


def column(*values: float) -> AnyArray:
    """One image of 1x1 with these channels."""
    return np.array(values, dtype=np.float64).reshape(1, -1, 1, 1)


def vector(*values: float) -> AnyArray:
    return np.array(values, dtype=np.float64)


IMAGE = np.arange(1.0, 17).reshape(1, 1, 4, 4)


def test_average_pooling_counts_padding_up_to_the_far_edge() -> None:
    y = one_layer("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }", IMAGE)
    want = [[14 / 9, 30 / 9, 12 / 6], [57 / 9, 99 / 9, 36 / 6], [27 / 6, 45 / 6, 16 / 4]]
    np.testing.assert_allclose(y[0, 0], want)


def test_max_pooling_rounds_up() -> None:
    param = "pooling_param { kernel_size: 3 stride: 2 pad: 1 }"
    assert one_layer("Pooling", param, IMAGE)[0, 0].tolist() == [
        [6, 8, 8],
        [14, 16, 16],
        [14, 16, 16],
    ]
    param = "pooling_param { kernel_size: 3 stride: 2 }"
    assert one_layer("Pooling", param, IMAGE)[0, 0].tolist() == [[11, 12], [15, 16]]
    param = "pooling_param { kernel_size: 3 stride: 2 round_mode: FLOOR }"
    assert one_layer("Pooling", param, IMAGE)[0, 0].tolist() == [[11]]


def test_pooling_drops_a_window_that_starts_in_the_far_padding() -> None:
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    param = "pooling_param { kernel_size: 2 stride: 2 pad: 1 }"
    assert one_layer("Pooling", param, x)[0, 0].tolist() == [[1, 3], [7, 9]]


def test_global_pooling() -> None:
    param = "pooling_param { pool: AVE global_pooling: true }"
    assert one_layer("Pooling", param, IMAGE).tolist() == [[[[8.5]]]]


def test_grouped_deconvolution() -> None:
    weight = vector(2, 3, 5, 7).reshape(2, 2, 1, 1)
    param = "convolution_param { num_output: 4 kernel_size: 1 group: 2 }"
    y = one_layer("Deconvolution", param, column(1, 10), weight, vector(0, 0, 0, 0.5))
    assert y.ravel().tolist() == [2, 3, 50, 70.5]


def test_deconvolution_spreads_and_crops() -> None:
    param = "convolution_param { num_output: 1 kernel_size: 3 stride: 2 pad: 1 bias_term: false }"
    x = vector(1, 0, 0, 10).reshape(1, 1, 2, 2)
    y = one_layer("Deconvolution", param, x, np.arange(1.0, 10).reshape(1, 1, 3, 3))
    assert y[0, 0].tolist() == [[5, 6, 0], [8, 19, 20], [0, 40, 50]]


def test_convolution_with_its_own_settings_per_axis() -> None:
    param = "convolution_param { num_output: 1 kernel_h: 1 kernel_w: 2 stride_h: 3 stride_w: 1 "
    param += "dilation: 1 dilation: 2 pad: 0 pad: 1 bias_term: false }"
    y = one_layer("Convolution", param, IMAGE, vector(1, 100).reshape(1, 1, 1, 2))
    assert y[0, 0].tolist() == [[200, 301, 402, 3], [1400, 1513, 1614, 15]]


@pytest.mark.parametrize("kind", ["ConvolutionDepthwise", "DepthwiseConvolution"])
def test_depthwise_types_need_no_group(kind: str) -> None:
    param = "convolution_param { num_output: 2 kernel_size: 1 bias_term: false }"
    y = one_layer(kind, param, column(3, 5), vector(10, 100).reshape(2, 1, 1, 1))
    assert y.ravel().tolist() == [30, 500]


def test_inner_product_transposed() -> None:
    param = "inner_product_param { num_output: 2 transpose: true bias_term: false }"
    y = one_layer("InnerProduct", param, column(1, 10, 100), np.arange(6.0).reshape(3, 2))
    assert y.tolist() == [[420, 531]]


SCALES: list[tuple[str, AnyArray]] = [
    ("", vector(10, 100).reshape(2, 1, 1)),
    ("axis: -3", vector(10, 100).reshape(2, 1, 1)),
    ("num_axes: 0", vector(7).reshape(())),
    ("axis: 0", vector(5, 6).reshape(2, 1, 1, 1)),
    ("axis: 3", vector(1, 2, 3).reshape(3)),
    ("axis: 2 num_axes: -1", np.arange(1.0, 4).reshape(1, 3)),
    ("axis: 1 num_axes: 2", vector(10, 100).reshape(2, 1, 1)),
    ("num_axes: -1", np.arange(1.0, 7).reshape(2, 1, 3)),
    ("axis: 0 num_axes: -1", np.arange(1.0, 13).reshape(2, 2, 1, 3)),
]
BLOB_SHAPES = [(2,), (2,), (), (2,), (3,), (1, 3), (2, 1), (2, 1, 3), (2, 2, 1, 3)]


@pytest.mark.parametrize(("case", "shape"), list(zip(SCALES, BLOB_SHAPES, strict=True)))
def test_axes_of_scale_and_bias(case: tuple[str, AnyArray], shape: tuple[int, ...]) -> None:
    axes, values = case
    x = np.arange(12.0).reshape(2, 2, 1, 3)
    blob = values.reshape(shape)
    y = one_layer("Scale", f"scale_param {{ {axes} bias_term: true }}", x, blob, blob)
    np.testing.assert_array_equal(y, x * values + values)
    y = one_layer("Bias", f"bias_param {{ {axes} }}", x, blob)
    np.testing.assert_array_equal(y, x + values)


def test_scale_by_a_second_bottom() -> None:
    text = 'layer { name: "y" type: "Scale" bottom: "x" bottom: "g" top: "y" scale_param { axis: 0 '
    x, gate = np.ones((1, 2, 2, 2)), vector(3, 5).reshape(1, 2)
    assert evaluate(f"{text}}} }}", {"x": x, "g": gate})["y"][0, :, 0, 0].tolist() == [3, 5]
    learned = {"y": [vector(10, 20).reshape(1, 2)]}
    y = evaluate(f"{text} bias_term: true }} }}", {"x": x, "g": gate}, learned)["y"]
    assert y[0, :, 1, 1].tolist() == [13, 25]


def test_batch_norm() -> None:
    stored = [vector(20, 40), vector(3, 8) * 4, vector(4)]
    y = one_layer("BatchNorm", "batch_norm_param { eps: 1 }", column(7, 13), *stored)
    assert y.ravel().tolist() == [1, 1]
    stored[2][:] = 0
    y = one_layer("BatchNorm", "batch_norm_param { eps: 0.25 }", column(7, 13), *stored)
    assert y.ravel().tolist() == [14, 26]


def test_batch_norm_of_the_batch() -> None:
    param = "batch_norm_param { use_global_stats: false eps: 0 }"
    x = vector(1, 3, 1, 3, 5, 7, 5, 7).reshape(2, 1, 2, 2)
    stored = [vector(9), vector(9), vector(1)]
    y = one_layer("BatchNorm", param, x, *stored)
    np.testing.assert_allclose(y, (x - 4) / np.sqrt(5))


def test_batch_norm_with_five_blobs() -> None:
    mean, variance, scale, bias = vector(1, 2), vector(3, 8), vector(10, 100), vector(0.5, 0.25)
    x, want = column(7, 8), [30.5, 200.25]
    param = "batch_norm_param { eps: 1 }"
    new = [mean, variance, vector(1), scale, bias]
    old = [scale, bias, mean, variance, vector(0)]
    assert one_layer("BatchNorm", param, x, *new).ravel().tolist() == want
    assert one_layer("BatchNorm", param, x, *old).ravel().tolist() == want
    intel = [mean * 4, variance * 4, vector(4), scale, bias]
    y = one_layer("BatchNorm", param, x, *intel, five_blobs="intel")
    assert y.ravel().tolist() == want


def test_bn_of_pspnet_and_segnet() -> None:
    x = column(7, 8)
    blobs = [column(10, 100), column(0.5, 0.25), column(1, 2), column(3, 8)]
    assert one_layer("BN", "bn_param { eps: 1 }", x, *blobs).ravel().tolist() == [30.5, 200.25]
    y = one_layer("BN", "bn_param { bn_mode: INFERENCE }", x, *blobs[:2])
    assert y.ravel().tolist() == [70.5, 800.25]


def test_local_response_normalisation() -> None:
    x = column(1, 2, 3)
    y = one_layer("LRN", "lrn_param { local_size: 3 alpha: 3 beta: 1 k: 2 }", x)
    np.testing.assert_allclose(y.ravel(), [1 / 7, 2 / 16, 3 / 15])
    param = "lrn_param { local_size: 3 alpha: 9 beta: 1 norm_region: WITHIN_CHANNEL k: 5 }"
    y = one_layer("LRN", param, vector(1, 2).reshape(1, 1, 1, 2))
    # Either window holds both numbers and counts 3x3 elements, padding included.
    np.testing.assert_allclose(y.ravel(), [1 / (1 + 9 * 5 / 9), 2 / (1 + 9 * 5 / 9)])


OTHERS: list[tuple[str, str, AnyArray, list[float]]] = [
    ("Power", "power_param { power: 2 scale: 3 shift: 1 }", column(1, -1), [16, 4]),
    ("ReLU", "relu_param { negative_slope: 0.5 }", column(-4, 4), [-2, 4]),
    ("ReLU6", "", column(-4, 4, 8), [0, 4, 6]),
    ("ELU", "elu_param { alpha: 2 }", column(1, -np.log(2)), [1, -1]),
    ("AbsVal", "", column(-4, 4), [4, 4]),
    ("Exp", "exp_param { base: 2 scale: 3 shift: 1 }", column(1, 0), [16, 2]),
    ("Log", "log_param { base: 2 scale: 3 shift: 1 }", column(1, 0), [2, 0]),
    ("Dropout", "dropout_param { dropout_ratio: 0.9 }", column(1, 2), [1, 2]),
    ("Reduction", "reduction_param { operation: SUMSQ axis: 1 coeff: 2 }", column(1, 2, 3), [28]),
    ("ArgMax", "", column(1, 5, 5), [2]),
    ("ArgMax", "argmax_param { out_max_val: true top_k: 2 }", column(1, 5, 6), [2, 1, 6, 5]),
    ("Tile", "tile_param { tiles: 2 }", column(1, 2), [1, 2, 1, 2]),
    ("ShuffleChannel", "shuffle_channel_param { group: 2 }", column(1, 2, 3, 4), [1, 3, 2, 4]),
    ("Permute", "permute_param { order: 3 order: 2 }", IMAGE[:, :, :2, :2], [1, 5, 2, 6]),
    ("Interp", "interp_param { zoom_factor: 2 }", IMAGE[:, :, :1, :2], [1, 1.5, 2]),
]


@pytest.mark.parametrize(("kind", "param", "x", "want"), OTHERS)
def test_other_layers(kind: str, param: str, x: AnyArray, want: list[float]) -> None:
    np.testing.assert_allclose(one_layer(kind, param, x).ravel(), want, rtol=1e-12)


def test_learned_layers_without_weights_keep_their_fillers() -> None:
    assert one_layer("Scale", "", column(2)).ravel().tolist() == [2]
    assert one_layer("PReLU", "", column(-2)).ravel().tolist() == [-0.5]
    param = "convolution_param { num_output: 1 kernel_size: 4 stride: 2 bias_term: false "
    y = one_layer("Deconvolution", f"{param} weight_filler {{ type: 'bilinear' }} }}", column(16))
    assert y[0, 0, 1].tolist() == [3, 9, 9, 3]
    with pytest.raises(InvalidNetError, match="random"):
        one_layer("Deconvolution", f"{param} weight_filler {{ type: 'xavier' }} }}", column(16))


def test_reshape_flatten_slice_concat_crop_eltwise() -> None:
    text = """
    layer { name: "s" type: "Slice" bottom: "x" top: "a" top: "b" slice_param { slice_point: 1 } }
    layer { name: "c" type: "Concat" bottom: "b" bottom: "a" top: "c" }
    layer { name: "r" type: "Reshape" bottom: "c" top: "r"
        reshape_param { shape { dim: 0 dim: -1 dim: 2 } } }
    layer { name: "f" type: "Flatten" bottom: "r" top: "f" }
    layer { name: "k" type: "Crop" bottom: "x" bottom: "a" top: "k"
        crop_param { axis: 1 offset: 2 offset: 0 offset: 0 } }
    layer { name: "e" type: "Eltwise" bottom: "x" bottom: "c" top: "e"
        eltwise_param { coeff: 1 coeff: -2 } }
    """
    x = column(1, 2, 3, 4)
    values = evaluate(text, {"x": x})
    assert values["r"].shape == (1, 2, 2)
    assert values["f"].tolist() == [[2, 3, 4, 1]]
    assert values["k"].ravel().tolist() == [3]
    assert values["e"].ravel().tolist() == [-3, -4, -5, 2]


# ------------------------------------------------------------------------- what Caffe does not take


def test_blobs_must_be_as_the_net_says() -> None:
    param = "convolution_param { num_output: 2 kernel_size: 1 bias_term: false }"
    x, weight = column(1, 2), np.ones((2, 2, 1, 1))
    assert one_layer("Convolution", param, x, weight).ravel().tolist() == [3, 3]
    with pytest.raises(InvalidNetError, match="number of blobs"):
        one_layer("Convolution", param, x, weight, vector(0, 0))
    with pytest.raises(InvalidNetError, match="shape"):
        one_layer("Convolution", param, x, np.ones((2, 2)))


RELU = 'layer {{ name: "{0}" type: "ReLU" bottom: "{1}" top: "{2}" }}\n'


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([("r", "nowhere", "y")], "Unknown bottom"),
        ([("r", "x", "y"), ("q", "x", "y")], "another source"),
        ([("r", "x", "y"), ("q", "x", "x")], "in place"),
    ],
)
def test_wiring_is_checked(layers: list[tuple[str, str, str]], message: str) -> None:
    with pytest.raises(InvalidNetError, match=message):
        evaluate("".join(RELU.format(*layer) for layer in layers), {"x": column(1)})


def test_in_place_gives_a_new_version() -> None:
    layers = [("a", "x", "x"), ("b", "x", "y"), ("c", "x", "z")]
    values = evaluate("".join(RELU.format(*layer) for layer in layers), {"x": column(-1)})
    assert {name: float(value.item()) for name, value in values.items()} == {"x": 0, "y": 0, "z": 0}


def test_blobs_shared_by_name_hold_what_the_file_gives_last() -> None:
    text = ""
    for name in ("a", "b"):
        text += f'layer {{ name: "{name}" type: "Bias" bottom: "x" top: "{name}" '
        text += 'param { name: "w" } }\n'
    values = evaluate(text, {"x": column(1)}, {"a": [vector(1)], "b": [vector(2)]})
    assert values["a"].item() == values["b"].item() == 3


def test_outputs_are_what_no_layer_reads() -> None:
    text = 'input: "x" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1\n'
    text += RELU.format("c", "x", "z") + RELU.format("a", "z", "z") + RELU.format("b", "x", "a")
    assert net_outputs(text) == ["a", "z"]
