"""Planted faults are all found, and no right fold is called different."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.errors import CaffefoldError
from caffefold.ir.net import Net
from caffefold.verification.verifying import Verifier
from tests.verification.deep import DEEP
from tests.verification.faults import FAULTS, folded

OPTIONS: dict[str, Any] = {
    "runtime": "onnxruntime" if find_spec("onnxruntime") else "reference",
}


def _reread(net: Net, folder: Path) -> Net:
    return caffefold.load(*caffefold.save(net, folder / "made", force=True))


def _verdict(verifier: Verifier, net: Net, folder: Path) -> str:
    try:
        return verifier.of(_reread(net, folder)).verdict
    except CaffefoldError:  # Caffe would not take it either
        return "different"


@pytest.mark.parametrize("name", ["residual", "MobileNet-SSD, trained"])
def test_a_right_fold_of_a_deep_net_is_equal(name: str, tmp_path: Path) -> None:
    net = DEEP[name](tmp_path, 1)
    assert _verdict(Verifier(net, **OPTIONS), folded(net), tmp_path) == "equal"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_deep_net_is_found(fault: str, tmp_path: Path) -> None:
    net = DEEP["dense"](tmp_path, 1)
    wrong = FAULTS[fault](net, np.random.default_rng(7))
    assert _verdict(Verifier(net, **OPTIONS), wrong, tmp_path) == "different"


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_all_faults_in_all_deep_nets_are_found(name: str, tmp_path: Path) -> None:
    """Ten faults in each of five nets, each at a random place; three right folds are equal."""
    for seed in range(3):
        net = DEEP[name](tmp_path, seed)
        verifier = Verifier(net, seed=seed, **OPTIONS)
        assert _verdict(verifier, folded(net), tmp_path) == "equal"
    random = np.random.default_rng(11)
    missed = {
        fault: found
        for fault, make in FAULTS.items()
        if (found := _verdict(verifier, make(net, random), tmp_path)) != "different"
    }
    assert missed == {}
