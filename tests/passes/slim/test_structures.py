"""Planted dead channels go, exactly these, and what the net computes stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.testing import write_pair
from tests.passes.slim.structures import CASES, Case

LIMIT = 1e-6  # of the largest value: biases are rounded to float32


def outputs(net: caffefold.Net) -> dict[str, int]:
    """What the text says, and what the weights say, of each layer with a num_output."""
    found = {}
    for layer in net:
        for kind in ("convolution_param", "inner_product_param"):
            if layer.body.message(kind) is not None:
                found[layer.name] = layer.params(kind).integer("num_output")
    return found


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_exactly_the_planted_channels_go(tmp_path: Path, case: Case) -> None:
    net = caffefold.load(*write_pair(tmp_path, case.layers))
    before, result = outputs(net), caffefold.slim(net)
    assert outputs(result.net) == {**before, **case.left}
    assert result.proof.blobs
    assert result.proof.worst is not None
    assert result.proof.worst.error < 1e-12
    # What neither lost channels nor reads one that did is the very layer it was.
    names = {row.layer for row in result.table}
    for old, new in zip(caffefold.to_deploy(net).net, result.net, strict=True):
        same = [np.asarray(b).tolist() for b in old.blobs] == [
            np.asarray(b).tolist() for b in new.blobs
        ]
        assert (str(old.body) == str(new.body) and same) is (old.name not in names), old.name


def test_it_computes_the_same(tmp_path: Path, case: Case) -> None:
    """By torch, which knows nothing of this package, as a deploy net and folded."""
    pytest.importorskip("torch")
    from tests.reference.caffe_torch import net_outputs, run

    pair = write_pair(tmp_path, case.layers)
    inputs = {"data": np.random.default_rng(3).normal(size=(1, 3, 9, 9))}
    wanted = run(*pair, inputs, net_outputs(pair[0]))
    slimmed = caffefold.slim(caffefold.load(*pair)).net
    plain = caffefold.save(slimmed, tmp_path / "slim")
    caffefold.convert(*pair, tmp_path / "out", slim=True)
    folded = tmp_path / "out.prototxt", tmp_path / "out.caffemodel"
    for text, weights in ((plain[0], plain[1]), folded):
        found = run(text, weights, inputs, net_outputs(text))
        assert found.keys() == wanted.keys()
        for blob, values in wanted.items():
            error = np.abs(found[blob] - values).max()
            assert error <= LIMIT * np.abs(values).max(), blob


def test_slimming_twice_changes_nothing_more(tmp_path: Path, case: Case) -> None:
    net = caffefold.load(*write_pair(tmp_path, case.layers))
    once = caffefold.slim(net).net
    caffefold.save(once, tmp_path / "once")
    again = caffefold.load(tmp_path / "once.prototxt", tmp_path / "once.caffemodel")
    twice = caffefold.slim(again)
    assert outputs(twice.net) == outputs(once)
