"""What is written parses with protobuf and says what was asked for, no more."""

from __future__ import annotations

import io
from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from caffefold._proto import caffe_pb2
from caffefold.formats.caffemodel.index import V2, LayerRecord, WeightsFile
from caffefold.formats.caffemodel.wire import len_field, text_field, varint_field
from caffefold.formats.caffemodel.write import Fields, NewLayer, write_weights
from caffefold.ir.blob import ArrayBlob
from tests.support.formats_weights import Opened

FORK = len_field(20_001, b"a fork's field") + varint_field(19_999, 7)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def written(
    source: WeightsFile,
    *layers: NewLayer,
    head: Fields = (),
    strangers: Iterable[LayerRecord] = (),
) -> bytes:
    out = io.BytesIO()
    write_weights(out, source, layers, head=head, strangers=strangers)
    return out.getvalue()


def parsed(source: WeightsFile, *layers: NewLayer, head: Fields = ()) -> caffe_pb2.NetParameter:
    return caffe_pb2.NetParameter.FromString(written(source, *layers, head=head))


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


def test_strangers_are_byte_identical(opened: Opened) -> None:
    """Even where a record is written in no form protobuf would choose."""
    odd = len_field(
        100, FORK + len_field(7, len_field(5, b"") + varint_field(1, 0)) + b"\x0a\x81\x00x"
    )
    conv = len_field(100, conv_net().layer[1].SerializeToString())
    with opened(len_field(1, b"net") + FORK + odd + conv + odd) as source:
        found = written(source, strangers=source.layers)
    assert found == odd + conv + odd


def test_large_strangers_are_copied_whole(opened: Opened) -> None:
    net = caffe_pb2.NetParameter()
    add_blob(net.layer.add(name="ip"), (700_000,), np.arange(700_000))
    with opened(net) as source:
        assert written(source, strangers=source.layers) == net.SerializeToString()


def test_layers_stand_in_the_order_given_and_others_are_gone(opened: Opened) -> None:
    with opened(conv_net()) as source:
        kept = source.by_name()["conv"].blobs
        new = [NewLayer("new", "Softmax", ("x",), ("y",)), NewLayer("conv", "C", (), (), (), kept)]
        net = parsed(source, *new)
    assert [(layer.name, layer.type) for layer in net.layer] == [("new", "Softmax"), ("conv", "C")]
    assert (list(net.layer[0].bottom), list(net.layer[0].top)) == (["x"], ["y"])
    assert list(net.layer[1].blobs[0].data) == [*range(6)]


def test_fields_stand_in_ascending_order_around_the_layers(opened: Opened) -> None:
    head = [(1, [text_field(1, "net")]), (20_001, [FORK])]
    fields = [(5, [varint_field(5, 1)]), (106, [len_field(106, b"")])]
    with opened(conv_net()) as source:
        layer = NewLayer("a", "A", ("x",), ("größe",), fields, (numbers(1.0),))
        found = written(source, layer, head=head)
    blob = len_field(7, len_field(5, np.float32(1).tobytes()) + len_field(7, len_field(1, b"\x01")))
    names = text_field(1, "a") + text_field(2, "A") + text_field(3, "x") + text_field(4, "größe")
    record = names + varint_field(5, 1) + blob + len_field(106, b"")
    assert found == text_field(1, "net") + len_field(V2.layer, record) + FORK


def test_unknown_fields_of_a_blob_survive(opened: Opened) -> None:
    blob = len_field(5, bytes(4)) + len_field(7, len_field(1, b"\x01"))
    with opened(len_field(100, len_field(1, b"a") + len_field(7, blob + FORK))) as source:
        found = written(source, NewLayer("a", "", (), (), (), source.layers[0].blobs))
    assert found.count(FORK) == 1


def test_names_that_are_no_utf8_come_back(opened: Opened) -> None:
    top = b"\xb2\xe3".decode("utf-8", "surrogateescape")
    with opened(conv_net()) as source:
        assert len_field(4, b"\xb2\xe3") in written(source, NewLayer("ip", "", (), (top,)))


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), max_size=4).map(tuple), max_size=4),
    st.lists(NAMES, max_size=3),
    st.lists(NAMES, max_size=3),
)
def test_computed_sizes_are_right(
    opened: Opened, shapes: list[tuple[int, ...]], bottoms: list[str], tops: list[str]
) -> None:
    """A wrong length anywhere makes the rest of the file unreadable."""
    blobs = tuple(ArrayBlob(np.arange(prod(s), dtype=np.float64).reshape(s) / 3) for s in shapes)
    last = NewLayer("last", "Last", (), ())
    with opened(conv_net()) as source:
        found = parsed(source, NewLayer("a", "A", tuple(bottoms), tuple(tops), (), blobs), last)
    first, second = found.layer
    assert (list(first.bottom), list(first.top)) == (bottoms, tops)
    assert [tuple(blob.shape.dim) for blob in first.blobs] == shapes
    for blob, wanted in zip(first.blobs, blobs, strict=True):
        np.testing.assert_array_equal(
            np.array(blob.data, "f4"), wanted.numbers.ravel().astype("f4")
        )
    assert (second.name, second.type) == ("last", "Last")
