"""MobileNet-SSD: real Caffe's outputs, the hand-made deploy template, and a net that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from caffefold._proto import caffe_pb2

if TYPE_CHECKING:
    from tests.golden.conftest import Floats, Model, Workbench

TOLERANCE = 1e-4  # of the largest value
BLOBS = ("mbox_loc", "mbox_conf_flatten", "detection_out")


@pytest.fixture(scope="session")
def golden(samples: Path) -> dict[str, Floats]:
    """What real Caffe computes with the net that is not folded, for 8 pictures."""
    return dict(np.load(samples / "mobilenet_ssd_shapes/golden.npz"))


@pytest.fixture(scope="session")
def folded_shapes(shapes: Model, bench: Workbench) -> Model:
    return bench.convert(shapes, "shapes")


@pytest.fixture(scope="session")
def folded_full_size(full_size: Model, bench: Workbench) -> Model:
    return bench.convert(full_size, "full_size")


def _run_all(model: Model, bench: Workbench, golden: dict[str, Floats]) -> dict[str, Floats]:
    """All pictures, one after another as real Caffe had them; detections as one table."""
    found: dict[str, list[Floats]] = {blob: [] for blob in BLOBS}
    for number, picture in enumerate(golden["data"]):
        outputs = model.run({"data": picture[None]}, BLOBS)
        detections = bench.rows(outputs["detection_out"])
        detections[:, 0] = number
        found["detection_out"].append(detections)
        for blob in BLOBS[:2]:
            found[blob].append(outputs[blob].reshape(1, -1))
    return {blob: np.concatenate(parts) for blob, parts in found.items()}


def _differences(
    bench: Workbench, found: dict[str, Floats], golden: dict[str, Floats]
) -> dict[str, float]:
    wanted = {**golden, "detection_out": bench.rows(golden["detection_out"])}
    return {blob: bench.difference(found[blob], wanted[blob]) for blob in BLOBS}


# ---------------------------------------------------------------------------------- real Caffe


def test_real_caffe_is_matched(
    folded_shapes: Model, bench: Workbench, golden: dict[str, Floats]
) -> None:
    found = _differences(bench, _run_all(folded_shapes, bench, golden), golden)
    assert max(found.values()) < TOLERANCE, found


def test_the_runtime_matches_real_caffe_before_folding(
    samples: Path, shapes: Model, bench: Workbench, golden: dict[str, Floats]
) -> None:
    """What the comparison is worth: OpenCV on the reference deploy net, BatchNorm and all."""
    reference = bench.model(samples / "mobilenet_ssd_shapes/deploy_bn.prototxt", shapes.caffemodel)
    found = _differences(bench, _run_all(reference, bench, golden), golden)
    assert max(found.values()) < TOLERANCE / 10, found


@pytest.mark.parametrize("layer", ["conv0", "conv5/dw", "conv11_mbox_loc"])
def test_the_comparison_can_fail(
    folded_shapes: Model, bench: Workbench, golden: dict[str, Floats], layer: str
) -> None:
    """One weight of one layer, off by a hundredth of the layer's largest weight."""
    net = caffe_pb2.NetParameter.FromString(folded_shapes.caffemodel.read_bytes())
    blob = next(item for item in net.layer if item.name == layer).blobs[0]
    largest = max(range(len(blob.data)), key=lambda i: abs(blob.data[i]))
    blob.data[largest] *= 1.01
    spoiled = bench.model(
        folded_shapes.prototxt, bench.folder / f"spoiled_{layer.replace('/', '_')}.caffemodel"
    )
    spoiled.caffemodel.write_bytes(net.SerializeToString())
    outputs = spoiled.run({"data": golden["data"][:1]}, BLOBS[:1])
    assert bench.difference(outputs["mbox_loc"], golden["mbox_loc"][:1]) > TOLERANCE


# -------------------------------------------------------------------------------- the layer list


@pytest.mark.parametrize("name", ["folded_shapes", "folded_full_size"])
def test_187_layers_become_119_and_an_input(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    layers = model.layers()
    assert len(layers) == 119
    assert not {kind for _, kind in layers} & {"BatchNorm", "Scale", "MultiBoxLoss"}
    written = caffe_pb2.NetParameter.FromString(model.caffemodel.read_bytes())
    assert [layer.name for layer in written.layer if layer.blobs] == [
        layer for layer, kind in layers if kind == "Convolution"
    ]


@pytest.mark.parametrize("name", ["folded_shapes", "folded_full_size"])
@pytest.mark.parametrize(
    "template",
    [
        "lswzjuer__fabu-models-od-gen_ssd_model-template-MobileNetSSD_deploy_template.prototxt",
        "chuanqi305__template-MobileNetSSD_deploy_bn_template.prototxt",
    ],
)
def test_the_layers_are_those_of_the_hand_made_template(
    bench: Workbench,
    full_size: Model,
    filled: Any,
    name: str,
    template: str,
    request: pytest.FixtureRequest,
) -> None:
    """In order, by name and type; a template with BatchNorm counts without it."""
    model: Model = request.getfixturevalue(name)
    wanted = bench.model(filled(template), full_size.caffemodel).layers()
    wanted = [layer for layer in wanted if layer[1] not in ("BatchNorm", "Scale")]
    assert model.layers() == wanted


# ------------------------------------------------------------------------------------ full size


@pytest.fixture(scope="session")
def picture() -> Floats:
    return np.random.default_rng(3).uniform(-1, 1, (1, 3, 300, 300)).astype(np.float32)


def test_full_size_folded_and_unfolded_agree(
    full_size: Model, folded_full_size: Model, bench: Workbench, picture: Floats
) -> None:
    unfolded = bench.convert(full_size, "unfolded", fold="none")
    assert len(unfolded.layers()) == 119 + 70
    blobs = BLOBS[:2]
    wanted = unfolded.run({"data": picture}, blobs)
    found = folded_full_size.run({"data": picture}, blobs)
    for blob in blobs:
        assert np.ptp(wanted[blob]) > 0.1
        assert bench.difference(found[blob], wanted[blob]) < TOLERANCE


def test_full_size_agrees_with_the_hand_made_template(
    full_size: Model, folded_full_size: Model, bench: Workbench, filled: Any, picture: Floats
) -> None:
    """The snapshot as it is, in somebody else's deploy net with BatchNorm."""
    text = filled("chuanqi305__template-MobileNetSSD_deploy_bn_template.prototxt")
    reference = bench.model(text, full_size.caffemodel)
    blobs = BLOBS[:2]
    wanted = reference.run({"data": picture}, blobs)
    found = folded_full_size.run({"data": picture}, blobs)
    for blob in blobs:
        assert bench.difference(found[blob], wanted[blob]) < TOLERANCE
