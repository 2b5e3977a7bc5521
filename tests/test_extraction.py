"""The net that a caffemodel holds: against the prototxt it came with, stripped, and of a fork."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import caffefold
from caffefold._proto import caffe_pb2
from caffefold.compare.entries import OneSided
from caffefold.errors import ExistingOutput, InputError, OutputError, WeightsError
from caffefold.extraction import belongs, extract
from caffefold.formats.caffemodel.wire import len_field

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT / "shared")
SAMPLE = ROOT / "sample_models" / "lenet_bn" / "lenet_bn_iter_5000.caffemodel"


# ------------------------------------------------------------- real files and their prototxts

# What differs from the nearest prototxt beside the file, and why. Not listed: loss_weight 1, which
# Caffe itself writes for every loss (loss_layer.cpp, LayerSetUp).
DIFFERENT = {
    # Fields of the author's fork; the schema of BVLC and SSD has no names for them.
    "corpus/formats/sfd-mod5-no-bn-raw-fp32": {"backward_type", "forward_type"},
    "corpus/lane/caffe-adas-mobilenetv1-lane": {"pos_cid", "pos_mult"},
    "corpus/segmentation/eric612-tusimple": {
        *("seg_scales", "yolo_data_jitter", "yolo_data_type", "object_scale", "phase")
    },
    # The author changed the prototxt after the snapshot was taken.
    "corpus/classification/holmesshuan-cifar10": {
        "source",
        "batch_size",
        "mean_value",
        "drop7",
    },
    "corpus/retinaface/clancylian-mnet-deconv": {"dim"},
    # Both: group is the fork's field 164.
    "corpus/shufflenet/caffe-adas-shufflenetv1-l20": {"acc", "batch_size", "group"},
    # Only the deploy net is there: data and loss are layers of the training net.
    "corpus/ssd/sfd-mod11-face": {
        *("data", "mbox_loss", "mbox_conf_reshape", "mbox_conf_sigmoid", "mbox_conf_flatten")
    },
    # The snapshot was taken in TEST, with other statistics than the prototxt says.
    "models/edge/use_global_stats_false": {"use_global_stats", "loss"},
}


def cases() -> list[Path]:
    return [p for p in sorted(SHARED.rglob("*.caffemodel")) if any(texts(p))]


def texts(weights: Path) -> Iterator[Path]:
    found = sorted(weights.parent.glob("*.prototxt"))
    return (p for p in found if "solver" not in p.name and b"\nlayer" in p.read_bytes())


def differences(text: Path, other: Path, phase: str) -> set[str]:
    """The last words of the paths of all fields that differ, and layers that only one has."""
    found = caffefold.diff(text, other, phase=phase)
    names: set[str] = {change.path for change in found.net_fields}
    for row in found.entries:
        if isinstance(row, OneSided):
            names.add(row.layer.name)
        else:
            fields = set() if row.retyped else {change.path for change in row.fields}
            assert row.moved is False
            names |= fields or {row.name}
    parts = {name.replace("[", ".").split(".")[-1] for name in names}
    return {part.split("]")[-1] or part for part in parts} - {"loss_weight"}


@pytest.mark.once
@pytest.mark.skipif(not cases(), reason="needs models: set CAFFEFOLD_SHARED to a folder of pairs")
@pytest.mark.parametrize("weights", cases(), ids=lambda p: str(p.parent.relative_to(SHARED)))
def test_of_every_caffemodel(tmp_path: Path, weights: Path) -> None:
    out = tmp_path / "net.prototxt"
    extract(weights, out)
    found = [
        differences(out, text, phase) for text in texts(weights) for phase in ("TRAIN", "TEST")
    ]
    known = DIFFERENT.get(str(weights.parent.relative_to(SHARED)), set())
    assert min(found, key=len) <= known


def test_it_converts_as_with_its_prototxt(tmp_path: Path) -> None:
    pair = caffefold.convert(SAMPLE.with_name("train_val.prototxt"), SAMPLE, tmp_path / "pair")
    alone = caffefold.convert(SAMPLE, None, tmp_path / "alone")
    assert alone.inputs == (alone.inputs[0],) * 2
    assert alone.table() is not None
    assert [x.bytes for x in alone.outputs] == [x.bytes for x in pair.outputs]
    for suffix in (".prototxt", ".caffemodel"):
        one, two = (tmp_path / f"{name}{suffix}" for name in ("pair", "alone"))
        assert one.read_bytes() == two.read_bytes()


def test_loading_it() -> None:
    with caffefold.load(SAMPLE) as net:
        assert net.name == "LeNetBN"
        assert all(layer.blobs for layer in net if layer.type in ("Convolution", "BatchNorm"))


# ----------------------------------------------------------------------------- made by hand


def written(path: Path, *layers: dict[str, Any], **net: Any) -> Path:
    """A caffemodel of these layers; ``blobs`` are shapes."""
    made = caffe_pb2.NetParameter(name="made", **net)
    for each in layers:
        shapes = each.pop("blobs", ())
        layer = made.layer.add(**each)
        for shape in shapes:
            blob = layer.blobs.add()
            blob.shape.dim.extend(shape)
            size = 1
            for dim in shape:
                size *= dim
            blob.data.extend([0.5] * size)
    path.write_bytes(made.SerializeToString())
    return path


def layer(
    name: str, kind: str, bottom: str, *blobs: tuple[int, ...], **more: Any
) -> dict[str, Any]:
    return {"name": name, "type": kind, "bottom": [bottom], "top": [name], "blobs": blobs, **more}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.caffemodel"


STRIPPED: dict[str, tuple[dict[str, Any], str]] = {
    "convolution": (
        layer("l", "Convolution", "data", (4, 3, 5, 5)),
        "convolution_param { num_output: 4 kernel_size: 5 bias_term: false }",
    ),
    "with a bias": (
        layer("l", "Convolution", "data", (4, 3, 1, 5), (4,)),
        "convolution_param { num_output: 4 kernel_size: 1 kernel_size: 5 }",
    ),
    "deconvolution": (
        layer("l", "Deconvolution", "data", (3, 2, 4, 4)),
        "convolution_param { num_output: 2 kernel_size: 4 bias_term: false }",
    ),
    "grouped": (
        layer("l", "Convolution", "data", (6, 1, 3, 3), (6,)),
        "convolution_param { num_output: 6 kernel_size: 3 group: 3 }",
    ),
    "inner product": (
        layer("l", "InnerProduct", "data", (7, 48)),
        "inner_product_param { num_output: 7 bias_term: false }",
    ),
    "of V1, with four axes": (
        layer("l", "InnerProduct", "data", (1, 1, 7, 48), (1, 1, 1, 7)),
        "inner_product_param { num_output: 7 }",
    ),
    "embed": (
        layer("l", "Embed", "data", (9, 5), (5,)),
        "embed_param { input_dim: 9 num_output: 5 }",
    ),
    "scale": (layer("l", "Scale", "data", (3,), (3,)), "scale_param { bias_term: true }"),
    "prelu": (layer("l", "PReLU", "data", (1,)), "prelu_param { channel_shared: true }"),
    "rnn": (
        layer("l", "RNN", "data", (5, 48), (5,), (5, 5), (5, 5), (5,)),
        "recurrent_param { num_output: 5 }",
    ),
    "lstm": (
        layer("l", "LSTM", "data", (20, 48), (20,), (20, 5)),
        "recurrent_param { num_output: 5 }",
    ),
    "half stripped": (
        layer("l", "Convolution", "data", (4, 3, 5, 5), convolution_param={"stride": [2]}),
        "convolution_param { stride: 2 num_output: 4 kernel_size: 5 bias_term: false }",
    ),
    "nothing": (layer("l", "Scale", "data", (3,)), ""),
    "without numbers": (layer("l", "Convolution", "data"), ""),
}


@pytest.mark.parametrize("case", STRIPPED)
def test_numbers_that_were_stripped(path: Path, case: str) -> None:
    given, wanted = STRIPPED[case]
    shape = {"shape": [{"dim": [1, 3, 4, 4]}]}
    source = {"name": "data", "type": "Input", "top": ["data"], "input_param": shape}
    found = extract(written(path, source, dict(given)))
    assert wanted in " ".join(found.text.split())
    assert (found.text.count("_param {") == 1) is not bool(wanted)
    assert bool(found.inferred) is bool(wanted)


def test_what_no_blob_tells_is_said_and_not_converted(path: Path, tmp_path: Path) -> None:
    written(path, layer("c", "Convolution", "data", (4, 3, 5, 5)), input=["data"])
    (said,) = extract(path).inferred
    assert said == (
        "layer 'c': num_output 4, kernel_size 5, bias_term false by its blobs; stride, pad and "
        "dilation are in no blob, and taken as 1, 0, 1"
    )
    with pytest.raises(InputError, match=r"layer 'c': .*: its parameters were stripped; give"):
        caffefold.convert(path, None, tmp_path / "out")


def test_splits_of_caffe_go_and_others_stay(path: Path) -> None:
    split = {"name": "a_a_0_split", "type": "Split", "bottom": ["a"]}
    own = {"name": "mine", "type": "Split", "bottom": ["a_a_0_split_1"], "top": ["one", "two"]}
    written(
        path,
        layer("a", "TanH", "data"),
        {**split, "top": ["a_a_0_split_0", "a_a_0_split_1"]},
        layer("b", "ReLU", "a_a_0_split_0"),
        own,
        input=["data"],
    )
    with caffefold.load(path) as net:
        assert [(x.name, x.bottoms) for x in net] == [
            ("a", ("data",)), ("b", ("a",)), ("mine", ("a",))
        ]  # fmt: skip


def test_inputs_of_the_net(path: Path) -> None:
    written(path, layer("a", "TanH", "data"), input=["data"], input_dim=[1, 3, 4, 5])
    with caffefold.load(path) as net:
        assert net.inputs == ("data",)
    assert "input_dim: 5" in extract(path).text


# ------------------------------------------------------------------------------------- forks

GROUPED = len_field(164, b"\x08\x03")  # a fork's shuffle_channel_param { group: 3 }
CROP = len_field(144, b"\x08\x02")  # what we call crop_param
PROTO = """\
syntax = "proto2";
package caffe;
message NetParameter { optional string name = 1; repeated LayerParameter layer = 100; }
message LayerParameter {
  optional string name = 1;
  optional string type = 2;
  optional Shuffle shuffle_channel_param = 164;
}
message Shuffle { optional uint32 group = 1; }
"""


def of_fork(path: Path, kind: str, extra: bytes) -> Path:
    """A caffemodel whose last layer has a field of a fork."""
    given = layer("s", kind, "data")
    del given["blobs"]
    record = caffe_pb2.LayerParameter(**given).SerializeToString() + extra
    head = caffe_pb2.NetParameter(name="made", input=["data"], input_dim=[1, 6, 2, 2])
    path.write_bytes(head.SerializeToString() + len_field(100, record))
    return path


def test_fields_of_a_fork_are_told(path: Path, tmp_path: Path) -> None:
    of_fork(path, "ShuffleChannel", GROUPED)
    found = extract(path)
    (warning,) = found.warnings
    assert warning == (
        f"{path}: fields of 1 layer are of a fork and left out: 164 (ShuffleChannel); give "
        "proto caffe.proto of the Caffe that wrote the file"
    )
    assert caffefold.inspect(path).warnings[0] == warning
    with pytest.raises(InputError, match="what the ShuffleChannel computes is not known; give"):
        caffefold.convert(path, None, tmp_path / "out")


def test_with_its_schema_they_are_read(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="pip install grpcio-tools")
    proto = tmp_path / "fork.proto"
    proto.write_text(PROTO)
    found = extract(of_fork(path, "ShuffleChannel", GROUPED), proto=proto)
    assert found.warnings == ()
    assert "shuffle_channel_param { group: 3 }" in " ".join(found.text.split())
    caffefold.convert(path, None, tmp_path / "out", proto=proto)
    assert "group: 3" in (tmp_path / "out.prototxt").read_text()


def test_a_number_that_a_fork_uses_for_something_else_is_not_read_as_ours(
    path: Path, tmp_path: Path
) -> None:
    """And what stands beside a layer's own parameters does not keep it from being converted."""
    found = extract(of_fork(path, "ReLU", CROP))
    assert "crop_param" not in found.text
    assert "144 (ReLU)" in found.warnings[0]
    caffefold.convert(path, None, tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "field", "wanted"),
    [
        ("Deconvolution", "convolution_param", True),
        ("SoftmaxWithLoss", "softmax_param", True),
        ("ImageData", "transform_param", True),
        ("AnnotatedData", "data_param", True),
        ("LaneData", "annotated_data_param", True),
        ("Data", "image_data_param", False),
        ("ReLU", "crop_param", False),
        ("BatchNorm", "scale_param", False),
    ],
)
def test_whose_a_parameter_is(kind: str, field: str, wanted: bool) -> None:
    assert belongs(kind, field) is wanted


# ----------------------------------------------------------------------------------- refusals


def test_where_it_goes(path: Path, tmp_path: Path) -> None:
    weights = written(path, layer("a", "TanH", "data"), input=["data"])
    out = tmp_path / "out.prototxt"
    report = extract(weights, out)
    assert out.read_text() == report.text
    with pytest.raises(ExistingOutput):
        extract(weights, out)
    extract(weights, out, force=True)
    with pytest.raises(OutputError, match="this is the input"):
        extract(weights, weights, force=True)


def test_what_is_no_caffemodel(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match="neither the types nor the order of its layers"):
        extract(path)
    path.write_text("layer { }")
    with pytest.raises(InputError, match=r"a prototxt \(text\), not a caffemodel"):
        extract(path)
    path.write_bytes(SAMPLE.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cut off"):
        extract(path)
