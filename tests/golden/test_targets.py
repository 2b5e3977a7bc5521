"""Every form of every consumer gives real Caffe's outputs, run by torch in float64."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import caffefold
from caffefold.options import TargetName
from caffefold.targets import TARGETS
from tests.golden.test_shared_models import EDGE_LIMIT
from tests.reference.caffe_torch import run
from tests.support.goldens import EDGE, assert_close, deployed, golden

pytestmark = pytest.mark.skipif(not EDGE, reason="CAFFEFOLD_SHARED is not there")
# What is written differs by these alone.
FORMS = sorted({(row.standalone, row.input_style) for row in TARGETS.values()})
TESTED: tuple[TargetName, ...] = ("caffe2onnx", "ppq", "rknn", "atc")
REFUSED = {
    **{("conv3d", target): "takes convolutions with two spatial axes" for target in TESTED},
    ("conv3d", "atc"): r"has 5 axes, .* takes 4 at most",
    ("dilated", "ppq"): "PPQ",
    ("deconv_group", "rknn"): "a Deconvolution of 4 groups of several channels",
}


@pytest.mark.parametrize("target", TESTED)
@pytest.mark.parametrize("folder", EDGE, ids=lambda folder: folder.name)
def test_edge(tmp_path: Path, folder: Path, target: TargetName) -> None:
    given = folder / "net.prototxt", folder / "weights.caffemodel"
    if (folder.name, target) in REFUSED:
        with pytest.raises(caffefold.InputError, match=REFUSED[folder.name, target]):
            caffefold.convert(*given, tmp_path / "out", target=target)
        return
    caffefold.convert(*given, tmp_path / "out", target=target)
    found = run(tmp_path / "out.prototxt", tmp_path / "out.caffemodel", golden(folder, "in_"))
    assert_close(found, deployed(folder), EDGE_LIMIT)


def test_the_targets_above_have_every_form_there_is() -> None:
    chosen = {
        (TARGETS[x].standalone, TARGETS[x].input_style) for x in ("caffe2onnx", "ppq", "rknn")
    }
    assert {standalone for standalone, _ in FORMS} == {standalone for standalone, _ in chosen}
