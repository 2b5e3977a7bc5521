"""``caffefold upgrade``: files in, files out, told apart by content, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from google.protobuf import text_format

from caffefold._proto import caffe_pb2 as pb
from caffefold.cli.console import Console
from caffefold.cli.upgrade import upgrade as command
from caffefold.errors import InputError, OutputError, TextError, WeightsError
from caffefold.upgrading import upgrade

V1 = 'name: "n"\nlayers { name: "a" type: RELU }  # kept\n'
V2 = 'name: "n"\nlayer { name: "a" type: "ReLU" }  # kept\n'


def test_a_prototxt(tmp_path: Path) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    source.write_text(V1)
    report = upgrade(source, target)
    assert target.read_text() == V2
    assert (report.kind, report.up_to_date, report.bytes) == ("prototxt", False, len(V2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
    again = upgrade(target, tmp_path / "again")
    assert again.up_to_date
    assert (tmp_path / "again").read_text() == V2


def test_bytes_that_are_no_utf8_and_a_byte_order_mark_stay(tmp_path: Path) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    for text in (V1, V2):
        source.write_bytes(b"\xef\xbb\xbf# \xe9\r\n" + text.encode())
        upgrade(source, target, force=True)
        assert target.read_bytes() == b"\xef\xbb\xbf# \xe9\r\n" + V2.encode()


def test_a_caffemodel(tmp_path: Path) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    numbers = np.random.default_rng(1).random(10_000, dtype=np.float32)
    net = text_format.Parse(V1, pb.NetParameter())
    net.layers[0].blobs.add(num=1, channels=1, height=100, width=100, data=numbers)
    source.write_bytes(net.SerializeToString())
    report = upgrade(source, target)
    assert report.kind == "caffemodel"
    assert report.changes == ("1 layer from V1 to V2",)
    assert report.bytes == target.stat().st_size
    result = pb.NetParameter.FromString(target.read_bytes())
    assert result.layer[0].blobs == net.layers[0].blobs
    assert result.layer[0].type == "ReLU"
    assert upgrade(target, tmp_path / "again").up_to_date
    assert (tmp_path / "again").read_bytes() == target.read_bytes()


def test_a_solver(tmp_path: Path) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    source.write_text('net: "x"\nsolver_type: ADAM\n')
    assert upgrade(source, target).kind == "solver"
    assert target.read_text() == 'net: "x"\ntype: "Adam"\n'


@pytest.mark.parametrize(
    ("data", "error", "what"),
    [
        (b'name: "n"\nlayers { type: 99 }', TextError, "V1 has no layer type 99"),
        (b'name: "n"\nlayer {', TextError, "never closed"),
        (b'item { name: "x" }', InputError, "no layers in this prototxt"),
        (b"\x89HDF\r\n\x1a\n\0\0", InputError, "HDF5"),
        (b"PK\x03\x04\0\0\0\0", InputError, "ZIP"),
        (b"", InputError, "empty"),
        (b"\x0a\x01n\x12\x7f\x00\x00\x00\x00", WeightsError, "cut off"),
    ],
)
def test_what_is_refused_leaves_nothing(
    data: bytes, error: type[Exception], what: str, tmp_path: Path
) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    source.write_bytes(data)
    with pytest.raises(error, match=what):
        upgrade(source, target)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_targets_that_are_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    source.write_text(V1)
    target.write_text("mine")
    with pytest.raises(OutputError, match="already exists; use force"):
        upgrade(source, target)
    with pytest.raises(OutputError, match="a directory"):
        upgrade(source, tmp_path, force=True)
    with pytest.raises(OutputError, match="this is the input"):
        upgrade(source, source, force=True)
    with pytest.raises(InputError, match="no such file"):
        upgrade(tmp_path / "none", target, force=True)
    assert (source.read_text(), target.read_text()) == (V1, "mine")
    upgrade(source, target, force=True)
    assert target.read_text() == V2


def ran(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, obj=Console(), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_command(tmp_path: Path) -> None:
    source, target = str(tmp_path / "old"), str(tmp_path / "new")
    Path(source).write_text(V1)
    assert ran(source, target).splitlines() == [
        f"read      {source} (prototxt)",
        "upgraded  1 layer from V1 (layers { ... }) to V2 (layer { ... })",
        f"wrote     {target} ({len(V2)} B)",
    ]
    assert "upgraded  nothing: already up to date" in ran(target, source, "--force")
    document = json.loads(ran(source, target, "--force", "--json"))
    assert document == {
        "schema": 1,
        "up_to_date": True,
        "source": source,
        "target": target,
        "kind": "prototxt",
        "bytes": len(V2),
        "changes": [],
        "warnings": [],
    }


def test_the_help_has_an_example() -> None:
    assert isinstance(command, click.Command)
    assert "caffefold upgrade old_deploy.prototxt deploy.prototxt" in ran("--help")
