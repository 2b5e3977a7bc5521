"""By threshold, ratio and layer; multiples; training nets that stay training nets; files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

import caffefold
from caffefold.cli.main import run
from caffefold.ops.base import SkipCode
from caffefold.testing import LayerSpec, net_weights, relu, write_pair
from tests.passes.slim.structures import DATA, SAME, N


def sized(name: str, bottom: str, inputs: int, gammas: list[float]) -> list[LayerSpec]:
    """Convolution, BatchNorm, Scale of these gammas, ReLU."""
    count = len(gammas)
    params = "scale_param { bias_term: true }"
    return [
        N.conv(name, bottom, inputs, count, bias=False, **SAME),  # type: ignore[arg-type]
        N.batch_norm(f"{name}/bn", name, count, top=name),
        LayerSpec(
            f"{name}/scale", "Scale", name, name, params, [np.array(gammas), N.normal(count)]
        ),
        relu(f"{name}/relu", name),
    ]


NET = [
    DATA,
    *sized("a", "data", 3, [0.1, -0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
    *sized("c", "a", 8, [0.15, 0.9, 0.9, -0.9]),
    N.conv("b", "c", 4, 4),
]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"threshold": 0.2}, (6, 3)),
        ({"threshold": 0.05}, (8, 4)),
        ({"ratio": 0.25}, (6, 3)),
        ({"ratio": 0.5}, (3, 3)),
        ({"ratio": 1.0}, (1, 1)),
        ({"layers": {"a": 0.5}}, (4, 4)),
        ({"layers": {"a/sc*": 0.25, "c": 0.25}}, (6, 3)),
        ({"threshold": 0.3, "multiple": 4}, (8, 4)),
        ({"threshold": 0.35, "multiple": 2, "keep": ["b"]}, (6, 4)),
    ],
)
def test_by_size(tmp_path: Path, options: dict[str, object], left: tuple[int, int]) -> None:
    net = caffefold.load(*write_pair(tmp_path, NET))
    result = caffefold.slim(net, **options)  # type: ignore[arg-type]
    found = [result.net[name].params("convolution_param").integer("num_output") for name in "ac"]
    assert tuple(found) == left
    assert result.channels == (12, 12 - sum(left))
    gammas = sorted([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])[: 8 - left[0]]
    gammas += [0.15, 0.9, 0.9][: 4 - left[1]]
    assert result.gammas == pytest.approx((6.45, sum(gammas)), rel=1e-6)
    assert result.proof.approximate is (sum(left) < 12)
    scale = np.asarray(result.net["a/scale"].blobs[0])
    kept = np.array([0.1, -0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], np.float32)[8 - left[0] :]
    np.testing.assert_array_equal(scale, kept)


def test_what_goes_leaves_its_beta_behind(tmp_path: Path) -> None:
    """As if its gamma had been 0: exactly where nothing pads."""
    layers = [DATA, *sized("a", "data", 3, [0.1, 0.2, 0.7]), N.conv("b", "a", 3, 2)]
    cut = caffefold.slim(caffefold.load(*write_pair(tmp_path, layers)), threshold=0.2)
    layers[3].blobs[0][:2] = 0  # type: ignore[index]
    dead = caffefold.slim(caffefold.load(*write_pair(tmp_path, layers, "dead")))
    for one, other in zip(cut.net, dead.net, strict=True):
        for x, y in zip(one.blobs, other.blobs, strict=True):
            np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


TRAIN = """name: "net"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  data_param { source: "train" batch_size: 8 } transform_param { crop_size: 9 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  data_param { source: "test" batch_size: 2 } transform_param { crop_size: 9 } }
# the trunk
layer { name: "a" type: "Convolution" bottom: "data" top: "a"  # six of them
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 bias_term: false fork_field: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "a" top: "a" }
layer { name: "scale" type: "Scale" bottom: "a" top: "a" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
%s
layer { name: "fc" type: "InnerProduct" bottom: "a" top: "fc"
  inner_product_param { num_output: 4 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
AUXILIARY = """layer { name: "aux" type: "InnerProduct" bottom: "a" top: "aux"
  include { phase: TRAIN } inner_product_param { num_output: 4 } }
layer { name: "auxloss" type: "SoftmaxWithLoss" bottom: "aux" bottom: "label" top: "auxloss"
  loss_weight: 0.3 include { phase: TRAIN } }"""
BLOBS = {
    "a": [N.normal(6, 3, 3, 3)],
    "bn": N.statistics(6),
    "scale": [np.array([1, 0, 2, 0, 1, 1]), np.array([1, -1, 1, -2, 1, 1])],
    "fc": [N.normal(4, 6 * 81), N.normal(4)],
    "aux": [N.normal(4, 6 * 81), N.normal(4)],
}


def files(
    folder: Path, text: str, blobs: Mapping[str, Sequence[ArrayLike]] = BLOBS
) -> tuple[str, str]:
    pair = folder / "train.prototxt", folder / "train.caffemodel"
    pair[0].write_text(text)
    pair[1].write_bytes(net_weights(blobs))
    return str(pair[0]), str(pair[1])


def test_a_training_net_stays_one(tmp_path: Path) -> None:
    """Only num_output differs in the text; the deploy nets of both compute the same."""
    pair = files(tmp_path, TRAIN % "")
    arguments = ["slim", *pair, "-o", str(tmp_path / "out"), "--keep-training"]
    assert run([*arguments, "--allow-unknown"]) == 0
    text = (tmp_path / "out.prototxt").read_text()
    assert text == (TRAIN % "").replace("num_output: 6", "num_output: 4")
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["channels"] == {"before": 6, "gone": 2}
    small = caffefold.load(tmp_path / "out.prototxt", tmp_path / "out.caffemodel")
    shapes = {layer.name: [blob.shape for blob in layer.blobs] for layer in small if layer.blobs}
    assert shapes == {
        "a": [(4, 3, 3, 3)],
        "bn": [(4,), (4,), (1,)],
        "scale": [(4,), (4,)],
        "fc": [(4, 4 * 81), (4,)],
    }
    deploy = caffefold.to_deploy(small, allow_unknown=True).net
    wanted = caffefold.slim(caffefold.load(*pair), allow_unknown=True).net
    for one, other in zip(deploy, wanted, strict=True):
        for x, y in zip(one.blobs, other.blobs, strict=True):
            np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_what_training_alone_reads_stays(tmp_path: Path) -> None:
    pair = files(tmp_path, TRAIN % AUXILIARY)
    net = caffefold.load(*pair)
    kept = caffefold.slim(net, keep_training=True, allow_unknown=True)
    assert kept.channels[1] == 0
    (skip,) = kept.skips
    assert skip.code == SkipCode.TRAINING_READS
    assert "'aux' reads 'a' in training" in skip.message
    assert caffefold.slim(net, allow_unknown=True).channels[1] == 2


def test_the_command_writes_a_folded_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = [str(path) for path in write_pair(tmp_path, NET)]
    assert (
        run(["slim", *pair, "-o", str(tmp_path / "x"), "--layer", "a=0.5", "--multiple", "2"]) == 0
    )
    shown = capsys.readouterr().out
    assert "slimmed   4 of 12 channels with a gamma, 16% of all |gamma|" in shown
    assert "a: 8 -> 4" in shown
    assert "approximate; relative difference on seeded inputs: 'b'" in shown
    net = caffefold.load(tmp_path / "x.prototxt", tmp_path / "x.caffemodel")
    assert [layer.name for layer in net] == ["data", "a", "a/relu", "c", "c/relu", "b"]
    assert np.asarray(net["c"].blobs[0]).shape == (4, 4, 3, 3)
    report = json.loads((tmp_path / "x.report.json").read_text())
    assert report["slimmed"]["channels"] == {"before": 12, "gone": 4}
    assert run(["slim", *pair, "-o", str(tmp_path / "y"), "--layer", "a=half"]) == 2
    assert run(["slim", *pair, "-o", str(tmp_path / "y"), "--ratio", "1.5"]) == 2
    assert not (tmp_path / "y.prototxt").exists()


def test_groups_lose_as_many_each_the_smallest(tmp_path: Path) -> None:
    """The smallest two of all lie in one group: of each group one goes."""
    gammas = [0.1, 0.2, 0.9, 0.8, 0.7, 0.6]
    layers = [DATA, *sized("a", "data", 3, gammas), N.conv("g", "a", 6, 4, group=2)]
    result = caffefold.slim(caffefold.load(*write_pair(tmp_path, layers)), ratio=0.34)
    kept = np.array([0.2, 0.9, 0.8, 0.7], np.float32)
    np.testing.assert_array_equal(np.asarray(result.net["a/scale"].blobs[0]), kept)
