"""Without a caffemodel only the structure is converted, and that is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import caffefold
from caffefold.options import Directions
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair
from tests.support.deploy import net

TRAIN = net(
    """
    data ImageData -> data label { transform_param { crop_size: 8 } }
    conv Convolution data -> conv { convolution_param { num_output: 4 kernel_size: 1 } }
    bn BatchNorm conv -> conv
    drop Dropout conv -> drop
    fc InnerProduct drop -> fc { inner_product_param { num_output: 2 } }
    loss SoftmaxWithLoss fc label -> loss
    """
)


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.prototxt"
    path.write_text(TRAIN, encoding="utf-8")
    return path


def test_structure_alone(train: Path, tmp_path: Path) -> None:
    report = caffefold.convert(train, None, tmp_path / "out/net")
    names = [layer.name for layer in caffefold.load(tmp_path / "out/net.prototxt").layers]
    assert names == ["data", "conv", "fc", "prob"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "net.prototxt",
        "net.report.json",
    ]
    assert not report.weights
    assert (report.skips, report.proof.outputs) == ((), ("prob",))
    assert [fold.layer for fold in report.proof.folds] == ["conv"]
    assert [Path(item.path).name for item in report.inputs] == ["train.prototxt"]
    assert [Path(item.path).name for item in report.outputs] == ["net.prototxt"]


def test_the_report_says_so(train: Path, tmp_path: Path) -> None:
    caffefold.convert(train, None, tmp_path / "net")
    assert json.loads((tmp_path / "net.report.json").read_text())["weights"] is False


def test_dropout_stays_when_nothing_is_to_be_folded(train: Path, tmp_path: Path) -> None:
    caffefold.convert(train, None, tmp_path / "net", fold="none")
    layers = caffefold.load(tmp_path / "net.prototxt").layers
    assert [layer.name for layer in layers] == ["data", "conv", "bn", "drop", "fc", "prob"]


def test_an_older_caffemodel_is_left_alone(train: Path, tmp_path: Path) -> None:
    (tmp_path / "net.caffemodel").write_bytes(b"somebody's")
    with pytest.raises(caffefold.OutputError, match="already exists"):
        caffefold.convert(train, None, tmp_path / "net")
    caffefold.convert(train, None, tmp_path / "net", force=True)
    assert (tmp_path / "net.caffemodel").read_bytes() == b"somebody's"


def test_twice_is_once(train: Path, tmp_path: Path) -> None:
    caffefold.convert(train, None, tmp_path / "one")
    caffefold.convert(tmp_path / "one.prototxt", None, tmp_path / "two")
    one, two = (tmp_path / f"{name}.prototxt" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_line_ends_of_the_source(train: Path, tmp_path: Path) -> None:
    train.write_bytes(TRAIN.replace("\n", "\r\n").encode())
    caffefold.convert(train, None, tmp_path / "net")
    written = (tmp_path / "net.prototxt").read_bytes()
    assert b"input_param" in written
    assert written.count(b"\n") == written.count(b"\r\n")


N = RandomLayers(2)


def _families() -> dict[str, list[LayerSpec]]:
    """Small nets whose folds differ: at outputs, at inputs, through Concat, not at all."""
    join = LayerSpec("cat", "Concat", "a b")
    conv = N.conv("a", "data", 4, 4)
    return {
        "output": [conv, N.batch_norm("bn", "a", 4), N.scale("sc", "bn", 4)],
        "no bias": [N.conv("a", "data", 4, 4, bias=False), N.batch_norm("bn", "a", 4)],
        "input": [N.batch_norm("bn", "data", 4), N.scale("sc", "bn", 4), N.conv("a", "sc", 4, 6)],
        "padded": [N.batch_norm("bn", "data", 4), N.conv("a", "bn", 4, 4, params="pad: 1")],
        "groups": [N.conv("a", "data", 4, 8, group=4), N.batch_norm("bn", "a", 8)],
        "deconvolution": [
            N.conv("a", "data", 4, 4, group=2, kind="Deconvolution"),
            N.batch_norm("bn", "a", 4),
        ],
        "product": [
            N.batch_norm("bn", "data", 4),
            N.inner_product("a", "bn", 4 * 36, 5, transpose=True),
        ],
        "branches": [conv, N.conv("b", "data", 4, 3), join, N.batch_norm("bn", "cat", 7)],
        "between": [conv, relu("r", "a"), N.batch_norm("bn", "a", 4), N.scale("sc", "bn", 4)],
        "readers": [conv, N.batch_norm("bn", "a", 4), relu("end", "bn"), relu("side", "a", "side")],
    }


@pytest.mark.parametrize("family", _families())
@pytest.mark.parametrize("fold", ["all", "output", "none"])
def test_the_same_structure_as_with_weights(tmp_path: Path, family: str, fold: Directions) -> None:
    layers = [input_layer(1, 4, 6, 6), *_families()[family]]
    prototxt, caffemodel = write_pair(tmp_path, layers)
    caffefold.convert(prototxt, caffemodel, tmp_path / "with", fold=fold)
    caffefold.convert(prototxt, None, tmp_path / "without", fold=fold)
    texts = [(tmp_path / f"{stem}.prototxt").read_bytes() for stem in ("with", "without")]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("template", ["train_template", "deploy_bn"])
def test_mobilenet_ssd(tmp_path: Path, samples: Path, template: str) -> None:
    folder = samples / "mobilenet_ssd_shapes"
    net, snapshot = folder / f"{template}.prototxt", folder / "shapes_iter_9000.caffemodel"
    caffefold.convert(net, snapshot, tmp_path / "with")
    report = caffefold.convert(net, None, tmp_path / "without", classes=4)
    texts = [(tmp_path / f"{stem}.prototxt").read_bytes() for stem in ("with", "without")]
    assert texts[0] == texts[1]
    assert len(report.proof.folds) == 35
