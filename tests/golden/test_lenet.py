"""LeNet with BatchNorm on convolutions and fully connected layers, against real Caffe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from caffefold._proto import caffe_pb2

if TYPE_CHECKING:
    from tests.golden.conftest import Floats, Model, Workbench

TOLERANCE = 1e-5  # of the largest value
INPUT = {"data": (1, 1, 28, 28)}
# The name of each output in golden.npz, and the blob it is.
OUTPUTS = {"logits": "ip3", "prob": "prob"}


@pytest.fixture(scope="session")
def folder(samples: Path) -> Path:
    return samples / "lenet_bn"


@pytest.fixture(scope="session")
def unfolded(folder: Path, bench: Workbench) -> Model:
    """The reference deploy net with the snapshot as it is."""
    return bench.model(folder / "deploy_bn.prototxt", folder / "lenet_bn_iter_5000.caffemodel")


@pytest.fixture(scope="session", params=["train_val.prototxt", "deploy_bn.prototxt"])
def folded(
    request: pytest.FixtureRequest, folder: Path, unfolded: Model, bench: Workbench
) -> Model:
    given = bench.model(folder / request.param, unfolded.caffemodel)
    return bench.convert(given, f"lenet_from_{given.prototxt.stem}", input_shapes=INPUT)


def test_real_caffe_is_matched(folder: Path, folded: Model, bench: Workbench) -> None:
    golden = dict(np.load(folder / "golden.npz"))
    found = folded.run({"data": golden["inputs"]}, list(OUTPUTS.values()))
    for name, blob in OUTPUTS.items():
        assert bench.difference(found[blob], golden[name]) < TOLERANCE


def test_nothing_of_batch_norm_is_left(folded: Model, unfolded: Model) -> None:
    kinds = [kind for _, kind in folded.layers()]
    assert not {"BatchNorm", "Scale"} & set(kinds)
    assert kinds == [kind for _, kind in unfolded.layers() if kind not in ("BatchNorm", "Scale")]


def test_accuracy_is_unchanged(
    folder: Path, unfolded: Model, folded: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = dict(np.load(folder / "test_digits.npz"))

    def predict(model: Model) -> Floats:
        prob = model.run({"data": digits["inputs"]}, ["prob"])["prob"]
        return np.asarray(prob.reshape(len(digits["labels"]), 10).argmax(axis=1))

    before, after = predict(unfolded), predict(folded)
    right = [int((found == digits["labels"]).sum()) for found in (before, after)]
    with capsys.disabled():
        for when, count in zip(("before", "after"), right, strict=True):
            share = count / len(digits["labels"])
            print(
                f"\nLeNet-BN {when:>6} folding: {count} of {len(before)} digits, {share:.2%}",
                end="",
            )
    np.testing.assert_array_equal(before, after)
    assert right == [356, 356]  # what caffe test counted


def test_the_comparison_can_fail(folder: Path, folded: Model, bench: Workbench) -> None:
    """One weight of a fully connected layer, off by a hundredth of the largest one."""
    net = caffe_pb2.NetParameter.FromString(folded.caffemodel.read_bytes())
    blob = next(layer for layer in net.layer if layer.name == "ip2").blobs[0]
    largest = max(range(len(blob.data)), key=lambda i: abs(blob.data[i]))
    blob.data[largest] *= 1.01
    spoiled = bench.model(folded.prototxt, bench.folder / "spoiled_lenet.caffemodel")
    spoiled.caffemodel.write_bytes(net.SerializeToString())
    golden = dict(np.load(folder / "golden.npz"))
    found = spoiled.run({"data": golden["inputs"]}, ["ip3"])
    assert bench.difference(found["ip3"], golden["logits"]) > TOLERANCE
