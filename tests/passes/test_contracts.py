"""What passes require and ensure: a net that breaks it is noticed, where that is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from caffefold.ir.net import Net
from caffefold.options import ConvertOptions
from caffefold.passes import pipeline
from caffefold.passes.contracts import (
    Condition,
    ContractError,
    blobs_fit,
    text_agrees,
    wired,
    without_losses,
    without_rules,
)
from caffefold.passes.infra import Pass, PassResult, run

CONV = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" %s }'
FINE = (
    'input: "data"\n' + CONV % "convolution_param { num_output: 1 kernel_size: 1 bias_term: false }"
)


def net(text: str) -> Net:
    return Net.from_text(text)


@pytest.mark.parametrize(
    ("condition", "broken", "complaint"),
    [
        (wired, net(CONV % ""), "bottom 'data' is not made by any"),
        (wired, net(FINE + FINE.partition("\n")[2]), "top 'c' is already made by"),
        (without_rules, net('input: "data"' + CONV % "include { phase: TEST }"), "'c': an include"),
        (without_losses, net(FINE + 'layer { name: "l" type: "SoftmaxWithLoss" }'), "is a loss"),
        (
            blobs_fit,
            Net.from_text(FINE, {"c": [[[[[1.0]]]], [1.0]]}),
            "'c' needs 1 blobs, the caffemodel has 2",
        ),
    ],
)
def test_conditions(condition: Condition, broken: Net, complaint: str) -> None:
    condition(net(FINE))
    with pytest.raises(ContractError, match=complaint):
        condition(broken)


def test_a_layer_that_disagrees_with_its_text() -> None:
    fine = net(FINE)
    text_agrees(fine)
    ((position, layer),) = enumerate(fine.layers)
    with pytest.raises(ContractError, match="layer 'c': its tops differ from its text"):
        text_agrees(fine.substitute({position: (replace(layer, tops=("other",)),)}))


@dataclass(frozen=True)
class Unwire(Pass):
    """Makes a net that no pass may make."""

    name: ClassVar = "unwire"
    requires: ClassVar = (wired,)
    ensures: ClassVar = (wired,)

    def run(self, given: Net) -> PassResult:
        """Rename what the first layer reads."""
        layer = given.layers[0]
        return PassResult(given.substitute({0: (layer.with_wiring(("gone",), layer.tops),)}))


def test_the_runner_holds_passes_to_their_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContractError, match=r"pass 'unwire' ensures wired: .*bottom 'gone'"):
        run((Unwire(),), net(FINE))
    with pytest.raises(ContractError, match="pass 'unwire' requires wired"):
        run((Unwire(),), net(CONV % ""))
    monkeypatch.delenv("CAFFEFOLD_DEBUG")
    run((Unwire(), Unwire()), net(FINE))


def test_every_pass_has_a_contract() -> None:
    options, fine = ConvertOptions(), net(FINE)
    passes = (
        *pipeline.view_passes(options),
        *pipeline.deploy_passes(fine, options),
        *pipeline.fold_passes(options),
    )
    assert all(step.requires and step.ensures for step in passes)
    made, _ = run(passes, fine)
    assert made.history == ()
