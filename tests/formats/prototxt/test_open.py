"""The one door for nets in text: every kind of prototxt, each file read once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from caffefold.errors import InputError
from caffefold.formats.prototxt.open import NetText, net_of, read_net, schema_of
from caffefold.formats.prototxt.parse import parse, read_if_text
from caffefold.formats.schema import OURS

V2 = 'name: "n"\nlayer { name: "a" type: "ReLU" }\n'


def piped(tmp_path: Path, text: str) -> Path:
    """A named pipe that gives ``text`` once."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    threading.Thread(target=path.write_text, args=(text,), daemon=True).start()
    return path


def types(found: NetText) -> list[str]:
    return [f.body.string("type") for f in found.document.fields if f.name == "layer"]


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (V2, 0),
        ('name: "n" layers { name: "a" type: RELU }', 1),
        ('name: "n" layers { layer { name: "a" type: "relu" } }', 2),
        ('name: "n" layer: [{ name: "a" type: "ReLU" }]', 0),
        ('base_lr: 1 net_param { layer { name: "a" type: "ReLU" } }', 1),
        ('base_lr: 1 net_param { layer: [{ name: "a" type: "ReLU" }] }', 1),
        ('base_lr: 1 net_param { layers { name: "a" type: RELU } }', 2),
    ],
)
def test_every_kind_of_prototxt(text: str, notes: int) -> None:
    found = net_of(parse(text))
    assert types(found) == ["ReLU"]
    assert len(found.notes) == notes
    assert found.is_solver == ("base_lr" in text)


def test_the_net_of_a_solver_may_be_in_brackets(tmp_path: Path) -> None:
    """The list stands in the named file, not in the solver."""
    (tmp_path / "net.prototxt").write_text('layer: [{ name: "a" type: "ReLU" }]')
    solver = tmp_path / "solver.prototxt"
    solver.write_text('net: "net.prototxt" base_lr: 1')
    found = read_net(solver)
    assert types(found) == ["ReLU"]
    assert found.document.path == str(tmp_path / "net.prototxt")


@pytest.mark.parametrize("length", [10, 10_000, 200_000])
def test_a_pipe_is_read_once(tmp_path: Path, length: int) -> None:
    path = piped(tmp_path, V2 + "#" * length)
    assert types(read_net(path)) == ["ReLU"]


def test_a_pipe_whose_kind_is_not_known(tmp_path: Path) -> None:
    document = read_if_text(piped(tmp_path, V2))
    assert document is not None
    assert str(document) == V2


def test_what_is_not_text_is_left_to_others(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(b"\x0a\x03net" + bytes(5_000))
    assert read_if_text(path) is None
    with pytest.raises(InputError, match="binary file"):
        read_net(path)
    with pytest.raises(InputError, match="no such file; check the path of the net"):
        read_if_text(tmp_path / "missing", "net")


def test_no_layers() -> None:
    with pytest.raises(InputError, match=r"map\.prototxt: no layers in this prototxt"):
        net_of(parse('item { name: "cat" }', "map.prototxt"))


def test_the_schema_comes_with_the_net() -> None:
    assert schema_of(None) is OURS
    assert net_of(parse(V2)).document.schema is OURS
