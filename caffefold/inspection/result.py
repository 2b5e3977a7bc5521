"""What an inspection found, as a value and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from caffefold._version import VERSION
from caffefold.analysis.cost import Totals
from caffefold.analysis.health import DEAD, Health
from caffefold.ops.shape import Shape

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class BlobShape:
    """A blob and its shape; None is an unknown shape, or an unknown extent in one."""

    blob: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer, with what it costs for the batch its shapes state; None where not known."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[BlobShape, ...]
    blobs: tuple[tuple[int, ...], ...]
    """Shapes of its learned numbers, as the caffemodel has them."""
    parameters: int | None
    macs: int | None
    memory: int | None
    """Bytes of its tops as float32, those apart that it writes in place."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything ``caffefold inspect`` has to say about one net."""

    net: str
    prototxt: str | None
    caffemodel: str | None
    inputs: tuple[BlobShape, ...]
    outputs: tuple[BlobShape, ...]
    layers: tuple[LayerRow, ...]
    totals: Totals
    threshold: float
    """|gamma| under which a channel counts as small."""
    norms: tuple[Health, ...]
    """One for each BatchNorm or BN layer with statistics."""
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """The inspection as a JSON document; the same files give the same text.

        ``schema`` 1. Shapes are lists, null in place of an extent or of the whole list where it
        is not known; so are numbers that are not known or not finite. ``memory`` is in bytes.
        """
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "caffefold": VERSION,
            "net": self.net,
            "prototxt": self.prototxt,
            "caffemodel": self.caffemodel,
            "inputs": [asdict(item) for item in self.inputs],
            "outputs": [asdict(item) for item in self.outputs],
            "layers": [asdict(layer) for layer in self.layers],
            "totals": asdict(self.totals),
            "norms": {
                "threshold": self.threshold,
                "dead_below": DEAD,
                "layers": [{**asdict(norm), "share": norm.share} for norm in self.norms],
            },
            "warnings": list(self.warnings),
        }
        return json.dumps(_finite(document), indent=2, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
