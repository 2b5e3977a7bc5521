"""The net of a solver: named, relative, inline, missing, or several."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffefold.errors import InputError, TextError
from caffefold.formats.prototxt import parse as text_parse
from caffefold.formats.prototxt.tree import Document
from caffefold.formats.upgrade.solver import NETS, is_solver, net_of_solver
from caffefold.formats.upgrade.text import upgrade_document
from tests.upgrade.helpers import CORPUS, corpus

NET = 'name: "n"\nlayer { name: "a" type: "ReLU" }\n'


def net_of(text: str, folder: Path) -> tuple[Document, str]:
    folder.mkdir(exist_ok=True)
    path = folder / "solver.prototxt"
    path.write_text(text)
    document = text_parse.read(path)
    assert is_solver(document)
    return net_of_solver(document)


@pytest.mark.parametrize("field", ["net", "train_net", "test_net"])
def test_a_named_net(field: str, tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NET)
    net, found = net_of(f'base_lr: 1\n{field}: "net.prototxt"\n', tmp_path)
    assert str(net) == NET
    assert net.path == str(tmp_path / "net.prototxt")
    solver = tmp_path / "solver.prototxt"
    assert found == f"{solver}: a solver; its {field} is {tmp_path / 'net.prototxt'}"


def test_beside_the_solver_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "net.prototxt").write_text(NET)
    assert net_of('net: "net.prototxt"', inner)[0].path == "net.prototxt"
    (inner / "net.prototxt").write_text(NET)
    assert net_of('net: "net.prototxt"', inner)[0].path == str(inner / "net.prototxt")


def test_the_train_net_of_a_train_and_a_test_net(tmp_path: Path) -> None:
    (tmp_path / "train.prototxt").write_text(NET)
    text = 'test_net: "test.prototxt" train_net: "train.prototxt"'
    assert net_of(text, tmp_path)[0].path == str(tmp_path / "train.prototxt")


def test_an_absolute_path(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NET)
    assert str(net_of(f'net: "{tmp_path}/net.prototxt"', tmp_path / "s")[0]) == NET


INLINE = """\
base_lr: 0.1
net_param {  # the net
  name: "n"

  layers {
    name: "a"  # old
    type: RELU
  }
  # the end
}
max_iter: 3
"""


def test_an_inline_net(tmp_path: Path) -> None:
    net, found = net_of(INLINE, tmp_path)
    assert net.path == str(tmp_path / "solver.prototxt")
    assert found.endswith(": a solver; its net is inside it, net_param in line 2")
    assert str(net) == (
        '# the net\nname: "n"\n\nlayers {\n  name: "a"  # old\n  type: RELU\n}\n# the end\n'
    )
    kind = net.fields[1].body.fields[1]
    error = net.error(kind.offset, "x")
    assert (error.line, error.column, error.source_line) == (7, 5, "    type: RELU")
    upgraded, _ = upgrade_document(net)
    assert 'layer {\n  name: "a"  # old\n  type: "ReLU"\n}' in str(upgraded)
    text_parse.parse(str(upgraded))


@pytest.mark.parametrize("field", ["train_net_param", "test_net_param", "net_param"])
def test_inline_nets_of_each_kind_on_one_line(field: str, tmp_path: Path) -> None:
    net, _ = net_of(f'base_lr: 1 {field} {{ name: "n" layer {{ name: "a" }} }}', tmp_path)
    assert str(net) == 'name: "n" layer { name: "a" }\n'


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("base_lr: 1\nmax_iter: 3", 1, "names no net"),
        ('net: "a"\ntrain_net: "b"', 2, "one net to train, this has net, train_net"),
        ('net: "a"\nnet_param { }', 2, "one net to train"),
        ('base_lr: 1\nnet: ""', 2, "is empty"),
    ],
)
def test_where_caffe_stops(text: str, line: int, what: str, tmp_path: Path) -> None:
    with pytest.raises(TextError, match=what) as caught:
        net_of(text, tmp_path)
    assert caught.value.line == line


def test_a_net_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was not found") as caught:
        net_of('base_lr: 1\nnet: "models/net.prototxt"', tmp_path)
    assert f"{tmp_path}/solver.prototxt:2: this is a solver, and its net was not" in str(
        caught.value
    )
    assert "give the net itself" in str(caught.value)
    (tmp_path / "net.prototxt").write_text(NET)
    with pytest.raises(InputError, match="has that name; give it"):
        net_of('base_lr: 1\nnet: "models/net.prototxt"', tmp_path)


@pytest.mark.parametrize("name", ["x" * 300 + ".prototxt", "a/" * 3000, r"a\0b", "."])
def test_a_name_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was not found"):
        net_of(f'base_lr: 1\nnet: "{name}"', tmp_path)


@pytest.mark.parametrize("name", corpus("solver"))
def test_real_solvers(name: str) -> None:
    document = text_parse.read(CORPUS / name)
    assert is_solver(document)
    if not {field.name for field in document.fields} & {*NETS}:
        with pytest.raises(InputError, match="was not found"):  # the net is not in the corpus
            net_of_solver(document)
        return
    net, _ = net_of_solver(document)
    assert net.path == document.path
    upgraded, _ = upgrade_document(net)
    assert sum(field.name == "layer" for field in upgraded.fields) > 8
    text_parse.parse(str(upgraded))


@pytest.mark.once
@pytest.mark.parametrize("name", corpus("net-v0", "net-v1", "net-v2", "mixed", "labelmap"))
def test_real_files_that_are_no_solvers(name: str) -> None:
    assert not is_solver(text_parse.read(CORPUS / name))


@pytest.mark.parametrize("number", ["1" * 5_000, "\u0663", "6", "-1"])
def test_a_solver_type_of_no_known_number(number: str) -> None:
    with pytest.raises(TextError, match="expected one of SGD"):
        upgrade_document(text_parse.parse(f"base_lr: 1 solver_type: {number}"))
