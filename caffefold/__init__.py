"""caffefold: fold BatchNorm and Scale into Caffe models, from training net to deploy net.

    report = caffefold.convert("train.prototxt", "snapshot.caffemodel", "out/net")

or the same in steps, on nets in memory:

    net = caffefold.load("train.prototxt", "snapshot.caffemodel")
    deploy = caffefold.to_deploy(net, classes=21)
    folded = caffefold.fold(deploy.net)
    caffefold.prove(deploy.net, folded.net)
    caffefold.save(folded.net, "out/net")

``caffefold.zoo`` converts whole folders. It and the names below are loaded when they are first
used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from caffefold import _version

if TYPE_CHECKING:
    from caffefold import zoo as zoo
    from caffefold.check.proof import Proof
    from caffefold.check.verdict import Verification
    from caffefold.compare.diff import NetDiff, diff
    from caffefold.conversion import convert, fold, load, prove, retarget, save, to_deploy
    from caffefold.errors import (
        CaffefoldError,
        ExistingOutput,
        InputError,
        MissingShape,
        ModelError,
        OutputError,
        ProofError,
        TextError,
        UnknownInput,
        UnknownName,
        UsageError,
        WeightsError,
    )
    from caffefold.extraction import ExtractReport, extract
    from caffefold.inspection.inspecting import inspect
    from caffefold.inspection.result import Inspection
    from caffefold.ir.net import Layer, Net
    from caffefold.onnx_export.exporting import export
    from caffefold.onnx_export.report import ExportReport
    from caffefold.options import ConvertOptions, DetectionOptions, ExportOptions, VerifyOptions
    from caffefold.report import ConvertReport, DeployResult, FoldResult, SlimResult, TargetResult
    from caffefold.slimming import slim
    from caffefold.verification.verifying import verify

__version__ = _version.VERSION

__all__ = [
    "CaffefoldError",
    "ConvertOptions",
    "ConvertReport",
    "DeployResult",
    "DetectionOptions",
    "ExistingOutput",
    "ExportOptions",
    "ExportReport",
    "ExtractReport",
    "FoldResult",
    "InputError",
    "Inspection",
    "Layer",
    "MissingShape",
    "ModelError",
    "Net",
    "NetDiff",
    "OutputError",
    "Proof",
    "ProofError",
    "SlimResult",
    "TargetResult",
    "TextError",
    "UnknownInput",
    "UnknownName",
    "UsageError",
    "Verification",
    "VerifyOptions",
    "WeightsError",
    "__version__",
    "convert",
    "diff",
    "export",
    "extract",
    "fold",
    "inspect",
    "load",
    "prove",
    "retarget",
    "save",
    "slim",
    "to_deploy",
    "verify",
]

_HOMES = {
    "compare.diff": ("NetDiff", "diff"),
    "check.proof": ("Proof",),
    "check.verdict": ("Verification",),
    "conversion": ("convert", "fold", "load", "prove", "retarget", "save", "to_deploy"),
    "extraction": ("ExtractReport", "extract"),
    "inspection.inspecting": ("inspect",),
    "inspection.result": ("Inspection",),
    "ir.net": ("Layer", "Net"),
    "onnx_export.exporting": ("export",),
    "onnx_export.report": ("ExportReport",),
    "options": ("ConvertOptions", "DetectionOptions", "ExportOptions", "VerifyOptions"),
    "report": ("ConvertReport", "DeployResult", "FoldResult", "SlimResult", "TargetResult"),
    "slimming": ("slim",),
    "verification.verifying": ("verify",),
}


def __getattr__(name: str) -> Any:
    if name == "zoo":  # a package of its own, loaded like the names below
        return import_module("caffefold.zoo")
    if name not in __all__:
        raise AttributeError(f"module 'caffefold' has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "errors")
    value = getattr(import_module(f"caffefold.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "zoo"])
