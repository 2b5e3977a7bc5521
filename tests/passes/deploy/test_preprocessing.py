"""What data layers did to images is handed on: values, and a comment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffefold._proto import caffe_pb2
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.options import DeployOptions
from caffefold.passes.deploy.preprocessing import (
    channel_means,
    comment,
    find_mean,
    preprocessing,
)
from tests.support.deploy import net, passes


def known(line: str, more: str = "") -> list[dict[str, Any]]:
    text = net(f"{line}\nfc InnerProduct data -> fc\nloss EuclideanLoss fc label -> loss\n{more}")
    options = DeployOptions(input_shapes={"data": (1, 3, 5, 5)})
    return list(preprocessing(Net.of(parse(text)), passes(text, options)[0]))


def test_everything() -> None:
    line = (
        "d ImageData -> data label { image_data_param { new_height: 8 new_width: 6 } "
        "transform_param { crop_size: 5 mean_value: [1, 2, 3] scale: 0.017 } }"
    )
    (found,) = known(line)
    assert found == {
        "blob": "data",
        "color_order": "BGR",
        "height": 5,
        "width": 5,
        "crop_size": 5,
        "resize_height": 8,
        "resize_width": 6,
        "mean_value": [1.0, 2.0, 3.0],
        "scale": 0.017,
    }
    assert comment([found]) == (
        "# Input 'data': BGR pixels, resize to 8x6, then crop to 5x5 (height x width), "
        "then subtract mean 1, 2, 3, then multiply by 0.017.\n"
    )


def test_older_fields_in_the_layers_own_message() -> None:
    line = "d WindowData -> data label { window_data_param { crop_size: 5 mean_file: 'm' } }"
    (found,) = known(line)
    assert (found["crop_size"], found["mean_file"]) == (5, "m")
    assert comment([found]).endswith("then subtract the mean of m.\n")


@pytest.mark.parametrize("kind", ["HDF5Data", "Python", "DummyData"])
def test_layers_that_hold_no_images(kind: str) -> None:
    assert known(f"d {kind} -> data label") == []
    assert comment([]) == ""


def test_a_label_layer_says_nothing_of_images() -> None:
    line = "d ImageData -> data\nl Data -> label { transform_param { scale: 2 } }"
    assert [item["blob"] for item in known(line)] == ["data"]


def blob(shape: tuple[int, ...], *, legacy: bool = False) -> bytes:
    values = np.arange(np.prod(shape), dtype=np.float32)
    made = caffe_pb2.BlobProto(data=values.tolist())
    if legacy:
        made.num, made.channels, made.height, made.width = shape
    else:
        made.shape.dim.extend(shape)
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("shape", "legacy"), [((1, 3, 2, 2), True), ((1, 3, 2, 2), False), ((3, 2, 2), False)]
)
def test_channel_means(tmp_path: Path, shape: tuple[int, ...], legacy: bool) -> None:
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(blob(shape, legacy=legacy))
    assert channel_means(path) == (1.5, 5.5, 9.5)


@pytest.mark.parametrize("content", [b"", b"no blob", blob((3, 4)), blob((2, 3, 2, 2))])
def test_what_is_no_mean_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(content)
    assert channel_means(path) == ()


def test_where_a_mean_image_is_looked_for(tmp_path: Path) -> None:
    prototxt = tmp_path / "examples" / "net" / "train.prototxt"
    prototxt.parent.mkdir(parents=True)
    assert find_mean("data/mean.binaryproto", prototxt) is None
    root = tmp_path / "data" / "mean.binaryproto"
    beside = prototxt.parent / "mean.binaryproto"
    beside.write_bytes(b"x")
    assert find_mean("data/mean.binaryproto", prototxt) == beside
    root.parent.mkdir()
    root.write_bytes(b"x")
    assert find_mean("data/mean.binaryproto", prototxt) == root
    assert find_mean(str(root), prototxt) == root
    assert find_mean("/nowhere/other.binaryproto", prototxt) is None


def test_a_mean_image_in_the_report_and_the_comment(tmp_path: Path) -> None:
    (tmp_path / "mean.binaryproto").write_bytes(blob((1, 3, 2, 2)))
    text = net(
        "d Data -> data label { transform_param { crop_size: 5 mean_file: 'mean.binaryproto' } }\n"
        "fc InnerProduct data -> fc\nloss EuclideanLoss fc label -> loss\n"
    )
    document = parse(text, str(tmp_path / "train.prototxt"))
    (found,) = preprocessing(Net.of(document), passes(text)[0])
    assert found["mean_file_channels"] == [1.5, 5.5, 9.5]
    assert "the mean of mean.binaryproto (channel means 1.5, 5.5, 9.5)" in comment([found])


def test_a_stack_of_flow_has_no_colours() -> None:
    text = net(
        "d VideoData -> data label { video_data_param { modality: FLOW new_length: 5 } "
        "transform_param { crop_size: 5 } }\n"
        "fc InnerProduct data -> fc\nloss EuclideanLoss fc label -> loss\n"
    )
    (found,) = preprocessing(Net.of(parse(text)), passes(text)[0])
    assert "color_order" not in found
    assert comment([found]) == "# Input 'data': as read, crop to 5x5 (height x width).\n"
