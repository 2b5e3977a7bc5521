"""What runtimes compute wrongly or not at all is not written; found by every layer in each."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffefold.analysis.shapes import infer
from caffefold.errors import TextError
from caffefold.formats.onnx import Node
from caffefold.onnx_export import targets
from caffefold.onnx_export.build import build
from caffefold.onnx_export.site import Settings
from tests.onnx_export.cases import OTHERS, of_caffe, of_reference
from tests.support.goldens import SHARED

BATCH_STATISTICS = SHARED / "layers/bn_batch_stats__bn_2d"


def _nodes(case: str | Path) -> tuple[Node, ...]:
    net = of_reference(case).net if isinstance(case, str) else of_caffe(case).net
    return build(net, Settings()).model.nodes


@pytest.mark.parametrize("name", ["yolo", "yolov3"])
def test_suppression_in_tensorrt(name: str) -> None:
    net = of_reference(name).net
    with pytest.raises(TextError, match=r"TensorRT only suppresses .*; give nms outside"):
        targets.check(net, infer(net).bottoms, Settings(target="tensorrt"))
    targets.check(net, infer(net).bottoms, Settings(target="tensorrt", nms="outside"))


@pytest.mark.parametrize("name", [name for name in OTHERS if name.startswith("lrn")])
def test_no_fraction_of_k(name: str) -> None:
    """OpenVINO cuts it off."""
    (node,) = (node for node in _nodes(name) if node.type == "LRN")
    assert float(node.attributes["bias"]).is_integer()  # type: ignore[arg-type]


@pytest.mark.skipif(not BATCH_STATISTICS.exists(), reason="CAFFEFOLD_SHARED is not there")
def test_no_three_axes_that_are_not_the_last_are_reduced() -> None:
    """OpenCV 5 mixes them up."""
    reductions = [node for node in _nodes(BATCH_STATISTICS) if node.type == "ReduceMean"]
    assert len(reductions) == 4
    assert all(len(node.attributes["axes"]) < 3 for node in reductions)  # type: ignore[arg-type]


def test_no_number_without_axes_is_multiplied() -> None:
    """OpenCV 5 stops."""
    *_, factor, last = _nodes("reduction_all")
    assert (factor.type, last.type) == ("Mul", "Reshape")
