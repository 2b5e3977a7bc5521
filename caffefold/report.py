"""What a conversion did, as a value and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from caffefold._version import VERSION
from caffefold.analysis.cost import Totals
from caffefold.check.proof import Proof
from caffefold.passes.infra import Skip, Step

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class FileSize:
    """A file and its size in bytes."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ConvertReport:
    """Everything ``caffefold convert`` has to say about one conversion."""

    net: str
    inputs: tuple[FileSize, ...]
    outputs: tuple[FileSize, ...]
    layers_before: int
    layers_after: int
    passes: tuple[Step, ...]
    proof: Proof
    dtype: str
    """What the weights are stored as: ``fp32`` or ``fp16``."""
    preprocessing: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]
    costs: tuple[Totals, Totals]
    """What the deploy net costs, before folding and after."""
    weights: bool = True
    """Whether there were weights; without, only the structure was converted."""

    @property
    def skips(self) -> tuple[Skip, ...]:
        """Every layer that was left alone, with the reason."""
        return tuple(skip for step in self.passes for skip in step.skips)

    def folded(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """(absorbing layer, layers folded into it) for every fold."""
        for fold in self.proof.folds:
            yield fold.layer, fold.folded

    def to_json(self) -> str:
        """The report as a JSON document; the same conversion gives the same text."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "caffefold": VERSION,
            "net": self.net,
            "inputs": [asdict(item) for item in self.inputs],
            "outputs": [asdict(item) for item in self.outputs],
            "weights": self.weights,
            "layers": {"before": self.layers_before, "after": self.layers_after},
            "costs": {"before": asdict(self.costs[0]), "after": asdict(self.costs[1])},
            "dtype": self.dtype,
            "preprocessing": list(self.preprocessing),
            "passes": [_step(step) for step in self.passes],
            "skips": [asdict(skip) for skip in self.skips],
            "proof": {**asdict(self.proof), "largest_error": self.proof.largest_error},
            "warnings": list(self.warnings),
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _step(step: Step) -> dict[str, Any]:
    """A step as JSON has it: claims refer to layers by name alone."""
    found = asdict(step)
    for change in found["changes"]:
        for claim in change["absorbed"]:
            claim["layer"] = claim["layer"].name
            claim["chain"] = [layer.name for layer in claim["chain"]]
    return found
