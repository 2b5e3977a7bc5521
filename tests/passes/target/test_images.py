"""Inputs as ImageData layers: what is written, what is proven of it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold._proto import caffe_pb2
from caffefold.check import proof
from caffefold.ir.net import Net

CONV = """layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 2 kernel_size: 1 bias_term: false } }"""
DATA = """layer { name: "data" type: "%s" top: "data" top: "label"
  transform_param { %s } %s }
"""
CROP = "crop_size: 5 mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.017"
OWN = 'image_data_param { source: "a" new_height: 8 new_width: 9 batch_size: 2 }'
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" }'
PLAIN = """input: "data" input_shape { dim: 4 dim: 3 dim: 9 dim: 7 }
"""


def net_of(head: str, channels: int = 3, tail: str = "") -> Net:
    return Net.from_text(head + CONV + tail, {"c": (np.ones((2, channels, 1, 1)),)})


def made(net: Net, **options: Any) -> tuple[caffefold.DeployResult, caffefold.TargetResult]:
    deploy = caffefold.to_deploy(net, input_style="layer", **options)
    return deploy, caffefold.retarget(caffefold.fold(deploy.net).net, target="vitis")


def trained(transform: str, own: str = "", kind: str = "Data") -> Net:
    return net_of(DATA % (kind, transform, own), tail=LOSS)


def said(net: Net, message: str) -> list[str]:
    """The fields of a message of the data layer, as they stand there."""
    found = net["data"].body.message(message)
    return [] if found is None else [f"{f.name}: {f.value}" for f in found.fields]


def test_a_deploy_net_says_nothing_of_its_images() -> None:
    deploy, result = made(net_of(PLAIN))
    assert result.net["data"].tops == ("data", "label")
    assert result.net["data"].type == "ImageData"
    assert said(result.net, "transform_param") == []
    sizes = ["batch_size: 4", "new_height: 9", "new_width: 7"]
    assert said(result.net, "image_data_param")[2:] == sizes
    (warning,) = (w for step in result.passes for w in step.warnings)
    assert "'data': the net does not tell how its images are prepared" in warning
    assert proof.prove(deploy.net, result.net, result.changes).outputs == ("c",)


@pytest.mark.parametrize(
    ("transform", "own", "kind", "wanted", "images"),
    [
        (
            CROP + " mirror: true",
            OWN.replace('"a"', '"train.txt" root_folder: "faces/"'),
            "ImageData",
            ["crop_size: 5", "mean_value: 104", "mean_value: 117", "mean_value: 123",
             "scale: 0.017"],
            ['source: "train.txt"', 'root_folder: "faces/"', "batch_size: 1", "new_height: 8",
             "new_width: 9"],
        ),
        (
            "crop_size: 5 mean_value: 128",
            'data_param { source: "lmdb" batch_size: 32 }',
            "Data",
            ["mean_value: 128"],
            ['source: "calibration.txt"', 'root_folder: "./"', "batch_size: 1", "new_height: 5",
             "new_width: 5"],
        ),
        (
            "force_gray: true resize_param { prob: 1 height: 6 width: 4 }",
            "",
            "AnnotatedData",
            [],
            ['source: "calibration.txt"', 'root_folder: "./"', "batch_size: 1", "is_color: false",
             "new_height: 6", "new_width: 4"],
        ),
    ],
    ids=["ImageData", "crop", "grey"],
)  # fmt: skip
def test_images_are_prepared_as_in_training(
    transform: str, own: str, kind: str, wanted: list[str], images: list[str]
) -> None:
    channels = 1 if "gray" in transform else 3
    net = net_of(DATA % (kind, transform, own), channels, LOSS)
    deploy, result = made(net)
    assert said(result.net, "transform_param") == wanted
    assert said(result.net, "image_data_param") == images
    assert not [w for step in result.passes for w in step.warnings]
    proof.prove(deploy.net, result.net, result.changes)


def test_other_ways_to_resize_are_told() -> None:
    resize = "resize_param { prob: 1 resize_mode: FIT_LARGE_SIZE_AND_PAD height: 6 width: 4 }"
    _, result = made(trained(resize, kind="AnnotatedData"))
    (warning,) = (w for step in result.passes for w in step.warnings)
    assert "images are warped to its size; in training, FIT_LARGE_SIZE_AND_PAD" in warning


def mean_image(folder: Path) -> None:
    blob = caffe_pb2.BlobProto(num=1, channels=3, height=8, width=8)
    blob.data.extend(np.repeat([10.0, 20.0, 30.0], 64))
    (folder / "mean.binaryproto").write_bytes(blob.SerializeToString())


MEAN = 'crop_size: 5 mean_file: "mean.binaryproto"'


@pytest.mark.parametrize("resized", [True, False])
def test_a_mean_image_needs_images_of_its_size(tmp_path: Path, resized: bool) -> None:
    own = "image_data_param { new_height: 8 new_width: 8 batch_size: 2 }" if resized else ""
    text = DATA % ("ImageData" if resized else "Data", MEAN, own) + CONV + LOSS
    path = str(tmp_path / "train.prototxt")
    net = Net.from_text(text, {"c": (np.ones((2, 3, 1, 1)),)}, path)
    if not resized:
        with pytest.raises(caffefold.TextError, match=r"layer 'data': .*mean\.binaryproto is not"):
            made(net)
    mean_image(tmp_path)
    deploy, result = made(net)
    means = [f"mean_value: {mean}" for mean in (10, 20, 30)]
    whole = ["crop_size: 5", 'mean_file: "mean.binaryproto"']
    assert said(result.net, "transform_param") == (whole if resized else means)
    proof.prove(deploy.net, result.net, result.changes)


@pytest.mark.parametrize(
    ("head", "channels", "message"),
    [
        ('input: "data" input_shape { dim: 1 dim: 5 dim: 9 dim: 7 }', 5, "its shape is 1x5x9x7"),
        ('input: "data"', 3, "its shape is not stated"),
    ],
)
def test_what_is_no_image_is_refused(head: str, channels: int, message: str) -> None:
    with pytest.raises(caffefold.TextError, match=f"layer 'data': {message}"):
        made(net_of(head, channels))


def test_fields_are_refused() -> None:
    with pytest.raises(caffefold.TextError, match="inputs are input: fields"):
        caffefold.retarget(net_of(PLAIN), target="vitis")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("crop_size: 5", "crop_size: 4", "different inputs"),
        ("crop_size: 5", "crop_size: 9", "crops 9 out of 8x9"),
        ("crop_size: 5", "", "different inputs"),
        ("batch_size: 1", "batch_size: 2", "different inputs"),
        ("batch_size: 1", "batch_size: 1 is_color: false", "different inputs"),
        ("new_height: 8", "", "crops 5 out of 0x9"),
        ("mean_value: 117", "mean_value: 118", "otherwise than in training"),
        ("mean_value: 117", "", "otherwise than in training"),
        ("scale: 0.017", "", "otherwise than in training"),
        ("scale: 0.017", "scale: 0.017 mirror: true", "otherwise than in training"),
        ("scale: 0.017", 'scale: 0.017 mean_file: "m"', "otherwise than in training"),
        ('top: "data"', 'top: "other"', "."),
        ('bottom: "data"', 'bottom: "label"', "its label is read"),
        ('top: "label"', "", "its label is read, or it has none"),
        ('name: "data"', 'name: "images"', "different inputs"),
    ],
)
def test_what_makes_other_images_is_not_proven(old: str, new: str, message: str) -> None:
    deploy, result = made(trained(CROP, OWN, "ImageData"))
    text = str(result.net.to_document())
    assert text.count(old) == 1
    blobs = {"c": [np.asarray(blob, np.float64) for blob in result.net["c"].blobs]}
    proof.prove(deploy.net, Net.from_text(text, blobs), result.changes)
    wrong = Net.from_text(text.replace(old, new), blobs)
    with pytest.raises(caffefold.CaffefoldError, match=message):
        proof.prove(deploy.net, wrong, result.changes)


def test_the_files_agree_and_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(DATA % ("ImageData", CROP, OWN) + CONV + LOSS)
    net = caffe_pb2.NetParameter()
    layer = net.layer.add(name="c", type="Convolution")
    layer.blobs.add(data=[1] * 6).shape.dim.extend((2, 3, 1, 1))
    (tmp_path / "net.caffemodel").write_bytes(net.SerializeToString())
    pair = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    report = caffefold.convert(*pair, tmp_path / "out", target="vitis")
    assert report.next_step[0].startswith(f"vai_q_caffe quantize -model {tmp_path}/out.prototxt")
    written = caffe_pb2.NetParameter.FromString((tmp_path / "out.caffemodel").read_bytes())
    record = written.layer[0]
    assert (record.name, record.type, list(record.top)) == ("data", "ImageData", ["data", "label"])
    assert (record.image_data_param.new_height, record.transform_param.crop_size) == (8, 5)
    again = caffefold.convert(tmp_path / "out.prototxt", tmp_path / "out.caffemodel",
                              tmp_path / "again", target="mnn")  # fmt: skip
    assert again.preprocessing[0]["mean_value"] == [104, 117, 123]


def test_numbers_of_the_transform_are_whole() -> None:
    """float32 in the schema: what is read back is what was meant."""
    _, result = made(trained("crop_size: 5 scale: 0.00390625 mean_value: 103.94"))
    assert said(result.net, "transform_param") == ["mean_value: 103.94", "scale: 0.00390625"]
