"""What convert() returns and writes about its work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import caffefold

if TYPE_CHECKING:
    from tests.convert.conftest import Workshop

SHAPES = Path(__file__).resolve().parents[2] / "sample_models/mobilenet_ssd_shapes"


def test_fields(workshop: Workshop) -> None:
    pair = workshop.make()
    report, result = workshop.convert(pair)
    assert report.net == "tiny"
    assert (report.layers_before, report.layers_after) == (6, 4)
    assert [item.path for item in report.inputs] == [str(pair.prototxt), str(pair.caffemodel)]
    assert [item.path for item in report.outputs] == [str(result.prototxt), str(result.caffemodel)]
    for item in (*report.inputs, *report.outputs):
        assert item.bytes == Path(item.path).stat().st_size
    assert dict(report.folded()) == {"conv1": ("bn1", "scale1")}
    assert report.skips == ()
    assert report.warnings == ()
    assert report.preprocessing == ()
    assert report.proof.outputs == ("fc",)
    assert report.proof.unchanged_blobs == 2
    (fold,) = report.proof.folds
    assert fold.layer == "conv1"
    assert 0 < fold.error <= fold.allowed < 1e-6
    assert report.proof.largest_error == fold.error


def test_json(workshop: Workshop) -> None:
    report, _ = workshop.convert(workshop.make())
    text = (workshop.folder / "out.report.json").read_text(encoding="utf-8")
    assert text == report.to_json()
    document = json.loads(text)
    assert document["schema"] == 1
    assert document["caffefold"] == caffefold.__version__
    assert document["layers"] == {"before": 6, "after": 4}
    assert document["proof"]["largest_error"] == report.proof.largest_error
    assert {"net", "inputs", "outputs", "preprocessing", "passes", "skips", "warnings"} < set(
        document
    )
    assert [step["name"] for step in document["passes"]] == [s.name for s in report.passes]
    (change,) = next(step["changes"] for step in document["passes"] if step["name"] == "fold")
    assert (change["rule"], change["kind"]) == ("fold", "FOLDED")
    assert change["detail"] == "bn1, scale1 folded into conv1"
    assert (change["removed"], change["modified"]) == (["bn1", "scale1"], ["conv1"])


def test_the_sum_of_the_passes_is_the_difference(workshop: Workshop) -> None:
    report, _ = workshop.convert(workshop.make())
    counts = [report.layers_before, *(step.layers_after for step in report.passes)]
    assert [step.layers_before for step in report.passes] == counts[:-1]
    assert counts[-1] == report.layers_after


def test_preprocessing_is_not_lost(tmp_path: Path) -> None:
    report = caffefold.convert(
        SHAPES / "train_template.prototxt", SHAPES / "shapes_iter_9000.caffemodel", tmp_path / "out"
    )
    (found,) = report.preprocessing
    assert found["blob"] == "data"
    assert (found["height"], found["width"]) == (160, 160)
    assert found["mean_value"] == [127.5, 127.5, 127.5]
    assert found["scale"] == 0.007843
    first = (tmp_path / "out.prototxt").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    for word in ("160x160", "127.5", "0.007843"):
        assert word in first


def test_inputs_are_left_alone(workshop: Workshop) -> None:
    pair = workshop.make()
    before = pair.contents()
    workshop.convert(pair)
    assert pair.contents() == before


@pytest.mark.parametrize("suffix", ["", ".prototxt", ".caffemodel", ".report.json"])
def test_output_prefix_may_carry_a_suffix(workshop: Workshop, suffix: str) -> None:
    pair = workshop.make()
    caffefold.convert(pair.prototxt, pair.caffemodel, workshop.folder / f"a.b{suffix}")
    found = {path.name for path in workshop.folder.iterdir()} - {"net.prototxt", "net.caffemodel"}
    assert found == {"a.b.prototxt", "a.b.caffemodel", "a.b.report.json"}


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_may_be_strings(workshop: Workshop, kind: type[str] | type[Path]) -> None:
    pair = workshop.make()
    target = kind(workshop.folder / "out")
    caffefold.convert(kind(pair.prototxt), kind(pair.caffemodel), target)
    assert (workshop.folder / "out.caffemodel").exists()


def test_factor_zero_is_folded_as_caffe_computes_it_and_warned_of(workshop: Workshop) -> None:
    blobs = workshop.blobs()
    blobs["bn1"][2] = np.zeros(1)
    report, result = workshop.convert(workshop.make(blobs=blobs))
    assert any("'bn1'" in text and "scale factor" in text for text in report.warnings)
    wanted = blobs["conv1"][0] / np.sqrt(1e-5) * blobs["scale1"][0].reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(result.blobs("conv1")[0], wanted, rtol=1e-4)
    np.testing.assert_allclose(result.blobs("conv1")[1], blobs["scale1"][1], rtol=1e-4)


# ------------------------------------------------------------------------- layers left alone

_BN = 'layer {\n  name: "bn1"'
_SIDE = (
    'layer { name: "side" type: "Pooling" bottom: "conv1" top: "side" '
    "pooling_param { kernel_size: 2 } }\n"
)
_TWIN = 'layer { name: "twin" type: "Convolution" bottom: "data" top: "twin" param { name: "w" }\n'
_TWIN += "  convolution_param { num_output: 4 kernel_size: 3 bias_term: false } }\n"
SKIPS = [
    pytest.param(
        _BN,
        'layer { name: "early" type: "ReLU" bottom: "conv1" top: "conv1" }\n' + _BN,
        "NOT_LINEAR",
        id="in-place ReLU in between",
    ),
    pytest.param(_BN, _SIDE + _BN, "SEVERAL_READERS", id="several readers"),
    pytest.param(
        'type: "BatchNorm"',
        'type: "BatchNorm" batch_norm_param { use_global_stats: false }',
        "BATCH_STATISTICS",
        id="statistics of the batch",
    ),
    pytest.param(
        'name: "conv1"\n',
        'name: "conv1"\n  param { name: "w" }\n',
        "SHARED_WEIGHTS",
        id="shared weights",
    ),
]


@pytest.mark.parametrize(("old", "new", "code"), SKIPS)
def test_what_is_left_alone_has_a_reason(workshop: Workshop, old: str, new: str, code: str) -> None:
    text = workshop.text.replace(old, new)
    blobs = workshop.blobs()
    if code == "SHARED_WEIGHTS":
        text += _TWIN
        blobs["twin"] = blobs["conv1"]
    report, result = workshop.convert(workshop.make(text, blobs))
    assert "conv1" not in dict(report.folded())
    assert code in {skip.code.value for skip in report.skips if "bn1" in skip.layers}
    assert all(skip.message for skip in report.skips)
    np.testing.assert_array_equal(result.blobs("conv1")[0], workshop.make().blobs("conv1")[0])


def test_scale_with_two_bottoms_is_left_alone(workshop: Workshop) -> None:
    text = workshop.text.replace(
        '  name: "scale1"\n  type: "Scale"\n  bottom: "conv1"\n',
        '  name: "scale1"\n  type: "Scale"\n  bottom: "conv1"\n  bottom: "conv1"\n',
    ).replace("scale_param {\n    bias_term: true\n  }", "scale_param { axis: 0 }")
    blobs = {name: numbers for name, numbers in workshop.blobs().items() if name != "scale1"}
    report, _ = workshop.convert(workshop.make(text, blobs))
    assert "TWO_BOTTOMS" in {skip.code.value for skip in report.skips if "scale1" in skip.layers}
