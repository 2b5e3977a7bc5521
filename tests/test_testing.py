"""caffefold.testing writes the nets it is asked for: read back by protobuf, and by caffefold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

import caffefold
from caffefold import testing
from caffefold._proto import caffe_pb2
from caffefold.testing import (
    LayerSpec,
    RandomLayers,
    blob_message,
    input_layer,
    layers_from,
    net_text,
    net_weights,
    relu,
    write_pair,
)

LINES = """
# the trunk
data Input -> data { input_param { shape { dim: 1 dim: 3 } } }

fc InnerProduct data -> fc { inner_product_param { num_output: 2 } }
relu ReLU fc -> fc
join Concat fc data -> a b
end Silence a b
"""


def read(text: str) -> caffe_pb2.NetParameter:
    return text_format.Parse(text, caffe_pb2.NetParameter())


def test_a_line_is_a_layer() -> None:
    net = read(net_text(LINES))
    assert net.name == "net"
    assert [(x.name, x.type, list(x.bottom), list(x.top)) for x in net.layer] == [
        ("data", "Input", [], ["data"]),
        ("fc", "InnerProduct", ["data"], ["fc"]),
        ("relu", "ReLU", ["fc"], ["fc"]),
        ("join", "Concat", ["fc", "data"], ["a", "b"]),
        ("end", "Silence", ["a", "b"], []),
    ]
    assert list(net.layer[0].input_param.shape[0].dim) == [1, 3]
    assert net.layer[1].inner_product_param.num_output == 2


def test_lines_with_weights() -> None:
    weights = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    net = caffe_pb2.NetParameter.FromString(net_weights(layers_from(LINES, {"fc": [weights]})))
    assert [len(layer.blobs) for layer in net.layer] == [0, 1, 0, 0, 0]
    assert list(net.layer[1].blobs[0].data) == [1, 2, 3, 4, 5, 6]
    assert list(net.layer[1].blobs[0].shape.dim) == [2, 3]
    assert [(x.name, x.type, list(x.bottom), list(x.top)) for x in net.layer] == [
        (x.name, x.type, list(x.bottom), list(x.top)) for x in read(net_text(LINES)).layer
    ]


def test_lines_that_are_no_layers() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        layers_from("conv\n")
    with pytest.raises(ValueError, match="blobs for layers that do not exist: fc6, fc7"):
        layers_from("fc InnerProduct data -> fc", {"fc6": [], "fc7": []})


def test_tops() -> None:
    assert LayerSpec("relu", "ReLU", "x").top_names == ["relu"]
    assert LayerSpec("relu", "ReLU", "x", "x").top_names == ["x"]
    assert LayerSpec("end", "Silence", "x", "").top_names == []
    assert relu("relu", "x").top_names == ["x"]
    assert relu("relu", "x", "y").top_names == ["y"]


def test_weights_alone() -> None:
    net = caffe_pb2.NetParameter.FromString(net_weights({"fc": [np.float64(0.1), [1.0]]}))
    assert [layer.name for layer in net.layer] == ["fc"]
    assert not net.layer[0].HasField("type")
    scalar, vector = net.layer[0].blobs
    assert (list(scalar.data), list(scalar.shape.dim)) == ([np.float32(0.1)], [])
    assert scalar.HasField("shape")
    assert list(vector.shape.dim) == [1]
    assert blob_message([1.0]) == vector


def test_random_layers_fit_their_net(tmp_path: Path) -> None:
    make = RandomLayers(3)
    pair = write_pair(
        tmp_path,
        [
            input_layer(1, 4, 9, 9),
            make.conv("conv", "data", 4, 6, group=2, params="pad: 1"),
            make.batch_norm("bn", "conv", 6, top="conv", eps=1e-3),
            make.scale("scale", "conv", 6, top="conv"),
            make.conv("up", "conv", 6, 2, kernel=2, kind="Deconvolution", bias=False),
            make.inner_product("fc", "up", 2 * 10 * 10, 5),
        ],
    )
    report = caffefold.convert(*pair, tmp_path / "out")
    assert [fold.layer for fold in report.proof.folds] == ["conv"]


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    def content(seed: int) -> bytes:
        make = RandomLayers(seed)
        layers = [make.conv("c", "data", 2, 2), make.batch_norm("bn", "c", 2, factor=0.0)]
        return b"".join(path.read_bytes() for path in write_pair(tmp_path, layers))

    assert content(1) == content(1)
    assert content(1) != content(2)


def test_it_needs_no_test_framework_and_reads_with_nothing_of_caffefold() -> None:
    """What it writes may be a witness against the readers and writers of the package."""
    code = (
        "import sys, caffefold.testing as t; t.net_weights({'a': [[1.0]]}); t.net_text('a B')\n"
        "print(*(n for n in sys.modules if n.startswith('caffefold.') or n == 'pytest'))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) <= {
        "caffefold._proto",
        "caffefold._proto.caffe_pb2",
        "caffefold._version",
        "caffefold.formats",
        "caffefold.formats.schema",
        "caffefold.testing",
    }


def test_everything_public_is_documented() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__doc__
