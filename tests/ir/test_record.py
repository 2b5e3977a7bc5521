"""Records say what the text says; what only a fork knows comes from the record that was read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

import caffefold
from caffefold._proto import caffe_pb2 as pb
from caffefold.errors import WeightsError
from caffefold.formats.caffemodel import index as indexing
from caffefold.formats.caffemodel.wire import len_field, text_field, varint_field
from caffefold.formats.caffemodel.write import Fields, write_weights
from caffefold.ir.net import Net
from caffefold.ir.record import layer_fields, net_fields

FORK = varint_field(3_000, 7)  # a number that no field of ours has


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """The net of a text and the records of its layers, given as bytes."""

    def load(text: str, *records: bytes, head: bytes = b"") -> Net:
        (tmp_path / "net.prototxt").write_text(text)
        layers = b"".join(len_field(100, record) for record in records)
        (tmp_path / "net.caffemodel").write_bytes(head + layers)
        return caffefold.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")

    return load


def source_of(net: Net) -> Any:
    assert net.weights is not None
    return net.weights.source


def joined(net: Net, fields: Fields) -> bytes:
    import io

    assert net.weights is not None
    out = io.BytesIO()
    write_weights(out, net.weights, (), head=fields)
    return out.getvalue()


def record(net: Net) -> tuple[Any, bytes]:
    """What is written of the first layer, but its name, type and wiring."""
    data = joined(net, layer_fields(net.layers[0], source_of(net)))
    return pb.LayerParameter.FromString(data), data


def named(kind: str, *fields: bytes) -> bytes:
    return text_field(1, "a") + text_field(2, kind) + b"".join(fields)


def test_the_text_counts(read: Any) -> None:
    old = pb.LayerParameter(name="a", type="Convolution")
    old.convolution_param.num_output = 3
    old.convolution_param.bias_term = False
    old.convolution_param.pad.append(1)
    text = """layer { name: "a" type: "Convolution" convolution_param {
        num_output: 0x10 kernel_size: [3, 5] stride: 2 axis: -1 engine: CAFFE
        weight_filler { type: 'xa' "vier" std: .5e-2 value: -1f } } param { lr_mult: 2 }
        include { phase: TEST } }"""
    wanted = text_format.Parse(
        """convolution_param { num_output: 16 kernel_size: 3 kernel_size: 5 stride: 2 axis: -1
        engine: CAFFE weight_filler { type: "xavier" std: 0.005 value: -1 } }""",
        pb.LayerParameter(),
    )
    assert record(read(text, old.SerializeToString()))[0] == wanted


@pytest.mark.parametrize("modes", [[], ["LINEAR"], ["LINEAR", "AREA", "CUBIC", "NEAREST"]])
def test_every_value_of_a_repeated_enum_is_written(tmp_path: Path, modes: list[str]) -> None:
    said = " ".join(f"interp_mode: {mode}" for mode in modes)
    text = (
        f'name: "a" type: "AnnotatedData" transform_param {{ resize_param {{ width: 3 {said} }} }}'
    )
    wanted = text_format.Parse(text, pb.LayerParameter())
    net = Net.from_text(f"layer {{ {text} }}", blobs={})
    caffefold.save(net, tmp_path / "net")
    found = pb.NetParameter.FromString((tmp_path / "net.caffemodel").read_bytes())
    assert found.layer[0].transform_param == wanted.transform_param


@pytest.mark.parametrize("kind", ["Convolution", "Fancy"])
def test_fields_that_our_schema_lacks_are_carried_over(read: Any, kind: str) -> None:
    inner = len_field(106, varint_field(1, 9) + FORK)
    text = 'layer { name: "a" type: "%s" convolution_param { num_output: 4 } }' % kind  # noqa: UP031
    found, data = record(read(text, named(kind, FORK, inner)))
    assert found.convolution_param.num_output == 4
    assert data.count(FORK) == 2


def test_nothing_is_carried_over_from_a_record_of_another_type(read: Any) -> None:
    text = 'layer { name: "a" type: "Input" top: "a" }'
    data = record(read(text, named("AnnotatedData", FORK, len_field(200, FORK))))[1]
    assert data == b""


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("fancy_param { size: 3 }", True),  # a fork's; its number may be one of ours
        ("", False),
        ("pooling_param { pool: AVE }", False),
    ],
)
def test_where_a_fork_may_use_our_number_the_record_stays(read: Any, text: str, kept: bool) -> None:
    """PSPNet's interp_param has the number of our input_param."""
    old = len_field(143, varint_field(4, 33))
    data = record(read(f'layer {{ name: "a" type: "Interp" {text} }}', named("Interp", old)))[1]
    assert (old in data) == kept


def test_a_value_that_only_a_fork_knows_stays(read: Any) -> None:
    old = len_field(121, varint_field(1, 7) + varint_field(2, 3))
    text = 'layer { name: "a" type: "Pooling" pooling_param { pool: AVE_EXC_PAD stride: 2 } }'
    data = record(read(text, named("Pooling", old)))[1]
    assert data == len_field(121, varint_field(1, 7) + varint_field(3, 2))


def test_the_net_says_its_own_fields(read: Any) -> None:
    net = read(
        'name: "new" input: "x" input_shape { dim: 1 dim: 300 } layer { name: "a" type: "ReLU" }',
        named("ReLU"),
        head=text_field(1, "old") + text_field(3, "y") + FORK,
    )
    # Inputs are read as a layer; see formats/upgrade.
    data = joined(net, net_fields(net, net.weights))
    assert FORK in data
    found = pb.NetParameter.FromString(data)
    assert (found.name, list(found.input)) == ("new", list(net.legacy_inputs))
    assert [list(shape.dim) for shape in found.input_shape] == [[1, 300]] * len(net.legacy_inputs)


def test_records_of_endless_fields_are_refused(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caffefold.ir.record.MAX_FIELDS", 100)
    assert indexing.MAX_FIELDS > 100
    text = 'layer { name: "a" type: "ReLU" }'
    record(read(text, named("ReLU", FORK * 98)))
    with pytest.raises(WeightsError, match="more than 100 fields"):
        record(read(text, named("ReLU", FORK * 101)))


NUMBERS = {
    "kernel_size": st.integers(0, 2**32 - 1),
    "axis": st.integers(-(2**31), 2**31 - 1),
    "bias_term": st.booleans(),
    "num_output": st.integers(0, 2**32 - 1),
}


@given(
    st.fixed_dictionaries({}, optional=NUMBERS),
    st.floats(width=32, allow_nan=False),
    st.text(max_size=5),
)
def test_every_message_is_what_protobuf_makes_of_it(
    numbers: dict[str, int], std: float, kind: str
) -> None:
    wanted = pb.LayerParameter(name="a", type="Convolution")
    for name, value in numbers.items():
        if name == "kernel_size":
            wanted.convolution_param.kernel_size.extend([value, value])
        else:
            setattr(wanted.convolution_param, name, value)
    wanted.convolution_param.weight_filler.std = std
    wanted.convolution_param.weight_filler.type = kind
    net = Net.from_text(f"layer {{ {text_format.MessageToString(wanted)} }}", blobs={})
    assert net.weights is not None
    data = joined(net, layer_fields(net.layers[0], source_of(net)))
    wanted.ClearField("name")
    wanted.ClearField("type")
    assert data == wanted.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("kind", "text", "old"),
    [
        ("BN", "bn_param { eps: 0.5 }", len_field(137, varint_field(6, 1))),
        ("Convolution", "forward_type: FLOAT16", varint_field(145, 2)),
    ],
)
def test_numbers_that_are_ours_are_never_written(
    read: Any, kind: str, text: str, old: bytes
) -> None:
    """The field keeps the number that its fork gave it, which only the record knows."""
    net = read(f'layer {{ name: "a" type: "{kind}" {text} }}', named(kind, old))
    assert record(net)[1] == old
    assert record(Net.from_text(f'layer {{ name: "a" type: "{kind}" {text} }}', {}))[1] == b""
