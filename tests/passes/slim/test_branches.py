"""Branches of sums that add the same everywhere go, with all that leads to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.testing import LayerSpec, write_pair
from tests.passes.slim.structures import SAME, N, block, residual
from tests.passes.slim.test_options import files

BLOCK = ["r1", "r1/bn", "r1/scale", "r1/relu", "r2", "r2/bn", "r2/scale"]
COEFFICIENTS = "eltwise_param { coeff: 0.5 coeff: 2 }"


def same(folder: Path, pair: tuple[Path, Path], made: tuple[Path, ...]) -> None:
    pytest.importorskip("torch")
    from tests.reference.caffe_torch import net_outputs, run

    inputs = {"data": np.random.default_rng(3).normal(size=(1, 3, 9, 9))}
    wanted = run(*pair, inputs, net_outputs(pair[0]))
    found = run(made[0], made[1], inputs, net_outputs(made[0]))
    assert found.keys() == wanted.keys()
    for blob, values in wanted.items():
        np.testing.assert_allclose(found[blob], values, atol=1e-6 * np.abs(values).max())


@pytest.mark.parametrize("shift", [0.0, 1.5])
@pytest.mark.parametrize("coefficients", ["", COEFFICIENTS])
@pytest.mark.parametrize("sides", ["a r2", "r2 a"])
def test_a_dead_block_goes_whole(
    tmp_path: Path, shift: float, coefficients: str, sides: str
) -> None:
    """The sum becomes a Scale, which stays where it does something: there is a ReLU before."""
    pair = write_pair(tmp_path, residual(shift, sides, coefficients))
    net = caffefold.load(*pair)
    result = caffefold.slim(net)
    assert [x.name for x in net if x.name not in result.net] == BLOCK
    assert result.channels == (14, 9)
    assert "7 layers that only added a constant: r1, " in str(result)
    scale = result.net["e"]
    own, other = (0.5, 2.0) if coefficients else (1.0, 1.0)
    own, other = (own, other) if sides == "a r2" else (other, own)
    assert scale.type == "Scale"
    np.testing.assert_array_equal(np.asarray(scale.blobs[0]), np.full(5, own))
    np.testing.assert_array_equal(np.asarray(scale.blobs[1]), np.full(5, other * shift))
    assert result.costs[1].macs == caffefold.inspect(result.net).totals.macs
    rows = {row.layer: row for row in result.table}
    assert rows["r2"].outputs == (5, 0)
    same(tmp_path, pair, caffefold.save(result.net, tmp_path / "slim"))
    report = caffefold.convert(*pair, tmp_path / "out", slim=True)
    assert ("e" in report.nets[1]) is (shift != 0 or bool(coefficients))
    same(tmp_path, pair, (tmp_path / "out.prototxt", tmp_path / "out.caffemodel"))


def three(shift: float) -> list[LayerSpec]:
    side = block("c", "data", 3, 5, {}, **SAME)
    made = residual(shift, "a r2 c", "eltwise_param { coeff: 1 coeff: 2 coeff: 3 }")
    return [*made[:1], *side, *made[1:]]


def test_of_three_sides_the_one_that_is_0_goes(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, three(0.0))
    result = caffefold.slim(caffefold.load(*pair))
    assert result.net["e"].bottoms == ("a", "c")
    assert result.net["e"].params("eltwise_param").numbers("coeff") == (1, 3)
    assert not any(name in result.net for name in BLOCK)
    same(tmp_path, pair, caffefold.save(result.net, tmp_path / "slim"))
    other = caffefold.slim(caffefold.load(*write_pair(tmp_path, three(1.0), "other")))
    assert other.net["e"].bottoms == ("a", "r2", "c")


def test_what_leads_elsewhere_stays(tmp_path: Path) -> None:
    """r1 is read by another layer, which is an output; a layer that is kept keeps its branch."""
    layers = [*residual(0.0), N.conv("x", "r1", 4, 2)]
    result = caffefold.slim(caffefold.load(*write_pair(tmp_path, layers)))
    assert "r1/relu" in result.net
    assert "r2" not in result.net
    kept = caffefold.slim(caffefold.load(*write_pair(tmp_path, residual(0.0))), keep=["r1"])
    assert kept.table == ()


def test_a_maximum_or_an_output_stays(tmp_path: Path) -> None:
    layers = residual(0.0, more="eltwise_param { operation: MAX }")
    assert "r2" in caffefold.slim(caffefold.load(*write_pair(tmp_path, layers))).net
    made = caffefold.slim(caffefold.load(*write_pair(tmp_path, residual(1.0)[:-2], "out")))
    assert made.net.outputs == ("e",)
    assert made.proof.outputs[0].error < 1e-12


TRAIN = """name: "net"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  data_param { source: "train" batch_size: 8 } transform_param { crop_size: 9 } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 bias_term: false } }
# the block
layer { name: "r" type: "Convolution" bottom: "a" top: "r"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 bias_term: false } }
layer { name: "bn" type: "BatchNorm" bottom: "r" top: "r" }
layer { name: "scale" type: "Scale" bottom: "r" top: "r" scale_param { bias_term: true } }
layer { name: "e" type: "Eltwise" bottom: "a" bottom: "r" top: "e" }
layer { name: "fc" type: "InnerProduct" bottom: "e" top: "fc"
  inner_product_param { num_output: 4 } }
%s
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
AUXILIARY = """layer { name: "aux" type: "SoftmaxWithLoss" bottom: "r" bottom: "label" top: "aux"
  loss_weight: 0.3 include { phase: TRAIN } }"""


def test_a_training_net_loses_the_block_too(tmp_path: Path) -> None:
    shift = N.normal(6)
    blobs = {
        "a": [N.normal(6, 3, 3, 3)],
        "r": [N.normal(6, 6, 3, 3)],
        "bn": N.statistics(6),
        "scale": [np.zeros(6, np.float32), shift],
        "fc": [N.normal(4, 6 * 81), N.normal(4)],
    }
    net = caffefold.load(*files(tmp_path, TRAIN % "", blobs))
    result = caffefold.slim(net, keep_training=True)
    assert [layer.name for layer in result.net] == ["data", "a", "e", "fc", "loss"]
    assert result.proof.blobs
    np.testing.assert_array_equal(np.asarray(result.net["e"].blobs[1]), shift)
    read = caffefold.load(*files(tmp_path, TRAIN % AUXILIARY, blobs))
    assert "r" in caffefold.slim(read, keep_training=True).net
