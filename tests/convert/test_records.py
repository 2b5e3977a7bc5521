"""Tools that read the caffemodel alone see the net of the prototxt: layers, wiring, parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

import caffefold
from caffefold._proto import caffe_pb2 as pb
from caffefold.formats.schema import TEXT_ONLY
from tests.convert.test_steps import FOREIGN, SAMPLES

TRAINING = ("param", "include", "exclude", "loss_weight", "propagate_down", "phase")


def described(prefix: Path) -> Any:
    """The prototxt by protobuf's own parser, without what only training reads."""
    text = prefix.with_suffix(".prototxt").read_text("utf-8", "surrogateescape")
    net = pb.NetParameter()
    parser = text_format.Parse
    parser(text, net, allow_unknown_field=True)
    for layer in net.layer:
        for name in TRAINING:
            layer.ClearField(name)
    return net


def recorded(prefix: Path) -> tuple[Any, list[tuple[str, list[list[int]]]]]:
    """The caffemodel without its numbers, and the shapes of the blobs of each layer."""
    net = pb.NetParameter.FromString(prefix.with_suffix(".caffemodel").read_bytes())
    shapes = []
    for layer in net.layer:
        assert all(blob.HasField("shape") for blob in layer.blobs), layer.name
        assert not any(blob.HasField("num") for blob in layer.blobs), layer.name
        shapes.append((layer.name, [list(blob.shape.dim) for blob in layer.blobs]))
        layer.ClearField("blobs")
    return net, shapes


def without_forks(message: Any) -> bool:
    """Take out what only texts have; whether there was any."""
    found = False
    for field, value in message.ListFields():
        if field.number >= TEXT_ONLY:
            message.ClearField(field.name)
            found = True
        elif field.message_type is not None:
            for inner in value if isinstance(field.default_value, list) else [value]:
                found |= without_forks(inner)
    return found


@pytest.mark.once
@pytest.mark.parametrize(
    ("prototxt", "weights"),
    [
        pytest.param(text, text.with_name(name), id=f"{text.parent.name}-{text.stem}")
        for text, name in (*SAMPLES, *FOREIGN)
        if name
    ],
)
def test_the_caffemodel_is_the_prototxts_net(tmp_path: Path, prototxt: Path, weights: Path) -> None:
    options: dict[str, Any] = {}
    for _ in range(3):
        try:
            caffefold.convert(prototxt, weights, tmp_path / "out", **options)
            break
        except caffefold.MissingShape as error:
            options.setdefault("input_shapes", {})[error.blob] = (1, 3, 224, 224)
        except caffefold.CaffefoldError:
            pytest.skip("it is refused")
    wanted = described(tmp_path / "out")
    found, _ = recorded(tmp_path / "out")
    found.DiscardUnknownFields()
    assert [layer.name for layer in found.layer] == [layer.name for layer in wanted.layer]
    for a, b in zip(found.layer, wanted.layer, strict=True):
        if without_forks(b):  # what the record has of it stands under a number of the fork
            for field, value in b.ListFields():
                assert getattr(a, field.name) == value
        else:
            assert a == b
    del found.layer[:], wanted.layer[:]
    without_forks(wanted)
    assert found == wanted
