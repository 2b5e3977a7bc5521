"""What a user may decide about heads and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from caffefold.passes.deploy.detection import DetectionOptions

NONE = "none"
DETECTIONS = ("DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput")
KINDS = ("Softmax", "Sigmoid", "ArgMax", *DETECTIONS, NONE)
ALL = "*"


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """What becomes of losses."""

    detection: DetectionOptions | None = None
    """Thresholds of a detector that is made; None: its defaults."""
    prob_name: str = ""
    """Name of the probability layer and its blob; "": ``prob``."""
    heads: Mapping[str, str] = field(default_factory=dict)
    """Head type by the name of the loss layer; ``*`` for all losses."""
    outputs: tuple[str, ...] = ()
    """Blobs that shall be the outputs; none: decided by the net."""
