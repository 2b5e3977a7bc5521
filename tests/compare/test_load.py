"""What may be given as a side: solver, caffemodel alone, folder, template."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.testing import LayerSpec, RandomLayers, input_layer, net_text, relu, write_pair
from tests.compare.conftest import DATA, conv, layer

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
    random = RandomLayers(seed)
    first = random.conv("conv1", "data", 3, 4)
    layers = [
        input_layer(1, 3, 8, 8),
        first,
        relu("r1", "conv1"),
        random.inner_product("fc", "conv1", 144, 5),
    ]
    folder.mkdir(exist_ok=True)
    return write_pair(folder, layers)


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
    random = RandomLayers()
    layers = [
        input_layer(1, 3, 8, 8),
        random.conv("conv", "data", 3, 4),
        random.batch_norm("bn", "conv", 4),
    ]
    with caffefold.load(*write_pair(tmp_path, layers)) as net:
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
    plain = [
        input_layer(1, 3, 8, 8),
        LayerSpec("a", "ReLU", "data", "a"),
        LayerSpec("b", "ReLU", "data", "b"),
    ]
    split = [
        plain[0],
        LayerSpec(
            "data_input_0_split", "Split", "data", "data_input_0_split_0 data_input_0_split_1"
        ),
        LayerSpec("a", "ReLU", "data_input_0_split_0", "a"),
        LayerSpec("b", "ReLU", "data_input_0_split_1", "b"),
    ]
    for name in "ab":
        (tmp_path / name).mkdir()
    one, two = write_pair(tmp_path / "a", plain), write_pair(tmp_path / "b", split)
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
    random = RandomLayers()
    layers = [input_layer(1, 3, 8, 8), random.conv("conv1", "data", 3, 12)]
    prototxt, caffemodel = write_pair(tmp_path, layers)
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


def test_a_layer_does_what_the_data_layer_did(tmp_path: Path) -> None:
    """Caffe's own LeNet example: the scale of the data layer is a Power in front of conv1."""
    train = (
        layer("d", "Data", "", "scaled label", "transform_param { scale: 0.0125 }")
        + conv("conv1", "scaled")
        + layer("loss", "SoftmaxWithLoss", "conv1 label", "loss")
    )
    deploy = (
        DATA
        + layer("scale", "Power", "data", "scaled", "power_param { scale: 0.0125 }")
        + conv("conv1", "scaled")
        + layer("softmax", "Softmax", "conv1", "softmax")
    )
    one = _file(tmp_path / "train.prototxt", train)
    two = _file(tmp_path / "deploy.prototxt", deploy)
    found = caffefold.diff(one, two)
    assert [(r.kind, r.removed, r.added) for r in found.replacements] == [
        ("input", ("d",), ("data", "scale")),
        ("head", ("loss",), ("softmax",)),
    ]
    assert found.folds == ()
    assert [row.name for row in found.same] == ["conv1"]
    assert "Data -> Input 1x3x8x8, Power; 'label' dropped" in str(found)
    assert "scale: 0.0125 -> scale: 0.0125" in str(found)
    assert found.mirrored().replacements[0].added == ("d",)
    plain = _file(
        tmp_path / "plain.prototxt", train.replace("transform_param { scale: 0.0125 }", "")
    )
    (fold,) = caffefold.diff(plain, two).folds
    assert (fold.layers, fold.inverse) == (("scale",), True)


def test_two_inputs_stand_for_one_data_layer(tmp_path: Path) -> None:
    body = conv("conv1", "data") + layer("sum", "Eltwise", "conv1 more", "sum")
    one = _file(tmp_path / "a.prototxt", layer("d", "Python", "", "data more") + body)
    more = layer("more", "Input", "", "more", "input_param { shape { dim: 1 } }")
    two = _file(tmp_path / "b.prototxt", DATA + more + body)
    (section,) = caffefold.diff(one, two).summary.sections
    (item,) = section.items
    assert (item.text, item.more) == ("Python -> Input 1x3x8x8, Input 1", ("data, more",))


@pytest.mark.parametrize(
    ("loss", "head", "scales"),
    [
        ("RegionLoss", "YoloDetectionOutput", 1),
        ("Yolov3", "Yolov3DetectionOutput", 2),
        ("MultiBoxLoss", "DetectionOutput", 1),
    ],
)
def test_a_detector_stands_for_its_losses(
    tmp_path: Path, loss: str, head: str, scales: int
) -> None:
    body = DATA + "".join(conv(f"conv{n}", "data") for n in range(scales))
    label = layer("label", "Input", "", "label")
    losses = [layer(f"loss{n}", loss, f"conv{n} label", f"loss{n}") for n in range(scales)]
    reads = " ".join(f"conv{n}" for n in range(scales))
    one = _file(tmp_path / "train.prototxt", body + label + "".join(losses))
    two = _file(tmp_path / "deploy.prototxt", body + layer("detection_out", head, reads, "out"))
    found = caffefold.diff(one, two)
    names = tuple(f"loss{n}" for n in range(scales))
    assert [(r.kind, r.removed, r.added) for r in found.replacements] == [
        ("head", names, ("detection_out",))
    ]
    kinds = f"{scales} {loss}" if scales > 1 else loss
    (replaced,) = (s for s in found.summary.sections if s.title == "replaced")
    assert [item.text for item in replaced.items] == [f"{kinds} -> {head}"]


def test_records_that_a_merge_left_behind(tmp_path: Path) -> None:
    """The prototxt has no BatchNorm any more, the caffemodel still has."""
    make = RandomLayers()
    layers = [input_layer(1, 3, 8, 8), make.conv("conv1", "data", 3, 4)]
    norms = [make.batch_norm("bn1", "conv1", 4), make.scale("scale1", "conv1", 4)]
    prototxt, caffemodel = write_pair(tmp_path, [*layers, *norms])
    merged = _file(tmp_path / "merged.prototxt", net_text(layers))
    found = caffefold.diff(prototxt, merged, weights=(caffemodel, caffemodel))
    (note,) = found.notes
    assert note == (
        f"{caffemodel}: 2 layers of the caffemodel (1 BatchNorm, 1 Scale: bn1, scale1) are not in "
        f"{merged}: left behind by a merge that did not take them out; no layer uses their numbers"
    )
    assert caffefold.diff(prototxt, prototxt, weights=(caffemodel, caffemodel)).notes == ()


def test_two_states_of_one_net_are_told_apart(tmp_path: Path) -> None:
    make = RandomLayers()
    layers = [make.conv("conv", "data", 3, 4), make.batch_norm("bn", "conv", 4)]
    prototxt, caffemodel = write_pair(tmp_path, [input_layer(1, 3, 8, 8), *layers])
    with caffefold.load(prototxt, caffemodel) as net:
        found = caffefold.diff(net, caffefold.fold(net).net)
        assert (found.a.path, found.b.path) == (
            f"{prototxt} (A, in memory)",
            f"{prototxt} (B, in memory)",
        )
        against = caffefold.diff((prototxt, caffemodel), net)
        assert (against.a.path, against.b.path) == (str(prototxt), f"{prototxt} (B, in memory)")


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
    random = RandomLayers()
    prototxt, binary = write_pair(
        tmp_path, [input_layer(1, 3, 6, 6), random.conv("conv", "data", 3, 4)]
    )
    snapshot = tmp_path / "net.caffemodel.h5"
    with caffefold.load(prototxt, binary) as net, h5py.File(snapshot, "w") as file:
        for i, blob in enumerate(net.layers[1].blobs):
            file[f"data/conv/{i}"] = np.asarray(blob)
    with pytest.raises(caffefold.InputError, match="neither the types nor the order"):
        caffefold.diff(binary, snapshot)
    assert not caffefold.diff(prototxt, prototxt, weights=(binary, snapshot))
