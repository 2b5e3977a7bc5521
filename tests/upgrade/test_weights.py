"""caffemodel V0, V1 -> V2: every rule as on text, blobs untouched, unknown fields, damage."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from caffefold._proto import caffe_pb2 as pb
from caffefold.errors import CaffefoldError, WeightsError
from caffefold.formats.caffemodel.index import open_weights
from caffefold.formats.caffemodel.open import open_current
from caffefold.formats.caffemodel.wire import (
    FIXED32,
    ByteSource,
    SplicedSource,
    len_field,
    tag,
    varint_field,
)
from caffefold.formats.upgrade.binary import WeightsUpgrade
from caffefold.formats.upgrade.tables import V0_TYPES
from tests.upgrade.by_message import upgrade
from tests.upgrade.helpers import SHARED, corpus, message, real, upgraded_bytes
from tests.upgrade.test_v0 import PADDED, VALUES

V1_BINARIES = [
    path
    for path in (
        SHARED / "models/edge/v1_layers/weights.caffemodel",
        SHARED / "corpus/formats/everpeace-cifar10-quick-v1/weights.caffemodel",
    )
    if path.is_file()
]


def parsed(data: bytes) -> pb.NetParameter:
    net = pb.NetParameter()
    net.ParseFromString(data)
    return net


def agrees(text: str, folder: Path) -> tuple[pb.NetParameter, tuple[str, ...]]:
    """The net of this text, written as binary and upgraded, is what upgrading the text gives."""
    net = message(text)
    numbers = np.random.default_rng(3)
    old = [layer.layer.blobs if layer.HasField("layer") else layer.blobs for layer in net.layers]
    for blobs in (*old, *(layer.blobs for layer in net.layer)):
        blobs.add(num=1, channels=2, data=numbers.random(2, dtype=np.float32))
    data = net.SerializeToString()
    result, notes = upgraded_bytes(data, folder)
    assert parsed(result) == upgrade(net)
    assert notes or result == data
    return parsed(result), notes


@pytest.mark.parametrize("field", VALUES)
def test_every_v0_field_with_every_type(field: str, tmp_path: Path) -> None:
    value = VALUES[field]
    sign = "" if value.startswith("{") else ":"
    text = "".join(f'layers {{ layer {{ type: "{k}" {field}{sign} {value} }} }}' for k in V0_TYPES)
    _, notes = agrees(text, tmp_path)
    assert notes[0] == "24 layers from V0 to V1"


@pytest.mark.parametrize("name", pb.V1LayerParameter.LayerType.keys())
def test_every_v1_type(name: str, tmp_path: Path) -> None:
    agrees(f'layers {{ name: "x" type: {name} }}', tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        PADDED,
        'layers { layer { type: "conv" blobs_lr: 1 blobs_lr: 2 weight_decay: 0 } include { } }',
        'layers { layer { type: "relu" hdf5_output_param { } } } debug_info: true',
        'layers { layer { type: "hdf5_output" hdf5_output_param { file_name: "f" } } }',
        'layers { type: RELU param: "a" param: "b" blobs_lr: 1 weight_decay: 1 weight_decay: 2 }',
        "layers { blob_share_mode: STRICT blob_share_mode: PERMISSIVE }",
        'layers { bottom: "a" top: "b" loss_weight: 2 include { phase: TEST } exclude { } }',
        "layers { type: DATA data_param { scale: 2 crop_size: 3 mirror: true batch_size: 4 } }",
        'layers { type: DATA data_param { mean_file: "m" } transform_param { mean_file: "n" } }',
        "layers { type: IMAGE_DATA image_data_param { scale: 2 } } layers { type: WINDOW_DATA }",
        "layers { type: RELU data_param { scale: 2 } relu_param { negative_slope: .5 } }",
        'input: "a" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 layers { type: RELU }',
        'input: "a" input: "b" input_shape { dim: 1 } input_shape { dim: 2 dim: 3 } layer { }',
        'name: "n" input: "a" layer { name: "r" }',
        'layer { type: "BatchNorm" param { lr_mult: 1 } param { name: "x" } param { } }',
        'layer { type: "BatchNorm" param { lr_mult: 0 decay_mult: 0 } }',
        'layer { type: "ReLU" param { } param { } param { } }',
    ],
)
def test_rules(text: str, tmp_path: Path) -> None:
    agrees(text, tmp_path)


@pytest.mark.parametrize("name", corpus("net-v0", "net-v1", "net-v2"))
def test_real_nets_as_binaries(name: str, tmp_path: Path) -> None:
    agrees(real(name), tmp_path)


@pytest.mark.parametrize("path", V1_BINARIES, ids=lambda path: path.parent.name)
def test_real_binaries(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    result, notes = upgraded_bytes(data, tmp_path)
    assert parsed(result) == upgrade(parsed(data))
    assert any("from V1 to V2" in note for note in notes)
    assert upgraded_bytes(result, tmp_path) == (result, ())


@pytest.mark.parametrize("path", V1_BINARIES, ids=lambda path: path.parent.name)
def test_a_spliced_source_reads_as_the_written_file(path: Path, tmp_path: Path) -> None:
    with ByteSource(path) as source:
        work = WeightsUpgrade(source, layers_only=True)
        other = WeightsUpgrade(source, layers_only=True)
        spliced = SplicedSource(source.path, other.parts(), source)
        data = spliced.read(0, spliced.size)
        parts = [p if isinstance(p, bytes) else source.read(p.start, p.end) for p in work.parts()]
        assert data == b"".join(parts)
        dice = random.Random(1)
        for _ in range(300):
            start, end = sorted(dice.randrange(spliced.size + 1) for _ in range(2))
            assert spliced.read(start, end) == data[start:end]
        written = tmp_path / "written.caffemodel"
        written.write_bytes(data)
        with ByteSource(written) as plain:
            assert list(spliced.fields(0, spliced.size)) == list(plain.fields(0, plain.size))
        with pytest.raises(WeightsError):
            spliced.read(0, spliced.size + 1)
    with open_weights(written) as weights:
        assert [layer.name for layer in weights.layers] == [
            layer.name for layer in parsed(path.read_bytes()).layers
        ]


def test_an_up_to_date_file_is_its_own_source(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(pb.NetParameter(input=["a"], layer=[{"name": "x"}]).SerializeToString())
    with open_current(path) as weights:
        assert type(weights.source) is ByteSource
        assert not WeightsUpgrade(weights.source, layers_only=True).needed


def test_unknown_fields(tmp_path: Path) -> None:
    free = varint_field(43, 7) + len_field(99, b"ours")
    taken = len_field(106, b"theirs")
    data = len_field(77, b"net") + len_field(2, len_field(4, b"a") + free + taken)
    result, notes = upgraded_bytes(data * 2, tmp_path)
    assert result == (len_field(77, b"net") + len_field(100, len_field(1, b"a") + free)) * 2
    assert notes[1:] == (
        "layer 'a' and 1 more: unknown field 106 dropped; V2 has another field there",
    )


def test_unknown_types(tmp_path: Path) -> None:
    data = len_field(2, len_field(4, b"a") + varint_field(5, 77))
    result, notes = upgraded_bytes(data, tmp_path)
    assert parsed(result) == pb.NetParameter(layer=[{"name": "a"}])
    assert notes[1] == "layer 'a': unknown V1 type 77 dropped"
    nested = len_field(1, len_field(1, b"b") + len_field(2, b"data_blob"))
    result, notes = upgraded_bytes(len_field(2, nested), tmp_path)
    assert parsed(result).layer[0].type == "data_blob"
    assert notes[2] == "layer 'b': unknown V0 type 'data_blob' kept unchanged"


def test_packed_rates_and_modes(tmp_path: Path) -> None:
    rates = np.array([1, 2], "<f4").tobytes()
    data = len_field(
        2, len_field(7, rates) + len_field(1002, b"\x01\x00") + tag(8, FIXED32) + rates[:4]
    )
    net = parsed(upgraded_bytes(data, tmp_path)[0])
    assert [(s.lr_mult, s.share_mode, s.HasField("decay_mult")) for s in net.layer[0].param] == [
        (1, 1, True),
        (2, 0, False),
    ]


def test_a_mixed_file_keeps_all_layers(tmp_path: Path) -> None:
    data = len_field(100, len_field(1, b"new")) + len_field(2, len_field(4, b"old"))
    result, notes = upgraded_bytes(data, tmp_path)
    assert [layer.name for layer in parsed(result).layer] == ["new", "old"]
    assert "which Caffe refuses" in notes[1]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('layers { layer { type: "conv" } bottom: "a" }', "which no earlier layer writes"),
        ('name: "n"', "no layers in this file"),
        ('input: "a" input_dim: 3 layer { }', "the input 'a' has no shape"),
    ],
)
def test_where_caffe_stops(text: str, what: str, tmp_path: Path) -> None:
    net = text_format.Parse(text, pb.NetParameter())
    with pytest.raises(WeightsError, match=what):
        upgraded_bytes(net.SerializeToString(), tmp_path)


@pytest.mark.parametrize(
    "layer",
    [
        len_field(7, bytes(4 * 20_000)),
        b"".join([varint_field(7, 1)] * 200_000),
        b"".join([len_field(1001, b"w")] * 5_000),
    ],
    ids=["packed", "fields", "names"],
)
def test_absurd_layers_are_refused(layer: bytes, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="more than"):
        upgraded_bytes(len_field(2, layer), tmp_path)


def test_damage_raises_our_errors_only(tmp_path: Path) -> None:
    texts = [PADDED, 'input: "a" layers { type: DATA data_param { scale: 2 } blobs_lr: 1 }']
    dice = random.Random(5)
    for text in texts:
        good = message(text).SerializeToString()
        for _ in range(400):
            data = bytearray(good)
            for _ in range(dice.randint(1, 3)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            cut = data[: dice.randrange(len(data))] if dice.random() < 0.2 else data
            try:
                upgraded_bytes(bytes(cut), tmp_path)
            except CaffefoldError:
                continue
