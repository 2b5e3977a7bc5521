"""Random nets with channels that do nothing: slimmed, every result is what it was.

The witness is torch in float64 (tests/reference), which knows nothing of this package.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import caffefold
from caffefold._proto import caffe_pb2 as pb
from tests.reference.caffe_torch import net_outputs, run
from tests.reference.random_nets import RandomNet, nets

EXAMPLES = int(os.environ.get("CAFFEFOLD_EXAMPLES", "60"))
LIMIT = 2e-5  # of the largest value


def planted(net: RandomNet, seed: int) -> RandomNet:
    """About a third of all rows of weights, and of gammas, are zero; beta often is, too."""
    model = pb.NetParameter()
    model.ParseFromString(net.caffemodel)
    draw = np.random.default_rng(seed)
    for layer in model.layer:
        if layer.type not in ("Scale", "Convolution", "InnerProduct") or not layer.blobs:
            continue
        shape = tuple(layer.blobs[0].shape.dim)
        for number, blob in enumerate(layer.blobs):
            rows = shape[0] if shape else 1
            if len(blob.data) % rows:  # of a transposed product
                continue
            values = np.array(blob.data).reshape(rows, -1)
            gone = np.random.default_rng((seed, len(layer.name))).random(len(values)) < 0.35
            if number:
                gone &= draw.random(len(values)) < 0.6
            values[gone] = 0
            blob.data[:] = values.ravel().tolist()
    return net._replace(caffemodel=model.SerializeToString())


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="CAFFEFOLD_EXAMPLES" not in os.environ,
)
@given(nets(min_layers=4, max_layers=14), st.integers(0, 2**16 - 1))
def test_results_stay(net: RandomNet, seed: int) -> None:
    net = planted(net, seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = folder / "net.prototxt", folder / "net.caffemodel"
        pair[0].write_text(net.prototxt)
        pair[1].write_bytes(net.caffemodel)
        caffefold.convert(*pair, folder / "a", slim=True)
        outputs = net_outputs(pair[0])
        wanted = run(*pair, net.inputs, outputs)
        found = run(folder / "a.prototxt", folder / "a.caffemodel", net.inputs)
        for blob in outputs:
            floor = max(float(np.abs(wanted[blob]).max()), 0.1)
            assert found[blob].shape == wanted[blob].shape
            assert float(np.abs(found[blob] - wanted[blob]).max()) <= LIMIT * floor, blob
