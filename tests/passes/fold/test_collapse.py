"""What no linear layer may take: one Scale layer, or nothing where nothing changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.errors import TextError
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair

N = RandomLayers(23)


def after(folder: Path, layers: list[LayerSpec], **options: bool) -> caffefold.Net:
    ends = relu("r", "data", "r"), relu("end", layers[-1].name, "end")
    inside = [input_layer(1, 4, 6, 6), ends[0], *layers, ends[1]]
    caffefold.convert(*write_pair(folder, inside), folder / "out", **options)  # type: ignore[arg-type]
    return caffefold.load(folder / "out.prototxt", folder / "out.caffemodel")


def kinds(net: caffefold.Net) -> list[tuple[str, str]]:
    return [(x.name, x.type) for x in net.layers if x.type not in ("Input", "ReLU")]


def test_batch_norm_and_scale_become_one_scale(tmp_path: Path) -> None:
    net = after(tmp_path, [N.batch_norm("bn", "r", 4), N.scale("sc", "bn", 4)])
    assert kinds(net) == [("sc", "Scale")]
    (scale,) = [x for x in net.layers if x.name == "sc"]
    assert scale.params("scale_param").flag("bias_term")
    assert [np.asarray(b).shape for b in scale.blobs] == [(4,), (4,)]
    assert scale.record is not None
    assert scale.record.type == "Scale"


def test_a_lone_batch_norm_becomes_a_scale_of_its_name(tmp_path: Path) -> None:
    net = after(tmp_path, [N.batch_norm("bn", "r", 4)])
    assert kinds(net) == [("bn", "Scale")]
    assert "batch_norm_param" not in (tmp_path / "out.prototxt").read_text()


def test_a_chain_of_any_length(tmp_path: Path) -> None:
    power = LayerSpec("p", "Power", "bi", params="power_param { scale: 3 shift: 1 }")
    chain = [N.batch_norm("bn", "r", 4), N.scale("a", "bn", 4), N.scale("b", "a", 4, bias=False)]
    net = after(tmp_path, [*chain, LayerSpec("bi", "Bias", "b", blobs=[N.normal(4)]), power])
    assert kinds(net) == [("b", "Scale")]


@pytest.mark.parametrize(
    "layer",
    [
        N.scale("x", "r", 4),
        N.scale("x", "r", 4, bias=False),
        LayerSpec("x", "Bias", "r", blobs=[N.normal(4)]),
        LayerSpec("x", "Power", "r", params="power_param { scale: 2 }"),
    ],
)
def test_a_single_layer_without_statistics_stays(tmp_path: Path, layer: LayerSpec) -> None:
    assert kinds(after(tmp_path, [layer])) == [("x", layer.type)]


@pytest.mark.parametrize(
    "layer",
    [
        LayerSpec("x", "Power", "r"),
        LayerSpec("x", "Scale", "r", blobs=[np.ones(4)]),
        LayerSpec("x", "Bias", "r", blobs=[np.zeros(4)]),
    ],
)
def test_what_changes_nothing_goes(tmp_path: Path, layer: LayerSpec) -> None:
    assert kinds(after(tmp_path, [layer])) == []


def test_no_collapse_leaves_them_untouched(tmp_path: Path) -> None:
    layers = [N.batch_norm("bn", "r", 4), N.scale("sc", "bn", 4)]
    assert kinds(after(tmp_path, layers, collapse=False)) == [("bn", "BatchNorm"), ("sc", "Scale")]


def test_a_scale_that_shared_its_numbers_has_its_own(tmp_path: Path) -> None:
    shared = [N.scale("a", "bn", 4), N.scale("b", "a", 4)]
    named = [x._replace(params=x.params + ' param { name: "w" }') for x in shared]
    net = after(tmp_path, [N.batch_norm("bn", "r", 4), *named])
    assert kinds(net) == [("b", "Scale")]
    assert "param { name" not in (tmp_path / "out.prototxt").read_text()


@pytest.mark.parametrize("kind", ["Scale", "BatchNorm"])
def test_a_layer_without_an_input_is_refused(kind: str, tmp_path: Path) -> None:
    """As Caffe does (CheckBlobCounts)."""
    blobs = {"Scale": [N.normal(4)], "BatchNorm": N.statistics(4)}[kind]
    layers = [LayerSpec("odd", kind, "", "odd", blobs=blobs), N.scale("sc", "r", 4)]
    with pytest.raises(TextError, match=f"layer 'odd': {kind} takes .* it has 0"):
        after(tmp_path, layers)
