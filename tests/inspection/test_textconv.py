"""Stable text of prototxts and caffemodels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold._proto import caffe_pb2 as pb
from caffefold.inspection.textconv import textconv
from caffefold.testing import LayerSpec, input_layer, net_weights


def test_a_prototxt_is_one_field_a_line(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        "\ufeffname: 'net' # the net\r\n"
        'layer{name:"a" "b";type:"Convolution"\n# comment\n'
        "convolution_param < kernel_size: [3, 5] num_output: cls2x > }"
    )
    assert list(textconv(path)) == [
        'name: "net"',
        "layer {",
        '  name: "ab"',
        '  type: "Convolution"',
        "  convolution_param {",
        "    kernel_size: 3",
        "    kernel_size: 5",
        "    num_output: cls2x",
        "  }",
        "}",
    ]


def test_solvers_and_label_maps_are_text_too(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text('net: "train.prototxt"\nitem { name: "none" label: 0 }\n')
    assert next(textconv(path)) == 'net: "train.prototxt"'


def caffemodel(tmp_path: Path, *layers: LayerSpec) -> list[str]:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net_weights(layers))
    return list(textconv(path))


def test_a_caffemodel_is_one_line_for_each_layer_and_blob(tmp_path: Path) -> None:
    found = caffemodel(
        tmp_path,
        input_layer(1, 2),
        LayerSpec("c", "Convolution", blobs=[np.zeros((2, 1, 3, 3)), [1.0, 2.0]]),
    )
    assert found == [
        'caffemodel "net"',
        'layer "data" Input',
        'layer "c" Convolution',
        # By head -c 72 /dev/zero | sha256sum, and printf '\\0\\0\\x80?\\0\\0\\0@' | sha256sum.
        "  blob 0: 2 x 1 x 3 x 3 float32 sha256:834a709ba2534ebe3ee1397fd4f7bd28",
        "  blob 1: 2 float32 sha256:b9c80b5adeca450753a16950c3cc655d",
    ]


def test_only_the_changed_number_shows(tmp_path: Path) -> None:
    before = caffemodel(tmp_path, LayerSpec("c", "Scale", blobs=[[1.0, 2.0], [3.0]]))
    after = caffemodel(tmp_path, LayerSpec("c", "Scale", blobs=[[1.0, 2.5], [3.0]]))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, True]


def test_the_encoding_does_not_show(tmp_path: Path) -> None:
    packed = caffemodel(tmp_path, LayerSpec("c", "Scale", blobs=[[1.0, 2.0]]))
    net = pb.NetParameter(name="net")
    blob = net.layer.add(name="c", type="Scale").blobs.add(data=[1.0, 2.0])
    blob.shape.dim.append(2)
    blob.diff.extend([7.0, 7.0])
    path = tmp_path / "other.caffemodel"
    path.write_bytes(net.SerializeToString())
    assert list(textconv(path)) == packed
    net.layer[0].blobs[0].Clear()
    net.layer[0].blobs[0].shape.dim.append(2)
    net.layer[0].blobs[0].double_data.extend([1.0, 2.0])
    path.write_bytes(net.SerializeToString())
    assert list(textconv(path))[2].startswith("  blob 0: 2 float64 sha256:")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.caffemodel"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(caffefold.InputError, match="a ZIP archive"):
        list(textconv(path))
