"""What runtimes are known not to run, by what was measured (November 2026)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from caffefold.errors import Option
from caffefold.ir.net import Layer, Net
from caffefold.onnx_export.site import Settings
from caffefold.ops.shape import Shape
from caffefold.ops.table import op

Fits = Callable[[Layer, tuple[Shape, ...]], bool]


class Limit(NamedTuple):
    """What a runtime does with layers of one type; ``when`` it does not do that with all."""

    does: str
    advice: tuple[str | Option, ...] = ()
    when: Fits = lambda layer, bottoms: True


_OUTSIDE = ("; give ", Option("nms", "outside"))


def _masked(layer: Layer, bottoms: tuple[Shape, ...]) -> bool:
    del bottoms
    return len(layer.tops) > 1


def _several_kept(layer: Layer, bottoms: tuple[Shape, ...]) -> bool:
    """Whether the best boxes of several images are chosen, for which it has no safe operators."""
    items = bottoms[0][0] if bottoms[0] else None
    return items != 1 and op(layer).params(layer).integer("keep_top_k") > 0


LIMITS: Mapping[str, Mapping[str, Limit]] = MappingProxyType(
    {
        "ort": {},
        "openvino": {},
        "opencv5": {
            "DetectionOutput": Limit(
                "dies when nothing is found in a batch", _OUTSIDE, _several_kept
            ),
            "Filter": Limit("has no Compress"),
            "Pooling": Limit("has no second output of MaxPool", (), _masked),
            "ROIPooling": Limit("has no MaxRoiPool"),
        },
        "tensorrt": {
            "DetectionOutput": Limit("only suppresses into outputs of fixed size", _OUTSIDE),
            "Filter": Limit("has no outputs whose size depends on the numbers"),
            "Proposal": Limit("only suppresses into outputs of fixed size"),
            "ROIPooling": Limit("has no MaxRoiPool"),
            "YoloDetectionOutput": Limit("only suppresses into outputs of fixed size", _OUTSIDE),
            "Yolov3DetectionOutput": Limit("only suppresses into outputs of fixed size", _OUTSIDE),
        },
    }
)
_NAMES = {"opencv5": "OpenCV 5", "tensorrt": "TensorRT"}


def check(net: Net, bottoms: tuple[tuple[Shape, ...], ...], settings: Settings) -> None:
    """Refuse a net with a layer that the target is known not to run.

    Raises:
        TextError: naming the layer, what the runtime does, and the option.
    """
    limits = LIMITS[settings.target]
    for layer, shapes in zip(net.layers, bottoms, strict=True):
        limit = limits.get(op(layer).name)
        if limit is None or not limit.when(layer, shapes):
            continue
        if limit.advice == _OUTSIDE and settings.nms == "outside":
            continue
        what = f"{_NAMES[settings.target]} {limit.does}"
        advice = limit.advice or ("; choose another ", Option("target"))
        raise layer.error(what).advised(*advice)
