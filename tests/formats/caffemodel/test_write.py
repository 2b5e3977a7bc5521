"""What is written parses with protobuf, says what was asked for, and keeps all the rest."""

from __future__ import annotations

import io
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffefold._proto import caffe_pb2
from caffefold.formats.caffemodel.index import WeightsFile
from caffefold.formats.caffemodel.wire import len_field, varint_field
from caffefold.formats.caffemodel.write import NewLayer, write_weights
from caffefold.ir.blob import ArrayBlob
from tests.support.formats_weights import Opened

FORK = len_field(20_001, b"a fork's field") + varint_field(19_999, 7)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def written(source: WeightsFile, layers: Mapping[str, NewLayer | None]) -> bytes:
    out = io.BytesIO()
    write_weights(out, source, layers)
    return out.getvalue()


def parsed(source: WeightsFile, layers: Mapping[str, NewLayer | None]) -> caffe_pb2.NetParameter:
    return caffe_pb2.NetParameter.FromString(written(source, layers))


def numbers(*values: float) -> ArrayBlob:
    return ArrayBlob(np.array(values, np.float64))


def add_blob(layer: Any, shape: tuple[int, ...], data: Any) -> Any:
    blob = layer.blobs.add(data=np.ravel(data))
    blob.shape.dim.extend(shape)
    blob.shape.SetInParent()
    return blob


def conv_net() -> caffe_pb2.NetParameter:
    net = caffe_pb2.NetParameter(name="net", input=["data"])
    net.layer.add(name="relu", type="ReLU", bottom=["conv"], top=["conv"])
    conv = net.layer.add(name="conv", type="Convolution", bottom=["data"], top=["conv"])
    conv.convolution_param.num_output = 2
    conv.convolution_param.bias_term = False
    conv.convolution_param.kernel_size.append(1)
    add_blob(conv, (2, 3, 1, 1), np.arange(6))
    add_blob(net.layer.add(name="ip", type="InnerProduct"), (2,), [1, 2])
    return net


# ------------------------------------------------------------------------- what is not asked for


def test_nothing_asked_for_is_a_copy(opened: Opened) -> None:
    data = conv_net().SerializeToString()
    assert written(opened(data), {}) == data


def test_other_records_are_byte_identical(opened: Opened) -> None:
    """Even where a record is written in no form protobuf would choose."""
    odd = len_field(
        100, FORK + len_field(7, len_field(5, b"") + varint_field(1, 0)) + b"\x0a\x81\x00x"
    )
    data = len_field(1, b"net") + FORK
    conv = len_field(100, conv_net().layer[1].SerializeToString())
    found = written(opened(data + odd + conv + odd), {"conv": None})
    assert found == data + odd + odd


def test_layers_can_be_left_out(opened: Opened) -> None:
    net = parsed(opened(conv_net()), {"conv": None, "unknown": None})
    assert [layer.name for layer in net.layer] == ["relu", "ip"]
    assert (net.name, list(net.input)) == ("net", ["data"])


def test_large_records_are_copied_whole(opened: Opened) -> None:
    net = conv_net()
    add_blob(net.layer[2], (700_000,), np.arange(700_000))
    data = net.SerializeToString()
    assert written(opened(data), {}) == data


def test_unknown_fields_survive(opened: Opened) -> None:
    blob = len_field(5, bytes(4)) + len_field(7, len_field(1, b"\x01"))
    layer = len_field(1, b"a") + FORK + len_field(106, varint_field(1, 8) + FORK)
    data = FORK + len_field(100, layer + len_field(7, blob + FORK))
    with opened(data) as source:
        kept = source.layers[0].blobs
        found = written(source, {"a": NewLayer((), (), (*kept, numbers(1.0)))})
    assert found.count(FORK) == 4
    net = caffe_pb2.NetParameter.FromString(found)
    assert net.layer[0].convolution_param.num_output == 8
    assert len(net.layer[0].blobs) == 2


def test_of_several_records_of_one_name_the_first_is_written(opened: Opened) -> None:
    net = caffe_pb2.NetParameter()
    for value in (1, 2):
        add_blob(net.layer.add(name="a"), (1,), [value])
    net.layer.add(name="b")
    with opened(net) as source:
        (kept,) = source.by_name()["a"].blobs
        found = parsed(source, {"a": NewLayer(("x",), ("y",), (kept,))})
    assert [(layer.name, [list(b.data) for b in layer.blobs]) for layer in found.layer] == [
        ("a", [[1.0]]),
        ("b", []),
    ]


# ---------------------------------------------------------------------------- what is asked for


def test_wiring_is_replaced(opened: Opened) -> None:
    with opened(conv_net()) as source:
        new = NewLayer(("a", "größe"), ("b",), source.by_name()["conv"].blobs)
        net = parsed(source, {"conv": new, "relu": NewLayer((), (), ())})
    conv = net.layer[1]
    assert (list(conv.bottom), list(conv.top)) == (["a", "größe"], ["b"])
    assert (list(net.layer[0].bottom), list(net.layer[0].top)) == ([], [])
    assert (conv.name, conv.type, list(conv.blobs[0].data)) == ("conv", "Convolution", [*range(6)])


def test_wiring_is_added_where_there_was_none(opened: Opened) -> None:
    with opened(conv_net()) as source:
        net = parsed(source, {"ip": NewLayer(("a",), ("b",), ())})
    assert (list(net.layer[2].bottom), list(net.layer[2].top)) == (["a"], ["b"])
    assert not net.layer[2].blobs


def test_names_that_are_no_utf8_come_back(opened: Opened) -> None:
    top = b"\xb2\xe3".decode("utf-8", "surrogateescape")
    with opened(conv_net()) as source:
        assert len_field(4, b"\xb2\xe3") in written(source, {"ip": NewLayer((), (top,), ())})


def test_train_only_fields_are_gone(opened: Opened) -> None:
    net = caffe_pb2.NetParameter()
    layer = net.layer.add(name="a", type="A", loss_weight=[1.0], propagate_down=[True], phase=1)
    layer.param.add(lr_mult=2)
    layer.include.add(phase=0)
    layer.exclude.add(phase=1)
    layer.loss_param.normalize = True
    with opened(net) as source:
        found = parsed(source, {"a": NewLayer((), (), ())})
    wanted = caffe_pb2.NetParameter()
    wanted.layer.add(name="a", type="A").loss_param.normalize = True
    assert found == wanted


def test_v1_train_only_fields_are_gone(opened: Opened) -> None:
    net = caffe_pb2.NetParameter()
    layer = net.layers.add(name="a", type=4, bottom=["x"], top=["y"], param=["shared"])
    layer.blobs_lr.extend([1, 2])
    layer.weight_decay.append(1)
    layer.loss_weight.append(1)
    layer.blob_share_mode.append(caffe_pb2.V1LayerParameter.PERMISSIVE)
    layer.include.add(phase=0)
    layer.exclude.add(phase=1)
    with opened(net) as source:
        found = parsed(source, {"a": NewLayer(("p",), ("q",), ())})
    wanted = caffe_pb2.NetParameter()
    wanted.layers.add(name="a", type=4, bottom=["p"], top=["q"])
    assert found == wanted


@pytest.mark.parametrize("kind", ["convolution_param", "inner_product_param"])
@pytest.mark.parametrize("layers", ["layer", "layers"])
def test_bias_term_goes_when_a_bias_comes(opened: Opened, layers: str, kind: str) -> None:
    net = caffe_pb2.NetParameter()
    layer = getattr(net, layers).add(name="a")
    getattr(layer, kind).num_output = 1
    getattr(layer, kind).bias_term = False
    add_blob(layer, (1, 1), [3])
    with opened(net) as source:
        (weights,) = source.layers[0].blobs
        biased = parsed(source, {"a": NewLayer((), (), (weights, numbers(4.0)))})
        plain = parsed(source, {"a": NewLayer((), (), (weights,))})
    params = getattr(getattr(biased, layers)[0], kind)
    assert (params.HasField("bias_term"), params.bias_term, params.num_output) == (False, True, 1)
    assert [list(blob.data) for blob in getattr(biased, layers)[0].blobs] == [[3.0], [4.0]]
    assert list(getattr(biased, layers)[0].blobs[1].shape.dim) == [1]
    assert not getattr(getattr(plain, layers)[0], kind).bias_term


def test_a_layer_becomes_a_scale(opened: Opened) -> None:
    net = caffe_pb2.NetParameter()
    layer = net.layer.add(name="bn", type="BatchNorm", bottom=["x"], top=["x"], phase=1)
    layer.batch_norm_param.eps = 1e-3
    layer.scale_param.bias_term = False
    for _ in range(3):
        add_blob(layer, (2,), [1, 2])
    with opened(net) as source:
        new = NewLayer(("a",), ("b",), (numbers(1.0, 2.0), numbers(3.0, 4.0)), as_scale=True)
        found = parsed(source, {"bn": new})
    wanted = caffe_pb2.NetParameter()
    scale = wanted.layer.add(name="bn", type="Scale", bottom=["a"], top=["b"])
    scale.scale_param.bias_term = True
    add_blob(scale, (2,), [1, 2])
    add_blob(scale, (2,), [3, 4])
    assert found == wanted


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), max_size=4).map(tuple), max_size=4),
    st.lists(NAMES, max_size=3),
    st.lists(NAMES, max_size=3),
    st.integers(0, 3),
)
def test_computed_sizes_are_right(
    opened: Opened, shapes: list[tuple[int, ...]], bottoms: list[str], tops: list[str], old: int
) -> None:
    """A wrong length anywhere makes the rest of the file unreadable."""
    blobs = tuple(ArrayBlob(np.arange(prod(s), dtype=np.float64).reshape(s) / 3) for s in shapes)
    net = conv_net()
    for shape in shapes[:old]:
        add_blob(net.layer[0], shape, np.zeros(shape))
    with opened(net) as source:
        found = parsed(source, {"relu": NewLayer(tuple(bottoms), tuple(tops), blobs)})
    relu = found.layer[0]
    assert (list(relu.bottom), list(relu.top)) == (bottoms, tops)
    assert [tuple(blob.shape.dim) for blob in relu.blobs] == shapes
    for blob, wanted in zip(relu.blobs, blobs, strict=True):
        np.testing.assert_array_equal(
            np.array(blob.data, "f4"), wanted.numbers.ravel().astype("f4")
        )
    del relu.bottom[:], relu.top[:], relu.blobs[:]
    del net.layer[0].bottom[:], net.layer[0].top[:], net.layer[0].blobs[:]
    assert found == net
