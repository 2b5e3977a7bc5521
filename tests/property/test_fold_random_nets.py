"""Random nets: folding changes no blob, and folding twice changes nothing more.

Every blob name that is left holds what it held, outputs among them.

The witness is torch in float64 (tests/reference), which knows nothing of this package.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("torch")

import caffefold
from tests.reference.caffe_torch import net_outputs, run
from tests.reference.random_nets import RandomNet, nets

EXAMPLES = int(os.environ.get("CAFFEFOLD_EXAMPLES", "200"))
# The default run is the same every time; the long one (tox -e torch) explores.
SETTINGS = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="CAFFEFOLD_EXAMPLES" not in os.environ,
)
LIMIT = 2e-5  # of the largest value


def check(net: RandomNet, options: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prototxt, caffemodel = folder / "net.prototxt", folder / "net.caffemodel"
        prototxt.write_text(net.prototxt)
        caffemodel.write_bytes(net.caffemodel)
        caffefold.convert(prototxt, caffemodel, folder / "a", **options)  # type: ignore[arg-type]
        outputs = net_outputs(prototxt)
        assert sorted(net_outputs(folder / "a.prototxt")) == sorted(outputs)
        wanted = run(prototxt, caffemodel, net.inputs)
        found = run(folder / "a.prototxt", folder / "a.caffemodel", net.inputs)
        for blob in found.keys() & wanted.keys():
            # A ReLU that leaves next to nothing shows the rounding of what was large before.
            floor = max(float(np.abs(wanted[blob]).max()), 0.1)
            assert found[blob].shape == wanted[blob].shape
            assert float(np.abs(found[blob] - wanted[blob]).max()) <= LIMIT * floor, blob
        caffefold.convert(
            folder / "a.prototxt",
            folder / "a.caffemodel",
            folder / "b",
            **options,  # type: ignore[arg-type]
        )
        for suffix in ("prototxt", "caffemodel"):
            first, second = ((folder / f"{stem}.{suffix}").read_bytes() for stem in "ab")
            assert first == second, f"folding twice changed the {suffix}"


@settings(SETTINGS, max_examples=EXAMPLES)
@given(nets())
def test_same_blobs(net: RandomNet) -> None:
    check(net, {})


@settings(SETTINGS, max_examples=EXAMPLES // 4)
@given(nets())
def test_same_blobs_with_every_switch_turned(net: RandomNet) -> None:
    check(net, {"fold": "output", "collapse": False, "unshare": True})
