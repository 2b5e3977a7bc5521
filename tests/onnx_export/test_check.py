"""The check of an export: what it passes, and that faults do not get past it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

import caffefold
from caffefold.check.forward.evaluate import Made
from caffefold.ir.net import Net
from caffefold.onnx_export import check
from caffefold.onnx_export.lower import linear, table
from caffefold.onnx_export.site import Site
from caffefold.testing import LayerSpec, RandomLayers, input_layer, net_text, relu, write_pair
from tests.onnx_export import cases

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

MAKE = RandomLayers(seed=3)
LAYERS = [
    input_layer(1, 3, 9, 9),
    MAKE.conv("conv", "data", 3, 4),
    MAKE.batch_norm("bn", "conv", 4, top="conv"),
    relu("relu", "conv"),
    MAKE.conv("up", "conv", 4, 6, kind="Deconvolution", group=2, params="stride: 2 pad: 1"),
    MAKE.conv("down", "up", 6, 6, params="stride: 2"),
]


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return caffefold.load(*write_pair(tmp_path, LAYERS))


def test_every_blob_is_compared(net: Net, tmp_path: Path) -> None:
    report = caffefold.export(net, tmp_path / "net.onnx")
    found = report.agreement
    assert found is not None
    assert [each.blob for each in found.outputs] == ["down"]
    assert found.blobs == 3
    assert found.worst.error < 1e-6
    assert found.grows == ""
    assert "check     onnxruntime" in str(report)
    told = json.loads(report.to_json())["check"]
    assert told["worst"] == found.worst._asdict()
    assert [each["blob"] for each in told["outputs"]] == ["down"]


def _wrong(change: Callable[[Site], None]) -> MappingProxyType[str, Callable[[Site], None]]:
    return MappingProxyType({**table.LOWERINGS, "Deconvolution": change})


def _shifted(site: Site) -> None:
    value = site.add("Slice", site.x, *(site.ints([n]) for n in (1, 2, 1)))
    other = site.add("Slice", site.x, *(site.ints([n]) for n in (0, 1, 1)))
    rest = site.add("Slice", site.x, *(site.ints([n]) for n in (2, 4, 1)))
    site.bottoms = (site.add("Concat", value, other, rest, axis=1),)
    linear.convolution(site)


def _scaled(site: Site) -> None:
    site.bottoms = (site.scaled(site.x, 1.001),)
    linear.convolution(site)


@pytest.mark.parametrize("fault", [_shifted, _scaled])
def test_a_wrong_lowering_is_found(
    fault: Callable[[Site], None], net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two channels exchanged, and one layer 0.1 % off: the layer is named, nothing is written."""
    monkeypatch.setattr(table, "LOWERINGS", _wrong(fault))
    with pytest.raises(caffefold.ProofError, match=r"layer 'up' makes 'up' .* no output was"):
        caffefold.export(net, tmp_path / "net.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.caffemodel", "net.prototxt"]


def test_a_wrong_fold_is_found(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of another net: the reference evaluates the net before folding."""
    from caffefold.onnx_export import exporting

    other = [MAKE.conv("conv", "data", 3, 4) if x.name == "conv" else x for x in LAYERS]
    (tmp_path / "other").mkdir()
    wrong = caffefold.load(*write_pair(tmp_path / "other", other))
    monkeypatch.setattr(exporting, "fold", lambda *_, **__: caffefold.fold(wrong))
    monkeypatch.setattr(exporting, "prove", lambda *_: None)
    with pytest.raises(caffefold.ProofError, match="layer 'relu' makes 'conv'"):
        caffefold.export(net, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_what_the_runtime_refuses(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(site: Site) -> None:
        site.add("Upend", site.x, top=0)

    monkeypatch.setattr(table, "LOWERINGS", _wrong(empty))
    with pytest.raises(caffefold.ProofError, match=r"onnx\.checker refuses the model: No Op"):
        caffefold.export(net, tmp_path / "net.onnx")


def test_without_a_check(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = caffefold.export(net, tmp_path / "a.onnx", check=False)
    assert (report.agreement, report.unchecked) == (None, "as asked")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    report = caffefold.export(net, tmp_path / "b.onnx")
    assert report.agreement is None
    assert "check     not done: onnx is not installed; " in str(report)
    with pytest.raises(caffefold.UsageError, match=r"check: onnx is not installed; .* install"):
        caffefold.export(net, tmp_path / "c.onnx", check=True)


def test_a_runtime_that_dies(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a process of its own with it, not this one."""
    dying = "import os, signal; os.kill(os.getpid(), signal.SIGFPE)"
    monkeypatch.setattr(check, "_IN_RUNTIME", dying)
    with pytest.raises(caffefold.ProofError, match="onnxruntime dies of the model, of signal 8"):
        caffefold.export(net, tmp_path / "net.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.caffemodel", "net.prototxt"]


SSD = "detection_output_param { num_classes: 7 code_type: CENTER_SIZE %s }"
DETECTORS: dict[str, tuple[dict[str, tuple[int, ...]], str, str]] = {
    "shared": ({"loc": (2, 32), "conf": (2, 56), "prior": (1, 2, 32)}, "DetectionOutput", SSD % ""),
    "apart": (
        {"loc": (1, 224), "conf": (1, 56), "prior": (1, 2, 32)},
        "DetectionOutput",
        SSD % "share_location: false background_label_id: -1",
    ),
    "yolo": ({"x": (2, 14, 4, 4)}, "YoloDetectionOutput", cases.V2),
    "yolov3": ({"x": (2, 21, 4, 4)}, "Yolov3DetectionOutput", cases.V3),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_boxes_and_scores_are_compared(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, kind, params = DETECTORS[name]
    layers = [input_layer(*shape, name=blob) for blob, shape in shapes.items()]
    layers.append(LayerSpec("out", kind, " ".join(shapes), params=params))
    net = Net.from_text(net_text(layers))
    found = caffefold.export(net, tmp_path / "net.onnx", nms="outside").agreement
    assert found is not None
    assert [each.blob for each in found.outputs] == ["out_boxes", "out_scores"]
    assert all(each.largest > 0 and each.error < 1e-5 for each in found.outputs)
    monkeypatch.setattr(Site, "scaled", lambda site, value, factor, top=None: value)
    monkeypatch.setattr(np, "divmod", lambda cells, width: (cells % width, cells // width))
    with pytest.raises(caffefold.ProofError, match="layer 'out' makes 'out_boxes'"):
        caffefold.export(net, tmp_path / "other.onnx", nms="outside")


def test_rows_in_another_order_are_the_same_rows() -> None:
    """And one box of many may fall on the other side of a threshold; one of few may not."""
    rows = np.random.default_rng(1).uniform(size=(40, 7))
    assert check._rows_apart(rows[::-1], rows)[0] < 1e-12
    assert check._rows_apart(rows[1:], rows)[0] < 1e-12
    assert check._rows_apart(rows[3:], rows)[0] > 0.01
    assert check._rows_apart(rows[1:5], rows[:5])[0] > 0.01
    assert check._rows_apart(rows + np.eye(1, 7, 2) * 0.01, rows)[0] > 0.005
    assert check._rows_apart(rows[:0], rows)[0] == float("inf")


def test_the_smallest_number_of_an_empty_window_hides_no_error(net: Net) -> None:
    wanted = np.array([np.finfo(np.float32).min, 1.0, np.nan])
    made = Made(1, net["conv"], wanted)
    assert check._apart("conv", made, wanted.astype(np.float32)).error == 0
    assert check._apart("conv", made, np.array([wanted[0], 1.5, np.nan], np.float32)).error == 0.5
    assert check._apart("conv", made, np.array([-3.0, 1, np.nan], np.float32)).error == np.inf


@pytest.mark.parametrize("shift", [-10, -20])
def test_small_probabilities(shift: int, tmp_path: Path) -> None:
    """onnxruntime's sigmoid is exact to 1e-7, as Caffe's is: of 4e-5 that is much."""
    moved = LayerSpec("move", "Power", "data", params=f"power_param {{ shift: {shift} }}")
    layers = [input_layer(1, 3, 4, 4), moved, LayerSpec("small", "Sigmoid", "move")]
    report = caffefold.export(Net.from_text(net_text(layers)), tmp_path / "net.onnx")
    assert report.warnings == ()


@pytest.mark.parametrize(("installed", "runs"), [("1.20.1", False), ("1.21.0", True)])
def test_an_onnxruntime_that_is_too_old(
    installed: str, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime 1.20 refuses opset 22, 1.21 is the first that runs it."""
    monkeypatch.setattr(check, "version", lambda _: installed)
    assert check.too_old(22) == ("" if runs else "onnxruntime 1.20.1 does not run opset 22")
    assert check.too_old(21) == ""


def test_what_onnxruntime_is_too_old_for_is_not_checked(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "version", lambda _: "1.19.2")
    report = caffefold.export(net, tmp_path / "net.onnx", opset=22)
    assert report.agreement is None
    assert report.unchecked == "onnxruntime 1.19.2 does not run opset 22"
    with pytest.raises(caffefold.UsageError, match=r"1\.19\.2 does not run opset 22"):
        caffefold.export(net, tmp_path / "net.onnx", opset=22, check=True, force=True)
