"""Weights of another net, merged weights, NaN and Inf: one line, exit 3, nothing written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Pair, Refused

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
LENET = SAMPLES / "lenet_bn"
SHAPES = SAMPLES / "mobilenet_ssd_shapes"


# ------------------------------------------------------------------------------ another net


def test_missing_layers_are_named(pair: Pair, refused: Refused) -> None:
    net = pair.read()
    kept = [layer for layer in net.layer if layer.name != "fc"]
    del net.layer[:]
    net.layer.extend(kept)
    pair.write(net)
    message = refused(pair.prototxt, pair.caffemodel)
    assert f"{pair.caffemodel}: does not belong to {pair.prototxt}" in message
    assert "'fc'" in message


@pytest.mark.parametrize(
    ("old", "new", "found", "wanted"),
    [
        ("num_output: 2", "num_output: 4", "2x1x3x3", "4x?x3x3"),
        ("kernel_size: 3", "kernel_size: 2", "2x1x3x3", "2x?x2x2"),
        ("num_output: 3", "num_output: 7", "3x8", "7x?"),
    ],
)
def test_shapes_that_differ_are_shown(
    pair: Pair, refused: Refused, old: str, new: str, found: str, wanted: str
) -> None:
    pair.replace(old, new)
    message = refused(pair.prototxt, pair.caffemodel)
    assert "does not belong to" in message
    assert f"is {found}, the prototxt requires {wanted}" in message


def test_blobs_that_differ_in_number(pair: Pair, refused: Refused) -> None:
    pair.replace("num_output: 3 }", "num_output: 3 bias_term: false }")
    assert "'fc' needs 1 blobs, the caffemodel has 2" in refused(pair.prototxt, pair.caffemodel)


@pytest.mark.parametrize("wrong", [("bn1",), ("scale1",), ("bn1", "scale1")])
def test_channels_of_batch_norm(pair: Pair, refused: Refused, wrong: tuple[str, ...]) -> None:
    """Nothing in the prototxt says how many channels BatchNorm and Scale have; their input does."""
    net = pair.read()
    for layer in net.layer:
        for blob in layer.blobs if layer.name in wrong else ():
            if blob.shape.dim[0] == 2:
                blob.data.append(1.0)
                blob.shape.dim[0] = 3
    pair.write(net)
    message = refused(pair.prototxt, pair.caffemodel, caret=True)
    assert "channels" in message
    assert "the caffemodel belongs to another net" in message


def test_another_net(refused: Refused) -> None:
    message = refused(SHAPES / "deploy_bn.prototxt", LENET / "lenet_bn_iter_5000.caffemodel")
    assert "does not belong to" in message
    assert "no weights for 115 layers ('conv0' (msra filler), 'conv0/bn', 'conv0/scale'" in message
    assert " and 110 more)" in message
    assert "'conv1' weights is 12x1x5x5, the prototxt requires 16x?x1x1" in message


def test_the_caffemodel_and_its_folder_say_which_net_it_is_of(
    cli: Cli, pair: Pair, refused: Refused
) -> None:
    """What the snapshot calls its net, and the prototxts beside it that fit, the best first."""
    other = cli.folder / "other"
    other.mkdir()
    text = pair.prototxt.read_text(encoding="utf-8")
    foreign = other / "deploy.prototxt"
    foreign.write_text(text.replace('name: "', 'name: "my_'), encoding="utf-8")
    message = refused(foreign, pair.caffemodel)
    assert "the net of this caffemodel is called 'tiny'; beside it, net.prototxt fits" in message
    (pair.prototxt.parent / "solver.prototxt").write_text('net: "net.prototxt"', encoding="utf-8")
    (pair.prototxt.parent / "broken.prototxt").write_text("layer {", encoding="utf-8")
    (pair.prototxt.parent / "train.prototxt").write_text(
        f'{text}layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" }}',
        encoding="utf-8",
    )
    message = refused(foreign, pair.caffemodel)
    assert message.endswith("beside it, train.prototxt and net.prototxt fit\n")


def test_nothing_is_said_of_a_folder_where_nothing_fits(pair: Pair, refused: Refused) -> None:
    pair.replace("num_output: 2", "num_output: 4")
    message = refused(pair.prototxt, pair.caffemodel)
    assert "called" not in message
    assert "beside it" not in message


def test_no_name_agrees(pair: Pair, refused: Refused) -> None:
    net = pair.read()
    for layer in net.layer:
        layer.name = f"old_{layer.name}"
    pair.write(net)
    assert "no layer name matches" in refused(pair.prototxt, pair.caffemodel)


def test_another_net_behind_a_template(refused: Refused) -> None:
    """Foreign weights leave placeholders open; what is wrong is the weights, not the template."""
    template, weights = SHAPES / "train_template.prototxt", LENET / "lenet_bn_iter_5000.caffemodel"
    message = refused(template, weights)
    assert "does not belong to" in message


def test_merged_weights_for_an_unmerged_net(cli: Cli, pair: Pair, refused: Refused) -> None:
    cli("convert", pair.prototxt, pair.caffemodel, "-o", "folded")
    message = refused(pair.prototxt, cli.folder / "folded.caffemodel")
    assert "no weights for 2 layers ('bn1', 'scale1')" in message
    assert "already merged?" in message


def test_unmerged_weights_for_a_merged_net(cli: Cli, pair: Pair, refused: Refused) -> None:
    cli("convert", pair.prototxt, pair.caffemodel, "-o", "folded")
    message = refused(cli.folder / "folded.prototxt", pair.caffemodel)
    assert "'conv1' needs 2 blobs, the caffemodel has 1" in message


# ------------------------------------------------------------------------------ NaN and Inf

PLACES = [
    pytest.param("conv1", 0, id="folded convolution"),
    pytest.param("bn1", 0, id="BatchNorm mean"),
    pytest.param("bn1", 1, id="BatchNorm variance"),
    pytest.param("bn1", 2, id="BatchNorm factor"),
    pytest.param("scale1", 0, id="Scale"),
    pytest.param("scale1", 1, id="bias of Scale"),
    pytest.param("fc", 0, id="unfolded weights"),
    pytest.param("fc", 1, id="unfolded bias"),
]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("layer", "blob"), PLACES)
def test_not_finite(pair: Pair, refused: Refused, layer: str, blob: int, value: float) -> None:
    """Also where folding would hide it: 1 / sqrt(inf) is 0, a broken snapshot would look sound."""
    pair.set_number(layer, blob, 0, value)
    message = refused(pair.prototxt, pair.caffemodel)
    assert f"layer '{layer}': blob {blob} " in message
    assert "NaN or Inf" in message


def test_the_last_number_counts_too(pair: Pair, refused: Refused) -> None:
    pair.set_number("fc", 0, 23, -math.inf)
    assert "layer 'fc': blob 0 " in refused(pair.prototxt, pair.caffemodel)


def test_too_large_once_folded(pair: Pair, refused: Refused) -> None:
    """Finite weights whose product no float32 can hold."""
    pair.set_number("conv1", 0, 0, 1e38)
    pair.set_number("scale1", 0, 0, 1e5)
    message = refused(pair.prototxt, pair.caffemodel)
    assert "layer 'conv1': blob 0 " in message
    assert "no float32 can hold" in message
