"""What ``caffefold.inspect`` finds in files of every kind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.inspection.result import BlobShape
from caffefold.testing import LayerSpec, RandomLayers, input_layer, net_text, relu, write_pair

N = RandomLayers(3)
NET = [
    input_layer(1, 3, 8, 8),
    N.conv("conv", "data", 3, 4),
    N.batch_norm("bn", "conv", 4, top="conv"),
    LayerSpec("scale", "Scale", "conv", "conv", blobs=[np.array([1.0, 1e-9, 5e-4, 2.0])]),
    relu("relu", "conv"),
    N.inner_product("fc", "conv", 4 * 36, 5),
]


def test_a_pair(tmp_path: Path) -> None:
    prototxt, caffemodel = write_pair(tmp_path, NET)
    found = caffefold.inspect(prototxt, caffemodel)
    assert found.net == "net"
    assert found.inputs == (BlobShape("data", (1, 3, 8, 8)),)
    assert found.outputs == (BlobShape("fc", (1, 5)),)
    assert [layer.name for layer in found.layers] == ["data", "conv", "bn", "scale", "relu", "fc"]
    conv = found.layers[1]
    assert (conv.type, conv.bottoms, conv.tops) == (
        "Convolution",
        ("data",),
        (BlobShape("conv", (1, 4, 6, 6)),),
    )
    assert (conv.blobs, conv.parameters, conv.macs) == (((4, 3, 3, 3), (4,)), 112, 4 * 36 * 27)
    assert conv.memory == 4 * 4 * 36
    assert found.totals.layers == 6
    assert found.totals.parameters == 112 + 9 + 4 + 725
    (norm,) = found.norms
    assert (norm.layer, norm.gamma, norm.dead, norm.small) == ("bn", "scale", 1, 2)
    assert found.warnings == ()


def test_a_net_in_memory_and_a_pair_are_what_their_files_are(tmp_path: Path) -> None:
    prototxt, caffemodel = write_pair(tmp_path, NET)
    found = caffefold.inspect(prototxt, caffemodel)
    assert caffefold.inspect((prototxt, caffemodel)) == found
    assert caffefold.inspect((prototxt, None)) == caffefold.inspect(prototxt)
    with caffefold.load(prototxt, caffemodel) as net:
        assert caffefold.inspect(net) == found
        assert np.asarray(net.layers[1].blobs[0]).shape == (4, 3, 3, 3)  # it is still open


@pytest.mark.parametrize("in_memory", [True, False])
def test_weights_are_given_once(tmp_path: Path, in_memory: bool) -> None:
    prototxt, caffemodel = write_pair(tmp_path, NET)
    given = caffefold.load(prototxt) if in_memory else (prototxt, None)
    with pytest.raises(caffefold.UsageError, match="brings its own"):
        caffefold.inspect(given, caffemodel)


def test_how_it_is_shown(tmp_path: Path) -> None:
    prototxt, caffemodel = write_pair(tmp_path, NET)
    found = caffefold.inspect(prototxt, caffemodel)
    assert repr(found) == "<Inspection net: 6 layers, 850 parameters>"
    lines = str(found).splitlines()
    assert lines[:3] == ["net       net", "input     data 1x3x8x8", "output    fc 1x5"]
    assert lines[5].split() == ["data", "Input", "1x3x8x8", "0", "0", "768", "B"]
    assert lines == list(found.lines())


def test_a_notebook_shows_tables_with_every_name_escaped(tmp_path: Path) -> None:
    hostile = [input_layer(1, 3, 8, 8), relu("<script>alert(1)</script>", "data")]
    page = caffefold.inspect(write_pair(tmp_path, hostile)[0])._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("<table>") == page.count("</table>") == 2


def test_a_prototxt_alone_costs_the_same(tmp_path: Path) -> None:
    prototxt, caffemodel = write_pair(tmp_path, NET)
    alone, both = caffefold.inspect(prototxt), caffefold.inspect(prototxt, caffemodel)
    assert alone.norms == ()
    assert alone.totals == both.totals
    assert [layer.blobs for layer in alone.layers] == [()] * 6


def test_a_caffemodel_alone(tmp_path: Path) -> None:
    """It holds its net: the same is known as of the pair."""
    prototxt, caffemodel = write_pair(tmp_path, NET)
    found = caffefold.inspect(caffemodel)
    both = caffefold.inspect(prototxt, caffemodel)
    assert (found.layers, found.totals) == (both.layers, both.totals)
    assert (found.prototxt, found.caffemodel) == (None, str(caffemodel))
    assert [(layer.name, layer.type) for layer in found.layers][1] == ("conv", "Convolution")
    assert found.layers[1].blobs == ((4, 3, 3, 3), (4,))
    assert found.layers[1].macs == 3888
    assert found.totals.parameters == 850


def test_sizes_that_only_the_weights_know(tmp_path: Path) -> None:
    source = LayerSpec("data", "Data", "", "data label", "data_param { batch_size: 7 }")
    prototxt, caffemodel = write_pair(tmp_path, [source, *NET[1:]])
    found = caffefold.inspect(prototxt, caffemodel)
    assert found.inputs == (BlobShape("data", (7, 3, 8, 8)),)
    (note,) = found.notes
    assert note == "input 'data' inferred as 7x3x8x8: 'fc' takes 144 inputs: only 8x8 fits"
    assert found.totals.unknown_macs == 0
    without = caffefold.inspect(prototxt)
    assert without.layers[-1].tops == (BlobShape("fc", (7, 5)),)
    assert without.totals.unknown_macs == 4


def test_channels_without_a_size(tmp_path: Path) -> None:
    prototxt, caffemodel = write_pair(tmp_path, NET[1:5])
    found = caffefold.inspect(prototxt, caffemodel)
    assert found.inputs == (BlobShape("data", (1, 3, None, None)),)
    assert "input 'data' inferred as 1x3x?x?: its channels are those of" in found.notes[0]
    assert "bottom 'data' is not made by any earlier layer" in found.warnings[0]


def test_input_shapes(tmp_path: Path) -> None:
    prototxt, caffemodel = write_pair(tmp_path, NET[:5])
    found = caffefold.inspect(prototxt, caffemodel, input_shapes={"data": (2, 3, 16, 12)})
    assert found.outputs == (BlobShape("conv", (2, 4, 14, 10)),)
    with pytest.raises(
        caffefold.UsageError, match="'conv' is not an input of this net; its inputs"
    ):
        caffefold.inspect(prototxt, caffemodel, input_shapes={"conv": (1,)})


def test_templates_and_phases(tmp_path: Path) -> None:
    layers = [
        NET[0],
        NET[1]._replace(params=NET[1].params.replace("num_output: 4", "num_output: cls2x")),
        LayerSpec("loss", "EuclideanLoss", "conv data", "loss", "include { phase: TRAIN }"),
        LayerSpec("accuracy", "Accuracy", "conv data", "accuracy", "include { phase: TEST }"),
    ]
    prototxt, caffemodel = write_pair(tmp_path, layers)
    filled = caffefold.inspect(prototxt, caffemodel)
    assert filled.layers[1].tops[0].shape == (1, 4, 6, 6)
    assert caffefold.inspect(prototxt, classes=3).layers[1].tops[0].shape == (1, 6, 6, 6)
    bare = caffefold.inspect(prototxt)
    assert bare.layers[1].tops[0].shape is None
    assert "num_output is cls2x, a placeholder" in bare.warnings[0]
    train = caffefold.inspect(prototxt, caffemodel, phase="TRAIN")
    assert "loss" in [layer.name for layer in train.layers]
    assert "accuracy" not in [layer.name for layer in train.layers]


def test_a_solver_and_old_layers(tmp_path: Path) -> None:
    (tmp_path / "old.prototxt").write_text(
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9\n'
        'layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" '
        "convolution_param { num_output: 2 kernel_size: 3 } }\n"
    )
    (tmp_path / "solver.prototxt").write_text('net: "old.prototxt"\nbase_lr: 0.1\n')
    found = caffefold.inspect(tmp_path / "solver.prototxt")
    assert found.outputs == (BlobShape("c", (1, 2, 7, 7)),)
    assert "a solver; its net is" in found.notes[0]
    assert "upgraded" in found.notes[1]
    assert found.warnings == ()


def test_weights_of_another_net_are_one_warning(tmp_path: Path) -> None:
    prototxt, _ = write_pair(tmp_path, NET)
    other = [N.conv("conv", "data", 5, 4), N.inner_product("fc", "conv", 9, 5)]
    _, caffemodel = write_pair(tmp_path, other, "other")
    found = caffefold.inspect(prototxt, caffemodel)
    (warning,) = found.warnings
    assert "does not belong to" in warning


def test_problems_are_warnings_and_what_follows_is_unknown(tmp_path: Path) -> None:
    layers = [NET[0], N.conv("conv", "data", 3, 4, kernel=11), relu("relu", "conv")]
    prototxt, _ = write_pair(tmp_path, layers)
    found = caffefold.inspect(prototxt)
    assert [layer.tops[0].shape for layer in found.layers] == [(1, 3, 8, 8), None, None]
    assert "its window of 11 is larger than its input of 8" in found.warnings[0]


def test_json(tmp_path: Path) -> None:
    bad = LayerSpec("bn", "BatchNorm", "conv", "conv", blobs=[[0.0] * 4, [math.nan] * 4, [1.0]])
    prototxt, caffemodel = write_pair(
        tmp_path, [*NET[:2], bad, LayerSpec("new", "New", "conv", "out")]
    )
    first = caffefold.inspect(prototxt, caffemodel).to_json()
    assert first == caffefold.inspect(prototxt, caffemodel).to_json()
    found: dict[str, Any] = json.loads(first, parse_constant=pytest.fail)
    assert found["schema"] == 1
    assert set(found) == {
        *("schema", "caffefold", "net", "prototxt", "caffemodel", "inputs", "outputs"),
        *("layers", "totals", "norms", "warnings", "notes"),
    }
    assert found["layers"][1] == {
        "name": "conv",
        "type": "Convolution",
        "bottoms": ["data"],
        "tops": [{"blob": "conv", "shape": [1, 4, 6, 6]}],
        "blobs": [[4, 3, 3, 3], [4]],
        "parameters": 112,
        "macs": 3888,
        "memory": 576,
    }
    assert found["layers"][3]["tops"] == [{"blob": "out", "shape": None}]
    assert found["totals"]["unknown_macs"] == 1
    assert found["norms"]["layers"][0]["smallest_variance"] is None
    assert found["norms"]["layers"][0]["share"] is None
    assert (found["norms"]["threshold"], found["norms"]["dead_below"]) == (1e-3, 1e-6)


SUPER_RESOLUTION = """
train HDF5Data -> data target { include { phase: TRAIN } }
test ImageData -> data unused { include { phase: TEST } TRANSFORM }
conv7 Convolution data -> conv7 { convolution_param { num_output: 1 kernel_size: 1 } }
loss EuclideanLoss conv7 target -> loss { include { phase: TRAIN } }
""".replace("TRANSFORM", "transform_param { crop_size: 8 force_color: true }")


def inspected(tmp_path: Path, lines: str) -> caffefold.Inspection:
    (tmp_path / "net.prototxt").write_text(net_text(lines), encoding="utf-8")
    return caffefold.inspect(tmp_path / "net.prototxt")


def test_a_loss_of_the_other_phase_is_no_part_of_the_net(tmp_path: Path) -> None:
    found = inspected(tmp_path, SUPER_RESOLUTION)
    assert [row.name for row in found.layers] == ["test", "conv7"]
    assert [blob.blob for blob in found.inputs] == ["data"]
    assert [blob.blob for blob in found.outputs] == ["unused", "conv7"]
    assert found.warnings == ()


def test_data_of_the_other_phase_tells_the_shape_of_an_input(tmp_path: Path) -> None:
    """TEST has no data layer: the blob is an input, and the layer is none of the net's."""
    train = "include { phase: TRAIN } transform_param { crop_size: 8 force_color: true }"
    found = inspected(
        tmp_path,
        f"""
        train Data -> data label {{ {train} data_param {{ batch_size: 4 }} }}
        conv Convolution data -> conv {{ convolution_param {{ num_output: 2 kernel_size: 1 }} }}
        loss SoftmaxWithLoss conv label -> loss {{ include {{ phase: TRAIN }} }}
        """,
    )
    assert [row.name for row in found.layers] == ["conv"]
    assert [(blob.blob, blob.shape) for blob in found.inputs] == [("data", (4, 3, 8, 8))]
    assert [(blob.blob, blob.shape) for blob in found.outputs] == [("conv", (4, 2, 8, 8))]
    assert found.warnings == ()
