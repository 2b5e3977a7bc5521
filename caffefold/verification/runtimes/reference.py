"""The float64 evaluation that ``export`` is checked against, as a runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from caffefold.check.forward.evaluate import evaluate, unknown
from caffefold.ir import graph
from caffefold.ir.net import Net
from caffefold.verification.runtimes.base import Array, Batch, CannotRun, Session


class Reference:
    """Plain numpy in float64."""

    def start(self, net: Net, wanted: Sequence[str], folder: Path) -> Session:
        """See ``Runtime``."""
        del folder
        strangers = {
            layer.name: f"the reference does not know {layer.type}"
            for layer in net.layers
            if not layer.is_input and layer.tops and unknown(layer)
        }
        if strangers:
            raise CannotRun(strangers)
        return _Evaluated(net, frozenset(wanted))


class _Evaluated:
    about = "float64 reference"
    how = "plain numpy"
    took: float | None = None

    def __init__(self, net: Net, wanted: frozenset[str]) -> None:
        self._net = net
        self._wanted = wanted

    def run(self, batch: Batch) -> Mapping[str, Array]:
        versions = graph.build(self._net).versions
        last = {version.blob: i for i, version in enumerate(versions)}
        found: dict[str, Array] = {}
        for made in evaluate(self._net, batch.values):
            blob = versions[made.version].blob
            if last[blob] != made.version:
                continue
            if made.values is None and made.layer is not None:
                raise CannotRun({made.layer.name: made.why})
            if blob in self._wanted and made.values is not None:
                found[blob] = made.values
        return found
