"""``convert`` and ``export`` with a verification: what is different is not put in place."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import caffefold
from caffefold.check.verdict import Verification
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, input_layer, write_pair
from tests.verification.conftest import LAYERS

VERIFY = partial(caffefold.verify, runtime={"*": "reference"})


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path, LAYERS)


def test_a_conversion_is_verified(pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = caffefold.convert(*pair, tmp_path / "out", verify=VERIFY)
    assert report.verification is not None
    assert report.verification.verdict == "equal"
    assert "verified  equal on 2 batches of random input, seed 1" in str(report)
    document = json.loads((tmp_path / "out.report.json").read_text())
    assert document["verification"]["verdict"] == "equal"


def test_nobody_asked(pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = caffefold.convert(*pair, tmp_path / "out")
    assert report.verification is None
    assert json.loads(report.to_json())["verification"] is None


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_half_precision_is_allowed_for(dtype: Any, pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = caffefold.convert(*pair, tmp_path / "out", dtype=dtype, verify=VERIFY)
    assert report.verification is not None
    assert report.verification.verdict == "equal"
    (prob,) = report.verification.outputs
    assert (prob.error > 1e-5) == (dtype == "fp16")


def test_half_precision_hides_no_fault(pair: tuple[Path, Path], tmp_path: Path) -> None:
    wrong = [x._replace(params="") if x.name == "small" else x for x in LAYERS]
    other = write_pair(tmp_path, wrong, "wrong")
    caffefold.convert(*other, tmp_path / "out", dtype="fp16")
    files = tmp_path / "out.prototxt", tmp_path / "out.caffemodel"
    assert VERIFY(caffefold.load(*pair), caffefold.load(*files)).verdict == "different"


def _against_another(a: Net, b: Net | Any, **options: Any) -> Verification:
    """As if the conversion had lost a ReLU."""
    del a
    folder = Path(b.document.path).parent if isinstance(b, Net) else Path(b).parent
    files = write_pair(folder, [x for x in LAYERS if x.name != "relu1"], "other")
    found = VERIFY(caffefold.load(*files), b, **options)
    for path in files:
        path.unlink()
    return found


def test_what_is_different_is_not_written(pair: tuple[Path, Path], tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(caffefold.ProofError, match=r"is different on .* no output was written"):
        caffefold.convert(*pair, into / "out", verify=_against_another)
    assert list(into.iterdir()) == []


def test_what_is_inconclusive_is_warned_of(tmp_path: Path) -> None:
    nothing = [
        input_layer(1, 3, 9, 9),
        LAYERS[1],
        LAYERS[2],
        LayerSpec("end", "Log", "conv1"),
    ]
    report = caffefold.convert(*write_pair(tmp_path, nothing), tmp_path / "out", verify=VERIFY)
    assert "verification is inconclusive: " in report.warnings[-1]


def test_without_weights_nothing_runs(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(caffefold.UsageError, match="verify needs the weights"):
        caffefold.convert(pair[0], None, tmp_path / "out", verify=VERIFY)


@pytest.mark.parametrize("options", [{}, {"weights_in": "data"}, {"dtype": "fp16"}])
def test_an_export_is_verified(
    options: dict[str, Any], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    net = caffefold.load(*pair)
    report = caffefold.export(net, tmp_path / "net.onnx", verify=caffefold.verify, **options)
    assert report.verification is not None
    assert report.verification.verdict == "equal"
    with pytest.raises(caffefold.ProofError, match="the model is different"):
        caffefold.export(
            caffefold.load(*write_pair(tmp_path, [*LAYERS[:4], *LAYERS[5:]], "other")),
            tmp_path / "other.onnx",
            verify=lambda a, b, **more: caffefold.verify(net, b, **more),
            **options,
        )
    assert (tmp_path / "other.onnx").exists() == ("weights_in" in options)
