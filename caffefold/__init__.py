"""caffefold: fold BatchNorm and Scale into Caffe models, from training net to deploy net.

    report = caffefold.convert("train.prototxt", "snapshot.caffemodel", "out/net")

``caffefold.zoo`` converts whole folders. It and the names below are loaded when they are first
used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from caffefold import _version

if TYPE_CHECKING:
    from caffefold import zoo as zoo
    from caffefold.compare.diff import diff
    from caffefold.compare.result import NetDiff
    from caffefold.conversion import convert, load
    from caffefold.errors import (
        CaffefoldError,
        InputError,
        ModelError,
        OutputError,
        ProofError,
        TextError,
        UsageError,
        WeightsError,
    )
    from caffefold.inspection.inspecting import inspect
    from caffefold.inspection.result import Inspection
    from caffefold.ir.net import Layer, Net
    from caffefold.passes.deploy.detection import DetectionOptions
    from caffefold.report import ConvertReport

__version__ = _version.VERSION

__all__ = [
    "CaffefoldError",
    "ConvertReport",
    "DetectionOptions",
    "InputError",
    "Inspection",
    "Layer",
    "ModelError",
    "Net",
    "NetDiff",
    "OutputError",
    "ProofError",
    "TextError",
    "UsageError",
    "WeightsError",
    "__version__",
    "convert",
    "diff",
    "inspect",
    "load",
]

_HOMES = {
    "ConvertReport": "caffefold.report",
    "DetectionOptions": "caffefold.passes.deploy.detection",
    "Inspection": "caffefold.inspection.result",
    "Layer": "caffefold.ir.net",
    "Net": "caffefold.ir.net",
    "NetDiff": "caffefold.compare.result",
    "convert": "caffefold.conversion",
    "diff": "caffefold.compare.diff",
    "inspect": "caffefold.inspection.inspecting",
    "load": "caffefold.conversion",
}


def __getattr__(name: str) -> Any:
    if name == "zoo":  # a package of its own, loaded like the names below
        return import_module("caffefold.zoo")
    if name not in __all__:
        raise AttributeError(f"module 'caffefold' has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "caffefold.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
