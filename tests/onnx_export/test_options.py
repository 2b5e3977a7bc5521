"""What the options of an export do to the model, and how they are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.formats import onnx as written
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, RandomLayers, input_layer, net_text, relu, write_pair
from tests.support.onnx_models import run

onnx = pytest.importorskip("onnx")
MAKE = RandomLayers(seed=5)
CLASSIFIER = [
    input_layer(1, 3, 12, 12),
    MAKE.conv("conv1", "data", 3, 8),
    MAKE.batch_norm("bn1", "conv1", 8, top="conv1"),
    relu("relu1", "conv1"),
    MAKE.conv("conv2", "conv1", 8, 40, params="pad: 1"),
    LayerSpec(
        "pool", "Pooling", "conv2", params="pooling_param { pool: AVE global_pooling: true }"
    ),
    MAKE.inner_product("fc", "pool", 40, 10),
    LayerSpec("prob", "Softmax", "fc"),
]
IMAGE = MAKE.normal(1, 3, 12, 12)


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return caffefold.load(*write_pair(tmp_path, CLASSIFIER))


@pytest.fixture
def plain(net: Net, tmp_path: Path) -> Any:
    caffefold.export(net, tmp_path / "plain.onnx")
    return run(tmp_path / "plain.onnx", {"data": IMAGE})["prob"]


def test_names_are_those_of_the_net(net: Net, tmp_path: Path) -> None:
    caffefold.export(net, tmp_path / "net.onnx", fold="none")
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [node.name for node in graph.node if "/" not in node.name] == [
        "conv1", "bn1", "relu1", "conv2", "pool", "fc", "prob",
    ]  # fmt: skip
    outputs = [name for node in graph.node for name in node.output if "/" not in name]
    assert outputs == ["conv1@conv1", "conv1@bn1", "conv1", "conv2", "pool", "fc", "prob"]
    assert graph.node[0].doc_string == "Convolution, line 3"
    assert {tensor.name for tensor in graph.initializer} >= {"conv1/weights", "fc/bias"}


def test_what_a_model_says_of_itself(net: Net, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    caffefold.export(net, tmp_path / "net.onnx", labels=names)
    found = {p.key: p.value for p in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert json.loads(found["labels"]) == {"0": "cat", "1": "dog"}
    assert found["caffefold"] == caffefold.__version__
    assert found["source_prototxt"].startswith("net.prototxt sha256:")
    assert found["source_caffemodel"].startswith("net.caffemodel sha256:")


def test_the_same_bytes_each_time(net: Net, tmp_path: Path) -> None:
    for name in ("a", "b"):
        caffefold.export(net, tmp_path / f"{name}.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("where", ["data", "caffemodel"])
def test_weights_elsewhere(net: Net, where: Any, tmp_path: Path, plain: Any) -> None:
    report = caffefold.export(net, tmp_path / "net.onnx", weights_in=where, fold="none")
    place = "net.onnx.data" if where == "data" else "net.caffemodel"
    assert report.weights[place] > 10_000
    assert report.agreement is not None
    assert (tmp_path / "net.onnx").stat().st_size < 8_000
    found = run(tmp_path / "net.onnx", {"data": IMAGE})["prob"]
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-6)


def test_weights_of_an_earlier_model_are_told(net: Net, tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    report = caffefold.export(net, target, weights_in="data", check=False)
    assert not report.warnings
    left = f"{target}.data: left from an earlier model; this one does not read it"
    assert caffefold.export(net, target, check=False, force=True).warnings == (left,)


def test_more_than_2_gb_go_outside(
    net: Net, tmp_path: Path, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written, "LARGEST", 10_000)
    report = caffefold.export(net, tmp_path / "net.onnx")
    assert "weights are in net.onnx.data" in report.warnings[-1]
    np.testing.assert_array_equal(run(tmp_path / "net.onnx", {"data": IMAGE})["prob"], plain)


def test_half_precision(net: Net, tmp_path: Path, plain: Any) -> None:
    whole = (tmp_path / "plain.onnx").stat().st_size
    caffefold.export(net, tmp_path / "net.onnx", dtype="fp16")
    assert (tmp_path / "net.onnx").stat().st_size < 0.65 * whole
    found = run(tmp_path / "net.onnx", {"data": IMAGE})["prob"]
    np.testing.assert_allclose(found, plain, atol=1e-2)


def test_any_number_of_images(net: Net, tmp_path: Path, plain: Any) -> None:
    report = caffefold.export(net, tmp_path / "net.onnx", batch="dynamic")
    assert str(report.takes[0]) == "data Nx3x12x12"
    found = run(tmp_path / "net.onnx", {"data": np.concatenate([IMAGE, -IMAGE, IMAGE])})["prob"]
    assert found.shape == (3, 10)
    np.testing.assert_allclose(found[2:], plain, rtol=1e-5)


@pytest.mark.parametrize("batch", ["dynamic", "4"])
def test_a_batch_that_a_layer_cannot_take(batch: str, tmp_path: Path) -> None:
    fixed = LayerSpec(
        "flat", "Reshape", "data", params="reshape_param { shape { dim: 1 dim: -1 } }"
    )
    net = Net.from_text(net_text([input_layer(1, 3, 2, 2), fixed]))
    if batch == "dynamic":
        with pytest.raises(caffefold.TextError, match=r"layer 'flat': .*; give batch N instead of"):
            caffefold.export(net, tmp_path / "net.onnx", batch="dynamic")
    else:
        with pytest.raises(caffefold.UsageError, match="batch is '4', expected an integer"):
            caffefold.export(net, tmp_path / "net.onnx", batch=batch)  # type: ignore[arg-type]


def test_images_as_they_are(tmp_path: Path) -> None:
    """RGB bytes in, the preprocessing of the training net inside."""
    images = LayerSpec(
        "data", "ImageData", tops="data label",
        params="transform_param { mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.017 } "
        "image_data_param { source: 'list' batch_size: 8 new_height: 12 new_width: 12 }",
    )  # fmt: skip
    loss = LayerSpec("loss", "SoftmaxWithLoss", "fc label")
    pair = write_pair(tmp_path, [images, *CLASSIFIER[1:-1], loss], "train")
    with caffefold.load(*pair) as train:
        report = caffefold.export(train, tmp_path / "raw.onnx", raw_input=True)
        caffefold.export(train, tmp_path / "net.onnx")
    assert str(report.takes[0]) == "data 1x12x12x3"
    assert report.takes[0].type == "uint8"
    pixels = np.random.default_rng(1).integers(0, 256, (1, 12, 12, 3), np.uint8)
    blob = (pixels[..., ::-1].astype(np.float32) - [104, 117, 123]) * 0.017
    wanted = run(tmp_path / "net.onnx", {"data": blob.transpose(0, 3, 1, 2).astype(np.float32)})
    found = run(tmp_path / "raw.onnx", {"data": pixels})
    np.testing.assert_allclose(found["prob"], wanted["prob"], rtol=1e-3, atol=1e-6)


def test_boxes_and_scores_for_others_to_merge(tmp_path: Path) -> None:
    shapes = {"loc": (1, 32), "conf": (1, 24), "prior": (1, 2, 32)}
    layers = [input_layer(*shape, name=name) for name, shape in shapes.items()]
    own = "detection_output_param { num_classes: 3 code_type: CENTER_SIZE nms_param { eta: 0.5 } }"
    layers.append(LayerSpec("out", "DetectionOutput", "loc conf prior", params=own))
    net = Net.from_text(net_text(layers))
    report = caffefold.export(net, tmp_path / "net.onnx", nms="outside", target="tensorrt")
    assert list(map(str, report.gives)) == ["out_boxes 1x8x4", "out_scores 1x8x3"]
    with pytest.raises(
        caffefold.TextError, match=r"layer 'out': TensorRT only .*; give nms outside"
    ):
        caffefold.export(net, tmp_path / "other.onnx", target="tensorrt")


def test_what_has_no_lowering(tmp_path: Path) -> None:
    strange = [LayerSpec(name, "Wonder", "data", params="wonder_param { size: 3 mode: BIG }")
               for name in ("a", "b")]  # fmt: skip
    net = Net.from_text(net_text([input_layer(1, 3, 2, 2), *strange]))
    with pytest.raises(
        caffefold.TextError, match=r":3:1: 1 layer type .*: Wonder \('a', 'b'\); use"
    ):
        caffefold.export(net, tmp_path / "net.onnx")
    report = caffefold.export(net, tmp_path / "net.onnx", allow_custom=True)
    assert report.custom == ("a", "b")
    model = onnx.load(tmp_path / "net.onnx")
    node = model.graph.node[0]
    assert (node.domain, node.op_type, list(node.input)) == ("caffe", "Wonder", ["data"])
    assert {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} == {
        "mode": b"BIG", "size": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 12}, "opset is 12, expected an integer from 13 to 22"),
        ({"target": "ncnn"}, "target is 'ncnn', expected one of ort, opencv5"),
        ({"raw_input": True}, "raw_input: the net does not state how its images are preprocessed"),
        ({"labels": "no/such"}, "no/such: "),
        ({"outputs": ["nothing"]}, "outputs nothing: the deploy net has no blob"),
        ({"input_shapes": {"data": (1, 4, 12, 12)}}, "'conv1'"),
    ],
)
def test_refused_options(options: dict[str, Any], message: str, net: Net, tmp_path: Path) -> None:
    with pytest.raises(caffefold.CaffefoldError, match=message):
        caffefold.export(net, tmp_path / "net.onnx", **options)
    assert not (tmp_path / "net.onnx").exists()


def test_refused_places(net: Net, tmp_path: Path) -> None:
    with pytest.raises(caffefold.UsageError, match=r"a model is called \.onnx; give a name such"):
        caffefold.export(net, tmp_path / "net")
    (tmp_path / "net.onnx").write_bytes(b"mine")
    with pytest.raises(caffefold.ExistingOutput, match="already exists; use force"):
        caffefold.export(net, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == b"mine"
    caffefold.export(net, tmp_path / "net.onnx", force=True)
    (tmp_path / "b.onnx.data").write_bytes(b"mine")
    with pytest.raises(caffefold.ExistingOutput, match=r"b\.onnx\.data: already exists"):
        caffefold.export(net, tmp_path / "b.onnx", weights_in="data")
    assert (tmp_path / "b.onnx.data").read_bytes() == b"mine"
    assert not (tmp_path / "b.onnx").exists()
    caffefold.export(net, tmp_path / "b.onnx")
    assert (tmp_path / "b.onnx.data").read_bytes() == b"mine"
    (tmp_path / "other").mkdir()
    with pytest.raises(
        caffefold.UsageError, match=r"weights_in caffemodel: .* does not lie beside"
    ):
        caffefold.export(net, tmp_path / "other/net.onnx", weights_in="caffemodel")


def test_a_net_without_its_weights(tmp_path: Path) -> None:
    net = caffefold.load(write_pair(tmp_path, CLASSIFIER)[0])
    with pytest.raises(
        caffefold.TextError, match=r"layer 'conv1': there are no numbers .* CAFFEMODEL"
    ):
        caffefold.export(net, tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (LayerSpec("big", "DummyData", "", "y",
                   "dummy_data_param { shape { dim: 20000 dim: 20000 } }"), (1, 1, 2, 2)),
        (LayerSpec("big", "Pooling", "data",
                   params="pooling_param { pool: AVE kernel_size: 3 stride: 2 }"),
         (1, 1, 40000, 40000)),
        (LayerSpec("big", "PriorBox", "data data", params="prior_box_param { min_size: 9 }"),
         (1, 1, 4000, 4000)),
    ],
)  # fmt: skip
def test_constants_that_only_numbers_ask_for(
    layer: LayerSpec, shape: tuple[int, ...], tmp_path: Path
) -> None:
    """Memory is bounded by what files hold, not by what they say."""
    other = LayerSpec("relu", "ReLU", "data")
    net = Net.from_text(net_text([input_layer(*shape), layer, other]))
    with pytest.raises(caffefold.TextError, match="layer 'big': it would take a constant of"):
        caffefold.export(net, tmp_path / "net.onnx")


def test_a_net_too_large_to_be_checked(tmp_path: Path) -> None:
    net = Net.from_text(net_text([input_layer(1, 1, 40000, 40000), LayerSpec("y", "ReLU", "data")]))
    report = caffefold.export(net, tmp_path / "net.onnx")
    assert report.agreement is None
    assert report.unchecked.startswith("its blobs hold")
    with pytest.raises(caffefold.UsageError, match="check: its blobs hold"):
        caffefold.export(net, tmp_path / "other.onnx", check=True)
