"""What may be given as a side: solver, caffemodel alone, folder, template."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

import caffefold
from tests.compare.conftest import DATA, conv, layer
from tests.support.nets import L, Numbers, data, relu, write

NET = 'name: "net"\n' + DATA + conv("conv1", "data")


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_solver_stands_for_its_net(tmp_path: Path) -> None:
    net = _file(tmp_path / "net.prototxt", NET)
    solver = _file(tmp_path / "solver.prototxt", 'net: "net.prototxt"\nbase_lr: 0.1\n')
    found = caffefold.diff(solver, net)
    assert not found
    assert (found.a.kind, found.b.kind) == ("solver", "prototxt")
    assert "a solver; its net is" in found.notes[0]


def _weighted(folder: Path, seed: int = 0, split: bool = False) -> tuple[Path, Path]:
    random = Numbers(seed)
    first = random.conv("conv1", "data", 3, 4)
    layers = [data(1, 3, 8, 8), first, relu("r1", "conv1"), random.product("fc", "conv1", 144, 5)]
    folder.mkdir(exist_ok=True)
    return write(folder, layers)


def test_a_net_in_memory_and_a_pair_are_what_their_files_are(tmp_path: Path) -> None:
    one, two = _weighted(tmp_path / "a"), _weighted(tmp_path / "b", seed=1)
    found = caffefold.diff(one[0], two[0], weights=(one[1], two[1]))
    assert caffefold.diff(one, two) == found
    with caffefold.load(*one) as net:
        mixed = caffefold.diff(net, two)
        assert mixed.entries == found.entries
        assert (mixed.a.kind, mixed.a.path, mixed.a.weights) == ("net", str(one[0]), str(one[1]))
        assert not caffefold.diff(net, net)  # it is still open
    assert caffefold.diff((one[0], None), two[0]) == caffefold.diff(one[0], two[0])


def test_a_net_before_and_after_its_fold(tmp_path: Path) -> None:
    random = Numbers()
    layers = [data(1, 3, 8, 8), random.conv("conv", "data", 3, 4), random.norm("bn", "conv", 4)]
    with caffefold.load(*write(tmp_path, layers)) as net:
        (fold,) = caffefold.diff(net, caffefold.fold(net).net).folds
    assert (fold.layers, fold.into) == (("bn",), ("conv",))
    assert [check.verdict for check in fold.checks] == ["equal"]


@pytest.mark.parametrize("in_memory", [True, False])
def test_weights_are_given_once(tmp_path: Path, in_memory: bool) -> None:
    prototxt, caffemodel = _weighted(tmp_path / "a")
    given = caffefold.load(prototxt) if in_memory else (prototxt, None)
    with pytest.raises(caffefold.UsageError, match="brings its own"):
        caffefold.diff(given, prototxt, weights=(caffemodel, None))


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    net = _file(tmp_path / "net.prototxt", NET)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(NET,))
    writer.start()
    assert not caffefold.diff(pipe, net)
    writer.join()


def test_two_caffemodels_alone(tmp_path: Path) -> None:
    one, two = _weighted(tmp_path / "a"), _weighted(tmp_path / "b", seed=1)
    assert not caffefold.diff(one[1], one[1])
    found = caffefold.diff(one[1], two[1])
    assert [row.before.name for row in found.changed] == ["conv1", "fc"]
    assert found.weights_compared
    assert found.a.kind == "caffemodel"


def test_a_caffemodel_against_its_prototxt(tmp_path: Path) -> None:
    """Names, types and wiring; parameters of a caffemodel are not to be trusted beside a text."""
    prototxt, caffemodel = _weighted(tmp_path / "a")
    found = caffefold.diff(prototxt, caffemodel)
    assert not found
    assert any("layer parameters were not compared" in note for note in found.notes)


def test_splits_that_caffe_inserted_are_seen_through(tmp_path: Path) -> None:
    plain = [data(1, 3, 8, 8), L("a", "ReLU", "data", "a"), L("b", "ReLU", "data", "b")]
    split = [
        plain[0],
        L("data_input_0_split", "Split", "data", "data_input_0_split_0 data_input_0_split_1"),
        L("a", "ReLU", "data_input_0_split_0", "a"),
        L("b", "ReLU", "data_input_0_split_1", "b"),
    ]
    for name in "ab":
        (tmp_path / name).mkdir()
    one, two = write(tmp_path / "a", plain), write(tmp_path / "b", split)
    assert not caffefold.diff(one[1], two[1])


def test_a_folder_with_a_pair(tmp_path: Path) -> None:
    prototxt, caffemodel = _weighted(tmp_path / "a")
    _file(tmp_path / "a" / "solver.prototxt", 'net: "net.prototxt"\nbase_lr: 0.1\n')
    _file(tmp_path / "a" / "labelmap.prototxt", 'item { name: "cat" label: 1 }\n')
    found = caffefold.diff(tmp_path / "a", prototxt, weights=(None, caffemodel))
    assert not found
    assert found.a.kind == "folder"
    assert found.weights_compared


def test_a_folder_of_snapshots_must_be_decided(tmp_path: Path) -> None:
    prototxt, caffemodel = _weighted(tmp_path / "a")
    (tmp_path / "a" / "iter_1.caffemodel").write_bytes(caffemodel.read_bytes())
    (tmp_path / "a" / "iter_2.caffemodel").write_bytes(caffemodel.read_bytes())
    caffemodel.unlink()
    with pytest.raises(caffefold.InputError, match=r"more than one caffemodel .*iter_1"):
        caffefold.diff(tmp_path / "a", prototxt)


def test_a_folder_without_a_net(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    net = _file(tmp_path / "net.prototxt", NET)
    with pytest.raises(caffefold.InputError, match="no prototxt of a net in this folder"):
        caffefold.diff(tmp_path / "empty", net)


def test_weights_for_a_caffemodel_make_no_sense(tmp_path: Path) -> None:
    _, caffemodel = _weighted(tmp_path / "a")
    with pytest.raises(caffefold.InputError, match="this is a caffemodel itself"):
        caffefold.diff(caffemodel, caffemodel, weights=(caffemodel, caffemodel))


def test_weights_of_one_side_are_said_to_be_unused(tmp_path: Path) -> None:
    prototxt, caffemodel = _weighted(tmp_path / "a")
    found = caffefold.diff(prototxt, prototxt, weights=(caffemodel, None))
    assert any("no weights were compared" in note for note in found.notes)
    assert not found.weights_compared


def test_templates_are_filled_where_weights_tell(tmp_path: Path) -> None:
    random = Numbers()
    layers = [data(1, 3, 8, 8), random.conv("conv1", "data", 3, 12)]
    prototxt, caffemodel = write(tmp_path, layers)
    text = prototxt.read_text().replace("num_output: 12", "num_output: cls3x")
    template = _file(tmp_path / "template.prototxt", text)
    assert not caffefold.diff(template, prototxt, weights=(caffemodel, caffemodel))
    (entry,) = caffefold.diff(template, prototxt).changed
    assert [(c.before, c.after) for c in entry.fields] == [("cls3x", 12)]


def test_data_layers_and_losses_have_successors(tmp_path: Path) -> None:
    train = (
        layer("data", "Data", "", "data label", 'data_param { source: "x" }')
        + conv("conv1", "data")
        + layer("loss", "SoftmaxWithLoss", "conv1 label", "loss")
        + layer("acc", "Accuracy", "conv1 label", "acc", "include { phase: TEST }")
    )
    deploy = DATA + conv("conv1", "data") + layer("prob", "Softmax", "conv1", "prob")
    one = _file(tmp_path / "train.prototxt", train)
    two = _file(tmp_path / "deploy.prototxt", deploy)
    found = caffefold.diff(one, two)
    assert [(r.kind, r.removed, r.added) for r in found.replacements] == [
        ("input", ("data",), ("data",)),
        ("head", ("loss",), ("prob",)),
    ]
    assert {row.layer.name: row.reason for row in found.removed} == {"loss": "loss", "acc": "loss"}
    assert not caffefold.diff(one, two, ignore_training=True)


def test_an_input_of_another_name_stands_for_the_data_layer(tmp_path: Path) -> None:
    train = layer("digits", "Data", "", "data label") + conv("conv1", "data")
    one = _file(tmp_path / "train.prototxt", train)
    two = _file(tmp_path / "deploy.prototxt", DATA + conv("conv1", "data"))
    found = caffefold.diff(one, two)
    (entry,) = found.changed
    assert (entry.before.name, entry.after.name, entry.reason) == ("digits", "data", "input")
    assert found.totals == {"-": 0, "+": 0, "~": 1, ">": 0, "=": 1}
    assert not caffefold.diff(one, two, ignore_training=True)


def test_an_auxiliary_head_is_training(tmp_path: Path) -> None:
    body = DATA + conv("conv1", "data") + layer("prob", "Softmax", "conv1", "prob")
    aux = conv("aux1", "data") + layer("aux2", "ReLU", "aux1", "aux2")
    aux += layer("aux_loss", "EuclideanLoss", "aux2 data", "aux_loss")
    found = caffefold.diff(
        _file(tmp_path / "a.prototxt", body + aux), _file(tmp_path / "b.prototxt", body)
    )
    assert {row.layer.name: row.reason for row in found.removed} == {
        "aux1": "training",
        "aux2": "training",
        "aux_loss": "loss",
    }


@pytest.mark.parametrize(
    ("option", "value"),
    [("level", "deep"), ("phase", "VAL"), ("rtol", -1.0), ("atol", float("nan"))],
)
def test_options_are_checked(tmp_path: Path, option: str, value: object) -> None:
    net = _file(tmp_path / "net.prototxt", NET)
    options: dict[str, object] = {option: value}
    with pytest.raises(caffefold.UsageError, match=option):
        caffefold.diff(net, net, **options)  # type: ignore[arg-type]


def test_only_some_layers(tmp_path: Path) -> None:
    one = _file(tmp_path / "a.prototxt", DATA + conv("x1", "data") + conv("y1", "x1"))
    two = _file(tmp_path / "b.prototxt", DATA + conv("x1", "data", 9) + conv("y1", "x1", 9))
    assert [r.before.name for r in caffefold.diff(one, two, only=["x*"]).changed] == ["x1"]
    assert not caffefold.diff(one, two, only=["data"])


def test_an_hdf5_snapshot_needs_its_prototxt(tmp_path: Path) -> None:
    """It holds no types and no order; with the prototxt it compares as the binary one does."""
    h5py = pytest.importorskip("h5py")
    random = Numbers()
    prototxt, binary = write(tmp_path, [data(1, 3, 6, 6), random.conv("conv", "data", 3, 4)])
    snapshot = tmp_path / "net.caffemodel.h5"
    with caffefold.load(prototxt, binary) as net, h5py.File(snapshot, "w") as file:
        for i, blob in enumerate(net.layers[1].blobs):
            file[f"data/conv/{i}"] = np.asarray(blob)
    with pytest.raises(caffefold.InputError, match="neither the types nor the order"):
        caffefold.diff(binary, snapshot)
    assert not caffefold.diff(prototxt, prototxt, weights=(binary, snapshot))
