"""The reference evaluator against real Caffe's outputs, and on random nets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("torch")

from caffefold.testing import net_text
from tests.reference.caffe_read import read_net
from tests.reference.caffe_torch import net_outputs, run, unsupported
from tests.reference.random_nets import RandomNet, nets, perturbed
from tests.support.goldens import EDGE, SHARED, AnyArray, golden

CORPUS = sorted(path.parent for path in SHARED.glob("corpus/*/*/golden.npz"))

LIMIT = 1e-5
SOFTMAX_LIMIT = {
    # Logits up to 183 come in steps of 1.5e-5, which Softmax turns into as much relative error.
    "sfd-mod11e-imagenet": 5e-5,
}
BY_ORDER = {"detection_out"}  # the last bit of a score may exchange rows


def error(got: AnyArray, want: AnyArray) -> float:
    """The largest difference, in parts of the largest value."""
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / np.abs(want).max())


# --------------------------------------------------------------------------------------- real Caffe


@pytest.mark.parametrize("folder", EDGE, ids=lambda folder: folder.name)
def test_edge_nets(folder: Path) -> None:
    want = golden(folder, "out_")
    net = folder / "net.prototxt"
    got = run(net, folder / "weights.caffemodel", golden(folder, "in_"))
    assert net_outputs(net) == sorted(want)
    assert {name: value for name in want if (value := error(got[name], want[name])) > LIMIT} == {}


@pytest.mark.skipif(not EDGE, reason="no shared models")
def test_stored_statistics_where_the_net_asks_for_the_batch_s() -> None:
    folder = SHARED / "models/edge/use_global_stats_false"
    text = (folder / "net.prototxt").read_text(encoding="utf-8")
    text = text.replace("use_global_stats: false", "use_global_stats: true")
    got = run(text, folder / "weights.caffemodel", golden(folder, "in_"))
    assert error(got["fc"], golden(folder, "global_")["fc"]) < LIMIT


@pytest.mark.skipif(not EDGE, reason="no shared models")
def test_lenet() -> None:
    folder = SHARED / "models/lenet_bn"
    want = golden(folder, "")
    got = run(
        folder / "deploy_bn.prototxt",
        folder / "lenet_bn_iter_5000.caffemodel",
        {"data": want["inputs"]},
    )
    assert error(got["ip3"], want["logits"]) < LIMIT
    assert error(got["prob"], want["prob"]) < LIMIT


@pytest.mark.skipif(not EDGE, reason="no shared models")
def test_mobilenet_ssd() -> None:
    folder = SHARED / "models/mobilenet_ssd_shapes"
    want = golden(folder, "")
    names = ["mbox_loc", "mbox_conf_flatten"]
    net, weights = folder / "deploy_bn.prototxt", folder / "shapes_iter_9000.caffemodel"
    got = run(net, weights, {"data": want["data"]}, names)
    for name in names:
        assert error(got[name], want[name]) < LIMIT
    priors = run(net, weights, {"data": want["data"]}, ["mbox_priorbox"])["mbox_priorbox"]
    assert error(priors, want["mbox_priorbox"]) < LIMIT


def test_a_layer_it_does_not_know() -> None:
    text = net_text("x Input -> x { input_param { shape { dim: 1 } } }\ny New x -> y")
    assert unsupported(text) == {"New"}
    with pytest.raises(NotImplementedError, match="y: New"):
        run(text, b"", {"x": np.zeros(1)})


@pytest.mark.parametrize("folder", CORPUS, ids=lambda folder: folder.name)
def test_real_models(folder: Path) -> None:
    net = folder / "deploy.prototxt"
    if not net.exists():
        net = folder / "train_val.prototxt"
    want = golden(folder, "output:", "mid:")
    names = [name for name in want if name not in BY_ORDER]
    got = run(net, folder / "weights.caffemodel", golden(folder, "input:"), names)
    makers = {top: layer.type for layer in read_net(net).layer for top in layer.top}
    for name in names:
        softmax = makers[name] == "Softmax"
        limit = SOFTMAX_LIMIT.get(folder.name, LIMIT) if softmax else LIMIT
        assert error(got[name], want[name]) < limit, name


# -------------------------------------------------------------------------------------- random nets


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(nets())
def test_random_nets_are_valid_and_do_not_blow_rounding_up(net: RandomNet) -> None:
    values = run(net.prototxt, net.caffemodel, net.inputs)
    moved = run(net.prototxt, perturbed(net.caffemodel), net.inputs)
    for name in net_outputs(net.prototxt):
        size = np.abs(values[name]).max()
        assert np.isfinite(size)
        assert np.abs(values[name] - moved[name]).max() <= 1e-5 * max(size, 0.1)
